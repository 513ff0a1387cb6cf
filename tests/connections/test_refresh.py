"""Batches: what each kind of answer does to a connection, and that nothing is lost or spent twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError

from integrations.connections import applying, policies, spool
from integrations.connections.batch import RefreshSummary, refresh_due
from integrations.connections.commits import DatabaseAway, Patience
from integrations.connections.refresh import refresh_connection
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectionStatus,
    CustomProvider,
    Integration,
    IssuedToken,
    ProviderPause,
    Token,
    TokenSchedule,
    TokenSecrets,
    store_tokens,
)
from tests.connections.conftest import NOW, REVOKE, TOKEN, due_connection, token_answer
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces.models import AuditEvent, Workspace

RNG = random.Random(5)


def run(**more: Any) -> RefreshSummary:
    return refresh_due(now=NOW, rng=RNG, sleep=lambda _seconds: None, **more)


def again(connection: Connection) -> Connection:
    return Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)


def actions(connection: Connection) -> list[str]:
    events = AuditEvent.objects.filter(workspace=connection.workspace).order_by("id")
    return list(events.values_list("action", flat=True))


# --- success --------------------------------------------------------------------------------------------
def test_a_due_token_is_renewed_and_rotated(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer(instance_url="https://eu.example.com"))
    assert run().renewed == 1
    [request] = provider_server.to(TOKEN)
    assert request.form == {"grant_type": "refresh_token", "refresh_token": "refresh-token-1"}
    renewed = again(connection)
    assert renewed.token.open() == TokenSecrets("access-2", "refresh-2")
    assert renewed.token.expires_at == NOW + timedelta(hours=1)
    assert renewed.token.version == connection.token.version + 1
    assert json.loads(renewed.token.extra)["instance_url"] == "https://eu.example.com"
    assert renewed.last_refreshed_at == NOW
    assert NOW + timedelta(minutes=40) < renewed.schedule.refresh_due_at < NOW + timedelta(minutes=48)
    assert renewed.schedule.lease_id is None
    assert actions(connection)[-1] == "connection:refreshed"
    assert run().claimed == 0


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_an_answer_without_a_refresh_token_keeps_the_old_one(
    delegated: Integration, provider_server: ScriptedServer, refresh_token: str | None
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer(refresh_token=refresh_token))
    run()
    assert again(connection).token.open() == TokenSecrets("access-2", "refresh-token-1")


def test_a_service_account_fetches_anew_with_the_scopes_wanted_today(
    service: Integration, provider_server: ScriptedServer
) -> None:
    service.additional_scopes = ["extra"]
    service.save()
    connection = due_connection(service, refresh_token=None, requested_scopes=["read"])
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    run()
    [request] = provider_server.to(TOKEN)
    assert request.form == {"grant_type": "client_credentials", "scope": "read write extra"}
    assert again(connection).requested_scopes == ["read", "write", "extra"]


def test_less_scope_than_requested_is_shown_as_missing(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = due_connection(delegated, requested_scopes=["read", "write"], granted_scopes=["read", "write"])
    provider_server.answer(TOKEN, json=token_answer(scope="read"))
    run()
    renewed = again(connection)
    assert renewed.status_at(NOW) == ConnectionStatus.CONNECTED
    assert renewed.missing_scopes == ["write"]


@pytest.mark.parametrize("lifetime", [70, 120])
def test_short_tokens_are_renewed_by_schedule_for_hours_without_a_read(
    delegated: Integration, provider_server: ScriptedServer, lifetime: int
) -> None:
    connection = due_connection(delegated, lifetime=timedelta(hours=1))
    counter = iter(range(2, 10_000))

    def rotate(received: Received) -> Answer:
        number = next(counter)
        return Answer(200, json.dumps(token_answer(f"a{number}", f"r{number}", expires_in=lifetime)).encode())

    provider_server.respond(TOKEN, rotate)
    for tick in range(60):  # ten minutes of beat
        now = NOW + timedelta(seconds=10 * tick)
        refresh_due(now=now, rng=RNG)
        assert not again(connection).token.is_expired(now)
    spent = [request.form["refresh_token"] for request in provider_server.to(TOKEN)]
    assert len(spent) == len(set(spent))
    assert 600 / lifetime <= len(spent) <= 600 / (lifetime / 2) + 1


def test_a_token_without_a_lifetime_is_never_renewed_by_schedule(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    answer = token_answer()
    del answer["expires_in"]
    provider_server.answer(TOKEN, json=answer)
    run()
    renewed = again(connection)
    assert renewed.token.expires_at is None
    assert renewed.schedule.refresh_due_at is None
    assert renewed.status_at(NOW + timedelta(days=3000)) == ConnectionStatus.CONNECTED


def test_it_goes_on_claiming_until_nothing_is_due(delegated: Integration, provider_server: ScriptedServer) -> None:
    for number in range(12):
        due_connection(delegated, f"c{number}")
    provider_server.answer(TOKEN, json=token_answer())
    assert run(limit=5, once=True).claimed == 5
    assert run(limit=5).renewed == 7


# --- failures -------------------------------------------------------------------------------------------
def test_a_dead_grant_asks_for_a_person_and_is_never_called_again(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run()
    dead = again(connection)
    assert dead.state == ConnectionState.RECONNECT_REQUIRED
    assert dead.last_error_code == "invalid_grant"
    assert dead.schedule.refresh_due_at is None
    assert dead.token.open().refresh_token == "refresh-token-1"
    assert actions(connection)[-1] == "connection:reconnect_required"
    refresh_due(now=NOW + timedelta(days=30))
    outcome = refresh_connection(connection.pk, forced=False, now=NOW + timedelta(days=1))
    assert outcome.code == "reconnect_required"
    assert len(provider_server.to(TOKEN)) == 1


def test_invalid_grant_is_void_when_somebody_else_has_rotated_meanwhile(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    issued = IssuedToken(TokenSecrets("winner", "winner-refresh"), NOW, NOW + timedelta(hours=1))

    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    # The other worker's commit lands between the provider's answer and our verdict.
    real_apply = policies.apply_failure

    def apply_after_commit(*args: Any, **kwargs: Any) -> bool:
        store_tokens(connection.pk, connection.workspace_id, connection.token.version, issued)
        TokenSchedule.objects.filter(pk=connection.pk).update(refresh_due_at=NOW + timedelta(minutes=48))
        return real_apply(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policies, "apply_failure", apply_after_commit)
        summary = run()
    assert summary.discarded == 1
    alive = again(connection)
    assert alive.state == ConnectionState.CONNECTED
    assert alive.token.open().access_token == "winner"
    assert alive.schedule.lease_id is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 500}, "outage"),
        ({"status": 503, "json": {"error": "invalid_grant"}}, "outage"),  # a server error decides whatever the body
        ({"status": 200, "body": "<html>maintenance</html>"}, "html_answer"),
        ({"status": 200, "body": ""}, "empty_answer"),
        ({"status": 302, "headers": {"Location": "https://evil.example"}}, "redirected"),
        ({"status": 400, "json": {"error": "temporarily_unavailable"}}, "temporarily_unavailable"),
        ({"status": 400, "json": {"error": "never_heard_of"}}, "never_heard_of"),
        ({"status": 429}, "throttled"),
    ],
)
def test_passing_failures_degrade_and_are_retried(
    delegated: Integration, provider_server: ScriptedServer, answer: dict[str, Any], code: str
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, **answer)
    run()
    degraded = again(connection)
    assert degraded.status_at(NOW) == ConnectionStatus.DEGRADED
    assert degraded.last_error_code == code
    assert degraded.last_error_reference is not None
    assert NOW < degraded.schedule.refresh_due_at <= NOW + timedelta(seconds=75)
    assert degraded.token.open().access_token == "access-token-1"
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    refresh_due(now=NOW + timedelta(minutes=2))
    assert again(connection).status_at(NOW) == ConnectionStatus.CONNECTED
    assert again(connection).last_error_code == ""


def test_a_failure_that_lasts_is_one_event(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, status=500)
    for tick in range(6):
        refresh_due(now=NOW + timedelta(minutes=11 * tick))
    assert again(connection).schedule.attempts == 6
    assert actions(connection).count("connection:refresh_failed") == 1


def test_an_unknown_refusal_asks_for_a_look_after_a_while(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, status=400, json={"error": "never_heard_of"})
    for tick in range(8):
        refresh_due(now=NOW + timedelta(minutes=11 * tick))
    assert again(connection).status_at(NOW) == ConnectionStatus.MISCONFIGURED


def test_a_refused_client_raises_one_alarm_and_holds_its_siblings(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connections = [due_connection(delegated, f"c{number}") for number in range(3)]
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    refresh_due(1, now=NOW, rng=RNG)
    delegated.refresh_from_db()
    assert delegated.client_error_code == "invalid_client"
    assert [again(c).status_at(NOW) for c in connections] == [ConnectionStatus.MISCONFIGURED] * 3
    assert {again(c).state for c in connections} == {ConnectionState.CONNECTED}
    assert len(provider_server.to(TOKEN)) == 1
    assert actions(connections[0]).count("integration:client_refused") == 1
    refresh_due(now=NOW + timedelta(minutes=30))
    assert len(provider_server.to(TOKEN)) == 1


def test_one_probe_an_hour_brings_everybody_back(delegated: Integration, provider_server: ScriptedServer) -> None:
    connections = [due_connection(delegated, f"c{number}", lifetime=timedelta(days=1)) for number in range(3)]
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    refresh_due(1, now=NOW, rng=RNG)
    later = NOW + timedelta(hours=1, minutes=2)
    refresh_due(1, now=later, rng=RNG)
    assert len(provider_server.to(TOKEN)) == 2  # the probe, and nobody else
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    refresh_due(1, now=later + timedelta(hours=1, minutes=2), rng=RNG)
    delegated.refresh_from_db()
    assert delegated.client_error_code == ""
    assert [again(c).status_at(NOW) for c in connections] == [ConnectionStatus.CONNECTED] * 3
    assert {again(c).token.open().access_token for c in connections} == {"access-2"}
    assert "integration:recovered" in actions(connections[0])


def test_a_scope_that_is_refused_concerns_one_connection_only(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    bad, good = due_connection(delegated, "bad"), due_connection(delegated, "good")

    def by_token(received: Received) -> Answer:
        if len(provider_server.to(TOKEN)) == 1:
            return Answer(400, b'{"error": "invalid_scope"}')
        return Answer(200, json.dumps(token_answer()).encode())

    provider_server.respond(TOKEN, by_token)
    refresh_due(1, now=NOW, rng=RNG)
    statuses = {again(bad).status_at(NOW), again(good).status_at(NOW)}
    assert statuses == {ConnectionStatus.MISCONFIGURED, ConnectionStatus.CONNECTED}
    delegated.refresh_from_db()
    assert delegated.client_error_code == ""


def test_under_client_credentials_invalid_grant_is_a_misconfiguration(
    service: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(service, refresh_token=None)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    run()
    assert again(connection).status_at(NOW) == ConnectionStatus.MISCONFIGURED


def test_retry_after_binds_the_client_at_that_endpoint_forced_calls_too(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    first, second = due_connection(delegated, "first"), due_connection(delegated, "second")
    provider_server.answer(TOKEN, status=429, headers={"Retry-After": "300"})
    refresh_due(1, now=NOW, rng=RNG)
    assert len(provider_server.to(TOKEN)) == 1
    outcome = refresh_connection(second.pk, forced=True, now=NOW + timedelta(seconds=10))
    assert (outcome.refreshed, outcome.code, outcome.retry_after) == (False, "throttled", 290)
    assert ProviderPause.objects.get().until == NOW + timedelta(seconds=300)
    refresh_due(now=NOW + timedelta(seconds=299))
    assert len(provider_server.to(TOKEN)) == 1
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    refresh_due(now=NOW + timedelta(seconds=311))
    assert {again(c).status_at(NOW) for c in (first, second)} == {ConnectionStatus.CONNECTED}


def test_a_pause_does_not_bind_another_client(
    delegated: Integration, service: Integration, provider_server: ScriptedServer
) -> None:
    due_connection(delegated)
    provider_server.answer(TOKEN, status=429, headers={"Retry-After": "300"})
    run()
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    service.client_id = "another"
    service.save()
    due_connection(service, refresh_token=None)
    assert run().renewed == 1


def test_another_workspaces_provider_goes_on(
    delegated: Integration, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    # Same server, another workspace: one tenant's refused client must not stop another's.
    from tests.connections.conftest import define_provider

    other = make_workspace()
    define_provider(other, provider_server, token_endpoint=f"{provider_server.url}/other-token")
    theirs = due_connection(make_integration(other, "custom_acme"))
    due_connection(delegated)
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    provider_server.answer("/other-token", json=token_answer())
    run()
    assert again(theirs).status_at(NOW) == ConnectionStatus.CONNECTED


def test_a_missing_provider_or_refused_address_is_a_misconfiguration(
    workspace: Workspace, delegated: Integration, settings: Any
) -> None:
    orphan = due_connection(make_integration(workspace, "custom_gone"))
    blocked = due_connection(delegated)
    settings.OUTBOUND_ALLOWED_HOSTS = []
    run()
    assert again(orphan).last_error_code == "provider_missing"
    assert again(blocked).last_error_code == "address_refused"
    assert {again(c).status_at(NOW) for c in (orphan, blocked)} == {ConnectionStatus.MISCONFIGURED}


def test_what_no_key_opens_is_left_alone_and_does_not_stop_the_others(
    delegated: Integration, provider_server: ScriptedServer, settings: Any
) -> None:
    locked = due_connection(delegated, "locked")
    keys = settings.FERNET_KEYS
    settings.FERNET_KEYS = [Fernet.generate_key()]
    delegated.client_secret = "under the new key"
    delegated.save()
    due_connection(delegated, "open")
    provider_server.answer(TOKEN, json=token_answer())
    summary = run()
    assert (summary.renewed, summary.held) == (1, 1)
    assert len(provider_server.to(TOKEN)) == 1
    assert again(locked).schedule.refresh_due_at == NOW + timedelta(hours=1)
    settings.FERNET_KEYS = keys
    assert again(locked).token.open().refresh_token == "refresh-token-1"


# --- fences ---------------------------------------------------------------------------------------------
def during_the_call(patch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Run `change` after the provider has answered and before the answer is stored."""
    real = applying.apply_renewal

    def apply(renewed: Any, **kwargs: Any) -> Any:
        change()
        return real(renewed, **kwargs)

    patch.setattr(applying, "apply_renewal", apply)


def test_a_late_answer_never_overwrites_a_newer_token(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("late", "late-refresh"))
    newer = IssuedToken(TokenSecrets("newer", "newer-refresh"), NOW, NOW + timedelta(hours=1))

    def somebody_else_is_faster() -> None:
        store_tokens(connection.pk, connection.workspace_id, connection.token.version, newer)
        TokenSchedule.objects.filter(pk=connection.pk).update(refresh_due_at=NOW + timedelta(minutes=48))

    during_the_call(monkeypatch, somebody_else_is_faster)
    assert run().discarded == 1
    assert again(connection).token.open().access_token == "newer"
    assert provider_server.to(REVOKE) == []


def test_a_token_that_arrives_after_a_disconnect_is_revoked(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("late", "late-refresh"))
    provider_server.answer(REVOKE)
    during_the_call(monkeypatch, lambda: Token.objects.filter(pk=connection.pk).delete() and None)
    assert run().discarded == 1
    assert [request.form["token"] for request in provider_server.to(REVOKE)] == ["late-refresh", "late"]
    assert not Token.objects.filter(pk=connection.pk).exists()


def test_a_connection_deleted_during_the_call_is_revoked_too(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("late", "late-refresh"))
    provider_server.answer(REVOKE)
    during_the_call(monkeypatch, lambda: Connection.objects.filter(pk=connection.pk).delete() and None)
    assert run().discarded == 1
    assert len(provider_server.to(REVOKE)) == 2


# --- the database goes away -----------------------------------------------------------------------------
def away(patch: pytest.MonkeyPatch, failures: int) -> list[int]:
    """The commit of an answer fails so many times."""
    real, tried = applying.apply_renewal, [0]

    def apply(renewed: Any, **kwargs: Any) -> Any:
        tried[0] += 1
        if tried[0] <= failures:
            raise OperationalError("server closed the connection unexpectedly")
        return real(renewed, **kwargs)

    patch.setattr(applying, "apply_renewal", apply)
    return tried


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.slept.append(seconds)

    def patience(self, seconds: float = 300.0) -> Patience:
        return Patience(seconds, sleep=self.sleep, monotonic=lambda: self.seconds)


def test_the_commit_is_retried_from_memory_until_the_database_is_back(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    tried, time = away(monkeypatch, failures=20), FakeTime()
    summary = refresh_due(now=NOW, patience=time.patience(), sleep=time.sleep)
    assert summary.renewed == 1
    assert tried == [21]
    assert len(provider_server.to(TOKEN)) == 1
    assert again(connection).token.open().refresh_token == "refresh-2"
    assert time.slept[-1] == 10.0  # before it claims again


def test_an_outage_of_minutes_puts_the_answer_into_a_file_that_is_stored_first_later(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = [due_connection(delegated, f"c{number}") for number in range(3)]
    provider_server.answer(TOKEN, json=token_answer("kept-access", "kept-refresh"))
    time = FakeTime()
    with monkeypatch.context() as patch:
        away(patch, failures=10_000)
        with pytest.raises(DatabaseAway):
            refresh_due(now=NOW, patience=time.patience(), sleep=time.sleep)
    assert 300 <= time.seconds < 400
    kept = list(spool.folder().iterdir())
    assert len(kept) == 3
    for path in kept:
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"kept-" not in path.read_bytes()
    sent = len(provider_server.to(TOKEN))
    summary = run()
    assert summary.drained == 3
    assert len(provider_server.to(TOKEN)) == sent
    assert {again(c).token.open().refresh_token for c in connections} == {"kept-refresh"}
    assert list(spool.folder().iterdir()) == []


def test_a_kept_answer_is_void_when_a_person_reconnected_meanwhile(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("kept", "kept"))
    time = FakeTime()
    with monkeypatch.context() as patch:
        away(patch, failures=10_000)
        with pytest.raises(DatabaseAway):
            refresh_due(now=NOW, patience=time.patience(1), sleep=time.sleep)
    person = IssuedToken(TokenSecrets("person", "person"), NOW, NOW + timedelta(hours=1))
    store_tokens(connection.pk, connection.workspace_id, connection.token.version, person)
    TokenSchedule.objects.update(lease_id=None, lease_until=None, refresh_due_at=NOW + timedelta(minutes=48))
    assert run().drained == 1
    assert again(connection).token.open().access_token == "person"
    assert list(spool.folder().iterdir()) == []


def test_a_kept_file_that_cannot_be_read_stays(delegated: Integration, settings: Any) -> None:
    spool.folder().mkdir(parents=True)
    (spool.folder() / "0123.answer").write_bytes(b"not ours")
    assert run().drained == 0
    assert (spool.folder() / "0123.answer").exists()


def test_a_commit_whose_confirmation_was_lost_counts_as_stored(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer())
    real, tried = applying.apply_renewal, []

    def apply(renewed: Any, **kwargs: Any) -> Any:
        result = real(renewed, **kwargs)
        tried.append(result)
        if len(tried) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(applying, "apply_renewal", apply)
    assert run().renewed == 1
    assert len(tried) == 2
    assert again(connection).token.open().refresh_token == "refresh-2"
    assert provider_server.to(REVOKE) == []


# --- one connection now ---------------------------------------------------------------------------------
def test_a_forced_refresh_goes_past_backoff_and_a_refused_client(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    run()
    assert refresh_connection(connection.pk, forced=False, now=NOW).refreshed is False
    assert len(provider_server.to(TOKEN)) == 1
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    outcome = refresh_connection(connection.pk, forced=True, now=NOW)
    assert outcome.refreshed
    assert outcome.connection.status_at(NOW) == ConnectionStatus.CONNECTED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"refresh_token": None}, "nothing_to_refresh"),
        ({"with_token": False}, "nothing_to_refresh"),
        ({"state": "reconnect_required"}, "reconnect_required"),
    ],
)
def test_there_may_be_nothing_to_refresh(delegated: Integration, fields: dict[str, Any], code: str) -> None:
    connection = make_connection(delegated, issued_at=NOW, **fields)
    outcome = refresh_connection(connection.pk, forced=True, now=NOW)
    assert (outcome.refreshed, outcome.code) == (False, code)
    assert outcome.message


def test_a_forced_refresh_that_fails_tells_why_and_keeps_the_token(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    provider_server.answer(TOKEN, status=500)
    outcome = refresh_connection(connection.pk, forced=True, now=NOW)
    assert (outcome.refreshed, outcome.code) == (False, "outage")
    assert outcome.connection.token.open().access_token == "access-token-1"


def test_whoever_waits_for_another_process_gets_its_outcome(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    TokenSchedule.objects.filter(pk=connection.pk).update(
        lease_id=connection.pk, lease_until=NOW + timedelta(seconds=60)
    )
    issued = IssuedToken(TokenSecrets("theirs", "theirs"), NOW, NOW + timedelta(hours=1))

    def other_process_finishes(_seconds: float) -> None:
        store_tokens(connection.pk, connection.workspace_id, connection.token.version, issued)

    outcome = refresh_connection(connection.pk, forced=True, now=NOW, sleep=other_process_finishes)
    assert outcome.refreshed
    assert outcome.connection.token.open().access_token == "theirs"
    assert provider_server.to(TOKEN) == []
