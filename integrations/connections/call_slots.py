"""How many calls may be under way at one host, counted over every worker process of every machine.

A process reserves a share of a host's cap in the database for half a minute and renews it every few seconds: one short
transaction for all its hosts together, none per call. The shares of a host never add up to more than its cap:

- who asks gets what the others have not reserved, and no more than a fair part of what all of them want;
- who has more than that part gives the rest back the next time, without ending a call, so a process that starts later
  has its part within seconds;
- a share counts until its end and nobody sends a call that could last longer, so a process that was killed, or that
  lost the database, keeps nobody waiting for long and never leads to more calls than the cap.

The broker has no part in this: it may be flushed or away.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.db import connection, transaction

from integrations.clock import Clock
from integrations.connections.commits import AWAY, give_back_connection
from integrations.connections.renewal import Job
from integrations.models import CallShare
from integrations.outbound import client as outbound

logger = logging.getLogger(__name__)

CALLS_PER_HOST = 64
RESERVED = timedelta(seconds=30)
# A call that is sent within this time after asking is over before the share ends.
SEND_WITHIN = RESERVED - timedelta(seconds=outbound.TOKEN.total_seconds)
RENEW_SECONDS = 3.0
ASK_AGAIN_SECONDS = 0.5  # for more than was given
KEEP_ROWS = timedelta(hours=1)  # of processes that were killed
ADVISORY_LOCK = 0x6772_616E_7472_7901  # any number that nothing else of ours locks


@dataclass(frozen=True, slots=True)
class Lane:
    """Calls that count together. `key` is counted across processes; `party` is who answers for it being slow.

    Where a workspace chooses the host (a definition of its own, an address with a parameter in it), the lane and the
    blame are the workspace's: what it does there takes nothing from others.
    """

    key: str
    party: str
    cap: int


def lane_of(job: Job) -> Lane:
    """The lane of a call to its token endpoint."""
    spec, host = job.parties.spec, job.parties.host
    endpoint = urlsplit(spec.refresh_endpoint or spec.token_endpoint).netloc
    cap = spec.max_concurrent_refreshes or CALLS_PER_HOST
    if not spec.custom and endpoint and "{" not in endpoint:
        return Lane(host, host, cap)
    owner = str(job.connection.workspace_id)
    return Lane(f"{owner} {host}", owner, cap)


@dataclass(slots=True)
class _Count:
    """One lane in this process."""

    lane: Lane
    in_use: int = 0
    waiting: int = 0
    share: int = 0
    most_wanted: int = 0  # since the last time the database was asked
    asked: bool = False

    @property
    def wanted(self) -> int:
        return min(self.in_use + self.waiting, self.lane.cap)


class CallSlots:
    """This process's shares, by lane. Used by one thread, which has the database."""

    def __init__(self, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._holder = uuid.uuid4()
        self._clock = clock
        self._monotonic = monotonic
        self._counts: dict[str, _Count] = {}
        self._send_until: datetime | None = None
        self._asked_at = float("-inf")
        self._was_away = False
        self._reserved = False

    def expect(self, lane: Lane, calls: int = 1) -> None:
        """Say that calls wait for a slot; a negative number takes that back."""
        count = self._counts.setdefault(lane.key, _Count(lane))
        count.waiting += calls
        count.most_wanted = max(count.most_wanted, count.wanted)

    def take(self, lane: Lane) -> bool:
        """Take a slot for one of the calls that wait, if this process has one left. Never asks the database."""
        count = self._counts.get(lane.key)
        if count is None or count.in_use >= count.share:
            return False
        if self._send_until is None or self._clock.now() > self._send_until:
            return False
        count.in_use += 1
        count.waiting -= 1
        return True

    def give_back(self, lane: Lane) -> None:
        """A call is over."""
        self._counts[lane.key].in_use -= 1

    def reserve(self) -> None:
        """Ask the database for shares when there is a reason to. While it is away, those reserved go on counting."""
        if not self._is_time():
            return
        self._asked_at = self._monotonic()
        now = self._clock.now()
        wanted = {key: count for key, count in self._counts.items() if count.in_use or count.most_wanted}
        if not wanted and not self._reserved:
            self._counts.clear()
            return
        try:
            shares = _reserve(self._holder, wanted, now)
        except AWAY as error:
            logger.warning("No calls can be reserved while the database is away: %s", type(error).__name__)
            give_back_connection()
            self._was_away = True
            return
        self._reserved, self._was_away = True, False
        self._send_until = now + SEND_WITHIN
        for key, count in wanted.items():
            count.share, count.most_wanted, count.asked = shares[key], count.wanted, True
        self._counts = wanted

    def give_up(self) -> None:
        """Let everything go at once: the run is over."""
        if not self._reserved:
            return
        try:
            CallShare.objects.filter(pk=self._holder).delete()
        except AWAY:
            logger.info("Reserved calls could not be given back; they end by themselves.")
        self._reserved = False

    def _is_time(self) -> bool:
        since = self._monotonic() - self._asked_at
        if since >= RENEW_SECONDS:
            return bool(self._counts)
        if self._was_away:
            return False
        if any(count.waiting and not count.asked for count in self._counts.values()):
            return True
        return since >= ASK_AGAIN_SECONDS and any(
            count.waiting and count.in_use >= count.share and count.share < count.lane.cap
            for count in self._counts.values()
        )


def _reserve(holder: uuid.UUID, wanted: Mapping[str, _Count], now: datetime) -> dict[str, int]:
    """Write this process's row anew and return its shares, in one transaction that no other process's overlaps."""
    with transaction.atomic():
        if connection.vendor == "postgresql":  # on SQLite the transaction is IMMEDIATE, which does the same
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        rows = list(CallShare.objects.exclude(pk=holder).values_list("lanes", "until"))
        others = [lanes for lanes, until in rows if until > now]
        if any(until < now - KEEP_ROWS for _, until in rows):
            CallShare.objects.filter(until__lt=now - KEEP_ROWS).delete()
        shares = {key: _share(count, [lanes[key] for lanes in others if key in lanes]) for key, count in wanted.items()}
        lanes = {key: [shares[key], max(count.most_wanted, count.in_use)] for key, count in wanted.items()}
        CallShare.objects.update_or_create(pk=holder, defaults={"lanes": lanes, "until": now + RESERVED})
    return shares


def _share(count: _Count, others: Iterable[list[int]]) -> int:
    """What this process may have: its fair part, as far as it is free, and never less than is under way."""
    others = list(others)
    wants = max(count.most_wanted, count.in_use)
    free = count.lane.cap - sum(reserved for reserved, _ in others)
    return max(count.in_use, min(fair_part(count.lane.cap, wants, [want for _, want in others]), free))


def fair_part(cap: int, wants: int, others_want: Iterable[int]) -> int:
    """How many of `cap` slots one process should have: small wishes are met, the rest is shared evenly, rounded up."""
    left, waiting = cap, sorted([*others_want, wants])
    while waiting and waiting[0] <= left // len(waiting):
        left -= waiting.pop(0)
    return wants if not waiting or wants < waiting[0] else -(-left // len(waiting))
