"""Refresh of one connection now, for whoever asks: one provider call for any number of callers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from integrations.clock import Clock, start_clock
from integrations.connections import lease as leases
from integrations.connections import lost, preparing, renewal
from integrations.connections.commits import Patience, give_back_connection
from integrations.connections.errors import message_of, sentence
from integrations.connections.holders import Holder
from integrations.connections.renewal import Applied, Held
from integrations.connections.settling import settle
from integrations.connections.single_flight import SingleFlight
from integrations.models import Connection, Token, TokenSchedule
from integrations.oauth.errors import OAuthError
from workspaces.audit import WORKER, Actor

WAIT_FOR_OTHERS_SECONDS = 25.0
POLL_SECONDS = (0.05, 0.5)
READER_PATIENCE_SECONDS = 10.0  # somebody waits for the page; the file takes over sooner


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
        with Holder() as holder:
            lease = leases.claim_one(connection_id, clock.now(), holder)
            if lease is not None:
                return _refresh_leased(lease, forced, actor, clock, seen_version)
        lost.look_at_one(connection_id, clock.now())
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
    connection = preparing.load([lease.connection_id])[lease.connection_id]
    token = getattr(connection, "token", None)
    if token is not None and token.version != seen_version:
        leases.release(lease)
        return _outcome(lease.connection_id, True)
    now = clock.now()
    if not forced and (held := _held_by_backoff(connection, lease, now)):
        return _from_held(lease.connection_id, held)
    ready = preparing.prepare(connection, lease, preparing.active_pauses(now), now, forced=forced)
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
    due_at = lease.due_without_it(connection.schedule)
    if not connection.schedule.attempts or due_at is None or due_at <= now:
        return None
    leases.release(lease)
    code = connection.last_error_code or "temporarily_unavailable"
    return Held(code, sentence(code), preparing.seconds_until(due_at, now))


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
