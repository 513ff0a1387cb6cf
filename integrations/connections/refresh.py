"""Refresh: batches of due tokens for the workers, and one token now for whoever asks.

A batch claims due rows, commits, and calls providers from threads that have no database connection. This thread
settles each answer the moment it arrives: parse and encrypt are done, one fenced transaction follows, tried again from
memory while the database is away, and kept in a file if that lasts for minutes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from integrations.clock import Clock, start_clock
from integrations.connections import lease as leases
from integrations.connections import policies, renewal, schedule, spool
from integrations.connections.commits import AWAY, DatabaseAway, Patience, give_back_connection
from integrations.connections.errors import message_of, sentence
from integrations.connections.parties import type_Specs
from integrations.connections.renewal import Applied, Held, Job, Renewed
from integrations.connections.single_flight import SingleFlight
from integrations.models import Connection, Token, TokenSchedule
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound
from workspaces.audit import WORKER, Actor

logger = logging.getLogger(__name__)

BATCH = 200
CALLS_AT_ONCE = 128
CALLS_PER_HOST = 64
# A claim that has to wait longer than its lease allows is put back and comes up again this much later.
PUT_BACK = timedelta(seconds=10)
WAIT_FOR_OTHERS_SECONDS = 25.0
POLL_SECONDS = (0.05, 0.5)
AFTER_OUTAGE_SECONDS = 10.0
READER_PATIENCE_SECONDS = 10.0  # somebody waits for the page; the file takes over sooner


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


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """What came of renewing one connection; `connection` is as it stands afterwards.

    `code` is empty when the token is fresh: `refreshed` says whether this call (or one it waited for) brought it.
    """

    connection: Connection
    refreshed: bool
    code: str = ""
    message: str = ""
    retry_after: int | None = None


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
    """One run: claims in this thread, calls in the pool, commits in this thread."""

    limit: int
    clock: Clock
    patience: Patience
    sleep: Callable[[float], None]
    rng: random.Random
    summary: RefreshSummary = field(default_factory=RefreshSummary)
    waiting: deque[Job] = field(default_factory=deque)
    in_flight: dict[Future[tuple[Renewed, TokenResponse]], Job] = field(default_factory=dict)
    calls_by_host: Counter[str] = field(default_factory=Counter)

    def run(self, *, once: bool) -> None:
        more = True
        try:
            while True:
                if more and len(self.waiting) + len(self.in_flight) <= self.limit // 2:
                    more = self._claim() and not once
                self._send()
                if self.in_flight:
                    self._settle_some()
                elif not self.waiting and not more:
                    return
        finally:
            # Whatever ends the run, an answer that is on its way is worth keeping.
            self._settle_rest()

    def store_kept(self, renewed: Renewed) -> None:
        self.patience.commit(partial(renewal.apply_renewal, renewed, now=self.clock.now(), actor=WORKER))

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
        rows = renewal.load([lease.connection_id for lease in claimed])
        pauses = renewal.active_pauses(now)
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
            ready = renewal.prepare(connection, lease, pauses, now, forced=False, specs=specs)
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
        done, _ = wait(self.in_flight, return_when=FIRST_COMPLETED)
        self._settle(done)

    def _settle_rest(self) -> None:
        if self.in_flight:
            done, _ = wait(self.in_flight)
            self._settle(done)
        try:
            for job in self.waiting:
                leases.release(job.lease)
        except AWAY:
            logger.warning("Leases could not be given back; they run out by themselves.")
        self.waiting.clear()

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
            except OAuthError:
                self.summary.failed += 1
                continue
            except Exception:
                logger.exception("The renewal of connection %s could not be settled.", job.connection.pk)
                self.summary.failed += 1
                continue
            if applied == Applied.STORED:
                self.summary.renewed += 1
            else:
                self.summary.discarded += 1
        if away is not None:
            raise away


def settle(
    job: Job,
    result: Callable[[], tuple[Renewed, TokenResponse]],
    clock: Clock,
    patience: Patience,
    *,
    actor: Actor,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> Applied:
    """Store what `result` brings, or apply the policy of the OAuthError that it raises, and raise that again.

    SUPERSEDED: somebody else was faster, so neither answer nor error counts. Raises DatabaseAway when nothing could be
    committed for minutes; a new token is in a file then.
    """
    try:
        renewed, answer = result()
    except OAuthError as error:
        fail = partial(
            policies.apply_failure,
            job.connection,
            job.lease,
            job.version,
            error,
            now=clock.now(),
            pause_key=job.parties.pause_key,
            own_client=job.parties.spec.asks_credentials,
            actor=actor,
            rng=rng,
        )
        if patience.commit(fail):
            raise
        return Applied.SUPERSEDED
    applied = _store(renewed, clock, patience, actor)
    if applied == Applied.STORED:
        renewal.save_extra(renewed.version, job.connection, answer.extra)
        renewal.save_metadata(job, answer)
    elif applied == Applied.GONE:
        _revoke_late_answer(job, renewed)
    else:
        patience.commit(partial(leases.release, job.lease))
    return applied


def _store(renewed: Renewed, clock: Clock, patience: Patience, actor: Actor) -> Applied:
    try:
        return patience.commit(partial(renewal.apply_renewal, renewed, now=clock.now(), actor=actor))
    except DatabaseAway:
        spool.put(renewed)
        raise
    except Exception:
        # Nobody foresaw this one; the token must survive it all the same.
        spool.put(renewed)
        raise


def _revoke_late_answer(job: Job, renewed: Renewed) -> None:
    """The connection was disconnected or deleted during the call: the token that came after must not live on."""
    logger.info("Connection %s is gone; the token issued meanwhile is revoked.", job.connection.pk)
    give_back_connection()
    http, secrets = outbound.session(outbound.TOKEN), renewed.issued.secrets
    provider, server, client = job.parties.provider, job.parties.server, job.parties.client
    if secrets.refresh_token:
        provider.revoke(http, server, client, token=secrets.refresh_token, token_type_hint="refresh_token")  # noqa: S106 (a name, not a token)
    provider.revoke(http, server, client, token=secrets.access_token, token_type_hint="access_token")  # noqa: S106 (a name, not a token)


# --- one connection now ---------------------------------------------------------------------------------
_flights: SingleFlight[RefreshOutcome] = SingleFlight()


def refresh_connection(
    connection_id: UUID,
    *,
    forced: bool,
    actor: Actor = WORKER,
    now: datetime | None = None,
    seen_version: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RefreshOutcome:
    """Renew one token, or wait for whoever is doing it. Raises Connection.DoesNotExist, DatabaseAway.

    `forced` goes past backoff and a refused client, never past a provider's Retry-After. `seen_version` is the version
    that the caller found wanting: when the row has moved on since, that is the renewal. Waits at most 25 s for others,
    without a database connection.
    """
    if seen_version is None:
        seen_version = _version(connection_id)
    work = partial(_refresh_now, connection_id, forced, actor, now, seen_version, sleep)
    outcome = _flights.run(
        connection_id, work, wait_seconds=WAIT_FOR_OTHERS_SECONDS, before_waiting=give_back_connection
    )
    return outcome or _outcome(connection_id, False, "refresh_in_progress", retry_after=1)


def _refresh_now(
    connection_id: UUID,
    forced: bool,
    actor: Actor,
    now: datetime | None,
    seen_version: int | None,
    sleep: Callable[[float], None],
) -> RefreshOutcome:
    clock = start_clock(now)
    waited_for_other = False
    give_up_at = time.monotonic() + WAIT_FOR_OTHERS_SECONDS
    pause = POLL_SECONDS[0]
    while True:
        if waited_for_other and _version(connection_id) != seen_version:
            return _outcome(connection_id, True)
        lease = leases.claim_one(connection_id, clock.now())
        if lease is not None:
            return _refresh_leased(lease, forced, actor, clock, seen_version)
        if not TokenSchedule.objects.filter(pk=connection_id).exists():
            return _outcome(connection_id, False, "nothing_to_refresh")
        if time.monotonic() >= give_up_at:
            return _outcome(connection_id, False, "refresh_in_progress", retry_after=1)
        waited_for_other = True
        give_back_connection()
        sleep(pause)
        pause = min(pause * 2, POLL_SECONDS[1])


def _refresh_leased(
    lease: leases.Lease, forced: bool, actor: Actor, clock: Clock, seen_version: int | None
) -> RefreshOutcome:
    connection = renewal.load([lease.connection_id])[lease.connection_id]
    token = getattr(connection, "token", None)
    if token is not None and token.version != seen_version:
        leases.release(lease)
        return _outcome(lease.connection_id, True)
    now = clock.now()
    if not forced and (held := _held_by_backoff(connection, lease, now)):
        return _from_held(lease.connection_id, held)
    ready = renewal.prepare(connection, lease, renewal.active_pauses(now), now, forced=forced)
    if isinstance(ready, Held):
        return _from_held(lease.connection_id, ready)
    give_back_connection()
    try:
        patience = Patience(READER_PATIENCE_SECONDS)
        applied = settle(ready, partial(renewal.call, ready, clock), clock, patience, actor=actor)
    except OAuthError as error:
        retry_after = None if error.retry_after is None else max(1, round(error.retry_after))
        return _outcome(lease.connection_id, False, error.code, message_of(error), retry_after)
    if applied == Applied.GONE:
        return RefreshOutcome(connection, False, "not_connected", sentence("not_connected"))
    return _outcome(lease.connection_id, True)


def _held_by_backoff(connection: Connection, lease: leases.Lease, now: datetime) -> Held | None:
    """Renewals on read obey the backoff that a failure has set; the schedule keeps its time."""
    row = connection.schedule
    if not row.attempts or row.refresh_due_at is None or row.refresh_due_at <= now:
        return None
    leases.release(lease)
    code = connection.last_error_code or "temporarily_unavailable"
    return Held(code, sentence(code), renewal.seconds_until(row.refresh_due_at, now))


def _from_held(connection_id: UUID, held: Held) -> RefreshOutcome:
    return _outcome(connection_id, False, held.code, held.message, held.retry_after)


def _outcome(
    connection_id: UUID, refreshed: bool, code: str = "", message: str = "", retry_after: int | None = None
) -> RefreshOutcome:
    connection = Connection.objects.select_related("workspace", "integration", "token", "schedule").get(
        pk=connection_id
    )
    return RefreshOutcome(connection, refreshed, code, message or (sentence(code) if code else ""), retry_after)


def _version(connection_id: UUID) -> int | None:
    version: int | None = Token.objects.filter(pk=connection_id).values_list("version", flat=True).first()
    return version


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
