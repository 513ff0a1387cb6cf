"""The short way of storing answers: the same as the general way does, for those only that it is made for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db import connection as database

from integrations.connections import applying
from integrations.connections.quick_apply import store_healthy
from integrations.connections.renewal import Applied, Renewed
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    IssuedToken,
    Token,
    TokenSchedule,
    TokenSecrets,
)
from tests.connections.conftest import NOW, due_connection
from tests.factories import make_integration, make_workspace
from workspaces.audit import WORKER
from workspaces.models import AuditEvent

ODD = "ü 漢 \U0001f511 ' \" \\ %s {x}"


def answer_for(connection: Connection, **changes: Any) -> Renewed:
    secrets = TokenSecrets(f"new {ODD}", "rotated", "Bearer")
    issued = IssuedToken(secrets, NOW, NOW + timedelta(hours=1), NOW + timedelta(days=30))
    renewed = Renewed(
        connection_id=connection.pk,
        workspace_id=connection.workspace_id,
        version=connection.token.version,
        issued=issued,
        due_at=NOW + timedelta(minutes=45),
        requested_scopes=["read", ODD],
        granted_scopes=["read"],
        duration_ms=12,
        label=str(connection),
    )
    return replace(renewed, **changes)


def rows_of(connection: Connection) -> dict[str, Any]:
    """All that a renewal may change, in a form that can be compared between connections."""
    own = {"id", "name", "connection_id", "ciphertext", "extra", "created_at", "updated_at", "version", "is_default"}
    event = AuditEvent.objects.filter(target_id=str(connection.pk)).values().last() or {}
    token = Token.objects.get(pk=connection.pk)
    return {
        "connection": _without(own, Connection.objects.get(pk=connection.pk).__dict__),
        "token": _without(own, token.__dict__),
        "secrets": token.open(),
        "versions": token.version - connection.token.version,
        "schedule": _without(own, TokenSchedule.objects.get(pk=connection.pk).__dict__),
        "event": {
            name: value for name, value in event.items() if name not in {"id", "at", "target_id", "target_label"}
        },
    }


def _without(names: set[str], values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names and not name.startswith("_")}


def test_it_writes_what_the_general_way_writes(delegated: Integration, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = {"last_error_code": "invalid_client", "last_error_message": "No.", "last_error_at": NOW}
    short, general = (due_connection(delegated, name, **trouble) for name in ("short", "general"))
    TokenSchedule.objects.update(attempts=3, lease_id=short.pk, lease_until=NOW)
    assert store_healthy([answer_for(short)], now=NOW, actor=WORKER) == {short.pk}
    monkeypatch.setattr(applying, "store_healthy", lambda *_args, **_kwargs: set())
    assert applying.apply_renewal(answer_for(general), now=NOW, actor=WORKER) == Applied.STORED
    assert rows_of(short) == rows_of(general)
    labels = AuditEvent.objects.filter(action="connection:refreshed").values_list("target_label", flat=True)
    assert set(labels) == {str(short), str(general)}
    assert Connection.objects.get(pk=short.pk).updated_at > short.updated_at
    assert rows_of(short)["secrets"].access_token == f"new {ODD}"


def test_what_an_answer_does_not_say_stays(delegated: Integration) -> None:
    connection = due_connection(delegated, requested_scopes=["a"], granted_scopes=["b"])
    issued = IssuedToken(TokenSecrets("only access"), NOW, None, None)
    answer = answer_for(connection, issued=issued, due_at=None, requested_scopes=None, granted_scopes=None)
    assert store_healthy([answer], now=NOW, actor=WORKER) == {connection.pk}
    connection.refresh_from_db()
    assert (connection.requested_scopes, connection.granted_scopes) == (["a"], ["b"])
    token = Token.objects.get(pk=connection.pk)
    assert (token.has_refresh_token, token.expires_at, token.refresh_token_expires_at) == (False, None, None)
    assert TokenSchedule.objects.get(pk=connection.pk).refresh_due_at is None


def test_of_many_answers_those_alone_are_stored_that_need_nothing_else(delegated: Integration) -> None:
    good = [due_connection(delegated, f"good-{number}") for number in range(3)]
    superseded, gone, degraded, stolen = (due_connection(delegated, name) for name in ("s", "g", "d", "t"))
    refused = due_connection(make_integration(make_workspace(), "custom_acme", client_error_code="invalid_client"))
    Connection.objects.filter(pk=degraded.pk).update(state=ConnectionState.DEGRADED)
    answers = [answer_for(connection) for connection in (*good, degraded, refused)]
    answers += [answer_for(superseded, version=superseded.token.version - 1), answer_for(gone)]
    answers += [answer_for(stolen, workspace_id=refused.workspace_id)]
    Token.objects.filter(pk=gone.pk).delete()
    assert store_healthy(answers, now=NOW, actor=WORKER) == {connection.pk for connection in good}
    for connection in (superseded, degraded, refused, stolen):
        assert Token.objects.get(pk=connection.pk).open().access_token == "access-token-1"
        assert TokenSchedule.objects.get(pk=connection.pk).refresh_due_at < NOW
    events = AuditEvent.objects.filter(action="connection:refreshed").values_list("target_id", flat=True)
    assert sorted(events) == sorted(str(connection.pk) for connection in good)


def test_a_second_commit_of_the_same_answer_stores_nothing_and_counts_as_stored(delegated: Integration) -> None:
    connection = due_connection(delegated)
    answer = answer_for(connection)
    assert applying.apply_renewal(answer, now=NOW, actor=WORKER) == Applied.STORED
    assert applying.apply_renewal(answer, now=NOW, actor=WORKER) == Applied.STORED
    assert AuditEvent.objects.filter(action="connection:refreshed").count() == 1
    assert Token.objects.get(pk=connection.pk).version == connection.token.version + 1


def test_an_event_keeps_what_both_databases_can(delegated: Integration) -> None:
    connection = due_connection(delegated)
    store_healthy([answer_for(connection, label="a\x00b\ud800" + "c" * 400)], now=NOW, actor=WORKER)
    label = AuditEvent.objects.get(action="connection:refreshed").target_label
    assert label.startswith("ab?ccc")
    assert len(label) == 254


def test_what_the_short_way_cannot_take_goes_the_general_way(
    delegated: Integration, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = due_connection(delegated)

    def stumble(*_args: Any, **_kwargs: Any) -> Any:
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(applying, "store_healthy", stumble)
    assert applying.apply_renewal(answer_for(connection), now=NOW, actor=WORKER) == Applied.STORED
    assert Token.objects.get(pk=connection.pk).open().refresh_token == "rotated"
    assert "could not be stored the short way" in caplog.text


def test_a_database_that_is_away_is_not_taken_for_a_bad_answer(
    delegated: Integration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: Any, **_kwargs: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(applying, "store_healthy", away)
    with pytest.raises(OperationalError):
        applying.apply_renewal(answer_for(due_connection(delegated)), now=NOW, actor=WORKER)


def test_answers_kept_by_an_older_release_have_no_label_and_are_stored_under_the_connections_name(
    delegated: Integration,
) -> None:
    connection = due_connection(delegated)
    assert applying.apply_renewal(answer_for(connection, label=""), now=NOW, actor=WORKER) == Applied.STORED
    assert AuditEvent.objects.get(action="connection:refreshed").target_label == str(connection)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(database.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_trouble_that_is_written_at_the_same_moment_is_seen_under_the_lock() -> None:
    connection = due_connection(make_integration(make_workspace(), "custom_acme"))
    stored: list[Any] = []

    def store() -> None:
        try:
            stored.append(store_healthy([answer_for(connection)], now=NOW, actor=WORKER))
        finally:
            database.close()

    thread = threading.Thread(target=store)
    with transaction.atomic():
        Token.objects.select_for_update().get(pk=connection.pk)
        Connection.objects.filter(pk=connection.pk).update(state=ConnectionState.DEGRADED)
        thread.start()
        with database.cursor() as cursor:
            for _ in range(600):
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone() != (0,):
                    break
                time.sleep(0.01)
    thread.join(30)
    assert stored == [set()]
    assert Connection.objects.get(pk=connection.pk).state == ConnectionState.DEGRADED
    assert Token.objects.get(pk=connection.pk).version == connection.token.version
