"""Who stores the answers of a batch: committers, in groups where that is safe; one answer's error hurts no other."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db import connection as database

from integrations.clock import Clock
from integrations.connections import applying, batch, breaker, preparing, renewal, spool
from integrations.connections import lease as leases
from integrations.connections.batch import refresh_due
from integrations.connections.commits import DatabaseAway, Patience
from integrations.connections.committers import COMMITTERS, Committers, committers_wanted
from integrations.connections.holders import Holder
from integrations.connections.renewal import Applied, Job
from integrations.connections.settling import Answer, settle_all
from integrations.connections.stopping import Stopping
from integrations.models import Connection, GrantType, Integration, ProviderOutage, Token, TokenSchedule
from integrations.oauth.errors import Outage
from tests.connections.conftest import NOW, REVOKE, TOKEN, define_provider, due_connection, token_answer
from tests.factories import make_integration, make_workspace
from tests.servers.scripted import Answer as Reply
from tests.servers.scripted import Received, ScriptedServer
from workspaces.audit import WORKER

CLOCK = Clock.standing_at(NOW)


def impatient() -> Patience:
    return Patience(0, sleep=lambda _seconds: None)


def answers_of(count: int) -> list[Answer]:
    """Calls that were made and not settled."""
    claimed = leases.claim_due(count, NOW)
    rows = preparing.load([lease.connection_id for lease in claimed])
    made: list[Answer] = []
    for lease in claimed:
        job = preparing.prepare(rows[lease.connection_id], lease, preparing.Barriers(), NOW, forced=False)
        assert isinstance(job, Job)
        made.append(Answer(job, partial(_same, renewal.call(job, CLOCK))))
    return made


def _same(outcome: Any) -> Any:
    return outcome


def access_token_of(connection: Connection) -> str:
    return Token.objects.get(pk=connection.pk).open().access_token


# --- many answers, one commit ---------------------------------------------------------------------------
def test_one_superseded_one_gone_one_that_nobody_foresaw_and_the_others_are_stored(
    service: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["good", "superseded", "gone", "odd", "fine"]
    by_name = {name: due_connection(service, name, refresh_token=None) for name in names}
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    provider_server.answer(REVOKE)
    answers = answers_of(5)
    Token.objects.filter(pk=by_name["superseded"].pk).update(version=by_name["superseded"].token.version + 1)
    Token.objects.filter(pk=by_name["gone"].pk).delete()
    odd = by_name["odd"].pk
    for name in ("store_healthy", "_apply_step_by_step"):
        monkeypatch.setattr(applying, name, _stumbling_over(odd, getattr(applying, name)))
    settled = {one.job.connection.name: one for one in settle_all(answers, CLOCK, impatient(), actor=WORKER)}
    assert {name: one.applied for name, one in settled.items()} == {
        "good": Applied.STORED,
        "fine": Applied.STORED,
        "superseded": Applied.SUPERSEDED,
        "gone": Applied.GONE,
        "odd": None,
    }
    assert isinstance(settled["odd"].error, ValueError)
    assert access_token_of(by_name["good"]) == access_token_of(by_name["fine"]) == "access-2"
    assert access_token_of(by_name["superseded"]) == "access-token-1"
    assert len(list(spool.folder().iterdir())) == 1  # what nobody foresaw is kept all the same
    assert [request.form["token"] for request in provider_server.to(REVOKE)] == ["access-2"]


def _stumbling_over(pk: Any, real: Any) -> Any:
    def store(renewed: Any, *args: Any, **kwargs: Any) -> Any:
        if pk in {one.connection_id for one in (renewed if isinstance(renewed, list) else [renewed])}:
            raise ValueError("nobody foresaw this")
        return real(renewed, *args, **kwargs)

    return store


def test_an_error_among_the_answers_is_settled_by_itself(service: Integration, provider_server: ScriptedServer) -> None:
    connections_made = [due_connection(service, f"c{number}", refresh_token=None) for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    first, *rest = answers_of(3)
    provider_server.forget()
    provider_server.answer(TOKEN, status=500)
    failing = Answer(first.job, partial(renewal.call, first.job, CLOCK))
    settled = list(settle_all([failing, *rest], CLOCK, impatient(), actor=WORKER))
    assert [one.applied for one in settled] == [None, Applied.STORED, Applied.STORED]
    assert getattr(settled[0].error, "code", "") == "outage"
    assert sorted(access_token_of(c) for c in connections_made) == ["access-2", "access-2", "access-token-1"]


def test_answers_that_are_stored_together_end_an_outage_too(
    service: Integration, provider_server: ScriptedServer
) -> None:
    for number in range(3):
        due_connection(service, f"c{number}", refresh_token=None)
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    answers = answers_of(3)
    place = breaker.Place.of(answers[0].job.integration, answers[0].job.parties)
    breaker.note_failure(place, answers[0].job.connection.pk, Outage("outage"), now=NOW, actor=WORKER)
    assert [one.applied for one in settle_all(answers, CLOCK, impatient(), actor=WORKER)] == [Applied.STORED] * 3
    assert not ProviderOutage.objects.exists()


def test_an_outage_during_a_common_commit_is_waited_for(
    service: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [due_connection(service, f"c{number}", refresh_token=None) for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    answers = answers_of(3)
    tried = _away(monkeypatch, failures=4)
    patience = Patience(300, sleep=lambda _seconds: None)
    assert [one.applied for one in settle_all(answers, CLOCK, patience, actor=WORKER)] == [Applied.STORED] * 3
    assert tried == [5]
    assert {access_token_of(connection) for connection in made} == {"access-2"}


def test_an_outage_that_lasts_puts_each_answer_of_the_group_into_a_file(
    service: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [due_connection(service, f"c{number}", refresh_token=None) for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    answers = answers_of(3)
    with monkeypatch.context() as patch:
        _away(patch, failures=10_000)
        settled = list(settle_all(answers, CLOCK, impatient(), actor=WORKER))
    assert [type(one.error) for one in settled] == [DatabaseAway] * 3
    assert len(list(spool.folder().iterdir())) == 3
    assert refresh_due(now=NOW).drained == 3
    assert {access_token_of(connection) for connection in made} == {"access-2"}


def _away(patch: pytest.MonkeyPatch, failures: int) -> list[int]:
    real, tried = applying.store_healthy, [0]

    def store(*args: Any, **kwargs: Any) -> Any:
        tried[0] += 1
        if tried[0] <= failures:
            raise OperationalError("server closed the connection unexpectedly")
        return real(*args, **kwargs)

    patch.setattr(applying, "store_healthy", store)
    return tried


def test_a_batch_stores_service_accounts_together_and_rotating_tokens_one_by_one(
    service: Integration, delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [due_connection(service, f"s{number}", refresh_token=None) for number in range(5)]
    made += [due_connection(delegated, f"d{number}") for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer())
    sizes: list[int] = []
    real = applying.store_healthy

    def store(renewals: Any, **kwargs: Any) -> Any:
        sizes.append(len(renewals))
        return real(renewals, **kwargs)

    monkeypatch.setattr(applying, "store_healthy", store)
    monkeypatch.setattr(batch, "TOGETHER_SECONDS", 3600.0)  # so that they wait for all that are on their way
    assert refresh_due(now=NOW).renewed == 8
    assert sorted(sizes) == [1, 1, 1, 5]
    assert {access_token_of(connection) for connection in made} == {"access-2"}


def test_a_token_waits_for_others_some_milliseconds_only(
    service: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    quick_one, slow_one = (due_connection(service, name, refresh_token=None) for name in ("quick", "slow"))

    def reply(_received: Received) -> Reply:
        first = len(provider_server.to(TOKEN)) == 1
        body = json.dumps(token_answer("first" if first else "second", None)).encode()
        return Reply(200, body, wait=None if first else slow)

    provider_server.respond(TOKEN, reply)
    real = applying.store_healthy

    def store(*args: Any, **kwargs: Any) -> Any:
        slow.set()  # the slow answer comes only once the quick one is being stored
        return real(*args, **kwargs)

    monkeypatch.setattr(applying, "store_healthy", store)
    assert refresh_due(now=NOW).renewed == 2
    assert {access_token_of(quick_one), access_token_of(slow_one)} == {"first", "second"}


def test_an_interrupted_commit_ends_the_batch_and_the_answers_on_their_way_are_stored(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        due_connection(delegated, f"c{number}")
    provider_server.answer(TOKEN, json=token_answer())
    real, calls = batch.settle_all, []

    def interrupted_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(batch, "settle_all", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        refresh_due(now=NOW)
    assert [token.open().access_token for token in Token.objects.all()].count("access-2") == 2


# --- threads --------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_caller_within_a_transaction_commits_itself() -> None:
    with transaction.atomic():
        assert committers_wanted() == 0
        done: list[Any] = []
        committers = Committers(lambda work: done.append((work, threading.current_thread())), committers_wanted())
        committers.give("work")
        assert done == [("work", threading.current_thread())]
        committers.close()


@pytest.mark.django_db(transaction=True)
def test_a_small_pool_keeps_connections_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    on_postgresql = database.vendor == "postgresql"
    assert committers_wanted() == (COMMITTERS if on_postgresql else 0)
    if on_postgresql:
        monkeypatch.setattr(database.pool, "_max_size", 3)  # type: ignore[attr-defined] # PostgreSQL's wrapper has one
        assert committers_wanted() == 1


@pytest.mark.django_db(transaction=True)
def test_committers_close_their_database_connections() -> None:
    used: dict[int, Any] = {}
    together = threading.Barrier(3, timeout=20)

    def work(_number: int) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
        used[threading.get_ident()] = connections["default"]
        together.wait()  # so that it takes three threads

    committers = Committers(work, 3)
    for number in range(3):
        committers.give(number)
    committers.close()
    assert len(used) == 3
    assert [wrapper.connection for wrapper in used.values()] == [None] * 3


@contextmanager
def _several_committers(patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setattr(batch, "committers_wanted", lambda: 3)
    yield


@pytest.mark.django_db(transaction=True)
def test_several_threads_settle_what_one_would(
    provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    delegated = make_integration(workspace, "custom_acme")
    service = make_integration(workspace, "custom_acme", GrantType.CLIENT_CREDENTIALS)
    made = [due_connection(delegated, f"d{number}", refresh_token=f"refresh-{number}") for number in range(12)]
    made += [due_connection(service, f"s{number}", refresh_token=None) for number in range(6)]

    def reply(received: Received) -> Reply:
        if received.form.get("refresh_token") == "refresh-3":
            return Reply(400, b'{"error": "invalid_grant"}')
        return Reply(200, json.dumps(token_answer()).encode())

    provider_server.respond(TOKEN, reply)
    with _several_committers(monkeypatch):
        summary = refresh_due(7, now=NOW)
    assert (summary.claimed, summary.renewed, summary.failed) == (18, 17, 1)
    assert Token.objects.count() == len(made)
    assert [access_token_of(connection) for connection in made].count("access-2") == 17
    assert not TokenSchedule.objects.filter(lease_id__isnull=False).exists()


@pytest.mark.django_db(transaction=True)
def test_several_threads_wait_for_the_database_and_keep_their_answers(
    provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    delegated = make_integration(workspace, "custom_acme")
    made = [due_connection(delegated, f"d{number}") for number in range(6)]
    provider_server.answer(TOKEN, json=token_answer())
    with _several_committers(monkeypatch), monkeypatch.context() as patch:
        _away(patch, failures=10_000)
        with pytest.raises(DatabaseAway):
            refresh_due(now=NOW, patience=impatient(), sleep=lambda _seconds: None)
    assert len(list(spool.folder().iterdir())) == 6
    assert refresh_due(now=NOW + timedelta(seconds=1)).drained == 6
    assert {access_token_of(connection) for connection in made} == {"access-2"}


# --- one connection twice in one batch ------------------------------------------------------------------
@pytest.mark.django_db
def test_a_connection_that_is_claimed_again_before_its_first_answer_is_settled_ends_no_batch(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """Its answer was stored from the spool by somebody else meanwhile, and it is due again already."""
    connection = due_connection(delegated)
    for _ in range(2):
        provider_server.answer(TOKEN, json=token_answer())
    with Holder() as holder:
        run = batch._Batch(200, CLOCK, impatient(), lambda _seconds: None, random.Random(1), holder, Stopping())
        for _ in range(2):
            run._claim()
            TokenSchedule.objects.update(lease_id=None, lease_until=None, refresh_due_at=NOW)
        run._send()
        run._settle_rest()
    assert (run.unsettled, run.jobs, run.arrived, run.in_flight) == (0, {}, {}, {})
    assert (run.summary.claimed, run.summary.renewed) == (2, 2), run.summary  # the same answer twice is ours both times
    assert access_token_of(connection) == "access-2"
