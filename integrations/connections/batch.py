"""Batches of due tokens: claimed from the database, renewed from threads.

A batch claims due rows, commits, and calls providers from threads that have no database connection. This thread
settles each answer the moment it arrives: parse and encrypt are done, one fenced transaction follows, tried again from
memory while the database is away, and kept in a file if that lasts for minutes.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.models import Q

from integrations.clock import Clock, start_clock
from integrations.connections import lease as leases
from integrations.connections import lost, preparing, renewal, schedule, spool
from integrations.connections.commits import AWAY, DatabaseAway, Patience
from integrations.connections.holders import Holder
from integrations.connections.parties import type_Specs
from integrations.connections.renewal import Applied, Held, Job, Renewed
from integrations.connections.settling import settle, store_kept
from integrations.connections.stopping import THIS_PROCESS, Stopping
from integrations.models import Connection
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import WORKER

logger = logging.getLogger(__name__)

BATCH = 200
CALLS_AT_ONCE = 128
CALLS_PER_HOST = 64
# A claim that has to wait longer than its lease allows is put back and comes up again this much later.
PUT_BACK = timedelta(seconds=10)
AFTER_OUTAGE_SECONDS = 10.0
WAIT_FOR_GRACE_SECONDS = leases.GRACE.total_seconds() + 1
# How soon a batch whose calls take long notices that it is to stop.
LOOK_UP_SECONDS = 0.5


@dataclass
class RefreshSummary:
    """What one run did."""

    claimed: int = 0
    renewed: int = 0
    failed: int = 0
    held: int = 0
    discarded: int = 0
    drained: int = 0

    def __str__(self) -> str:
        """For the log: what happened, without what did not."""
        counts = ((name, getattr(self, name)) for name in ("renewed", "failed", "held", "discarded", "drained"))
        return f"{self.claimed} due: " + (", ".join(f"{n} {name}" for name, n in counts if n) or "nothing done")


def refresh_due(
    limit: int = BATCH,
    now: datetime | None = None,
    *,
    once: bool = False,
    patience: Patience | None = None,
    sleep: Callable[[float], None] | None = None,
    rng: random.Random = schedule.SYSTEM_RANDOM,
    stopping: Stopping = THIS_PROCESS,
) -> RefreshSummary:
    """Claim and renew until nothing is due; with `once` a single claim of at most `limit` rows.

    Answers of an earlier outage are stored first. When the process is to stop, calls under way are finished and stored
    and nothing else is begun. Raises DatabaseAway when the database does not come back: answers
    that arrived by then are kept in files.
    """
    with Holder() as holder:
        patience = patience or Patience(sleep=sleep, stopping=stopping)
        batch = _Batch(limit, start_clock(now), patience, sleep or stopping.sleep, rng, holder, stopping)
        batch.look_after_lost()
        batch.run(once=once)
    return batch.summary


@dataclass
class _Batch:
    """One run: claims in this thread, calls in the pool, commits in this thread."""

    limit: int
    clock: Clock
    patience: Patience
    sleep: Callable[[float], None]
    rng: random.Random
    holder: Holder
    stopping: Stopping
    summary: RefreshSummary = field(default_factory=RefreshSummary)
    waiting: deque[Job] = field(default_factory=deque)
    in_flight: dict[Future[tuple[Renewed, TokenResponse]], Job] = field(default_factory=dict)
    calls_by_host: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.patience.meanwhile = self._keep_arrived
        self.patience.when_back = self._extend_leases
        self.barriers = preparing.Barriers()
        self.looked_at: datetime | None = None
        self.leases_wait = False  # some ran out, and wait for their grace
        self.kept: set[UUID] = set()  # connections whose answers are in the spool too

    def run(self, *, once: bool) -> None:
        more = True
        try:
            while True:
                if self.stopping:
                    more = False
                    self._give_back_waiting()
                if more and len(self.waiting) + len(self.in_flight) <= self.limit // 2:
                    more = self._claim() and not once
                self._send()
                if self.in_flight:
                    self._settle_some()
                elif not self.waiting and not more:
                    if once or self.stopping or not self.leases_wait:
                        return
                    more, self.leases_wait = True, False
                    self.sleep(WAIT_FOR_GRACE_SECONDS)
        finally:
            # Whatever ends the run, an answer that is on its way is worth keeping.
            self._settle_rest()

    def look_after_lost(self) -> None:
        """Store what the spool has, free what the dead had, and see what ran out; every few seconds is enough."""
        now = self.looked_at = self.clock.now()
        drained, waiting = lost.look_after_lost(now, partial(store_kept, clock=self.clock, patience=self.patience))
        self.summary.drained += drained
        self.leases_wait = self.leases_wait or waiting > 0

    def _claim(self) -> bool:
        if self.patience.was_tried:
            # Other workers' pending commits must land before anybody takes their rows again.
            self.patience.was_tried = False
            self.sleep(AFTER_OUTAGE_SECONDS)
            self.looked_at = None
        now = self.clock.now()
        if self.looked_at is None or now >= self.looked_at + leases.GRACE:
            self.look_after_lost()
        claimed = leases.claim_due(self.limit, now, self.holder)
        self.summary.claimed += len(claimed)
        if not claimed:
            return False
        rows = preparing.load([lease.connection_id for lease in claimed])
        self.barriers = preparing.Barriers.load(now)
        specs: type_Specs = {}
        for lease in claimed:
            self._prepare(lease, rows.get(lease.connection_id), specs, now)
        return True

    def _prepare(
        self,
        lease: leases.Lease,
        connection: Connection | None,
        specs: type_Specs,
        now: datetime,
    ) -> None:
        if connection is None:  # deleted since the claim, its schedule with it
            self.summary.held += 1
            return
        try:
            ready = preparing.prepare(connection, lease, self.barriers, now, forced=False, specs=specs)
        except AWAY:
            raise
        except Exception:
            # One row that nobody foresaw must not stop the others. It comes up again after a while.
            logger.exception("Connection %s could not be prepared for renewal.", connection.pk)
            leases.release(lease, due_at=now + schedule.PROBE_EVERY)
            ready = Held("internal_error", "")
        if isinstance(ready, Job):
            self.waiting.append(ready)
        else:
            self.summary.held += 1

    def _send(self) -> None:
        """Send what may be sent; a host that is busy keeps only its own jobs waiting."""
        now = self.clock.now()
        for _ in range(len(self.waiting)):
            if len(self.in_flight) >= CALLS_AT_ONCE:
                return
            job = self.waiting.popleft()
            if not job.lease.may_still_send(now):
                leases.release(job.lease, due_at=now + PUT_BACK)
                self.summary.held += 1
            elif self.calls_by_host[job.parties.host] >= CALLS_PER_HOST:
                self.waiting.append(job)
            else:
                self.calls_by_host[job.parties.host] += 1
                self.in_flight[_pool().submit(renewal.call, job, self.clock)] = job

    def _settle_some(self) -> None:
        done, _ = wait(self.in_flight, LOOK_UP_SECONDS, return_when=FIRST_COMPLETED)
        self._settle(done)

    def _settle_rest(self) -> None:
        if self.in_flight:
            done, _ = wait(self.in_flight)
            self._settle(done)
        self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        try:
            for job in self.waiting:
                leases.release(job.lease)
        except AWAY:
            self.holder.leaves_leases = True
            logger.warning("Leases could not be given back; whoever looks next frees them.")
        self.waiting.clear()

    def _hold_back_after(self, job: Job, error: OAuthError) -> None:
        """What one answer taught (wait, or nobody is there) holds for those that still wait to be sent."""
        now = self.clock.now()
        try:
            if self.barriers.learn(job, error, now):
                held = [waiting for waiting in self.waiting if self.barriers.hold(waiting, now) is not None]
                self.summary.held += len(held)
                self.waiting = deque(waiting for waiting in self.waiting if waiting not in held)
        except AWAY:
            logger.warning("The database is away; waiting calls are held back with the next claim.")

    def _extend_leases(self) -> None:
        """After an outage, before the answers are stored one by one: nobody may take their rows for lost."""
        try:
            under_way = {job.lease.lease_id for job in self.in_flight.values()}
            leases.extend(Q(lease_id__in=under_way), self.clock.now())
        except AWAY:
            logger.warning("The database is away again.")

    def _keep_arrived(self) -> None:
        """While one commit waits for the database, the answers that arrived meanwhile go into the spool."""
        for future, job in self.in_flight.items():
            if not future.done() or future.exception() is not None:
                continue
            if spool.Kept(future.result()[0]).put():
                self.kept.add(job.connection.pk)

    def _settle(self, done: Iterable[Future[tuple[Renewed, TokenResponse]]]) -> None:
        away: DatabaseAway | None = None
        for future in done:
            job = self.in_flight.pop(future)
            self.calls_by_host[job.parties.host] -= 1
            try:
                applied = settle(job, future.result, self.clock, self.patience, actor=WORKER, rng=self.rng)
            except DatabaseAway as error:
                away = error  # the answer is in a file; the others' have to get there too
                continue
            except OAuthError as error:
                self.summary.failed += 1
                self._hold_back_after(job, error)
                continue
            except Exception:
                logger.exception("The renewal of connection %s could not be settled.", job.connection.pk)
                self.holder.leaves_leases = True
                self.summary.failed += 1
                continue
            if job.connection.pk in self.kept:
                spool.forget(future.result()[0])
            if applied == Applied.STORED:
                self.summary.renewed += 1
            else:
                self.summary.discarded += 1
        if away is not None:
            raise away


# --- the pool -------------------------------------------------------------------------------------------
_pool_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    """The threads that call providers: kept, because each keeps its HTTP connections. They never touch the database."""
    global _executor
    with _pool_lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="refresh")
        return _executor
