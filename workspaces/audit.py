"""The only writer of audit events.

`record` writes within the caller's transaction, so that a change and its event stand or fall together.
`record_soon` (token reads) hands the event to `audit_buffer`, which writes it within a second and at shutdown;
a SIGKILL loses at most that second.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import models
from django.utils import timezone

from workspaces.audit_buffer import AuditBuffer, AuditBufferFull, BufferedEvent
from workspaces.models import ActorKind, ApiKey, AuditEvent, AuditResult, User, Workspace
from workspaces.models.audit import action_label

__all__ = ["WORKER", "Actor", "AuditAction", "AuditBufferFull", "discard_buffer", "flush", "record", "record_soon"]

_buffer = AuditBuffer()


class AuditAction(StrEnum):
    """Everything that is recorded, as `subject:action`."""

    WORKSPACE_CREATED = "workspace:created"
    WORKSPACE_CHANGED = "workspace:changed"
    AUDIT_EXPORTED = "audit:exported"
    MEMBER_INVITED = "member:invited"
    MEMBER_INVITATION_REVOKED = "member:invitation_revoked"
    MEMBER_JOINED = "member:joined"
    MEMBER_ROLE_CHANGED = "member:role_changed"
    MEMBER_REMOVED = "member:removed"
    API_KEY_CREATED = "api_key:created"
    API_KEY_ROLLED = "api_key:rolled"
    API_KEY_REVOKED = "api_key:revoked"
    PROVIDER_CREATED = "provider:created"
    PROVIDER_CHANGED = "provider:changed"
    PROVIDER_DELETED = "provider:deleted"
    INTEGRATION_CONFIGURED = "integration:configured"
    INTEGRATION_DISCOVERED = "integration:discovered"
    INTEGRATION_DELETED = "integration:deleted"
    INTEGRATION_CLIENT_REFUSED = "integration:client_refused"
    INTEGRATION_OUTAGE = "integration:outage"
    INTEGRATION_RECOVERED = "integration:recovered"
    CLIENT_KEY_CREATED = "client_key:created"
    CLIENT_KEY_ROTATED = "client_key:rotated"
    CLIENT_KEY_DELETED = "client_key:deleted"
    CONNECTION_STARTED = "connection:started"
    CONNECTION_CONNECTED = "connection:connected"
    CONNECTION_FAILED = "connection:failed"
    CONNECTION_TESTED = "connection:tested"
    CONNECTION_CHANGED = "connection:changed"
    CONNECTION_REFRESHED = "connection:refreshed"
    CONNECTION_REFRESH_FAILED = "connection:refresh_failed"
    CONNECTION_REFRESH_INTERRUPTED = "connection:refresh_interrupted"
    CONNECTION_RECONNECT_REQUIRED = "connection:reconnect_required"
    CONNECTION_DISCONNECTED = "connection:disconnected"
    CONNECTION_DELETED = "connection:deleted"
    CONNECT_LINK_CREATED = "connect_link:created"
    WEBHOOK_CREATED = "webhook:created"
    WEBHOOK_CHANGED = "webhook:changed"
    WEBHOOK_SECRET_ROLLED = "webhook:secret_rolled"  # noqa: S105 (no password)
    WEBHOOK_TESTED = "webhook:tested"
    WEBHOOK_REPLAYED = "webhook:replayed"
    WEBHOOK_DISABLED = "webhook:disabled"
    WEBHOOK_DELETED = "webhook:deleted"
    TOKEN_READ = "token:read"  # noqa: S105 (no password)

    @property
    def label(self) -> str:
        """As people read it: "Connection: reconnect required"."""
        return action_label(self.value)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: carried into every verb, beside the workspace."""

    kind: ActorKind
    id: str = ""
    label: str = ""
    request_id: uuid.UUID | None = None

    @classmethod
    def member(cls, user: User, request_id: uuid.UUID | None = None) -> Actor:
        """A signed-in person."""
        return cls(ActorKind.MEMBER, str(user.pk), user.email, request_id)

    @classmethod
    def api_key(cls, key: ApiKey, request_id: uuid.UUID | None = None) -> Actor:
        """A program with a key."""
        return cls(ActorKind.API_KEY, str(key.pk), f"{key.name} (gr_{key.prefix}…)", request_id)

    @classmethod
    def operator(cls, label: str = "command line") -> Actor:
        """Someone with access to the machine or to Django admin."""
        return cls(ActorKind.OPERATOR, "", label)


WORKER = Actor(ActorKind.WORKER, "", "Worker")


def _event(
    workspace_id: Any,
    action: AuditAction,
    actor: Actor,
    *,
    target: models.Model | None,
    target_label: str,
    result: AuditResult,
    detail: dict[str, Any] | None,
) -> AuditEvent:
    return AuditEvent(
        workspace_id=workspace_id,
        at=timezone.now(),
        action=action.value,
        result=result,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=_clean(actor.label)[:254],
        target_kind=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_label=_clean(target_label or (str(target) if target is not None else ""))[:254],
        request_id=actor.request_id,
        detail=_clean(detail or {}),
    )


def _clean(value: Any) -> Any:
    """Text as both databases can keep it: PostgreSQL refuses NUL, and half surrogate pairs have no UTF-8."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return value
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    return value


def record(
    workspace: Workspace | uuid.UUID,
    action: AuditAction,
    actor: Actor,
    *,
    target: models.Model | None = None,
    target_label: str = "",
    result: AuditResult = AuditResult.OK,
    detail: dict[str, Any] | None = None,
) -> AuditEvent:
    """Append one event in the transaction of the change. `detail` is JSON and never carries a secret."""
    workspace_id = workspace.pk if isinstance(workspace, Workspace) else workspace
    event = _event(workspace_id, action, actor, target=target, target_label=target_label, result=result, detail=detail)
    event.save(force_insert=True)
    return event


def unwritten(
    workspace_id: uuid.UUID,
    action: AuditAction,
    actor: Actor,
    *,
    target_kind: str,
    target_id: str,
    target_label: str,
    detail: dict[str, Any] | None = None,
) -> AuditEvent:
    """An event for a caller whose one statement writes it together with the change (renewals by the thousand)."""
    event = _event(
        workspace_id, action, actor, target=None, target_label=target_label, result=AuditResult.OK, detail=detail
    )
    event.target_kind, event.target_id = target_kind, target_id
    return event


def record_soon(
    workspace_id: uuid.UUID,
    action: AuditAction,
    actor: Actor,
    *,
    target_kind: str,
    target_id: str,
    target_label: str = "",
    result: AuditResult = AuditResult.OK,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one event within a second, outside the caller's transaction (token reads).

    Nothing but a tuple is made here: this is part of every read. Raises AuditBufferFull while events can't be written.
    """
    _buffer.add(
        BufferedEvent(
            workspace_id=workspace_id,
            at=timezone.now(),
            action=action.value,
            result=result.value,
            actor_kind=actor.kind.value,
            actor_id=actor.id,
            actor_label=_clean(actor.label)[:254],
            target_kind=target_kind,
            target_id=target_id,
            target_label=_clean(target_label)[:254],
            request_id=actor.request_id,
            detail=_clean(detail) if detail else {},
        )
    )


def flush() -> None:
    """Write buffered events now (shutdown, tests)."""
    _buffer.flush()


def discard_buffer() -> None:
    """Forget buffered events; for tests, whose rows vanish with their transaction."""
    _buffer.discard()
