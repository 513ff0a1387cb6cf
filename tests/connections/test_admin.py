"""Operators see everything but secrets, and can do two things."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from integrations.connections.authorization import start_authorization
from integrations.connections.batch import refresh_due
from integrations.models import (
    Connection,
    ConnectionState,
    CustomProvider,
    CustomProviderVersion,
    Integration,
    Token,
    TokenSchedule,
)
from integrations.providers.client_keys import create_key
from integrations.webhooks.endpoints import create_endpoint
from tests.connections.conftest import NOW, TOKEN, token_answer
from tests.factories import PASSWORD, make_connection
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import AuditEvent, User

CANARIES = ("canary-secret", "canary-access", "canary-refresh", "canary-parameter", "canary-config")


@pytest.fixture
def operator(db: None, client: Client) -> Client:
    user = User.objects.create_superuser("root@example.com", PASSWORD)
    client.force_login(user)
    return client


@pytest.fixture
def rows(delegated: Integration, alice: User) -> list[Any]:
    """One of everything, full of canaries."""
    delegated.client_secret = "canary-secret"
    delegated.parameters = {"password": "canary-parameter"}
    delegated.save()
    version = CustomProviderVersion.objects.get()
    value = {"label": "L", "key": "k", "value": "canary-config"}
    CustomProviderVersion.objects.update(definition={**version.definition, "config_values": [value]})
    connection = make_connection(
        delegated,
        access_token="canary-access",
        refresh_token="canary-refresh",
        parameters={"password": "canary-parameter"},
    )
    delegated.parameters = {}
    delegated.save()
    actor = Actor.member(alice)
    pending = start_authorization(delegated, binding="b", user=alice, connection_name="n", actor=actor).pending
    pending.parameters = {"password": "canary-parameter"}
    pending.save()
    delegated.parameters = {"password": "canary-parameter"}
    delegated.save()
    key = create_key(delegated, actor=actor)
    hook = create_endpoint(delegated.workspace, url="https://hooks.example.com/canary-secret", actor=actor)
    return [delegated, connection, CustomProvider.objects.get(), pending, key, hook.endpoint]


def admin_url(row: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:integrations_{row._meta.model_name}_{page}", args=args)


def test_no_secret_is_in_any_list_form_or_history(operator: Client, rows: list[Any]) -> None:
    hidden = [*CANARIES, rows[3].code_verifier, rows[4].private_key.splitlines()[5], rows[5].secret]
    for row in rows:
        for url in (
            admin_url(row, "changelist"),
            f"{admin_url(row, 'changelist')}?q=acme",
            admin_url(row, "change", row.pk),
            admin_url(row, "history", row.pk),
        ):
            answer = operator.get(url)
            assert answer.status_code == 200
            page = answer.content.decode()
            assert not [canary for canary in hidden if canary in page], url


def test_nothing_can_be_added_changed_or_deleted(operator: Client, rows: list[Any]) -> None:
    for row in rows:
        assert operator.get(admin_url(row, "add")).status_code == 403
        assert operator.post(admin_url(row, "change", row.pk), {"provider_id": "x"}).status_code == 403
        assert operator.post(admin_url(row, "delete", row.pk), {"post": "yes"}).status_code == 403
        assert type(row).objects.filter(pk=row.pk).exists()


def test_tokens_are_not_registered() -> None:
    assert not admin.site.is_registered(Token)
    assert not admin.site.is_registered(TokenSchedule)


def act(operator: Client, action: str, *connections: Connection) -> str:
    data = {"action": action, "_selected_action": [str(connection.pk) for connection in connections]}
    url = reverse("admin:integrations_connection_changelist")
    return operator.post(url, data, follow=True).content.decode()


def test_refresh_now_renews_and_tells(
    operator: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    good = make_connection(delegated)
    bare = make_connection(delegated, "bare", refresh_token=None)
    provider_server.answer(TOKEN, json=token_answer())
    page = act(operator, "refresh_now", good, bare)
    assert "renewed." in page
    assert "There is nothing to refresh" in page
    assert Token.objects.get(pk=good.pk).open().access_token == "access-2"
    event = AuditEvent.objects.get(action="connection:refreshed")
    assert (event.actor_kind, event.actor_label) == ("operator", "root@example.com")


def test_requiring_reconnection_stops_a_connection_for_good(
    operator: Client, delegated: Integration, service: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW, due_at=NOW)
    unattended = make_connection(service, refresh_token=None)
    page = act(operator, "require_reconnection", connection, unattended)
    assert "1 of 2 connections" in page
    stopped = Connection.objects.get(pk=connection.pk)
    assert stopped.state == ConnectionState.RECONNECT_REQUIRED
    assert stopped.last_error_code == "required_by_operator"
    assert stopped.token.version == connection.token.version + 1
    TokenSchedule.objects.filter(pk=unattended.pk).update(refresh_due_at=None)
    assert refresh_due(now=NOW + timedelta(days=1)).claimed == 0
    assert Connection.objects.get(pk=unattended.pk).state == ConnectionState.CONNECTED


def test_staff_without_the_permission_cannot_act(client: Client, delegated: Integration) -> None:
    user = User.objects.create_user("staff@example.com", PASSWORD, is_staff=True)
    client.force_login(user)
    connection = make_connection(delegated)
    answer = client.post(
        reverse("admin:integrations_connection_changelist"),
        {"action": "require_reconnection", "_selected_action": [str(connection.pk)]},
    )
    assert answer.status_code == 403
    assert Connection.objects.get(pk=connection.pk).state == ConnectionState.CONNECTED
