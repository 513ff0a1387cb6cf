"""Who sends a delivery: a lease by compare-and-swap, as for tokens, and fair shares among endpoints.

A lease outlives any attempt (60 s against the door's 15 s). One that ran out without an outcome, because its worker was
killed, is taken again: the receiver may then hear twice, under the same `webhook-id`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from integrations.models import WebhookDelivery

LEASE = timedelta(seconds=60)
LOOK_AT = 200

# What one process sends at once. Endpoints that are failing share half of it, so that a healthy one never waits for
# those that run into their timeouts.
AT_ONCE = 32
FAILING_AT_ONCE = 16
PER_ENDPOINT = 2
PER_ORIGIN = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make the next attempt of one delivery."""

    delivery_id: UUID
    endpoint_id: UUID
    origin: str
    failing: bool
    lease_id: UUID


@dataclass
class Shares:
    """What is being sent at the moment, and what may be sent beside it."""

    total: int = 0
    failing: int = 0
    by_endpoint: Counter[UUID] = field(default_factory=Counter)
    by_origin: Counter[str] = field(default_factory=Counter)

    def take(self, claim: Claim) -> bool:
        """Count one more; False when it would be too much."""
        if (
            self.total >= AT_ONCE
            or (claim.failing and self.failing >= FAILING_AT_ONCE)
            or self.by_endpoint[claim.endpoint_id] >= PER_ENDPOINT
            or self.by_origin[claim.origin] >= PER_ORIGIN
        ):
            return False
        self._count(claim, 1)
        return True

    def give_back(self, claim: Claim) -> None:
        """Count one less."""
        self._count(claim, -1)

    def passed_over(self) -> Q:
        """What need not be looked at: endpoints and origins that have their share, and failing ones if those do."""
        busy = Q(endpoint_id__in=[key for key, count in self.by_endpoint.items() if count >= PER_ENDPOINT])
        busy |= Q(endpoint__origin__in=[key for key, count in self.by_origin.items() if count >= PER_ORIGIN])
        if self.failing >= FAILING_AT_ONCE:
            busy |= Q(endpoint__failing_since__isnull=False)
        return busy

    def _count(self, claim: Claim, by: int) -> None:
        self.total += by
        self.failing += by if claim.failing else 0
        self.by_endpoint[claim.endpoint_id] += by
        self.by_origin[claim.origin] += by


def due(now: datetime) -> QuerySet[WebhookDelivery]:
    """Deliveries whose time has come and that nobody sends, oldest first; not to endpoints that asked for a pause."""
    not_paused = Q(endpoint__paused_until__isnull=True) | Q(endpoint__paused_until__lte=now)
    return WebhookDelivery.objects.filter(_free(now), not_paused, next_attempt_at__lte=now).order_by("next_attempt_at")


def claim_due(shares: Shares, now: datetime) -> list[Claim]:
    """Lease what may be sent now, and count it in `shares`. Empty when there is nothing, or no room for it."""
    if shares.total >= AT_ONCE:
        return []
    lease_id = uuid.uuid4()
    with transaction.atomic():
        rows = due(now).exclude(shares.passed_over()).select_related("endpoint").only(*_LOOKED_AT)
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True, of=("self",))
        wanted = [claim for row in rows[:LOOK_AT] if shares.take(claim := _claim(row, lease_id))]
        ids = [claim.delivery_id for claim in wanted]
        lease = {"lease_id": lease_id, "lease_until": now + LEASE}
        if ids:
            WebhookDelivery.objects.filter(_free(now), pk__in=ids, next_attempt_at__lte=now).update(**lease)
        ours = set(_ours(ids, lease_id))
    for lost in (claim for claim in wanted if claim.delivery_id not in ours):
        shares.give_back(lost)
    return [claim for claim in wanted if claim.delivery_id in ours]


def claim_one(delivery: WebhookDelivery, now: datetime) -> Claim | None:
    """Lease one delivery, due or not; None while somebody else sends it."""
    claim = _claim(delivery, uuid.uuid4())
    free = WebhookDelivery.objects.filter(_free(now), pk=delivery.pk)
    taken = free.update(lease_id=claim.lease_id, lease_until=now + LEASE)
    return claim if taken else None


def held(claim: Claim) -> QuerySet[WebhookDelivery]:
    """The delivery, as long as the lease is still ours."""
    return WebhookDelivery.objects.filter(pk=claim.delivery_id, lease_id=claim.lease_id)


_LOOKED_AT = ("endpoint", "endpoint__origin", "endpoint__failing_since")


def _claim(row: WebhookDelivery, lease_id: UUID) -> Claim:
    endpoint = row.endpoint
    return Claim(row.pk, endpoint.pk, endpoint.origin, endpoint.failing_since is not None, lease_id)


def _ours(ids: Iterable[UUID], lease_id: UUID) -> Iterable[UUID]:
    return WebhookDelivery.objects.filter(pk__in=list(ids), lease_id=lease_id).values_list("pk", flat=True)


def _free(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=now)
