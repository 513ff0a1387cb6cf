"""Leases that were left: freed at once where the holder is known to be gone, never taken from one who lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from integrations.clock import Clock
from integrations.connections import holders, lost, spool
from integrations.connections.batch import RefreshSummary, refresh_due
from integrations.connections.holders import Holder, Life
from integrations.connections.lease import GRACE, LEASE, claim_due, claim_one
from integrations.connections.refresh import refresh_connection
from integrations.connections.renewal import Renewed
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    IssuedToken,
    TokenSecrets,
)
from tests.connections.conftest import NOW, TOKEN, due_connection, token_answer
from tests.factories import make_connection
from tests.servers.scripted import ScriptedServer
from workspaces.models import AuditEvent

RUN_OUT = NOW + LEASE + timedelta(seconds=1)
SEEN = RUN_OUT + GRACE + timedelta(seconds=1)


def look(now: datetime) -> tuple[int, int]:
    return lost.look_after_lost(now, lambda _renewed: None)


def run(now: datetime = NOW, **more: Any) -> RefreshSummary:
    return refresh_due(now=now, sleep=lambda _seconds: None, **more)


def again(connection: Connection) -> Connection:
    return Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)


def actions(connection: Connection) -> list[str]:
    return list(
        AuditEvent.objects.filter(workspace=connection.workspace).order_by("id").values_list("action", flat=True)
    )


@contextmanager
def killed_holder() -> Iterator[Holder]:
    """A holder whose process ends without a word when the block does."""
    holder = Holder()
    yield holder
    holder.__exit__(SystemExit, SystemExit(), None)


# --- proof of life --------------------------------------------------------------------------------------
def test_a_holder_is_alive_while_it_runs_and_unknown_after_it_ended_in_good_order() -> None:
    with Holder() as holder:
        lease_id = holder.new_lease_id()
        assert holders.life_of(lease_id) is Life.ALIVE
        assert list(holders.dead_holders()) == []
    assert holders.life_of(lease_id) is Life.UNKNOWN
    assert list(holders.folder().iterdir()) == []


def test_a_holder_that_never_took_a_lease_has_no_file() -> None:
    with Holder():
        assert not holders.folder().exists()


def test_a_killed_process_is_known_to_be_dead_at_once(settings: Any) -> None:
    program = """
import os, sys, django
from django.conf import settings
settings.configure(VAR_DIR=sys.argv[1])
from integrations.connections.holders import Holder
holder = Holder()
print(holder.new_lease_id(), flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(settings.VAR_DIR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lease_id = UUID(process.stdout.readline().strip())
    assert holders.life_of(lease_id) is Life.ALIVE
    process.kill()
    process.communicate()
    assert holders.life_of(lease_id) is Life.DEAD
    assert [name.hex() for name in holders.dead_holders()] == [lease_id.hex[:16]]


def test_without_a_writable_folder_leases_are_taken_all_the_same(delegated: Integration, settings: Any) -> None:
    (settings.VAR_DIR / "holders").write_text("a file where the folder should be")
    due_connection(delegated)
    with Holder() as holder:
        [lease] = claim_due(1, NOW, holder)
        assert holders.life_of(lease.lease_id) is Life.UNKNOWN


# --- whose lease may be taken ---------------------------------------------------------------------------
def test_the_leases_of_a_dead_holder_are_free_at_once(delegated: Integration) -> None:
    connection = due_connection(delegated)
    with killed_holder() as holder:
        assert claim_due(1, NOW, holder)
        look(NOW)
        assert claim_due(1, NOW) == [], "it lives"
    assert look(NOW) == (0, 0)
    [lease] = claim_due(1, NOW)
    assert lease.connection_id == connection.pk
    assert lease.outcome_unknown
    assert list(holders.dead_holders()) == []


def test_what_a_dead_reader_was_renewing_before_its_time_is_due_now(delegated: Integration) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    with killed_holder() as holder:
        assert claim_one(connection.pk, NOW, holder)
    look(NOW)
    [lease] = claim_due(1, NOW)
    assert lease.outcome_unknown


def test_a_lease_of_another_host_is_taken_a_grace_after_somebody_saw_that_it_ran_out(delegated: Integration) -> None:
    due_connection(delegated)
    claim_due(1, NOW)
    assert look(NOW + LEASE) == (0, 0)
    assert look(RUN_OUT) == (0, 1)
    assert claim_due(1, RUN_OUT) == []
    assert claim_due(1, RUN_OUT + GRACE) == []
    [lease] = claim_due(1, SEEN)
    assert lease.outcome_unknown


def test_after_an_outage_of_any_length_answers_have_their_grace_whoever_looks_first(delegated: Integration) -> None:
    # A worker that starts after the outage knows nothing of it; the holder, elsewhere, still has an answer in memory.
    due_connection(delegated)
    claim_due(1, NOW)
    back = NOW + timedelta(minutes=3)
    assert look(back) == (0, 1)
    assert claim_due(1, back) == []
    # And away again, before the answer could land: the look of before counts no more.
    back_again = back + timedelta(minutes=2)
    assert claim_due(1, back_again) == []
    assert look(back_again) == (0, 1)
    assert claim_due(1, back_again + GRACE) == []
    assert len(claim_due(1, back_again + GRACE + timedelta(seconds=1))) == 1


def test_a_holder_that_lives_keeps_its_leases_until_its_answers_are_surely_in_the_spool(delegated: Integration) -> None:
    due_connection(delegated)
    with Holder() as holder:
        claim_due(1, NOW, holder)
        for minutes in (2, 4, 6):
            assert look(NOW + timedelta(minutes=minutes)) == (0, 0)
            assert claim_due(1, NOW + timedelta(minutes=minutes, seconds=15)) == []
        hangs = NOW + LEASE + lost.LIVING_KEEP + timedelta(seconds=1)
        assert look(hangs) == (0, 1)
        assert len(claim_due(1, hangs + GRACE + timedelta(seconds=1))) == 1


def test_what_the_dead_kept_is_stored_before_their_leases_are_free(delegated: Integration) -> None:
    connection = due_connection(delegated)
    with killed_holder() as holder:
        claim_due(1, NOW, holder)
        issued = IssuedToken(TokenSecrets("kept", "kept-refresh"), NOW, NOW + timedelta(hours=1))
        due_at = NOW + timedelta(minutes=45)
        spool.put(
            Renewed(connection.pk, connection.workspace_id, connection.token.version, issued, due_at, None, ["read"])
        )
    summary = run()
    assert (summary.drained, summary.claimed) == (1, 0)
    assert again(connection).token.open().refresh_token == "kept-refresh"


def test_a_reader_takes_over_from_a_dead_one_unless_its_answer_is_kept(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    connection = make_connection(delegated, issued_at=NOW)
    with killed_holder() as holder:
        claim_one(connection.pk, NOW, holder)
    issued = IssuedToken(TokenSecrets("kept", "kept-refresh"), NOW, NOW + timedelta(hours=1))
    kept = spool.put(
        Renewed(connection.pk, connection.workspace_id, connection.token.version, issued, None, None, None)
    )
    lost.look_at_one(connection.pk, NOW)
    assert claim_one(connection.pk, NOW) is None
    kept.unlink()
    outcome = refresh_connection(connection.pk, forced=True, now=NOW, sleep=lambda _seconds: None)
    assert outcome.refreshed
    assert len(provider_server.to(TOKEN)) == 1


def test_a_run_that_comes_seldom_waits_for_the_grace(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    due_connection(delegated)
    claim_due(1, NOW)
    slept: list[float] = []
    clock = Clock(RUN_OUT, elapsed=lambda: sum(slept))
    monkeypatch.setattr("integrations.connections.batch.start_clock", lambda _now: clock)
    assert refresh_due(now=RUN_OUT, sleep=slept.append).renewed == 1
    assert slept == [GRACE.total_seconds() + 1]


# --- the outcome is unknown -----------------------------------------------------------------------------
def interrupted(integration: Integration, **more: Any) -> Connection:
    """A connection whose renewal was cut off between the provider's answer and the commit."""
    connection = due_connection(integration, **more)
    with killed_holder() as holder:
        claim_due(1, NOW, holder)
    return connection


def test_a_retry_that_succeeds_loses_nothing_and_is_recorded(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = interrupted(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    assert run().renewed == 1
    assert actions(connection)[-2:] == ["connection:refresh_interrupted", "connection:refreshed"]
    renewed = again(connection)
    assert renewed.state == ConnectionState.CONNECTED
    assert renewed.schedule.unknown_version != renewed.token.version, "the note ends with the next token"


def test_a_grant_that_died_of_it_is_reported_as_what_it_is(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = interrupted(delegated)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run()
    dead = again(connection)
    assert dead.state == ConnectionState.RECONNECT_REQUIRED
    assert dead.last_error_code == "refresh_outcome_unknown"
    assert "A worker was stopped" in dead.last_error_message
    assert dead.schedule.refresh_due_at is None
    assert actions(connection)[-2:] == ["connection:refresh_interrupted", "connection:reconnect_required"]


def test_the_note_outlives_failures_and_workers_until_there_is_an_answer(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = interrupted(delegated)
    provider_server.answer(TOKEN, status=503)
    run()
    assert again(connection).last_error_code == "outage"
    provider_server.forget()
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run(NOW + timedelta(minutes=1))
    assert again(connection).last_error_code == "refresh_outcome_unknown"
    assert actions(connection).count("connection:refresh_interrupted") == 1


def test_a_grant_that_dies_later_dies_of_something_else(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = interrupted(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    run()
    provider_server.forget()
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run(NOW + timedelta(hours=1))
    assert again(connection).last_error_code == "invalid_grant"


def test_fetching_a_service_token_anew_uses_nothing_up(service: Integration, provider_server: ScriptedServer) -> None:
    connection = interrupted(service, refresh_token=None)
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    assert run().renewed == 1
    assert "connection:refresh_interrupted" not in actions(connection)
