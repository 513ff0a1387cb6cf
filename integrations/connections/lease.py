"""Who renews a token: a lease in the schedule's row, taken by compare-and-swap and never held as a database lock.

A lease outlives any call (60 s against the door's 20 s). One that ran out without an outcome is taken again after
10 s of grace, so that the answer of a worker that lost its database can still land.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from integrations.models import TokenSchedule

LEASE = timedelta(seconds=60)
GRACE = timedelta(seconds=10)
# A call may be sent while this much of the lease is left: the deadline of 20 s, and time to commit.
SEND_WITHIN = LEASE - timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to renew one connection's token until `until`, by the database's clock."""

    connection_id: UUID
    lease_id: UUID
    taken_at: datetime

    def may_still_send(self, now: datetime) -> bool:
        """Whether a call sent now is over before anybody else may take the lease."""
        return now <= self.taken_at + SEND_WITHIN


def due(now: datetime) -> QuerySet[TokenSchedule]:
    """Rows that are due and that nobody is renewing, oldest first."""
    return TokenSchedule.objects.filter(_free(now), refresh_due_at__lte=now).order_by("refresh_due_at")


def claim_due(limit: int, now: datetime) -> list[Lease]:
    """Lease up to `limit` due rows, oldest first, in one short transaction.

    PostgreSQL passes rows that another batch is claiming (`FOR UPDATE SKIP LOCKED`); on SQLite the transaction is
    IMMEDIATE, and the conditional update decides.
    """
    lease_id = uuid.uuid4()
    with transaction.atomic():
        rows = due(now)
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        ids = list(rows.values_list("connection_id", flat=True)[:limit])
        if not ids:
            return []
        TokenSchedule.objects.filter(_free(now), pk__in=ids).update(lease_id=lease_id, lease_until=now + LEASE)
        claimed = TokenSchedule.objects.filter(pk__in=ids, lease_id=lease_id)
        return [Lease(row, lease_id, now) for row in claimed.values_list("connection_id", flat=True)]


def claim_one(connection_id: UUID, now: datetime) -> Lease | None:
    """Lease one connection's renewal, due or not; None while somebody else holds it."""
    lease_id = uuid.uuid4()
    row = TokenSchedule.objects.filter(_free(now), pk=connection_id)
    taken = row.update(lease_id=lease_id, lease_until=now + LEASE)
    return Lease(connection_id, lease_id, now) if taken else None


def release(lease: Lease, *, due_at: datetime | None = None) -> bool:
    """Give a lease back without an outcome; False when it is no longer ours."""
    changes: dict[str, datetime | None] = {"lease_id": None, "lease_until": None}
    if due_at is not None:
        changes["refresh_due_at"] = due_at
    held = TokenSchedule.objects.filter(pk=lease.connection_id, lease_id=lease.lease_id)
    return bool(held.update(**changes))


def release_all(leases: Iterable[Lease], *, due_at: datetime | None = None) -> int:
    """Give several leases back in one statement; how many were still ours."""
    held = {lease.connection_id: lease.lease_id for lease in leases}
    if not held:
        return 0
    changes: dict[str, datetime | None] = {"lease_id": None, "lease_until": None}
    if due_at is not None:
        changes["refresh_due_at"] = due_at
    # Each claim has a lease id of its own: a row with one of these is held by the lease that is given back.
    return TokenSchedule.objects.filter(pk__in=list(held), lease_id__in=set(held.values())).update(**changes)


def _free(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=now - GRACE)
