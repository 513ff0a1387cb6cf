"""Disconnect and delete (RFC 7009)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.connections import revocation
from integrations.connections.batch import refresh_due
from integrations.connections.revocation import delete_connection, delete_integration, disconnect
from integrations.errors import HasDependants
from integrations.models import (
    Connection,
    ConnectionStatus,
    CustomProvider,
    Integration,
    IssuedToken,
    Token,
    TokenSchedule,
    TokenSecrets,
    store_tokens,
)
from tests.connections.conftest import NOW, REVOKE
from tests.factories import make_connection
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces.audit import WORKER
from workspaces.models import AuditEvent


def test_the_refresh_token_is_revoked_first_and_the_row_stays(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW, due_at=NOW)
    provider_server.answer(REVOKE)
    result = disconnect(connection, actor=WORKER, now=NOW)
    assert result.result == "revoked"
    sent = [(request.form["token"], request.form["token_type_hint"]) for request in provider_server.to(REVOKE)]
    assert sent == [("refresh-token-1", "refresh_token"), ("access-token-1", "access_token")]
    stored = Connection.objects.get(pk=connection.pk)
    assert stored.status_at(NOW) == ConnectionStatus.CONFIGURED
    assert not Token.objects.exists()
    assert TokenSchedule.objects.get().refresh_due_at is None
    assert refresh_due(now=NOW + timedelta(days=1)).claimed == 0
    event = AuditEvent.objects.get(action="connection:disconnected")
    assert event.detail == {"revocation": "revoked"}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"status": 503}, "failed"),
        ({"status": 401, "json": {"error": "invalid_client"}}, "failed"),
        ({"status": 400, "json": {"error": "unsupported_token_type"}}, "unsupported"),
        ({"status": 400, "json": {"error": "invalid_token"}}, "revoked"),
    ],
)
def test_whatever_the_provider_says_the_token_is_forgotten_and_the_result_told(
    delegated: Integration, provider_server: ScriptedServer, answer: dict[str, Any], result: str
) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    provider_server.answer(REVOKE, **answer)
    got = disconnect(connection, actor=WORKER, now=NOW)
    assert (got.result, bool(got.message)) == (result, True)
    assert not Token.objects.exists()


def test_without_a_revocation_endpoint_it_is_unsupported(
    delegated: Integration, define: Callable[..., CustomProvider], provider_server: ScriptedServer
) -> None:
    define(revocation_endpoint="")
    assert disconnect(make_connection(delegated), actor=WORKER).result == "unsupported"
    assert provider_server.requests == []


def test_disconnecting_twice_does_nothing_more(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated)
    provider_server.answer(REVOKE)
    disconnect(connection, actor=WORKER)
    assert disconnect(connection, actor=WORKER).result == "nothing"
    assert len(provider_server.to(REVOKE)) == 2


def test_a_token_renewed_during_the_revocation_is_revoked_too(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    version = connection.token.version

    def renew_meanwhile(received: Received) -> Answer:
        return Answer()

    provider_server.respond(REVOKE, renew_meanwhile)
    issued = IssuedToken(TokenSecrets("newer", "newer-refresh"), NOW, None)
    real = revocation._forget

    def forget(*args: Any, **kwargs: Any) -> bool:
        store_tokens(connection.pk, connection.workspace_id, version, issued)  # only the first time: fenced
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revocation, "_forget", forget)
        assert disconnect(connection, actor=WORKER, now=NOW).result == "revoked"
    sent = [request.form["token"] for request in provider_server.to(REVOKE)]
    assert sent == ["refresh-token-1", "access-token-1", "newer-refresh", "newer"]
    assert not Token.objects.exists()


def test_deleting_a_connection_revokes_first(delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated)
    provider_server.answer(REVOKE)
    assert delete_connection(connection, actor=WORKER).result == "revoked"
    assert not Connection.objects.exists()
    assert AuditEvent.objects.filter(action="connection:deleted").exists()


def test_an_integration_in_use_is_deleted_only_by_force(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated)
    make_connection(delegated, "second")
    make_connection(delegated, "never", with_token=False)
    provider_server.answer(REVOKE)
    with pytest.raises(HasDependants) as caught:
        delete_integration(delegated, actor=WORKER)
    assert caught.value.dependants == ["Connection “default”", "Connection “second”"]
    assert provider_server.requests == []
    delete_integration(delegated, actor=WORKER, force=True)
    assert len(provider_server.to(REVOKE)) == 4
    assert not Integration.objects.exists()
    assert not Connection.objects.exists()
