"""What people and programs do with endpoints: create, change, enable, disable, roll the secret, delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from integrations.clock import database_now
from integrations.models import DisabledBecause, WebhookEndpoint, WebhookEvent
from integrations.oauth.sanitise import is_plain_line
from integrations.outbound.addresses import DEFAULT_PORTS, check_url
from integrations.outbound.errors import AddressRefused
from integrations.webhooks import outcomes
from integrations.webhooks.events import CHOICES
from integrations.webhooks.signing import new_secret
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import Workspace

MAX_ENDPOINTS = 50
MAX_OVERLAP = timedelta(days=7)
MAX_DESCRIPTION = 200


class WebhookRefused(Exception):
    """A value that cannot stand, or a step that is not possible now. `field` names the value, empty for a step."""

    def __init__(self, message: str, field: str = "") -> None:
        self.message = message
        self.field = field
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """The one moment in which a signing secret is known."""

    endpoint: WebhookEndpoint
    secret: str = field(repr=False)


def create_endpoint(
    workspace: Workspace, *, url: str, description: str = "", events: Iterable[str] = (), actor: Actor
) -> NewSecret:
    """Make an endpoint; no events means all. Raises WebhookRefused."""
    origin = clean_url(url)
    endpoint = WebhookEndpoint(
        workspace=workspace,
        url=url,
        origin=origin,
        description=_clean_description(description),
        events=_clean_events(events),
        secret=(secret := new_secret()),
        created_at=database_now(),
    )
    with transaction.atomic():
        Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)  # or two at once would pass the limit
        if workspace.webhook_endpoints.count() >= MAX_ENDPOINTS:
            raise WebhookRefused(f"A workspace may have {MAX_ENDPOINTS} webhooks. Delete one that is no longer used.")
        endpoint.save(force_insert=True)
        record(workspace, AuditAction.WEBHOOK_CREATED, actor, target=endpoint, detail={"events": endpoint.events})
    return NewSecret(endpoint, secret)


def change_endpoint(
    endpoint: WebhookEndpoint,
    *,
    url: str | None = None,
    description: str | None = None,
    events: Iterable[str] | None = None,
    enabled: bool | None = None,
    actor: Actor,
) -> None:
    """Change what is given. Disabling gives up what waits; enabling forgets the failures. Raises WebhookRefused."""
    new: dict[str, Any] = {}
    if url is not None:
        new["origin"], new["url"] = clean_url(url), url
    if description is not None:
        new["description"] = _clean_description(description)
    if events is not None:
        new["events"] = _clean_events(events)
    with transaction.atomic():
        row = _locked(endpoint)
        # Named, never shown: an old or new URL in the audit trail would be a secret in it.
        changed = [name for name, value in new.items() if getattr(row, name) != value and name != "origin"]
        for name, value in new.items():
            setattr(row, name, value)
        if new:
            row.save(update_fields=list(new))
        if enabled is not None and enabled != row.enabled:
            changed.append("enabled")
            _switch(row, on=enabled)
        if changed:
            detail = {"changed": changed, "enabled": row.enabled}
            record(row.workspace_id, AuditAction.WEBHOOK_CHANGED, actor, target=row, detail=detail)
    endpoint.refresh_from_db()


def roll_secret(endpoint: WebhookEndpoint, overlap: timedelta, *, actor: Actor) -> NewSecret:
    """Make a new signing secret; the old one signs too for `overlap`. Raises WebhookRefused."""
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise WebhookRefused(f"The old secret may go on for at most {MAX_OVERLAP.days} days.", "overlap_seconds")
    secret = new_secret()
    with transaction.atomic():
        row = _locked(endpoint)
        now = database_now()
        new = {
            "previous_secret": str(row.secret) if overlap else None,
            "previous_until": now + overlap if overlap else None,
            "secret": secret,
            "secret_set_at": now,
        }
        for name, value in new.items():
            setattr(row, name, value)
        row.save(update_fields=list(new))
        detail = {"overlap_seconds": int(overlap.total_seconds())}
        record(row.workspace_id, AuditAction.WEBHOOK_SECRET_ROLLED, actor, target=row, detail=detail)
    endpoint.refresh_from_db()
    return NewSecret(endpoint, secret)


def delete_endpoint(endpoint: WebhookEndpoint, *, actor: Actor) -> None:
    """Delete it with its log. An attempt that is on its way still arrives."""
    with transaction.atomic():
        row = _locked(endpoint)
        record(row.workspace_id, AuditAction.WEBHOOK_DELETED, actor, target=row)
        row.delete()


def clean_url(url: str) -> str:
    """The origin (scheme, host and port) of a URL that events may be sent to. Raises WebhookRefused."""
    try:
        origin = check_url(url, allowed_hosts=settings.OUTBOUND_ALLOWED_HOSTS)
    except AddressRefused as error:
        raise WebhookRefused(error.message.replace("the provider's", "the receiver's"), "url") from error
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host if origin.port == DEFAULT_PORTS[origin.scheme] else origin.host_port}"


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    row = outcomes.lock_endpoint(endpoint.pk)
    if row is None:
        raise WebhookRefused("This webhook was deleted meanwhile.")
    return row


def _switch(row: WebhookEndpoint, *, on: bool) -> None:
    row.enabled = on
    row.disabled_because = "" if on else DisabledBecause.MEMBER
    row.disabled_at = None if on else database_now()
    if on:  # a new start: the days of failing count anew
        row.failing_since, row.failures, row.paused_until = None, 0, None
    row.save(update_fields=["enabled", "disabled_because", "disabled_at", "failing_since", "failures", "paused_until"])
    if not on:
        outcomes.give_up_waiting(row)


def _clean_description(description: str) -> str:
    text = " ".join(description.split())
    if len(text) > MAX_DESCRIPTION or not is_plain_line(text):
        raise WebhookRefused(
            f"The description is one line of at most {MAX_DESCRIPTION} characters, without control characters.",
            "description",
        )
    return text


def _clean_events(events: Iterable[str]) -> list[str]:
    wanted = set(events)
    known = {event.value for event in CHOICES}
    if unknown := sorted(wanted - known):
        words = f"Unknown event: {', '.join(unknown)[:200]}. Known are {', '.join(sorted(known))}."
        raise WebhookRefused(words, "events")
    return [event.value for event in WebhookEvent if event.value in wanted]
