"""Leases that were left: whose holder was stopped, or is not heard of any more.

A holder on this `var/` is known to be gone (its lock is free) or to be alive. The dead one's leases are free at once;
what a living one holds is its own, also when its database was away for longer than the lease and the answer waits in
memory, until it has surely put it into the spool. Of a holder on another host nothing is known but time. Its lease is
not taken because it *has* run out: the database may have been away until a moment ago, and the answer be on its way.
It is taken GRACE after somebody *saw*, in the database, that it had run out. So however long an outage was, however
many workers start after it, and whichever server was promoted in it: pending answers have those seconds to land.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from integrations.connections import holders, spool
from integrations.connections.commits import PATIENCE_SECONDS
from integrations.connections.holders import Life
from integrations.connections.lease import GRACE, LEASE, LOOK_LASTS
from integrations.connections.renewal import Renewed
from integrations.models import TokenSchedule

logger = logging.getLogger(__name__)

SOON = timedelta(seconds=1)
# Whoever is alive has stored or spooled its answers by then, or hangs.
LIVING_KEEP = timedelta(seconds=PATIENCE_SECONDS) + timedelta(minutes=2)


def look_after_lost(now: datetime, store_kept: Callable[[Renewed], object]) -> tuple[int, int]:
    """Store kept answers, free the leases of the dead, and note which others have run out. Raises DatabaseAway.

    Returns how many answers were drained, and how many leases wait for their grace. Who is dead is asked first, so that
    all that they kept is in the spool when it is drained.
    """
    dead = list(holders.dead_holders())
    drained = spool.drain(store_kept)
    for name in dead:
        _free_all_of(name, now)
    if not (run_out := _run_out(now)):
        return drained, 0
    waiting = TokenSchedule.objects.filter(lease_id__in=run_out, lease_until__lt=now).update(suspected_at=now)
    return drained, waiting


def look_at_one(connection_id: UUID, now: datetime) -> None:
    """The same for one row, for a reader who waits for it."""
    row = TokenSchedule.objects.filter(pk=connection_id, lease_id__isnull=False).first()
    if row is None or row.lease_id is None or row.lease_until is None:
        return
    held = TokenSchedule.objects.filter(pk=connection_id, lease_id=row.lease_id)
    life = holders.life_of(row.lease_id)
    if life is Life.DEAD:
        if not spool.holds_answer_for(connection_id):
            _free(held, now)
        return
    seen = row.suspected_at
    looked_at = seen is not None and seen > row.lease_until and seen >= now - LOOK_LASTS
    if row.lease_until < now and not looked_at and not _is_kept(row.lease_id, row.lease_until, now):
        held.update(suspected_at=now)


def _free_all_of(name: bytes, now: datetime) -> None:
    first, last = holders.lease_ids(name)
    # A leased row is due by the end of its lease: the index finds it.
    held = TokenSchedule.objects.filter(lease_id__gte=first, lease_id__lte=last, refresh_due_at__lte=now + LEASE)
    freed = _free(held, now)
    holders.forget(name)
    if freed:
        logger.warning("Whoever was renewing %d tokens was stopped; they are renewed again now.", freed)


def _free(rows: QuerySet[TokenSchedule], now: datetime) -> int:
    """Let leases be taken at once. Their ids stay, and say to whoever takes them that the outcome is unknown."""
    with transaction.atomic():
        rows.filter(refresh_due_at__gt=now).update(refresh_due_at=now)
        return rows.update(lease_until=now - 2 * GRACE, suspected_at=now - GRACE - SOON)


def _run_out(now: datetime) -> list[UUID]:
    """Leases that ran out and that nobody looked at lately."""
    looked_at = Q(suspected_at__gt=F("lease_until"), suspected_at__gte=now - LOOK_LASTS)
    rows = TokenSchedule.objects.filter(lease_until__lt=now, refresh_due_at__lte=now, lease_id__isnull=False)
    ended: dict[UUID, datetime] = {}
    for lease_id, ended_at in rows.exclude(looked_at).order_by().values_list("lease_id", "lease_until").distinct():
        if lease_id is not None and ended_at is not None:
            ended[lease_id] = ended_at
    return [lease_id for lease_id, ended_at in ended.items() if not _is_kept(lease_id, ended_at, now)]


def _is_kept(lease_id: UUID, ended_at: datetime, now: datetime) -> bool:
    return ended_at > now - LIVING_KEEP and holders.life_of(lease_id) is Life.ALIVE
