"""What is told: the payload of a notice, as the text that is signed and sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from django.urls import reverse

from integrations.models import ConnectionState, Notice, NoticeKind, WebhookEvent
from workspaces.http import public_url
from workspaces.models import Workspace

# Every kind of event that an endpoint may choose; a test is sent whatever was chosen.
CHOICES = [event for event in WebhookEvent if event is not WebhookEvent.TEST]

_STATUS = {
    NoticeKind.DEGRADED: ConnectionState.DEGRADED,
    NoticeKind.MISCONFIGURED: ConnectionState.MISCONFIGURED,
    NoticeKind.RECONNECT_REQUIRED: ConnectionState.RECONNECT_REQUIRED,
    NoticeKind.CONSENT_EXPIRING: ConnectionState.CONNECTED,
    NoticeKind.RECOVERED: ConnectionState.CONNECTED,
}


def body_of_notice(notice: Notice) -> str:
    """The payload of a notice. Needs `workspace` loaded; a connection that was deleted meanwhile has no id."""
    about_connection = bool(notice.connection_name)
    connection_id = notice.connection_id if about_connection else None
    data = {
        "workspace": notice.workspace.slug,
        "provider_id": notice.provider_id,
        "grant_type": notice.grant_type,
        "connection": {"id": str(connection_id) if connection_id else None, "name": notice.connection_name}
        if about_connection
        else None,
        "status": _STATUS[NoticeKind(notice.kind)].value,
        "code": notice.code or None,
        "message": notice.message or None,
        "reference": str(notice.reference) if notice.reference else None,
        "ends_at": _time(notice.ends_at) if notice.ends_at else None,
        "url": _page(notice),
    }
    return _body(WebhookEvent(notice.event_type), notice.at, data)


def body_of_test(workspace: Workspace, now: datetime) -> str:
    """A payload of the same shape that tells nothing."""
    data = {
        "workspace": workspace.slug,
        "provider_id": None,
        "grant_type": None,
        "connection": None,
        "status": None,
        "code": None,
        "message": "This is a test. Nothing has happened.",
        "reference": None,
        "ends_at": None,
        "url": public_url(reverse("webhooks:list", kwargs={"workspace": workspace.slug})),
    }
    return _body(WebhookEvent.TEST, now, data)


def _body(event: WebhookEvent, at: datetime, data: dict[str, Any]) -> str:
    content = {"type": event.value, "timestamp": _time(at), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _page(notice: Notice) -> str:
    """Where a person sees to it: the connection's page, else its integration's, else the list."""
    at = {"workspace": notice.workspace.slug}
    one = {**at, "provider_id": notice.provider_id, "grant_type": notice.grant_type}
    if notice.integration_id is None:
        return public_url(reverse("integrations:list", kwargs=at))
    if notice.connection_id is None:
        return public_url(reverse("integrations:detail", kwargs=one))
    return public_url(reverse("integrations:connection", kwargs={**one, "connection_id": notice.connection_id}))
