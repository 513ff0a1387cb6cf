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
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from integrations.models import WebhookDelivery

LEASE = timedelta(seconds=60)

# What one process sends at once. Endpoints that are failing share half of it, so that a healthy one never waits for
# those that run into their timeouts. One workspace has half of either at most, and the bound for an origin is each
# workspace's own: receivers that somebody made slow on purpose, on a host that others use too, take nobody's turn.
AT_ONCE = 32
FAILING_AT_ONCE = 16
PER_WORKSPACE = AT_ONCE // 2
FAILING_PER_WORKSPACE = FAILING_AT_ONCE // 2
PER_ENDPOINT = 2
PER_ORIGIN = 8
PASSES = PER_ENDPOINT + 2  # one delivery of each endpoint at a time, and some that others take first


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make the next attempt of one delivery."""

    delivery_id: UUID
    endpoint_id: UUID
    workspace_id: UUID
    origin: str
    failing: bool
    lease_id: UUID


@dataclass
class Shares:
    """What is being sent at the moment, and what may be sent beside it."""

    total: int = 0
    failing: int = 0
    by_endpoint: Counter[UUID] = field(default_factory=Counter)
    by_origin: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    by_workspace: Counter[UUID] = field(default_factory=Counter)
    failing_by_workspace: Counter[UUID] = field(default_factory=Counter)

    def take(self, claim: Claim) -> bool:
        """Count one more; False when it would be too much."""
        if (
            self.total >= AT_ONCE
            or self.by_workspace[claim.workspace_id] >= PER_WORKSPACE
            or self.by_endpoint[claim.endpoint_id] >= PER_ENDPOINT
            or self.by_origin[claim.workspace_id, claim.origin] >= PER_ORIGIN
            or (claim.failing and not self._has_room_for_failing(claim.workspace_id))
        ):
            return False
        self._count(claim, 1)
        return True

    def give_back(self, claim: Claim) -> None:
        """Count one less."""
        self._count(claim, -1)

    def _has_room_for_failing(self, workspace_id: UUID) -> bool:
        return self.failing < FAILING_AT_ONCE and self.failing_by_workspace[workspace_id] < FAILING_PER_WORKSPACE

    def _count(self, claim: Claim, by: int) -> None:
        self.total += by
        self.by_endpoint[claim.endpoint_id] += by
        self.by_origin[claim.workspace_id, claim.origin] += by
        self.by_workspace[claim.workspace_id] += by
        if claim.failing:
            self.failing += by
            self.failing_by_workspace[claim.workspace_id] += by


def claim_due(shares: Shares, now: datetime) -> list[Claim]:
    """Lease what may be sent now, and count it in `shares`. Empty when there is nothing, or no room for it."""
    claimed: list[Claim] = []
    for _ in range(PASSES):
        lease_id = uuid.uuid4()
        wanted = [claim for row in _first_due(now) if shares.take(claim := _claim(row, lease_id))]
        if not wanted:
            break
        ours = _lease(wanted, lease_id, now)
        for claim in wanted:
            if claim.delivery_id in ours:
                claimed.append(claim)
            else:
                shares.give_back(claim)  # another worker was faster
    return claimed


def claim_one(delivery: WebhookDelivery, now: datetime) -> Claim | None:
    """Lease one delivery, due or not; None while somebody else sends it."""
    endpoint = delivery.endpoint
    due = _Due(delivery.pk, endpoint.pk, endpoint.workspace_id, endpoint.origin, endpoint.failing_since is not None)
    claim = _claim(due, uuid.uuid4())
    free = WebhookDelivery.objects.filter(_free(now), pk=delivery.pk)
    taken = free.update(lease_id=claim.lease_id, lease_until=now + LEASE)
    return claim if taken else None


def held(claim: Claim) -> QuerySet[WebhookDelivery]:
    """The delivery, as long as the lease is still ours."""
    return WebhookDelivery.objects.filter(pk=claim.delivery_id, lease_id=claim.lease_id)


@dataclass(frozen=True, slots=True)
class _Due:
    """The delivery that has waited longest for its endpoint."""

    delivery_id: UUID
    endpoint_id: UUID
    workspace_id: UUID
    origin: str
    failing: bool


# Endpoint by endpoint, jumping from one to the next within the index (PostgreSQL plans no such loose scan by itself): a
# backlog of a hundred thousand for one endpoint costs the others nothing.
_FIRST_DUE = """
WITH RECURSIVE waiting (endpoint_id) AS (
    SELECT (SELECT endpoint_id FROM integrations_webhookdelivery WHERE next_attempt_at IS NOT NULL
            ORDER BY endpoint_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM integrations_webhookdelivery d
            WHERE d.next_attempt_at IS NOT NULL AND d.endpoint_id > waiting.endpoint_id
            ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1)
    FROM waiting WHERE waiting.endpoint_id IS NOT NULL
), firsts (delivery_id) AS (
    SELECT (SELECT d.id FROM integrations_webhookdelivery d
            WHERE d.endpoint_id = waiting.endpoint_id AND d.next_attempt_at <= %(now)s
              AND (d.lease_until IS NULL OR d.lease_until < %(now)s)
            ORDER BY d.next_attempt_at LIMIT 1)
    FROM waiting
)
SELECT d.id, d.endpoint_id, d.workspace_id, e.origin AS origin, e.failing_since AS failing_since
FROM firsts
JOIN integrations_webhookdelivery d ON d.id = firsts.delivery_id
JOIN integrations_webhookendpoint e ON e.id = d.endpoint_id
WHERE e.paused_until IS NULL OR e.paused_until <= %(now)s
ORDER BY d.next_attempt_at
"""


def _first_due(now: datetime) -> list[_Due]:
    """For each endpoint that has not asked for a pause: the oldest delivery that is due and that nobody sends."""
    rows: Any = WebhookDelivery.objects.raw(_FIRST_DUE, {"now": connection.ops.adapt_datetimefield_value(now)})
    return [_Due(row.pk, row.endpoint_id, row.workspace_id, row.origin, row.failing_since is not None) for row in rows]


def _lease(wanted: Iterable[Claim], lease_id: UUID, now: datetime) -> frozenset[UUID]:
    """Take them, unless somebody else did meanwhile; returns which are ours."""
    ids = [claim.delivery_id for claim in wanted]
    free = WebhookDelivery.objects.filter(_free(now), pk__in=ids, next_attempt_at__lte=now)
    free.update(lease_id=lease_id, lease_until=now + LEASE)
    ours = WebhookDelivery.objects.filter(pk__in=ids, lease_id=lease_id)
    return frozenset(ours.values_list("pk", flat=True))


def _claim(row: _Due, lease_id: UUID) -> Claim:
    return Claim(row.delivery_id, row.endpoint_id, row.workspace_id, row.origin, row.failing, lease_id)


def _free(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=now)
