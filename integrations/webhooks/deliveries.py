"""What people and programs do with deliveries: send a test, replay one, replay what failed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from integrations.clock import database_now, start_clock
from integrations.connections.commits import give_back_connection
from integrations.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint, WebhookEvent
from integrations.wake import wake_webhooks
from integrations.webhooks.claims import claim_one
from integrations.webhooks.deliverer import message_of
from integrations.webhooks.endpoints import WebhookRefused
from integrations.webhooks.events import body_of_test
from integrations.webhooks.outcomes import lock_endpoint, settle
from integrations.webhooks.sending import send
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult
from workspaces.rate_limits import hit

TESTS_PER_MINUTE = 20  # of a workspace: each may hold a web thread for as long as a receiver may take
NOT_ENABLED = "The webhook is disabled. Enable it first."


def send_test(endpoint: WebhookEndpoint, *, actor: Actor) -> WebhookDelivery:
    """Send a test event now, once, also to a disabled endpoint; returns the delivery with its outcome.

    Raises RateLimited, and crypto.SealError when no configured key opens its secret.
    """
    hit("webhook-test", str(endpoint.workspace_id), limit=TESTS_PER_MINUTE, seconds=60)
    clock = start_clock()
    delivery = WebhookDelivery(
        workspace_id=endpoint.workspace_id,
        endpoint=endpoint,
        event_type=WebhookEvent.TEST,
        body=body_of_test(endpoint.workspace, clock.now()),
        created_at=clock.now(),
    )
    message = message_of(delivery, clock.now())
    delivery.save(force_insert=True)
    claim = claim_one(delivery, clock.now())
    assert claim is not None  # noqa: S101 (nobody else knows of it)
    give_back_connection()
    answer = send(message, clock.now())
    settle(claim, answer, clock.now())
    delivery.refresh_from_db()
    record(
        endpoint.workspace_id,
        AuditAction.WEBHOOK_TESTED,
        actor,
        target=endpoint,
        result=AuditResult.OK if answer.taken else AuditResult.FAILED,
        detail={"status": answer.status, "error": answer.error},
    )
    return delivery


def replay(delivery: WebhookDelivery, *, actor: Actor) -> None:
    """Send an event again, under the same `webhook-id`, with all attempts before it. Raises WebhookRefused."""
    if delivery.event_type == WebhookEvent.TEST:
        raise WebhookRefused("A test is not replayed. Send a new one.")
    _replay(delivery.endpoint, actor, {"event": str(delivery.event_id)}, pk=delivery.pk)
    delivery.refresh_from_db()


def replay_failed(endpoint: WebhookEndpoint, since: datetime, *, actor: Actor) -> int:
    """Send everything again that failed since then, given up or not. Returns how much. Raises WebhookRefused."""
    failed = (DeliveryStatus.FAILED, DeliveryStatus.GIVEN_UP)
    return _replay(endpoint, actor, {"since": since.isoformat()}, created_at__gte=since, status__in=failed)


def _replay(endpoint: WebhookEndpoint, actor: Actor, detail: dict[str, Any], **which: Any) -> int:
    with transaction.atomic():
        row = lock_endpoint(endpoint.pk)
        if row is None or not row.enabled:
            raise WebhookRefused(NOT_ENABLED)
        found = WebhookDelivery.objects.filter(endpoint=row, **which).exclude(event_type=WebhookEvent.TEST)
        count = found.update(status=DeliveryStatus.PENDING, attempts_made=0, next_attempt_at=database_now())
        if count:
            detail = {**detail, "deliveries": count}
            record(row.workspace_id, AuditAction.WEBHOOK_REPLAYED, actor, target=row, detail=detail)
            wake_webhooks()
    return count
