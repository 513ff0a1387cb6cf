"""Reading a token: never an expired one, one provider call for many readers, a warning before a refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from integrations.connections import refresh, tokens
from integrations.connections.batch import refresh_due
from integrations.connections.commits import DatabaseAway
from integrations.connections.errors import TokenUnavailable
from integrations.connections.tokens import UsableToken, find_connection, usable_token
from integrations.models import Connection, GrantType, Integration, Token, TokenSchedule
from tests.connections.conftest import NOW, TOKEN, define_provider, token_answer
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import ScriptedServer
from workspaces import audit
from workspaces.audit import WORKER
from workspaces.models import AuditEvent, Workspace


def read(connection: Connection, **more: Any) -> UsableToken:
    connection = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
    return usable_token(connection, **{"actor": WORKER, "now": NOW, **more})


def test_a_valid_token_is_served_without_asking_the_provider(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW, granted_scopes=["read"])
    token = read(connection)
    assert token.access_token == "access-token-1"
    assert (token.token_type, token.scopes, token.warning) == ("Bearer", ["read"], None)
    assert token.expires_at == NOW + timedelta(hours=1)
    assert "access-token-1" not in repr(token)
    assert provider_server.requests == []


def test_each_read_is_recorded_without_the_token(delegated: Integration) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    read(connection)
    audit.flush()
    event = AuditEvent.objects.get(action="token:read")
    assert (event.target_kind, event.target_id) == ("connection", str(connection.pk))
    assert "access-token-1" not in str(vars(event))


def test_an_expired_token_is_renewed_on_read(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(hours=2))
    provider_server.answer(TOKEN, json=token_answer())
    assert read(connection).access_token == "access-2"
    assert len(provider_server.to(TOKEN)) == 1


def test_a_token_without_a_lifetime_is_served_for_ever(delegated: Integration) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(days=900), lifetime=None)
    token = read(connection, min_ttl=3600)
    assert (token.access_token, token.expires_at, token.warning) == ("access-token-1", None, None)


@pytest.mark.parametrize(
    ("age", "min_ttl", "calls"),
    [
        (3600 - 61, 60, 0),
        (3600 - 59, 60, 1),
        (1700, 10_000, 0),  # capped at half the lifetime
        (1900, 10_000, 1),
        (3599, 0, 0),
    ],
)
def test_min_ttl_asks_for_that_much_life(
    delegated: Integration, provider_server: ScriptedServer, age: int, min_ttl: int, calls: int
) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(seconds=age))
    provider_server.answer(TOKEN, json=token_answer())
    assert read(connection, min_ttl=min_ttl).warning is None
    assert len(provider_server.to(TOKEN)) == calls


def test_when_renewal_fails_a_valid_token_is_served_with_a_warning(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(minutes=59, seconds=30))
    provider_server.answer(TOKEN, status=500)
    token = read(connection)
    assert token.access_token == "access-token-1"
    assert token.warning is not None
    assert "failure" in token.warning
    assert read(connection).warning  # backoff: it is not asked again
    assert len(provider_server.to(TOKEN)) == 1


def test_a_valid_token_is_not_withheld_while_somebody_else_renews_it(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    real = tokens.refresh_connection

    def refresh_without_waiting(*args: Any, wait_seconds: float, **more: Any) -> Any:
        waited.append(wait_seconds)
        return real(*args, wait_seconds=0, **more)

    monkeypatch.setattr(tokens, "refresh_connection", refresh_without_waiting)
    short = make_connection(delegated, "short", issued_at=NOW - timedelta(minutes=59, seconds=30))
    expired = make_connection(delegated, "expired", issued_at=NOW - timedelta(hours=2))
    TokenSchedule.objects.update(lease_id=short.pk, lease_until=NOW + timedelta(seconds=60))
    token = read(short)
    assert token.access_token == "access-token-1"
    assert "under way" in (token.warning or "")
    with pytest.raises(TokenUnavailable) as caught:
        read(expired)
    assert (caught.value.code, caught.value.retry_after) == ("temporarily_unavailable", 1)
    assert waited == [2.0, 25.0]
    assert provider_server.requests == []


def test_a_valid_token_is_served_although_the_database_went_away_during_its_renewal(
    delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: Any, **_more: Any) -> Any:
        raise DatabaseAway("away")

    provider_server.answer(TOKEN, json=token_answer())
    monkeypatch.setattr(tokens, "refresh_connection", away)
    token = read(make_connection(delegated, "short", issued_at=NOW - timedelta(minutes=59, seconds=30)))
    assert token.access_token == "access-token-1"
    assert "database" in (token.warning or "")
    with pytest.raises(TokenUnavailable):
        read(make_connection(delegated, "expired", issued_at=NOW - timedelta(hours=2)))


def test_a_valid_token_that_cannot_be_renewed_is_served_with_a_warning(delegated: Integration) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(minutes=59, seconds=30), refresh_token=None)
    assert "without a person" in (read(connection).warning or "")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 400, "json": {"error": "invalid_grant"}}, "reconnect_required"),
        ({"status": 401, "json": {"error": "invalid_client"}}, "misconfigured"),
        ({"status": 400, "json": {"error": "invalid_scope"}}, "misconfigured"),
        ({"status": 503, "headers": {"Retry-After": "40"}}, "temporarily_unavailable"),
        ({"body": "<html>"}, "temporarily_unavailable"),
    ],
)
def test_an_expired_token_is_never_handed_out(
    delegated: Integration, provider_server: ScriptedServer, answer: dict[str, Any], code: str
) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(hours=2))
    provider_server.answer(TOKEN, **answer)
    for _ in range(2):
        with pytest.raises(TokenUnavailable) as caught:
            read(connection)
        assert caught.value.code == code
        assert caught.value.message
        assert (caught.value.retry_after is not None) == (code == "temporarily_unavailable")
    assert len(provider_server.to(TOKEN)) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"with_token": False}, "not_connected"),
        ({"state": "configured"}, "not_connected"),
        ({"state": "reconnect_required"}, "reconnect_required"),
        ({"issued_at": NOW - timedelta(hours=2), "refresh_token": None}, "reconnect_required"),
    ],
)
def test_there_may_be_no_token(delegated: Integration, fields: dict[str, Any], code: str) -> None:
    connection = make_connection(delegated, **{"issued_at": NOW, **fields})
    with pytest.raises(TokenUnavailable) as caught:
        read(connection)
    assert caught.value.code == code


def test_a_service_account_whose_token_ran_out_just_fetches_another(
    service: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(service, issued_at=NOW - timedelta(days=3), refresh_token=None)
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    assert read(connection).access_token == "access-2"


def test_even_a_fresh_token_may_be_short(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(hours=2))
    provider_server.answer(TOKEN, json=token_answer(expires_in=0))
    with pytest.raises(TokenUnavailable):
        read(connection)


def test_what_no_key_opens_is_said_and_kept(delegated: Integration, settings: Any) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    keys = settings.FERNET_KEYS
    settings.FERNET_KEYS = ["A" * 43 + "="]
    with pytest.raises(TokenUnavailable) as caught:
        read(connection)
    assert caught.value.code == "temporarily_unavailable"
    settings.FERNET_KEYS = keys
    assert read(connection).access_token == "access-token-1"


def test_a_read_that_cannot_be_recorded_is_none(delegated: Integration, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    monkeypatch.setattr("workspaces.audit_buffer.HARD_LIMIT", 0)
    with pytest.raises(TokenUnavailable) as caught:
        read(connection)
    assert (caught.value.code, caught.value.retry_after) == ("temporarily_unavailable", 10)


def test_a_connection_is_found_by_its_integration_and_name(workspace: Workspace, delegated: Integration) -> None:
    default = make_connection(delegated)
    named = make_connection(delegated, "second")
    make_connection(make_integration(make_workspace(), "custom_acme"), "theirs")
    find = find_connection
    assert find(workspace, "custom_acme", "authorization_code") == default
    assert find(workspace, "custom_acme", "authorization_code", "second") == named
    assert find(workspace, "custom_acme", "authorization_code", "theirs") is None
    assert find(workspace, "custom_acme", "client_credentials") is None


# --- many at once ---------------------------------------------------------------------------------------
def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in so many threads at once; each closes its database connection."""

    def run(number: int) -> None:
        try:
            work(number)
        finally:
            database.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def a_connection(server: ScriptedServer, **fields: Any) -> Connection:
    workspace = make_workspace()
    define_provider(workspace, server)
    integration = make_integration(workspace, "custom_acme", GrantType.AUTHORIZATION_CODE)
    return make_connection(integration, **fields)


@pytest.mark.django_db(transaction=True)
def test_fifty_readers_of_one_expired_token_make_one_provider_call(provider_server: ScriptedServer) -> None:
    connection = a_connection(provider_server, issued_at=timezone.now() - timedelta(hours=2))
    answered = threading.Event()
    provider_server.answer(TOKEN, json=token_answer(), wait=answered)
    start, got, lock = threading.Barrier(50), [], threading.Lock()

    def reader(number: int) -> None:
        row = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
        database.close()  # the pool is smaller than the crowd
        start.wait(30)
        if number == 0:
            answered.set()
        token = usable_token(row, actor=WORKER)
        with lock:
            got.append(token.access_token)

    in_threads(50, reader)
    assert got == ["access-2"] * 50
    assert len(provider_server.to(TOKEN)) == 1


@pytest.mark.django_db(transaction=True)
def test_readers_in_other_processes_wait_for_the_lease_and_make_no_call(
    provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the in-process grouping every thread is like a process of its own.
    monkeypatch.setattr(refresh._flights, "run", lambda _key, work, **_more: work())
    connection = a_connection(provider_server, issued_at=timezone.now() - timedelta(hours=2))
    provider_server.answer(TOKEN, json=token_answer())
    got: list[str] = []

    def reader(_number: int) -> None:
        row = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
        got.append(usable_token(row, actor=WORKER).access_token)

    in_threads(8, reader)
    assert got == ["access-2"] * 8
    assert len(provider_server.to(TOKEN)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_reader_and_a_batch_never_spend_the_same_refresh_token(provider_server: ScriptedServer) -> None:
    connection = a_connection(
        provider_server,
        issued_at=timezone.now() - timedelta(hours=2),
        due_at=timezone.now() - timedelta(hours=1),
    )
    provider_server.answer(TOKEN, json=token_answer())

    def work(number: int) -> None:
        if number % 2:
            refresh_due()
        else:
            row = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
            usable_token(row, actor=WORKER)

    in_threads(8, work)
    spent = [request.form["refresh_token"] for request in provider_server.to(TOKEN)]
    assert spent == ["refresh-token-1"]


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_in_a_transaction_or_with_a_connection_while_the_provider_thinks(
    provider_server: ScriptedServer,
) -> None:
    connection = a_connection(provider_server, issued_at=timezone.now() - timedelta(hours=2))
    slow, asked = threading.Event(), threading.Event()
    provider_server.answer(TOKEN, json=token_answer(), wait=slow)
    done: list[str] = []

    def work(number: int) -> None:
        if number == 0:
            row = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
            done.append(usable_token(row, actor=WORKER).access_token)
            return
        # Meanwhile everything about the row can be read and written by others.
        while not provider_server.to(TOKEN):
            asked.wait(0.01)
        Token.objects.filter(pk=connection.pk).update(has_refresh_token=True)
        TokenSchedule.objects.filter(pk=connection.pk).update(attempts=0)
        Connection.objects.filter(pk=connection.pk).update(name="renamed")
        slow.set()

    in_threads(2, work)
    assert done == ["access-2"]
    assert Connection.objects.get(pk=connection.pk).name == "renamed"
