"""Whole lives of connections against a live authorization server: the sandbox, with rotation and real revocation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.connections.authorization import start_authorization
from integrations.connections.batch import refresh_due
from integrations.connections.choices import ChosenScopes
from integrations.connections.client_credentials import fetch_token
from integrations.connections.completion import complete_authorization
from integrations.connections.refresh import refresh_connection
from integrations.connections.revocation import disconnect
from integrations.connections.testing import test_connection as run_test
from integrations.connections.tokens import usable_token
from integrations.models import Connection, ConnectionStatus, GrantType, Integration, TokenSchedule
from tests.factories import make_integration
from tests.servers.sandbox import SandboxServer, sandbox_server
from workspaces.audit import WORKER, Actor
from workspaces.models import User, Workspace

__all__ = ["sandbox_server"]  # a fixture


@pytest.fixture
def sandbox(sandbox_server: SandboxServer, settings: Any) -> SandboxServer:
    settings.SANDBOX_BASE_URL = sandbox_server.base_url
    settings.OUTBOUND_ALLOWED_HOSTS = [sandbox_server.host_port]
    return sandbox_server


@pytest.fixture
def delegated_sandbox(workspace: Workspace, sandbox: SandboxServer) -> Integration:
    return make_integration(workspace, "sandbox", client_id=sandbox.client_id, client_secret=sandbox.client_secret)


def connect(integration: Integration, sandbox: SandboxServer, user: User, *, allow: bool = True) -> Any:
    started = start_authorization(
        integration,
        binding="browser",
        user=user,
        chosen=ChosenScopes(additional=("notes:read",)),
        actor=Actor.member(user),
    )
    brought_back = sandbox.decide(started.url, allow=allow)
    return complete_authorization(list(brought_back.items()), binding="browser", user=user)


def stored(outcome: Any) -> Connection:
    return Connection.objects.select_related("integration", "token", "schedule").get(pk=outcome.connection_id)


def test_from_consent_to_revocation(delegated_sandbox: Integration, sandbox: SandboxServer, alice: User) -> None:
    outcome = connect(delegated_sandbox, sandbox, alice)
    assert outcome.ok, outcome
    connection = stored(outcome)
    assert connection.account["label"] == sandbox.email
    assert sorted(connection.granted_scopes) == ["notes:read", "profile"]
    first = connection.token.open()
    assert sandbox.is_active(first.access_token)

    # Two-minute tokens are renewed by schedule, unread, and rotate.
    TokenSchedule.objects.update(refresh_due_at=timezone.now() - timedelta(seconds=1))
    assert refresh_due().renewed == 1
    second = stored(outcome).token.open()
    assert second.refresh_token != first.refresh_token
    assert refresh_connection(connection.pk, forced=True).refreshed
    connection = stored(outcome)
    third = connection.token.open()
    assert third.refresh_token not in (first.refresh_token, second.refresh_token)

    result = run_test(delegated_sandbox, connection, actor=WORKER)
    assert result.ok, result
    assert usable_token(connection, actor=WORKER).access_token == third.access_token

    assert disconnect(connection, actor=WORKER).result == "revoked"
    assert not sandbox.is_active(third.access_token)
    assert stored(outcome).status_at(timezone.now()) == ConnectionStatus.CONFIGURED


def test_a_refused_consent_leaves_everything_as_it_was(
    delegated_sandbox: Integration, sandbox: SandboxServer, alice: User
) -> None:
    first = connect(delegated_sandbox, sandbox, alice)
    before = stored(first).token.open()
    second = connect(delegated_sandbox, sandbox, alice, allow=False)
    assert (second.ok, second.code) == (False, "access_denied")
    assert stored(first).token.open() == before
    assert sandbox.is_active(before.access_token)


def test_a_grant_that_was_revoked_elsewhere_asks_for_a_person(
    delegated_sandbox: Integration, sandbox: SandboxServer, alice: User
) -> None:
    outcome = connect(delegated_sandbox, sandbox, alice)
    tokens = stored(outcome).token.open()
    sandbox.post_as_client(sandbox.revocation_endpoint, {"token": tokens.refresh_token or ""})
    assert refresh_connection(outcome.connection_id, forced=True).code == "invalid_grant"
    assert stored(outcome).status_at(timezone.now()) == ConnectionStatus.RECONNECT_REQUIRED


def test_a_wrong_secret_is_a_misconfiguration_that_ends_when_it_is_corrected(
    delegated_sandbox: Integration, sandbox: SandboxServer, alice: User
) -> None:
    outcome = connect(delegated_sandbox, sandbox, alice)
    delegated_sandbox.client_secret = "wrong"
    delegated_sandbox.save()
    assert refresh_connection(outcome.connection_id, forced=True).code == "invalid_client"
    assert stored(outcome).status_at(timezone.now()) == ConnectionStatus.MISCONFIGURED
    delegated_sandbox.client_secret = sandbox.client_secret
    delegated_sandbox.save()
    assert refresh_connection(outcome.connection_id, forced=True).refreshed
    assert stored(outcome).status_at(timezone.now()) == ConnectionStatus.CONNECTED


def test_a_service_account_fetches_tests_and_disconnects(workspace: Workspace, sandbox: SandboxServer) -> None:
    integration = make_integration(
        workspace,
        "sandbox",
        GrantType.CLIENT_CREDENTIALS,
        client_id=sandbox.service_client_id,
        client_secret=sandbox.service_client_secret,
    )
    connection = fetch_token(integration, actor=WORKER)
    token = usable_token(connection, actor=WORKER)
    assert sandbox.is_active(token.access_token)
    assert token.scopes == ["profile"]
    assert run_test(integration, connection, actor=WORKER).ok
    connection.refresh_from_db()
    assert disconnect(connection, actor=WORKER).result == "revoked"
