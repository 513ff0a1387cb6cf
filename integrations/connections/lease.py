"""Who renews a token: a lease in the schedule's row, taken by compare-and-swap and never held as a database lock.

A lease outlives any call (60 s against the door's 20 s). One that ran out without an outcome says that somebody may
have asked the provider and was stopped before the answer was stored. It is taken again once that somebody is known to
be gone, or GRACE after a look at the row has found it run out (`connections.lost`): the answer of a worker that lost
its database can land until then. Whoever takes it is told that the outcome is unknown.

A leased row is due by the end of its lease at the latest, so that whoever looks for due rows finds what was left.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, DateTimeField, F, Q, QuerySet, Value, When

from integrations.connections.holders import Holder
from integrations.models import TokenSchedule

LEASE = timedelta(seconds=60)
GRACE = timedelta(seconds=10)
# A call may be sent while this much of the lease is left: the deadline of 20 s, and time to commit.
SEND_WITHIN = LEASE - timedelta(seconds=30)
# A look this long ago proves nothing any more: the database may have been away since, with answers on their way to it.
LOOK_LASTS = timedelta(seconds=40)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to renew one connection's token for LEASE from `taken_at`, by the database's clock.

    `outcome_unknown`: the row had a lease that ran out, so its token may have been renewed without our knowing.
    `moved_due` is the due time that the lease gave a row which was not due by then, and `due_before` the one it had.
    """

    connection_id: UUID
    lease_id: UUID
    taken_at: datetime
    outcome_unknown: bool = False
    due_before: datetime | None = None
    moved_due: datetime | None = None

    def may_still_send(self, now: datetime) -> bool:
        """Whether a call sent now is over before anybody else may take the lease."""
        return now <= self.taken_at + SEND_WITHIN

    def due_without_it(self, row: TokenSchedule) -> datetime | None:
        """When a row is due apart from this lease."""
        is_ours = self.moved_due is not None and row.refresh_due_at == self.moved_due
        due_at: datetime | None = self.due_before if is_ours else row.refresh_due_at
        return due_at


def due(now: datetime) -> QuerySet[TokenSchedule]:
    """Rows that are due and that nobody is renewing, oldest first."""
    return TokenSchedule.objects.filter(_free(now), refresh_due_at__lte=now).order_by("refresh_due_at")


def claim_due(limit: int, now: datetime, holder: Holder | None = None) -> list[Lease]:
    """Lease up to `limit` due rows, oldest first, in one short transaction.

    PostgreSQL passes rows that another batch is claiming, and takes one round trip for all; on SQLite the transaction
    is IMMEDIATE. Without a holder nobody can prove that the one who claims is alive or gone.
    """
    rows = due(now).values_list("connection_id", "lease_id")[:limit]
    if connection.features.has_select_for_update_skip_locked:
        lease_id = _new_id(holder)
        found = _claim_in_one_statement(rows, lease_id, now + LEASE)
    else:
        with transaction.atomic():
            found = dict(rows)
            if not found:
                return []
            lease_id = _new_id(holder)
            TokenSchedule.objects.filter(pk__in=list(found)).update(lease_id=lease_id, lease_until=now + LEASE)
    return [Lease(row, lease_id, now, outcome_unknown=before is not None) for row, before in found.items()]


def _claim_in_one_statement(
    rows: QuerySet[TokenSchedule, tuple[UUID, UUID | None]], lease_id: UUID, until: datetime
) -> dict[UUID, UUID | None]:
    """Write a lease into the rows and return each one's lease before.

    By hand, because the ORM needs four round trips and sends each key back: three times as long. MATERIALIZED, so that
    rows are locked once, in order, before any is changed. They are found again by their place in the table (ctid),
    which the lock keeps; one that changed just before it was locked has moved, and is left to the next claim.
    """
    table = connection.ops.quote_name(TokenSchedule._meta.db_table)
    selected, values = rows.query.sql_with_params()
    selected = selected.replace("SELECT ", "SELECT ctid AS place, ", 1)
    statement = (
        f"WITH found AS MATERIALIZED ({selected} FOR UPDATE SKIP LOCKED)"  # noqa: S608 (no value of anybody's in it)
        f" UPDATE {table} AS claimed SET lease_id = %s, lease_until = %s FROM found"
        " WHERE claimed.ctid = found.place RETURNING found.connection_id, found.lease_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, lease_id, until])
        return dict(cursor.fetchall())


def claim_one(connection_id: UUID, now: datetime, holder: Holder | None = None) -> Lease | None:
    """Lease one connection's renewal, due or not; None while somebody else holds it."""
    row = TokenSchedule.objects.filter(_free(now), pk=connection_id).values("lease_id", "refresh_due_at").first()
    if row is None:
        return None
    lease_id, until = _new_id(holder), now + LEASE
    before, due_at = row["lease_id"], row["refresh_due_at"]
    moves = due_at is None or due_at > until
    # Free still: its holder may have come back since, and said that its answer is on the way (`extend`).
    same = TokenSchedule.objects.filter(_free(now), pk=connection_id)
    same = same.filter(lease_id__isnull=True) if before is None else same.filter(lease_id=before)
    if not same.update(lease_id=lease_id, lease_until=until, refresh_due_at=until if moves else due_at):
        return None
    return Lease(
        connection_id,
        lease_id,
        now,
        outcome_unknown=before is not None,
        due_before=due_at,
        moved_due=until if moves else None,
    )


def release(lease: Lease, *, due_at: datetime | None = None) -> bool:
    """Give a lease back without an outcome; False when it is no longer ours.

    Without `due_at` the row is due when it was before.
    """
    held = TokenSchedule.objects.filter(pk=lease.connection_id, lease_id=lease.lease_id)
    if due_at is not None:
        return bool(held.update(lease_id=None, lease_until=None, refresh_due_at=due_at))
    if lease.moved_due is None:
        return bool(held.update(lease_id=None, lease_until=None))
    before = Case(
        When(refresh_due_at=lease.moved_due, then=Value(lease.due_before, output_field=DateTimeField())),
        default=F("refresh_due_at"),
    )
    return bool(held.update(lease_id=None, lease_until=None, refresh_due_at=before))


def extend(rows: Q, now: datetime) -> int:
    """Say for leases that the database was away for, in one statement, that their answers are here and on their way.

    Storing them one by one may take longer than the grace. A row whose lease is over already is left alone.
    """
    held: int = TokenSchedule.objects.filter(rows, lease_id__isnull=False).update(lease_until=now + LEASE)
    return held


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


def _new_id(holder: Holder | None) -> UUID:
    return uuid.uuid4() if holder is None else holder.new_lease_id()


def _free(now: datetime) -> Q:
    """Rows without a lease, and those whose lease was seen to have run out, neither just now nor long ago."""
    seen = Q(suspected_at__gt=F("lease_until"), suspected_at__lt=now - GRACE, suspected_at__gte=now - LOOK_LASTS)
    return Q(lease_until__isnull=True) | seen
