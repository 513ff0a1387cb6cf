"""The outage breaker: a handful of calls open it, one an interval tries, and no stranger's failures hold anybody."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest

from integrations.connections import breaker
from integrations.connections.batch import RefreshSummary, refresh_due
from integrations.connections.breaker import Place
from integrations.connections.refresh import refresh_connection
from integrations.connections.status import explain
from integrations.connections.sweep import sweep
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectionStatus,
    Integration,
    Notice,
    ProviderOutage,
    ProviderPause,
    TokenSchedule,
)
from integrations.oauth.errors import Outage
from integrations.providers.registry import find_spec
from tests.connections.conftest import NOW, TOKEN, define_provider, due_connection, token_answer
from tests.factories import make_integration, make_workspace
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces.audit import WORKER
from workspaces.models import AuditEvent, Workspace


@pytest.fixture(autouse=True)
def _one_call_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what one answer teaches holds for the next call."""
    monkeypatch.setattr("integrations.connections.batch.CALLS_AT_ONCE", 1)


def run(now: datetime = NOW, **more: Any) -> RefreshSummary:
    return refresh_due(now=now, sleep=lambda _seconds: None, **more)


def again(connection: Connection) -> Connection:
    return Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)


def notices() -> list[str]:
    return list(Notice.objects.order_by("id").values_list("kind", "connection_name"))


def many_due(integration: Integration, count: int) -> list[Connection]:
    return [due_connection(integration, f"c{number:02}", lifetime=timedelta(hours=8)) for number in range(count)]


# --- opening --------------------------------------------------------------------------------------------
def test_a_few_failures_hold_everybody_else_with_one_alarm(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connections = many_due(delegated, 12)
    provider_server.answer(TOKEN, status=503)
    summary = run()
    assert len(provider_server.to(TOKEN)) == breaker.OPENS_AFTER
    assert (summary.failed, summary.held) == (5, 7)
    told = notices()
    assert told[-1] == ("degraded", "")
    assert len(told) == breaker.OPENS_AFTER, "those before it opened, and one for all"
    assert Counter(again(c).state for c in connections) == {"degraded": 4, "connected": 8}
    assert {again(c).status_at(NOW) for c in connections} == {ConnectionStatus.DEGRADED}
    held = TokenSchedule.objects.filter(attempts=0)
    assert held.count() == 7
    for row in held:
        assert row.lease_id is None
        assert NOW + timedelta(seconds=30) <= row.refresh_due_at <= NOW + timedelta(seconds=40)
    assert AuditEvent.objects.filter(action="integration:outage").count() == 1


def test_one_connection_that_fails_again_and_again_is_no_outage(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    due_connection(delegated, lifetime=timedelta(hours=8))
    provider_server.answer(TOKEN, status=503)
    for minutes in range(0, 100, 11):
        run(NOW + timedelta(minutes=minutes))
    assert len(provider_server.to(TOKEN)) == 10
    assert not ProviderOutage.objects.exclude(opened_at=None).exists()


def test_an_answer_in_between_starts_the_count_anew(delegated: Integration, provider_server: ScriptedServer) -> None:
    many_due(delegated, 12)
    for _ in range(2):
        for _ in range(breaker.OPENS_AFTER - 1):
            provider_server.answer(TOKEN, status=503)
        provider_server.answer(TOKEN, json=token_answer())
    run()
    assert len(provider_server.to(TOKEN)) == 12
    assert not ProviderOutage.objects.exists()


def test_failures_of_long_ago_do_not_count(delegated: Integration) -> None:
    place = Place(delegated.workspace_id, "custom_acme", "https://acme.example", is_custom=True)
    for number in range(10):
        at = NOW + timedelta(minutes=6 * number)
        outage = breaker.note_failure(place, uuid4(), Outage("outage"), now=at, actor=WORKER)
        assert outage.opened_at is None


@pytest.mark.parametrize(
    "answer",
    [{"status": 429}, {"body": "<html>"}, {"status": 400, "json": {"error": "invalid_scope"}}],
)
def test_other_failures_are_no_outage(
    delegated: Integration, provider_server: ScriptedServer, answer: dict[str, Any]
) -> None:
    many_due(delegated, 7)
    provider_server.answer(TOKEN, **answer)
    run()
    assert not ProviderOutage.objects.exists()


# --- while it lasts -------------------------------------------------------------------------------------
def test_one_call_an_interval_tries_and_the_intervals_grow(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    many_due(delegated, 30)
    provider_server.answer(TOKEN, status=503)
    run()
    provider_server.forget()
    provider_server.answer(TOKEN, status=503)
    calls = []
    for second in range(0, 1200, 10):  # twenty minutes of beat
        before = len(provider_server.to(TOKEN))
        run(NOW + timedelta(seconds=second))
        calls += [second] * (len(provider_server.to(TOKEN)) - before)
    assert len(calls) == len(set(calls))
    gaps = [later - earlier for earlier, later in itertools.pairwise([0, *calls])]
    assert gaps[0] in (30, 40)
    assert gaps == sorted(gaps)
    assert 300 <= gaps[-1] <= 320
    assert len(calls) <= 7


def test_a_reader_is_told_when_to_come_back_and_gets_a_valid_token_meanwhile(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connections = many_due(delegated, 7)
    provider_server.answer(TOKEN, status=503)
    run()
    outcome = refresh_connection(connections[-1].pk, forced=False, now=NOW)
    assert (outcome.refreshed, outcome.code) == (False, "provider_outage")
    assert outcome.retry_after == 30
    assert len(provider_server.to(TOKEN)) == breaker.OPENS_AFTER


def test_it_is_said_where_people_look(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = many_due(delegated, 7)[-1]
    provider_server.answer(TOKEN, status=503)
    run()
    spec = find_spec(delegated.workspace, "custom_acme")
    words = explain(
        again(connection).status_at(NOW),
        spec=spec,
        grant_type=delegated.grant_type,
        integration=again(connection).integration,
        connection=again(connection),
        now=NOW,
    )
    assert words.cause.startswith("Acme has not been answering since 12:00 UTC. The token is still valid")
    assert (words.code, words.since) == ("provider_outage", NOW)
    assert words.retry_at == again(connection).schedule.refresh_due_at


# --- the end --------------------------------------------------------------------------------------------
def test_the_first_answer_ends_it_and_everybody_comes_back_spread_over_time(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connections = many_due(delegated, 40)
    provider_server.answer(TOKEN, status=503)
    run()
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    back = NOW + timedelta(seconds=45)
    run(back, limit=10)
    first = len(provider_server.to(TOKEN))
    assert first < 12, "not everybody at once"
    assert not ProviderOutage.objects.exists()
    for second in range(1, 20):
        run(back + timedelta(seconds=second))
    assert {again(c).state for c in connections} == {ConnectionState.CONNECTED}
    assert {again(c).status_at(back) for c in connections} == {ConnectionStatus.CONNECTED}
    assert len(provider_server.to(TOKEN)) == 40
    assert [told for told in notices() if told[1] == ""] == [("degraded", ""), ("recovered", "")]
    assert sum(1 for kind, name in notices() if kind == "recovered" and name) == 4, "those who were told of"


def test_a_refusal_is_an_answer_too(delegated: Integration, provider_server: ScriptedServer) -> None:
    many_due(delegated, 8)
    provider_server.answer(TOKEN, status=503)
    run()
    provider_server.forget()
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run(NOW + timedelta(seconds=45), limit=2, once=True)
    assert not ProviderOutage.objects.exists()


def test_a_forced_refresh_always_tries_and_ends_it(delegated: Integration, provider_server: ScriptedServer) -> None:
    connections = many_due(delegated, 8)
    provider_server.answer(TOKEN, status=503)
    run()
    assert refresh_connection(connections[-1].pk, forced=True, now=NOW).code == "outage"
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    assert refresh_connection(connections[-1].pk, forced=True, now=NOW).refreshed
    assert not ProviderOutage.objects.exists()
    delegated.refresh_from_db()
    assert delegated.outage_since is None


@pytest.mark.parametrize("count", [3, 200, 2000, 40_000])
def test_the_rate_of_those_who_come_back_grows_evenly_and_is_bounded(count: int) -> None:
    ids = [uuid4()] * count
    groups = dict(breaker._ramp(ids))
    assert sum(len(group) for group in groups.values()) == count
    last = max(groups)
    assert last < breaker.LONGEST_RAMP_SECONDS
    rates = [len(groups.get(second, [])) for second in range(last + 1)]
    assert max(rates) <= max(2 * breaker.RAMP_PER_SECOND, 2 * count / breaker.LONGEST_RAMP_SECONDS) + 2
    if count >= 200:
        half = len(rates) // 2
        assert sum(rates[:half]) < sum(rates[half:])


def test_what_nobody_follows_up_is_forgotten(delegated: Integration, provider_server: ScriptedServer) -> None:
    many_due(delegated, 8)
    provider_server.answer(TOKEN, status=503)
    run()
    sweep(NOW + timedelta(minutes=10))
    assert ProviderOutage.objects.count() == 1
    sweep(NOW + timedelta(minutes=16))
    assert ProviderOutage.objects.count() == 0
    delegated.refresh_from_db()
    assert delegated.outage_since is None


# --- whom it holds --------------------------------------------------------------------------------------
def test_another_workspace_with_the_same_server_goes_on(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    other = make_workspace()
    define_provider(other, provider_server, token_endpoint=f"{provider_server.url}/other-token")
    theirs = due_connection(make_integration(other, "custom_acme"))
    many_due(delegated, 8)
    provider_server.answer(TOKEN, status=503)
    provider_server.answer("/other-token", json=token_answer())
    run()
    assert again(theirs).token.open().access_token == "access-2"
    assert ProviderOutage.objects.get().workspace_id == delegated.workspace_id


def fail(place: Place, times: int) -> ProviderOutage:
    """So many connections fail there."""
    outages = [breaker.note_failure(place, uuid4(), Outage("outage"), now=NOW, actor=WORKER) for _ in range(times)]
    return outages[-1]


def test_no_tenant_is_held_for_anothers_failures_but_what_two_see_is_believed_sooner(workspace: Workspace) -> None:
    mine = Place(workspace.pk, "github", "https://github.com", is_custom=False)
    theirs = Place(make_workspace().pk, "github", "https://github.com", is_custom=False)
    assert fail(mine, 100).opened_at == NOW
    assert theirs.key not in breaker.load_outages(), "a stranger's broken client is not theirs"
    assert fail(theirs, 1).opened_at == NOW


def test_a_custom_provider_of_the_same_name_or_another_origin_confirms_nothing(workspace: Workspace) -> None:
    fail(Place(workspace.pk, "custom_acme", "https://acme.example", is_custom=True), 5)
    other = make_workspace().pk
    assert fail(Place(other, "custom_acme", "https://acme.example", is_custom=True), 1).opened_at is None
    fail(Place(workspace.pk, "okta", "https://one.okta.com", is_custom=False), 5)
    assert fail(Place(other, "okta", "https://two.okta.com", is_custom=False), 1).opened_at is None


def test_what_one_workspace_finds_answering_the_others_may_try_at_once(workspace: Workspace) -> None:
    mine = Place(workspace.pk, "github", "https://github.com", is_custom=False)
    theirs = Place(make_workspace().pk, "github", "https://github.com", is_custom=False)
    fail(mine, 5)
    fail(theirs, 1)
    soon = NOW + timedelta(seconds=10)
    assert not breaker.may_probe(breaker.load_outages()[theirs.key], soon)
    breaker.note_answer(mine, now=soon, actor=WORKER)
    assert breaker.may_probe(breaker.load_outages()[theirs.key], soon)
    assert not breaker.may_probe(breaker.load_outages()[theirs.key], soon), "once"


# --- calls that wait already, and Retry-After -----------------------------------------------------------
def test_a_pause_learnt_from_one_answer_holds_those_that_wait_for_the_same_client(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    many_due(delegated, 6)
    provider_server.answer(TOKEN, status=429, headers={"Retry-After": "120"})
    summary = run()
    assert len(provider_server.to(TOKEN)) == 1
    assert (summary.failed, summary.held) == (1, 5)
    for row in TokenSchedule.objects.all():
        assert NOW + timedelta(seconds=120) <= row.refresh_due_at <= NOW + timedelta(seconds=135)


def test_a_refused_client_holds_those_that_wait_already(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connections = many_due(delegated, 6)
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    assert run().held == 5
    assert len(provider_server.to(TOKEN)) == 1
    for connection in connections:
        assert again(connection).schedule.refresh_due_at >= NOW + timedelta(hours=1)
    assert notices() == [("misconfigured", "")]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"Retry-After": "0"}, 2),
        ({"Retry-After": "90"}, 90),
        ({"Retry-After": "99999999"}, 86_400),
    ],
)
def test_every_form_of_retry_after_pauses_the_client(
    delegated: Integration, provider_server: ScriptedServer, headers: dict[str, str], seconds: int
) -> None:
    due_connection(delegated)
    provider_server.answer(TOKEN, status=429, headers=headers)
    run()
    assert ProviderPause.objects.get().until == NOW + timedelta(seconds=seconds)
    assert TokenSchedule.objects.get().refresh_due_at >= NOW + timedelta(seconds=seconds)
    outcome = refresh_connection(Connection.objects.get().pk, forced=True, now=NOW)
    assert (outcome.code, outcome.retry_after) == ("throttled", seconds)


def test_a_date_to_retry_after_counts_from_the_answers_own_date(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    # The server dates its answers by the present time, years before the NOW of these tests.
    def in_an_hour(_received: Received) -> Answer:
        return Answer(
            429, headers={"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
        )

    due_connection(delegated)
    provider_server.respond(TOKEN, in_an_hour)
    run()
    until = ProviderPause.objects.get().until
    assert NOW + timedelta(minutes=59) < until <= NOW + timedelta(hours=1)
