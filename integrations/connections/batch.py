"""Batches of due tokens: claimed from the database, renewed from threads.

A batch claims due rows, commits, and calls providers from threads that have no database connection. Each answer is
settled the moment it arrives, by committers: one fenced transaction, tried again from memory while the database is
away, and kept in a file if that lasts for minutes. Only what can be fetched again at any time, a service account's
token, waits some milliseconds for others to be stored with. This thread meanwhile claims what is due next.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue

from django.db.models import Q

from integrations.clock import Clock, start_clock
from integrations.connections import lease as leases
from integrations.connections import lost, preparing, renewal, schedule, spool
from integrations.connections.call_queue import CallQueue
from integrations.connections.call_slots import CallSlots
from integrations.connections.commits import AWAY, DatabaseAway, Patience
from integrations.connections.committers import Committers, committers_wanted
from integrations.connections.holders import Holder
from integrations.connections.parties import Known
from integrations.connections.renewal import Applied, Held, Job, Renewed
from integrations.connections.settling import Answer, Settled, settle_all, store_kept
from integrations.connections.stopping import THIS_PROCESS, Stopping
from integrations.models import Connection, GrantType
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import WORKER

logger = logging.getLogger(__name__)

BATCH = 200
CALLS_AT_ONCE = 128
# How many service accounts' tokens one commit stores at most, and how long the first one waits for others.
TOGETHER = 100
TOGETHER_SECONDS = 0.02
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


type_Call = Future[tuple[Renewed, TokenResponse]]


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
    """One run: claims in this thread, calls in the pool, commits by committers; `news` tells of both."""

    limit: int
    clock: Clock
    patience: Patience
    sleep: Callable[[float], None]
    rng: random.Random
    holder: Holder
    stopping: Stopping
    summary: RefreshSummary = field(default_factory=RefreshSummary)
    in_flight: dict[type_Call, Job] = field(default_factory=dict)
    # By lease: an answer that somebody else stored from the spool may make its connection due, and claimed, again.
    jobs: dict[leases.Lease, Job] = field(default_factory=dict)  # calls whose outcome is not known to be stored
    arrived: dict[leases.Lease, type_Call] = field(default_factory=dict)  # not known to be stored, or failed
    news: SimpleQueue[type_Call | Settled] = field(default_factory=SimpleQueue)
    together: list[Answer] = field(default_factory=list)
    together_since: float = 0.0
    unsettled: int = 0  # calls whose outcome is not known to be stored
    away: DatabaseAway | None = None

    def __post_init__(self) -> None:
        self.committers: Committers[list[Answer]] = Committers(self._settle, committers_wanted())
        self.slots = CallSlots(self.clock)
        self.queue = CallQueue(self.slots, CALLS_AT_ONCE)
        self.claimed_at = float("-inf")
        self.patience.meanwhile = self._keep_arrived
        self.patience.when_back = self._extend_leases
        self.barriers = preparing.Barriers()
        self.looked_at: datetime | None = None
        self.leases_wait = False  # some ran out, and wait for their grace
        self.kept: set[type_Call] = set()  # calls whose answers are in the spool too

    def run(self, *, once: bool) -> None:
        more = True
        try:
            while self.away is None:
                if self.stopping:
                    more = False
                    self._give_back_waiting()
                if more and self._has_room():
                    more = self._claim() and not once
                self._send()
                if self.unsettled:
                    self._hear()
                    again = not once and time.monotonic() - self.claimed_at >= CLAIM_AGAIN_SECONDS
                    more = more or again
                elif len(self.queue):
                    self.sleep(WAIT_FOR_SLOT_SECONDS)  # other processes have them all
                elif not more:
                    if once or self.stopping or not self.leases_wait:
                        return
                    more, self.leases_wait = True, False
                    self.sleep(WAIT_FOR_GRACE_SECONDS)
            raise self.away
        finally:
            # Whatever ends the run, an answer that is on its way is worth keeping.
            self._settle_rest()

    def look_after_lost(self) -> None:
        """Store what the spool has, free what the dead had, and see what ran out; every few seconds is enough."""
        now = self.looked_at = self.clock.now()
        drained, waiting = lost.look_after_lost(now, partial(store_kept, clock=self.clock, patience=self.patience))
        self.summary.drained += drained
        self.leases_wait = self.leases_wait or waiting > 0

    def _has_room(self) -> bool:
        """Whether to claim more: early enough that no call waits for the claim, never ahead of commits that wait."""
        if self.patience.is_tried or self.unsettled - len(self.in_flight) > self.limit:
            return False
        return self.queue.busy <= self.limit // 2

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
        self.barriers = preparing.Barriers.load(now)
        known = Known()
        for lease in claimed:
            self._prepare(lease, rows.get(lease.connection_id), known, now)
        return True

    def _prepare(
        self,
        lease: leases.Lease,
        connection: Connection | None,
        known: Known,
        now: datetime,
    ) -> None:
        if connection is None:  # deleted since the claim, its schedule with it
            self.summary.held += 1
            return
        try:
            ready = preparing.prepare(connection, lease, self.barriers, now, forced=False, known=known)
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
            self._call(job)

    def _put_back(self, jobs: list[Job], pause: timedelta) -> None:
        if jobs:
            leases.release_all([job.lease for job in jobs], due_at=self.clock.now() + pause)
            self.summary.held += len(jobs)

    def _call(self, job: Job) -> None:
        call = _pool().submit(renewal.call, job, self.clock)
        self.in_flight[call] = job
        self.jobs[job.lease] = job
        self.unsettled += 1
        call.add_done_callback(self.news.put)  # in the calling thread: nobody has to wait on every call at once

    def _hear(self) -> None:
        """Take in all news there are, waiting a moment for the first, or until tokens have waited for others enough."""
        if self.together and not self.in_flight:
            self._commit_together()
        left = self.together_since + TOGETHER_SECONDS - time.monotonic() if self.together else LOOK_UP_SECONDS
        try:
            news = self.news.get(timeout=max(left, 0.0))
            while True:
                self._take_in(news)
                news = self.news.get_nowait()
        except Empty:
            pass
        if self.together and time.monotonic() >= self.together_since + TOGETHER_SECONDS:
            self._commit_together()

    def _take_in(self, news: type_Call | Settled) -> None:
        if isinstance(news, Settled):
            self._count(news)
            return
        job = self.in_flight.pop(news)
        self.queue.done(job)
        self.arrived[job.lease] = news
        if isinstance(error := news.exception(), OAuthError):
            # Before anything more is sent: a pause or a refusal counts at once, an outage when the failure is stored.
            self.queue.stop(job)
            self._hold_back_after(job, error)
        answer = Answer(job, news.result)
        if job.integration.grant_type != GrantType.CLIENT_CREDENTIALS:
            self.committers.give([answer])
            return
        if not self.together:
            self.together_since = time.monotonic()
        self.together.append(answer)
        if len(self.together) >= TOGETHER:
            self._commit_together()

    def _commit_together(self) -> None:
        answers, self.together = self.together, []
        self.committers.give(answers)

    def _settle(self, answers: list[Answer]) -> None:
        """In a committer."""
        jobs = deque(answer.job for answer in answers)
        try:
            for settled in settle_all(answers, self.clock, self.patience, actor=WORKER, rng=self.rng):
                jobs.popleft()
                self.news.put(settled)
        finally:
            for job in jobs:  # this thread was interrupted; nobody may wait for them
                self.news.put(Settled(job, None, RuntimeError("interrupted")))

    def _count(self, settled: Settled) -> None:
        self.unsettled -= 1
        error, lease = settled.error, settled.job.lease
        call = self.arrived.pop(lease)
        del self.jobs[lease]
        self.queue.go_on(settled.job)
        if call in self.kept:
            self.kept.discard(call)
            if error is None:
                spool.forget(call.result()[0])
        if isinstance(error, DatabaseAway):
            self.away = error  # the answer is in a file; the others' have to get there too
        elif error is not None:
            self.summary.failed += 1
            if isinstance(error, OAuthError):
                self._hold_back_after(settled.job, error)
            else:
                self.holder.leaves_leases = True
                logger.error("The renewal of connection %s could not be settled.", lease.connection_id, exc_info=error)
        elif settled.applied == Applied.STORED:
            self.summary.renewed += 1
        else:
            self.summary.discarded += 1

    def _settle_rest(self) -> None:
        try:
            while self.unsettled:
                self._hear()
        except Exception:
            # Nobody foresaw it. Whoever finds our leases left drains the spool before they are free.
            self.holder.leaves_leases = True
            wait(self.in_flight)
            self._keep_arrived()
            raise
        finally:
            self.committers.close()
            self._give_back_waiting()
            self.slots.give_up()

    def _give_back_waiting(self) -> None:
        try:
            leases.release_all([job.lease for job in self.queue.drain()])
        except AWAY:
            self.holder.leaves_leases = True
            logger.warning("Leases could not be given back; whoever looks next frees them.")

    def _hold_back_after(self, job: Job, error: OAuthError) -> None:
        """What one answer taught (wait, or nobody is there) holds for those that still wait to be sent."""
        now = self.clock.now()
        try:
            if self.barriers.learn(job, error, now):
                self.summary.held += self.queue.take_out(lambda waiting: self.barriers.hold(waiting, now) is not None)
        except AWAY:
            logger.warning("The database is away; waiting calls are held back with the next claim.")

    def _extend_leases(self) -> None:
        """After an outage, before the answers are stored one by one: nobody may take their rows for lost."""
        try:
            under_way = {job.lease.lease_id for job in list(self.jobs.values())}
            leases.extend(Q(lease_id__in=under_way), self.clock.now())
        except AWAY:
            logger.warning("The database is away again.")

    def _keep_arrived(self) -> None:
        """While one commit waits for the database, the answers that arrived meanwhile go into the spool.

        Runs in whichever thread waits: both are copied before they are looked at.
        """
        for call in [*list(self.in_flight), *list(self.arrived.values())]:
            if not call.done() or call.exception() is not None or call in self.kept:
                continue
            if spool.Kept(call.result()[0]).put():
                self.kept.add(call)


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
