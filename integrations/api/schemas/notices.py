"""Notices."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import NEXT, Output
from integrations.models import NoticeKind


class NoticeOut(Output):
    """Trouble that began or ended, or consent that ends soon."""

    model_config = ConfigDict(title="Notice")

    id: UUID = Field(description="The same as in webhooks: whoever has seen it before may skip it.")
    type: str = Field(
        description="`connection.` or `integration.` (all of its connections at once), then the kind.",
        examples=["connection.reconnect_required"],
    )
    kind: NoticeKind
    at: datetime
    provider_id: str
    grant_type: str
    connection_id: UUID | None = Field(description="Null for a whole integration, or once the connection is deleted.")
    connection_name: str = Field(description="Empty for a whole integration.")
    code: str = Field(description="The provider's error code, or one of ours; may be empty.")
    message: str = Field(description="What happened and what to do, in plain words; may be empty.")
    reference: UUID | None = Field(description="Ties it to the audit trail and the server's log.")
    ends_at: datetime | None = Field(description="When consent ends, for `consent_expiring`.")


class NoticePage(Output):
    """A page of notices, newest first."""

    model_config = ConfigDict(title="Notices")

    items: list[NoticeOut]
    next: str | None = NEXT
