"""Batches of due tokens: claimed from the database, renewed from threads.

A batch claims due rows, commits, and calls providers from threads that have no database connection. This thread
settles each answer the moment it arrives: parse and encrypt are done, one fenced transaction follows, tried again from
memory while the database is away, and kept in a file if that lasts for minutes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from integrations.clock import Clock, start_clock
from integrations.connections import lease as leases
from integrations.connections import lost, preparing, renewal, schedule, spool
from integrations.connections.call_queue import CallQueue
from integrations.connections.call_slots import CallSlots
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
# A claim that has to wait longer than its lease allows is put back and comes up again this much later.
PUT_BACK = timedelta(seconds=10)
# What waits for a slow host comes up again after so long, behind what is due for others.
PUT_BACK_SLOW_SECONDS = (1.0, 10.0)
AFTER_OUTAGE_SECONDS = 10.0
# While calls are under way: how often to look for what has become due meanwhile.
CLAIM_AGAIN_SECONDS = 2.0
WAIT_FOR_SLOT_SECONDS = 0.1
WAIT_FOR_GRACE_SECONDS = leases.GRACE.total_seconds() + 1
# How soon a batch whose calls take long notices that it is to stop, or that others want a share of its calls.
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
    in_flight: dict[Future[tuple[Renewed, TokenResponse]], Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots = CallSlots(self.clock)
        self.queue = CallQueue(self.slots, CALLS_AT_ONCE)
        self.claimed_at = float("-inf")
        self.patience.meanwhile = self._keep_arrived
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
                if more and self.queue.busy <= self.limit // 2:
                    more = self._claim() and not once
                self._send()
                if self.in_flight:
                    self._settle_some()
                    again = not once and time.monotonic() - self.claimed_at >= CLAIM_AGAIN_SECONDS
                    more = more or again
                elif len(self.queue):
                    self.sleep(WAIT_FOR_SLOT_SECONDS)  # other processes have them all
                elif not more:
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
        now, self.claimed_at = self.clock.now(), time.monotonic()
        if self.looked_at is None or now >= self.looked_at + leases.GRACE:
            self.look_after_lost()
        claimed = leases.claim_due(self.limit, now, self.holder)
        self.summary.claimed += len(claimed)
        if not claimed:
            return False
        rows = preparing.load([lease.connection_id for lease in claimed])
        pauses = preparing.active_pauses(now)
        specs: type_Specs = {}
        for lease in claimed:
            self._prepare(lease, rows.get(lease.connection_id), pauses, specs, now)
        return True

    def _prepare(
        self,
        lease: leases.Lease,
        connection: Connection | None,
        pauses: dict[str, datetime],
        specs: type_Specs,
        now: datetime,
    ) -> None:
        if connection is None:  # deleted since the claim, its schedule with it
            self.summary.held += 1
            return
        try:
            ready = preparing.prepare(connection, lease, pauses, now, forced=False, specs=specs)
        except AWAY:
            raise
        except Exception:
            # One row that nobody foresaw must not stop the others. It comes up again after a while.
            logger.exception("Connection %s could not be prepared for renewal.", connection.pk)
            leases.release(lease, due_at=now + schedule.PROBE_EVERY)
            ready = Held("internal_error", "")
        if isinstance(ready, Job):
            self.queue.put(ready)
        else:
            self.summary.held += 1

    def _send(self) -> None:
        """Send what may be sent now; the rest waits, or is given back when that would take long."""
        now = self.clock.now()
        self._put_back(self.queue.too_late(now), PUT_BACK)
        self._put_back(self.queue.stuck(), timedelta(seconds=self.rng.uniform(*PUT_BACK_SLOW_SECONDS)))
        for job in self.queue.ready():
            self.in_flight[_pool().submit(renewal.call, job, self.clock)] = job

    def _put_back(self, jobs: list[Job], pause: timedelta) -> None:
        if jobs:
            leases.release_all([job.lease for job in jobs], due_at=self.clock.now() + pause)
            self.summary.held += len(jobs)

    def _settle_some(self) -> None:
        done, _ = wait(self.in_flight, LOOK_UP_SECONDS, return_when=FIRST_COMPLETED)
        self._settle(done)

    def _settle_rest(self) -> None:
        if self.in_flight:
            done, _ = wait(self.in_flight)
            self._settle(done)
        self._give_back_waiting()
        self.slots.give_up()

    def _give_back_waiting(self) -> None:
        try:
            leases.release_all([job.lease for job in self.queue.drain()])
        except AWAY:
            self.holder.leaves_leases = True
            logger.warning("Leases could not be given back; whoever looks next frees them.")

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
            self.queue.done(job)
            try:
                applied = settle(job, future.result, self.clock, self.patience, actor=WORKER, rng=self.rng)
            except DatabaseAway as error:
                away = error  # the answer is in a file; the others' have to get there too
                continue
            except OAuthError:
                self.summary.failed += 1
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
