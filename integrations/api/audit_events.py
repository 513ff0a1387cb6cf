"""GET /audit-events."""

from __future__ import annotations

from typing import Annotated

from ninja import Query, Router

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.paging import DEFAULT_LIMIT, Cursor, Limit, cut_page, decode_cursor, encode_cursor
from integrations.api.schemas.audit_events import AuditActor, AuditEventOut, AuditEventPage, AuditTarget
from workspaces import audit
from workspaces.models import ActorKind, AuditEvent, AuditResult
from workspaces.roles import KeyScope

router = Router()

ActionFilter = Annotated[str, Query(max_length=64, description="Only this action, such as `token:read`.")]


@router.get(
    "/audit-events",
    auth=ApiKeyAuth(KeyScope.AUDIT_READ),
    response=AuditEventPage,
    operation_id="list_audit_events",
    summary="List audit events",
)
def list_audit_events(
    request: ApiRequest[None], cursor: Cursor = "", limit: Limit = DEFAULT_LIMIT, action: ActionFilter = ""
) -> AuditEventPage:
    """Who did what, newest first. Token reads appear within a second."""
    audit.flush()  # what this process still holds back, so that a read shows up at once where it was made
    events = request.auth.workspace.audit_events.all()
    if action:
        events = events.filter(action=action)
    if key := decode_cursor(cursor, int):
        events = events.filter(pk__lt=key[0])
    page, following = cut_page(events.order_by("-pk")[: limit + 1], limit, lambda event: encode_cursor(event.pk))
    return AuditEventPage(items=[audit_event_out(event) for event in page], next=following)


def audit_event_out(event: AuditEvent) -> AuditEventOut:
    """An event as the API says it."""
    return AuditEventOut(
        id=event.pk,
        at=event.at,
        action=event.action,
        result=AuditResult(event.result),
        actor=AuditActor(kind=ActorKind(event.actor_kind), id=event.actor_id, label=event.actor_label),
        target=AuditTarget(kind=event.target_kind, id=event.target_id, label=event.target_label),
        request_id=event.request_id,
        detail=event.detail,
    )
