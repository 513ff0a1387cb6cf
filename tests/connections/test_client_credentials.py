"""Service accounts: fetch a token, test the connection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.choices import ChosenScopes
from integrations.connections.client_credentials import fetch_token
from integrations.connections.testing import TestResult
from integrations.connections.testing import test_connection as run_test
from integrations.models import Connection, ConnectionStatus, CustomProvider, GrantType, Integration
from integrations.oauth.errors import ClientRefused, ConfigurationRefused, OAuthError, Throttled
from tests.connections.conftest import INTROSPECT, NOW, TOKEN, USERINFO, token_answer
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.audit import WORKER
from workspaces.models import AuditEvent


def fetch(integration: Integration, **more: Any) -> Connection:
    return fetch_token(integration, actor=WORKER, now=NOW, **more)


def check(integration: Integration, connection: Connection | None = None) -> TestResult:
    return run_test(integration, connection, actor=WORKER, now=NOW)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_token_is_fetched_and_stored(service: Integration, provider_server: ScriptedServer, method: str) -> None:
    service.token_endpoint_auth_method = method
    service.save()
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    connection = fetch(service)
    assert (connection.name, connection.is_default) == ("default", True)
    assert connection.token.open().access_token == "access-2"
    assert connection.schedule.refresh_due_at > NOW
    assert connection.status_at(NOW + timedelta(days=1)) == ConnectionStatus.CONNECTED
    [request] = provider_server.to(TOKEN)
    assert request.form["scope"] == "read write"
    assert ("authorization" in request.headers) == (method == "client_secret_basic")
    assert ("client_secret" in request.form) == (method == "client_secret_post")


def test_several_connections_with_scopes_of_their_own(service: Integration, provider_server: ScriptedServer) -> None:
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    fetch(service)
    second = fetch(service, name="second", chosen=ChosenScopes(None, ("extra",)))
    assert (second.is_default, second.requested_scopes) == (False, ["read", "write", "extra"])
    fetch(service, connection=second)
    assert provider_server.to(TOKEN)[-1].form["scope"] == "read write extra"
    assert Connection.objects.count() == 2


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "json": {"error": "invalid_client"}},
        {"status": 400, "json": {"error": "invalid_scope"}},
        {"status": 500},
        {"body": "<html>"},
        {"status": 404},
    ],
)
def test_a_failed_fetch_leaves_an_existing_connection_as_it_was(
    service: Integration, provider_server: ScriptedServer, answer: dict[str, Any]
) -> None:
    connection = make_connection(service, issued_at=NOW, refresh_token=None)
    before = {k: v for k, v in vars(Connection.objects.get(pk=connection.pk)).items() if k != "_state"}
    provider_server.answer(TOKEN, **answer)
    with pytest.raises(OAuthError):
        fetch(service)
    stored = Connection.objects.select_related("token").get(pk=connection.pk)
    assert {k: v for k, v in vars(stored).items() if k != "_state"} == before
    assert stored.token.open().access_token == "access-token-1"
    assert AuditEvent.objects.filter(action="connection:failed").exists()


def test_a_refused_client_is_a_misconfiguration_until_a_fetch_succeeds(
    service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    with pytest.raises(ClientRefused):
        fetch(service)
    service.refresh_from_db()
    assert service.client_error_code == "invalid_grant"
    assert not Connection.objects.exists()
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    fetch(service)
    service.refresh_from_db()
    assert service.client_error_code == ""


def test_a_pause_that_the_provider_asked_for_is_kept(service: Integration, provider_server: ScriptedServer) -> None:
    provider_server.answer(TOKEN, status=429, headers={"Retry-After": "60"})
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            fetch(service)
        assert caught.value.retry_after == 60
    assert len(provider_server.to(TOKEN)) == 1


def test_a_delegated_integration_has_no_token_to_fetch(delegated: Integration) -> None:
    with pytest.raises(ConfigurationRefused):
        fetch(delegated)


# --- Test connection ------------------------------------------------------------------------------------
def test_testing_a_service_account_fetches_and_stores_a_token(
    service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None))
    result = check(service)
    assert (result.ok, result.code) == (True, "ok")
    assert result.expires_at == NOW + timedelta(hours=1)
    assert [(step.name, step.ok) for step in result.steps] == [
        ("resolve", True), ("reach", True), ("authenticate", True), ("receive", True),
    ]  # fmt: skip
    assert all(step.duration_ms is not None for step in result.steps)
    assert Connection.objects.get().token.open().access_token == "access-2"
    assert AuditEvent.objects.get(action="connection:tested").detail["code"] == "ok"


@pytest.mark.parametrize(
    ("answer", "code", "steps"),
    [
        ({"status": 401, "json": {"error": "invalid_client"}}, "invalid_client", [True, True, False, None]),
        ({"body": "<html>"}, "html_answer", [True, True, True, False]),
        ({"status": 500}, "outage", [True, False, None, None]),
        ({"status": 404}, "wrong_endpoint", [True, False, None, None]),
    ],
)
def test_a_failed_test_says_where_it_stopped(
    service: Integration, provider_server: ScriptedServer, answer: dict[str, Any], code: str, steps: list[bool | None]
) -> None:
    provider_server.answer(TOKEN, **answer)
    result = check(service)
    assert (result.ok, result.code, result.expires_at) == (False, code, None)
    assert [step.ok for step in result.steps] == steps
    assert next(step for step in result.steps if step.ok is False).detail == result.message


def test_an_address_that_is_not_allowed_stops_at_the_first_step(service: Integration, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = []
    result = check(service)
    assert (result.code, [step.ok for step in result.steps]) == ("address_refused", [False, None, None, None])


def test_without_credentials_there_is_nothing_to_test(service: Integration) -> None:
    service.client_id = ""
    service.save()
    result = check(service)
    assert (result.ok, result.code) == (False, "not_configured")


def test_a_delegated_connection_is_tested_at_userinfo(
    delegated: Integration, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    connection = make_connection(delegated, issued_at=NOW - timedelta(days=3))  # its expiry is not what counts
    provider_server.answer(USERINFO, json={"sub": "u1", "email": "ann@example.com"})
    result = check(delegated, connection)
    assert result.ok
    assert "ann@example.com" in result.message
    assert provider_server.to(TOKEN) == []


def test_a_stale_access_token_is_renewed_by_the_test(
    delegated: Integration, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    connection = make_connection(delegated, issued_at=NOW)
    provider_server.answer(USERINFO, status=401)
    provider_server.answer(TOKEN, json=token_answer())
    result = check(delegated, connection)
    assert result.ok
    assert result.expires_at == NOW + timedelta(hours=1)
    connection = Connection.objects.get(pk=connection.pk)
    assert connection.token.open().access_token == "access-2"


def test_a_token_that_the_provider_refuses_fails_although_it_has_not_expired(
    delegated: Integration, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    connection = make_connection(delegated, issued_at=NOW, refresh_token=None)
    provider_server.answer(USERINFO, status=401)
    result = check(delegated, connection)
    assert (result.ok, result.code) == (False, "invalid_token")
    assert [step.ok for step in result.steps] == [True, True, False, None]


@pytest.mark.parametrize(("active", "ok"), [(True, True), (False, False)])
def test_without_userinfo_it_is_introspected(
    delegated: Integration,
    provider_server: ScriptedServer,
    define: Callable[..., CustomProvider],
    active: bool,
    ok: bool,
) -> None:
    define(introspection_endpoint=f"{provider_server.url}{INTROSPECT}")
    connection = make_connection(delegated, issued_at=NOW, refresh_token=None)
    provider_server.answer(INTROSPECT, json={"active": active})
    result = check(delegated, connection)
    assert result.ok is ok
    assert provider_server.to(INTROSPECT)[0].form["token"] == "access-token-1"


def test_without_either_it_is_refreshed(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    provider_server.answer(TOKEN, json=token_answer())
    result = check(delegated, connection)
    assert result.ok
    assert len(provider_server.to(TOKEN)) == 1


def test_a_refresh_that_is_refused_fails_the_test(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    result = check(delegated, connection)
    assert (result.ok, result.code) == (False, "invalid_grant")
    assert Connection.objects.get(pk=connection.pk).status_at(NOW) == ConnectionStatus.RECONNECT_REQUIRED


@pytest.mark.parametrize(
    ("fields", "code"), [({"with_token": False}, "not_connected"), ({"refresh_token": None}, "untestable")]
)
def test_sometimes_no_call_can_tell(delegated: Integration, fields: dict[str, Any], code: str) -> None:
    connection = make_connection(delegated, issued_at=NOW, **fields)
    assert check(delegated, connection).code == code
    assert check(delegated, None).code == "not_connected"


def test_a_builtin_provider_is_tested_the_same_way(service: Integration) -> None:
    orphan = make_integration(service.workspace, "custom_gone", GrantType.CLIENT_CREDENTIALS)
    assert check(orphan).code == "provider_missing"
