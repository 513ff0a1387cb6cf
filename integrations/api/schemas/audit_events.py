"""Audit events."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import NEXT, Output
from workspaces.models import ActorKind, AuditResult


class AuditActor(Output):
    """Who did it."""

    model_config = ConfigDict(title="Audit actor")

    kind: ActorKind
    id: str
    label: str


class AuditTarget(Output):
    """To what."""

    model_config = ConfigDict(title="Audit target")

    kind: str
    id: str
    label: str


class AuditEventOut(Output):
    """Who did what to what, with what result."""

    model_config = ConfigDict(title="Audit event")

    id: int
    at: datetime
    action: str = Field(description="`subject:action`.", examples=["token:read"])
    result: AuditResult
    actor: AuditActor
    target: AuditTarget
    request_id: UUID | None
    detail: dict[str, Any]


class AuditEventPage(Output):
    """A page of events, newest first."""

    model_config = ConfigDict(title="Audit events")

    items: list[AuditEventOut]
    next: str | None = NEXT
