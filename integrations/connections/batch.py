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
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue

from integrations.clock import Clock, start_clock
from integrations.connections import applying, preparing, renewal, schedule, spool
from integrations.connections import lease as leases
from integrations.connections.commits import AWAY, DatabaseAway, Patience
from integrations.connections.committers import Committers, committers_wanted
from integrations.connections.parties import Known
from integrations.connections.renewal import Applied, Held, Job, Renewed
from integrations.connections.settling import Answer, Settled, settle_all
from integrations.models import Connection, GrantType
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import WORKER

logger = logging.getLogger(__name__)

BATCH = 200
CALLS_AT_ONCE = 128
CALLS_PER_HOST = 64
# How many service accounts' tokens one commit stores at most, and how long the first one waits for others.
TOGETHER = 100
TOGETHER_SECONDS = 0.02
# A claim that has to wait longer than its lease allows is put back and comes up again this much later.
PUT_BACK = timedelta(seconds=10)
AFTER_OUTAGE_SECONDS = 10.0


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
    sleep: Callable[[float], None] = time.sleep,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> RefreshSummary:
    """Claim and renew until nothing is due; with `once` a single claim of at most `limit` rows.

    Answers of an earlier outage are stored first. Raises DatabaseAway when the database does not come back: answers
    that arrived by then are kept in files.
    """
    batch = _Batch(limit, start_clock(now), patience or Patience(sleep=sleep), sleep, rng)
    batch.summary.drained = spool.drain(batch.store_kept)
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
    summary: RefreshSummary = field(default_factory=RefreshSummary)
    waiting: deque[Job] = field(default_factory=deque)
    in_flight: dict[type_Call, Job] = field(default_factory=dict)
    calls_by_host: Counter[str] = field(default_factory=Counter)
    news: SimpleQueue[type_Call | Settled] = field(default_factory=SimpleQueue)
    together: list[Answer] = field(default_factory=list)
    together_since: float = 0.0
    unsettled: int = 0  # calls whose outcome is not known to be stored
    away: DatabaseAway | None = None

    def __post_init__(self) -> None:
        self.committers: Committers[list[Answer]] = Committers(self._settle, committers_wanted())

    def run(self, *, once: bool) -> None:
        more = True
        try:
            while self.away is None:
                if more and self._has_room():
                    more = self._claim() and not once
                self._send()
                if self.unsettled:
                    self._hear()
                elif not self.waiting and not more:
                    return
            raise self.away
        finally:
            # Whatever ends the run, an answer that is on its way is worth keeping.
            self._settle_rest()

    def store_kept(self, renewed: Renewed) -> None:
        self.patience.commit(partial(applying.apply_renewal, renewed, now=self.clock.now(), actor=WORKER))

    def _has_room(self) -> bool:
        """Whether to claim more: early enough that no call waits for the claim, never ahead of commits that wait."""
        if self.patience.is_tried or self.unsettled > self.limit:
            return False
        return len(self.waiting) + len(self.in_flight) <= self.limit // 2

    def _claim(self) -> bool:
        if self.patience.was_tried:
            # Other workers' pending commits must land before anybody takes their rows again.
            self.patience.was_tried = False
            self.sleep(AFTER_OUTAGE_SECONDS)
        now = self.clock.now()
        claimed = leases.claim_due(self.limit, now)
        self.summary.claimed += len(claimed)
        if not claimed:
            return False
        rows = preparing.load([lease.connection_id for lease in claimed])
        pauses = preparing.active_pauses(now)
        known = Known()
        for lease in claimed:
            self._prepare(lease, rows.get(lease.connection_id), pauses, known, now)
        return True

    def _prepare(
        self,
        lease: leases.Lease,
        connection: Connection | None,
        pauses: dict[str, datetime],
        known: Known,
        now: datetime,
    ) -> None:
        if connection is None:  # deleted since the claim, its schedule with it
            self.summary.held += 1
            return
        try:
            ready = preparing.prepare(connection, lease, pauses, now, forced=False, known=known)
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
                self._call(job)

    def _call(self, job: Job) -> None:
        call = _pool().submit(renewal.call, job, self.clock)
        self.in_flight[call] = job
        self.unsettled += 1
        call.add_done_callback(self.news.put)  # in the calling thread: nobody has to wait on every call at once

    def _hear(self) -> None:
        """Take in all news there are, waiting for the first, or until tokens have waited long enough for others."""
        if self.together and not self.in_flight:
            self._commit_together()
        timeout = self.together_since + TOGETHER_SECONDS - time.monotonic() if self.together else None
        try:
            news = self.news.get(timeout=None if timeout is None else max(timeout, 0.0))
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
        self.calls_by_host[job.parties.host] -= 1
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
        error = settled.error
        if isinstance(error, DatabaseAway):
            self.away = error  # the answer is in a file; the others' have to get there too
        elif error is not None:
            self.summary.failed += 1
            if not isinstance(error, OAuthError):
                logger.error(
                    "The renewal of connection %s could not be settled.", settled.job.connection.pk, exc_info=error
                )
        elif settled.applied == Applied.STORED:
            self.summary.renewed += 1
        else:
            self.summary.discarded += 1

    def _settle_rest(self) -> None:
        while self.unsettled:
            self._hear()
        self.committers.close()
        try:
            for job in self.waiting:
                leases.release(job.lease)
        except AWAY:
            logger.warning("Leases could not be given back; they run out by themselves.")
        self.waiting.clear()


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
