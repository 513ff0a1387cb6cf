"""Notices: what begins or ends is told once, in the transaction of the change."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integrations.connections.batch import refresh_due
from integrations.connections.reconnection import require_reconnection
from integrations.models import Connection, ConnectionState, Integration, Notice, NoticeKind, TokenSchedule
from tests.connections.conftest import NOW, TOKEN, due_connection, token_answer
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor

pytestmark = pytest.mark.django_db


def told() -> list[tuple[str, str, str]]:
    return [(n.event_type, n.connection_name, n.code) for n in Notice.objects.order_by("id")]


def run_again(after: timedelta) -> None:
    TokenSchedule.objects.update(refresh_due_at=NOW)
    refresh_due(now=NOW + after)


def test_trouble_is_told_when_it_begins_and_when_it_ends_and_not_in_between(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    due_connection(delegated)
    provider_server.answer(TOKEN, status=500)
    refresh_due(now=NOW)
    run_again(timedelta(minutes=5))
    provider_server.answer(TOKEN, json=token_answer())
    run_again(timedelta(minutes=10))
    run_again(timedelta(minutes=15))
    assert [event for event, _, _ in told()] == ["connection.degraded", "connection.recovered"]


def test_a_dead_grant_is_told_with_its_code_and_its_reference(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    refresh_due(now=NOW)
    assert told() == [("connection.reconnect_required", "default", "invalid_grant")]
    notice = Notice.objects.get()
    assert notice.reference == Connection.objects.get(pk=connection.pk).last_error_reference
    assert (notice.workspace_id, notice.at) == (delegated.workspace_id, NOW)


def test_a_refused_client_is_one_alarm_for_all_connections_of_the_integration(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    for name in ("default", "second", "third"):
        due_connection(delegated, name=name)
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    refresh_due(now=NOW)
    assert told() == [("integration.misconfigured", "", "invalid_client")]


def test_a_consent_that_somebody_asks_for_anew_is_told_too(delegated: Integration) -> None:
    connection = due_connection(delegated)
    require_reconnection(connection, actor=Actor.operator(), now=NOW)
    require_reconnection(connection, actor=Actor.operator(), now=NOW)
    assert told() == [("connection.reconnect_required", "default", "required_by_operator")]
    assert Connection.objects.get(pk=connection.pk).state == ConnectionState.RECONNECT_REQUIRED
    assert Notice.objects.get().kind == NoticeKind.RECONNECT_REQUIRED


def test_names_stay_when_the_connection_is_deleted(delegated: Integration) -> None:
    connection = due_connection(delegated)
    require_reconnection(connection, actor=Actor.operator(), now=NOW)
    connection.delete()
    notice = Notice.objects.get()
    assert notice.connection is None
    assert (notice.provider_id, notice.connection_name) == (delegated.provider_id, "default")
