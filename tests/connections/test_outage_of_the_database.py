"""While the database is away, and when the process is to stop: no answer is lost, and nobody waits for nothing."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, InternalError, OperationalError

from integrations.clock import Clock
from integrations.connections import applying, holders, lost, settling, spool
from integrations.connections import lease as leases
from integrations.connections.batch import RefreshSummary, _Batch, refresh_due
from integrations.connections.commits import DatabaseAway, Patience
from integrations.connections.refresh import refresh_connection
from integrations.connections.renewal import Renewed
from integrations.connections.revocation import disconnect
from integrations.connections.schedule import SYSTEM_RANDOM
from integrations.connections.stopping import Stopping
from integrations.models import Connection, Integration, IssuedToken, Token, TokenSchedule, TokenSecrets
from tests.connections.conftest import NOW, REVOKE, TOKEN, due_connection, token_answer
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces.audit import Actor


class Away:
    """Commits of answers fail until `back`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = True
        self.tried = 0
        real = applying.apply_renewal

        def apply(renewed: Any, **kwargs: Any) -> Any:
            self.tried += 1
            if self.is_away:
                raise OperationalError("server closed the connection unexpectedly")
            return real(renewed, **kwargs)

        monkeypatch.setattr(applying, "apply_renewal", apply)


def again(connection: Connection) -> Connection:
    return Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)


def kept() -> list[str]:
    return [path.name for path in spool.folder().glob("*")] if spool.folder().exists() else []


def run(**more: Any) -> RefreshSummary:
    return refresh_due(now=NOW, **{"sleep": lambda _seconds: None, **more})


def run_into_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose answers cannot be stored and whose patience is short."""
    with monkeypatch.context() as patch:
        Away(patch)
        with pytest.raises(DatabaseAway):
            run(patience=Patience(0, sleep=lambda _seconds: None))


# --- the spool ------------------------------------------------------------------------------------------
def test_an_answer_is_in_the_spool_from_the_first_failure_on_and_out_of_it_once_stored(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = [due_connection(delegated, f"c{number}") for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer())
    database, seen = Away(monkeypatch), []

    def sleep(_seconds: float) -> None:
        seen.append(len(kept()))
        database.is_away = len(seen) < 3000 and max(seen) < 3
        threading.Event().wait(0.01)  # the answers are on their way

    patience = Patience(sleep=sleep, monotonic=lambda: 0.0)
    assert run(patience=patience).renewed == 3
    assert max(seen) == 3, "the answers that arrived meanwhile are there too"
    assert kept() == []
    assert len({again(c).token.open().refresh_token for c in connections}) == 1


def test_a_second_outage_in_one_run_finds_the_next_answer_of_a_connection_not_yet_kept(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """What is kept is an answer, not a connection: short-lived tokens are renewed more than once in one run."""
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    with holders.Holder() as holder:
        patience = Patience(sleep=lambda _seconds: None)
        batch = _Batch(1, Clock.standing_at(NOW), patience, lambda _seconds: None, SYSTEM_RANDOM, holder, Stopping())
        for turn in range(2):
            TokenSchedule.objects.update(refresh_due_at=NOW)
            batch.claimed_at = float("-inf")
            assert batch._claim()
            batch._send()
            [call] = batch.in_flight
            call.result(30)
            batch._keep_arrived()
            assert len(kept()) == 1, turn
            batch._settle_rest()
            assert kept() == []
    assert again(connection).token.version == connection.token.version + 2


def test_with_a_full_disk_an_answer_stays_in_memory_until_it_can_go_somewhere(
    delegated: Integration,
    provider_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("secret-access", "secret-refresh"))
    database = Away(monkeypatch)
    real_fsync, hours = spool.os.fsync, [0.0]

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.os, "fsync", full)

    def sleep(_seconds: float) -> None:
        hours[0] += 1
        if hours[0] == 5:
            monkeypatch.setattr(spool.os, "fsync", real_fsync)

    with caplog.at_level(logging.CRITICAL), pytest.raises(DatabaseAway):
        run(patience=Patience(300, sleep=sleep, monotonic=lambda: hours[0] * 3600), sleep=sleep)
    assert database.tried >= 5, "long after its patience it tried on"
    assert "No space left on device" in caplog.text
    assert "secret-" not in caplog.text
    assert len(kept()) == 1, "nothing half-written is left behind"
    database.is_away = False
    assert run().drained == 1
    assert again(connection).token.open().refresh_token == "secret-refresh"


def _read_only() -> InternalError:
    """What Django raises when a primary was made a standby under an open connection."""
    cause = Exception("cannot execute UPDATE in a read-only transaction")
    cause.sqlstate = "25006"  # type: ignore[attr-defined] # psycopg's errors have it
    error = InternalError(str(cause))
    error.__cause__ = cause
    return error


def test_a_database_that_only_reads_since_a_failover_is_away(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("new", "new-refresh"))
    run_into_an_outage(monkeypatch)

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise _read_only()

    with monkeypatch.context() as patch:
        patch.setattr(applying, "apply_renewal", refuse)
        with pytest.raises(DatabaseAway):
            run(patience=Patience(0, sleep=lambda _seconds: None))
    [name] = kept()
    assert name.endswith(spool.SUFFIX), "not set aside as if it could never be stored"
    assert run().drained == 1
    assert again(connection).token.open().refresh_token == "new-refresh"


def test_an_error_that_nobody_foresaw_ends_the_wait_for_the_database() -> None:
    """A batch claims nothing while some commit waits: one that failed for good must not seem to wait for ever."""
    errors: list[Exception] = [OperationalError("gone"), IntegrityError("odd")]
    patience = Patience(300, sleep=lambda _seconds: None)

    def work() -> None:
        raise errors.pop(0)

    with pytest.raises(IntegrityError):
        patience.commit(work)
    assert patience.was_tried
    assert not patience.is_tried


@pytest.mark.parametrize("gone", ["disconnected", "deleted"])
def test_a_kept_answer_whose_connection_is_gone_is_revoked(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("late", "late-refresh"))
    provider_server.answer(REVOKE)
    run_into_an_outage(monkeypatch)
    if gone == "disconnected":
        disconnect(connection, actor=Actor.operator(), now=NOW)
    else:
        Connection.objects.filter(pk=connection.pk).delete()
    before = len(provider_server.to(REVOKE))
    assert run().drained == 1
    revoked = [request.form["token"] for request in provider_server.to(REVOKE)[before:]]
    assert revoked == ["late-refresh", "late"]
    assert kept() == []


def test_a_kept_answer_without_any_client_left_ends_quietly(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    run_into_an_outage(monkeypatch)
    delegated.delete()
    assert run().drained == 1
    assert kept() == []


def test_the_answer_of_a_reader_is_kept_too(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    with monkeypatch.context() as patch:
        Away(patch)
        patch.setattr("integrations.connections.refresh.READER_PATIENCE_SECONDS", 0.0)
        with pytest.raises(DatabaseAway):
            refresh_connection(connection.pk, forced=True, now=NOW)
    assert len(kept()) == 1
    summary = run()
    assert (summary.drained, summary.claimed) == (1, 0)
    assert len(provider_server.to(TOKEN)) == 1


def test_what_is_kept_is_counted_and_what_needs_a_person_apart(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spool.count() == (0, 0)
    due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    run_into_an_outage(monkeypatch)
    (spool.folder() / "0123.answer").write_bytes(b"not ours")
    assert spool.count() == (1, 1)


# --- the process is to stop -----------------------------------------------------------------------------
def test_a_batch_that_is_to_stop_finishes_what_is_under_way_and_gives_back_the_rest(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.connections.batch.CALLS_AT_ONCE", 2)
    connections = [due_connection(delegated, f"c{number}") for number in range(6)]
    stopping = Stopping()

    def answer_and_stop(_received: Received) -> Answer:
        stopping.begin()
        return Answer(200, b'{"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": 3600}')

    provider_server.respond(TOKEN, answer_and_stop)
    summary = run(stopping=stopping, limit=4)
    assert summary.claimed == 4, "nothing is claimed any more"
    sent = len(provider_server.to(TOKEN))
    assert sent <= 3
    assert summary.renewed == sent
    assert not TokenSchedule.objects.filter(lease_id__isnull=False).exists()
    assert not TokenSchedule.objects.exclude(unknown_version=None).exists()
    assert Token.objects.filter(version__in=[c.token.version + 1 for c in connections]).count() == sent
    assert run(stopping=stopping).claimed == 0


def test_a_process_that_is_to_stop_does_not_wait_for_the_database(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        due_connection(delegated, f"c{number}")
    stopping = Stopping()
    provider_server.answer(TOKEN, json=token_answer())
    with monkeypatch.context() as patch:
        database = Away(patch)

        def asked_to_stop(_seconds: float) -> None:
            stopping.begin()

        with pytest.raises(DatabaseAway):
            run(stopping=stopping, patience=Patience(sleep=asked_to_stop, stopping=stopping))
    sent = len(provider_server.to(TOKEN))
    assert database.tried <= 3, "the others' answers do not try it again"
    assert len(kept()) == sent
    summary = run()
    assert summary.drained == sent
    assert summary.renewed == 20 - sent
    assert list(holders.dead_holders()) == []


def test_leases_that_cannot_be_given_back_are_free_for_whoever_looks_next(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.connections.batch.CALLS_AT_ONCE", 1)
    for number in range(3):
        due_connection(delegated, f"c{number}")
    provider_server.answer(TOKEN, json=token_answer())

    def cannot(*_args: Any, **_more: Any) -> bool:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(leases, "release", cannot)
        Away(patch)
        with pytest.raises(DatabaseAway):
            run(patience=Patience(0, sleep=lambda _seconds: None))
    summary = run()
    assert summary.drained == 1
    assert summary.renewed == 2


def test_sleep_ends_when_the_process_is_to_stop() -> None:
    stopping = Stopping()
    sleeper = threading.Thread(target=stopping.sleep, args=(3600,), daemon=True)
    sleeper.start()
    stopping.begin()
    sleeper.join(30)
    assert not sleeper.is_alive()
    stopping.sleep(3600)


def test_after_an_outage_the_spool_is_drained_before_the_next_claim(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = due_connection(delegated, "first")
    leases.claim_due(1, NOW)  # by a worker elsewhere
    due_connection(delegated, "second")
    provider_server.answer(TOKEN, json=token_answer())
    issued = IssuedToken(TokenSecrets("kept", "kept-refresh"), NOW, NOW + timedelta(hours=1))
    due_at = NOW + timedelta(minutes=45)
    answer = Renewed(first.pk, first.workspace_id, first.token.version, issued, due_at, None, ["read"])
    database, looked = Away(monkeypatch), []

    def sleep(_seconds: float) -> None:
        if database.is_away:
            spool.put(answer)
        database.is_away = False
        looked.append(again(first).token.open().refresh_token)

    summary = run(patience=Patience(sleep=sleep), sleep=sleep)
    assert (summary.drained, summary.renewed) == (1, 1)
    assert looked[-1] == "refresh-token-1", "it waited before it drained"
    assert again(first).token.open().refresh_token == "kept-refresh"


def test_after_an_outage_leases_are_extended_before_the_answers_are_stored_one_by_one(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        due_connection(delegated, f"c{number}")
    provider_server.answer(TOKEN, json=token_answer())
    database, time = Away(monkeypatch), [0.0]
    clock = Clock(NOW, elapsed=lambda: time[0])
    monkeypatch.setattr("integrations.connections.batch.start_clock", lambda _now: clock)
    others: list[list[leases.Lease]] = []

    def sleep(_seconds: float) -> None:
        time[0] = 120.0
        database.is_away = database.is_away and len(kept()) < 3
        threading.Event().wait(0.01)  # the answers are on their way

    def somebody_elsewhere(_renewed: Any, **_more: Any) -> None:
        later = clock.now() + timedelta(seconds=11)
        monkeypatch.setattr(holders, "life_of", lambda _lease_id: holders.Life.UNKNOWN)
        lost.look_after_lost(clock.now(), lambda _kept: None)
        others.append(leases.claim_due(10, later))

    real = settling.applying.save_extra
    monkeypatch.setattr(settling.applying, "save_extra", lambda *args: (somebody_elsewhere(args), real(*args)))
    assert run(patience=Patience(sleep=sleep, monotonic=lambda: time[0]), sleep=sleep).renewed == 3
    assert others == [[], [], []]
    assert len(provider_server.to(TOKEN)) == 3


def test_what_waits_in_the_spool_keeps_its_leases_while_it_is_stored(delegated: Integration) -> None:
    connection = due_connection(delegated)
    leases.claim_due(1, NOW)
    issued = IssuedToken(TokenSecrets("kept", "kept-refresh"), NOW, NOW + timedelta(hours=1))
    version = connection.token.version
    spool.put(Renewed(connection.pk, connection.workspace_id, version, issued, None, None, ["read"]))
    back = NOW + timedelta(minutes=5)

    def somebody_elsewhere(_renewed: Renewed) -> None:
        assert lost._run_out(back) == []
        assert leases.claim_due(1, back + timedelta(seconds=30)) == []

    assert lost.look_after_lost(back, somebody_elsewhere) == (1, 0)
