"""What an attempt changes: the delivery (delivered, tried again, given up), its log, and its endpoint."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from integrations.models import (
    DeliveryStatus,
    DisabledBecause,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from integrations.webhooks.claims import Claim, held
from integrations.webhooks.sending import GONE, Answer
from workspaces.audit import WORKER, Actor, AuditAction, record

# Pauses before the second, third, … attempt, as the specification recommends: ten attempts in a little over three days.
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)  # fmt: skip
JITTER = 0.2  # up to this share is added
LONGEST_PAUSE = timedelta(days=1)  # whatever Retry-After says
DISABLED_AFTER = timedelta(days=5)
KEPT_ATTEMPTS = 20
ENDPOINT_DISABLED = "endpoint_disabled"
SYSTEM_RANDOM = random.SystemRandom()


def settle(claim: Claim, answer: Answer, now: datetime, *, rng: random.Random = SYSTEM_RANDOM) -> bool:
    """Write an attempt's outcome in one transaction; False when the lease was lost, and so the outcome is another's.

    May be called again when its confirmation was lost: the lease is gone by then.
    """
    with transaction.atomic():
        lock_endpoint(claim.endpoint_id)
        delivery = held(claim).select_for_update(of=("self",)).select_related("endpoint").first()
        if delivery is None:
            return False
        _log(delivery, answer)
        if answer.taken:
            _delivered(delivery, now)
        else:
            _failed(delivery, answer, now, rng)
    return True


def lock_endpoint(endpoint_id: UUID) -> WebhookEndpoint | None:
    """Lock an endpoint before its deliveries: everybody in this order, or two would wait for each other."""
    rows: QuerySet[WebhookEndpoint] = WebhookEndpoint.objects.select_for_update(no_key=True)
    return rows.filter(pk=endpoint_id).first()


def give_up_waiting(endpoint: WebhookEndpoint) -> int:
    """Give up what waits for an endpoint that was disabled; it can be replayed. Returns how much that is."""
    waiting = WebhookDelivery.objects.filter(endpoint=endpoint, next_attempt_at__isnull=False)
    return waiting.update(
        status=DeliveryStatus.GIVEN_UP,
        next_attempt_at=None,
        last_error=ENDPOINT_DISABLED,
        last_message="The endpoint was disabled before it was delivered.",
    )


def let_go(claim: Claim) -> None:
    """Give a delivery up that was claimed while its endpoint was being disabled; without an attempt."""
    held(claim).update(
        status=DeliveryStatus.GIVEN_UP,
        next_attempt_at=None,
        lease_id=None,
        lease_until=None,
        last_error=ENDPOINT_DISABLED,
        last_message="The endpoint was disabled before it was delivered.",
    )


def postpone(claim: Claim, until: datetime, error: str, message: str) -> None:
    """Put a delivery off that could not be tried for a reason of our own; no attempt is counted."""
    held(claim).update(
        next_attempt_at=until, lease_id=None, lease_until=None, last_error=error, last_message=message[:300]
    )


def disable(endpoint: WebhookEndpoint, because: DisabledBecause, now: datetime, *, actor: Actor) -> None:
    """Send it nothing more, and give up what waits. Nothing happens when it is disabled already."""
    with transaction.atomic():
        enabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, enabled=True)
        if not enabled.update(enabled=False, disabled_because=because, disabled_at=now):
            return
        given_up = give_up_waiting(endpoint)
        detail = {"because": because.value, "given_up": given_up}
        record(endpoint.workspace_id, AuditAction.WEBHOOK_DISABLED, actor, target=endpoint, detail=detail)
    endpoint.enabled, endpoint.disabled_because, endpoint.disabled_at = False, because, now


def _log(delivery: WebhookDelivery, answer: Answer) -> None:
    WebhookAttempt.objects.create(
        workspace_id=delivery.workspace_id,
        delivery=delivery,
        at=answer.at,
        signature=answer.signature,
        response_status=answer.status,
        response_type=answer.content_type,
        response_body=answer.body,
        error=answer.error,
        message=answer.message,
        duration=answer.duration,
    )
    old = delivery.attempts.order_by("-pk").values_list("pk", flat=True)[KEPT_ATTEMPTS:]
    if stale := list(old):
        WebhookAttempt.objects.filter(pk__in=stale).delete()
    delivery.attempts_made += 1
    delivery.lease_id = delivery.lease_until = None
    delivery.last_status, delivery.last_duration = answer.status, answer.duration
    delivery.last_error, delivery.last_message = answer.error, answer.message


def _delivered(delivery: WebhookDelivery, now: datetime) -> None:
    delivery.status, delivery.next_attempt_at, delivery.delivered_at = DeliveryStatus.DELIVERED, None, now
    delivery.save()
    if delivery.event_type == WebhookEvent.TEST:
        return
    endpoint = WebhookEndpoint.objects.filter(pk=delivery.endpoint_id)
    endpoint.update(failing_since=None, failures=0, paused_until=None, last_delivered_at=now)


def _failed(delivery: WebhookDelivery, answer: Answer, now: datetime, rng: random.Random) -> None:
    endpoint = delivery.endpoint
    is_test = delivery.event_type == WebhookEvent.TEST
    pause = _pause(delivery.attempts_made, answer, rng)
    if is_test or pause is None or not endpoint.enabled or answer.status == GONE:
        delivery.status, delivery.next_attempt_at = DeliveryStatus.GIVEN_UP, None
    else:
        delivery.status, delivery.next_attempt_at = DeliveryStatus.FAILED, now + pause
    delivery.save()
    if not is_test:
        _note_failure(endpoint, answer, now)


def _note_failure(endpoint: WebhookEndpoint, answer: Answer, now: datetime) -> None:
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    row.update(failures=F("failures") + 1, failing_since=Coalesce("failing_since", now))
    if answer.retry_after:
        until = now + _bounded(answer.retry_after)
        row.filter(Q(paused_until__isnull=True) | Q(paused_until__lt=until)).update(paused_until=until)
    if answer.status == GONE:
        disable(endpoint, DisabledBecause.GONE, now, actor=WORKER)
    elif row.filter(failing_since__lte=now - DISABLED_AFTER).exists():
        disable(endpoint, DisabledBecause.FAILING, now, actor=WORKER)


def _pause(attempts_made: int, answer: Answer, rng: random.Random) -> timedelta | None:
    """How long until the next attempt; None when there is none."""
    if attempts_made > len(PAUSES):
        return None
    pause = PAUSES[attempts_made - 1] * (1 + rng.uniform(0, JITTER))
    return max(pause, _bounded(answer.retry_after)) if answer.retry_after else pause


def _bounded(seconds: float) -> timedelta:
    return min(timedelta(seconds=seconds), LONGEST_PAUSE)
