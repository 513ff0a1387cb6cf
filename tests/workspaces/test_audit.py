"""The audit trail: append-only, complete under failures, readable, exportable."""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
import uuid
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from tests.factories import make_member, make_user, make_workspace
from tests.workspaces.conftest import OPERATOR
from workspaces import audit, audit_buffer, audit_retention
from workspaces.audit import WORKER, Actor, AuditAction, record, record_soon
from workspaces.audit_log import AuditFilter, export_csv, find_events, read_page
from workspaces.models import ActorKind, AppendOnlyError, AuditEvent, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db


def read_token(workspace_id: uuid.UUID, label: str = "read") -> None:
    record_soon(
        workspace_id, AuditAction.TOKEN_READ, OPERATOR, target_kind="connection", target_id="c1", target_label=label
    )


def labels() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("target_label", flat=True))


# --- append-only -----------------------------------------------------------------------------------------


def test_an_event_is_never_changed_or_deleted(workspace: Workspace) -> None:
    event = record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR)
    event.action = "nothing:happened"
    attempts: list[Any] = [
        event.save,
        event.delete,
        lambda: AuditEvent.objects.update(action="x"),
        lambda: AuditEvent.objects.bulk_update([event], ["action"]),
        lambda: AuditEvent.objects.all().delete(),
        lambda: workspace.audit_events.all().delete(),
        lambda: workspace.audit_events.update(action="x"),
        lambda: AuditEvent.objects.get().save(update_fields=["action"]),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnlyError):
            attempt()
    assert AuditEvent.objects.get().action == "workspace:changed"


def test_events_go_with_their_workspace(workspace: Workspace) -> None:
    record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR)
    workspace.delete()
    assert not AuditEvent.objects.exists()


def test_an_event_falls_with_the_change_it_tells_of(workspace: Workspace) -> None:
    with transaction.atomic():
        record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR)
        transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()


def test_it_keeps_what_no_database_would_keep(workspace: Workspace) -> None:
    actor = Actor(ActorKind.MEMBER, "1", "nul \x00 and half \ud800 pair")
    record(workspace, AuditAction.WORKSPACE_CHANGED, actor, target_label="x" * 300, detail={"a\x00": ["\udfff\x00"]})
    event = AuditEvent.objects.get()
    assert event.actor_label == "nul  and half ? pair"
    assert event.target_label == "x" * 254
    assert event.detail == {"a": ["?"]}


# --- the buffer ------------------------------------------------------------------------------------------


def test_buffered_events_are_written_on_flush_in_order(workspace: Workspace) -> None:
    for number in range(3):
        read_token(workspace.pk, f"read {number}")
    assert labels() == []
    audit.flush()
    audit.flush()
    assert labels() == ["read 0", "read 1", "read 2"]


def test_the_operators_retention_deletes_old_events_in_bounded_steps(
    workspace: Workspace, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    AuditEvent.objects.all()._raw_delete("default")
    now = datetime(2030, 1, 31, tzinfo=UTC)
    other = make_workspace()
    for day in (1, 2, 3, 29, 2, 30):  # one was written late
        AuditEvent.objects.create(
            workspace=(workspace, other)[day % 2],
            at=now.replace(day=day),
            action="token:read",
            actor_kind=ActorKind.SYSTEM,
            target_label=f"day {day}",
        )
    assert audit_retention.delete_old_events(now) == 0, "0 keeps them for ever"
    settings.AUDIT_RETENTION_DAYS = 20
    monkeypatch.setattr(audit_retention, "BATCH", 2)
    over = iter([0.0, 61.0])
    assert audit_retention.delete_old_events(now, monotonic=lambda: next(over)) == 2, "a run has its time"
    assert audit_retention.delete_old_events(now) == 2
    assert labels() == ["day 29", "day 30"]


def test_an_event_of_a_deleted_workspace_stops_nobody_elses(workspace: Workspace) -> None:
    read_token(uuid.uuid4(), "gone")
    read_token(workspace.pk, "kept")
    audit.flush()
    assert labels() == ["kept"]
    read_token(workspace.pk, "later")
    audit.flush()
    assert labels() == ["kept", "later"]


def test_while_the_database_is_away_events_wait(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_token(workspace.pk, "first")
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(audit_buffer, "_insert", _raise(OperationalError("server closed the connection")))
        audit.flush()
        read_token(workspace.pk, "second")
        audit.flush()
    assert labels() == []
    assert "2 audit events wait" in caplog.text
    audit.flush()
    assert labels() == ["first", "second"]


def test_a_row_the_database_refuses_is_named_in_the_log_and_stops_nobody_elses(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    read_token(workspace.pk, "first")
    poison = audit._buffer._events[0]._replace(actor_kind=None)  # type: ignore[arg-type] # NOT NULL
    audit._buffer.add(poison)
    read_token(workspace.pk, "last")
    with caplog.at_level(logging.ERROR):
        audit.flush()
    assert labels() == ["first", "last"]
    assert "can never be stored: token:read" in caplog.text
    audit.flush()
    assert labels() == ["first", "last"]


def test_what_cannot_be_recorded_is_refused_before_memory_runs_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_buffer, "HARD_LIMIT", 2)
    with monkeypatch.context() as broken:
        broken.setattr(audit_buffer, "_insert", _raise(OperationalError("read-only")))
        for number in range(2):
            read_token(workspace.pk, f"read {number}")
            audit.flush()
        with pytest.raises(audit.AuditBufferFull):
            read_token(workspace.pk, "one too many")
    audit.flush()
    assert labels() == ["read 0", "read 1"]
    read_token(workspace.pk, "later")


def test_buffered_text_is_kept_as_both_databases_can(workspace: Workspace) -> None:
    actor = Actor(ActorKind.API_KEY, "1", 'tab\t, quote", backslash \\N, nul \x00, \ud800 ü' + "x" * 300, uuid.uuid4())
    record_soon(
        workspace.pk,
        AuditAction.TOKEN_READ,
        actor,
        target_kind="connection",
        target_id="c1",
        target_label="line\nend",
        detail={"warning": 'a "quote"\x00'},
    )
    audit.flush()
    event = AuditEvent.objects.get()
    assert event.actor_label == ('tab\t, quote", backslash \\N, nul , ? ü' + "x" * 300)[:254]
    assert (event.target_label, event.detail) == ("line\nend", {"warning": 'a "quote"'})
    assert (event.request_id, event.actor_kind, event.result) == (actor.request_id, "api_key", "ok")
    assert abs((timezone.now() - event.at).total_seconds()) < 60


def test_a_bug_in_writing_loses_no_event(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    read_token(workspace.pk, "first")
    with monkeypatch.context() as broken:
        broken.setattr(audit_buffer, "_insert", _raise(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            audit.flush()
    audit.flush()
    assert labels() == ["first"]


def test_a_forked_child_starts_empty(workspace: Workspace) -> None:
    read_token(workspace.pk, "the parent's")
    child = os.fork()
    if child == 0:
        os._exit(len(audit._buffer._events))
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    audit.flush()
    assert labels() == ["the parent's"]


@pytest.mark.django_db(transaction=True)
def test_the_thread_writes_within_a_second_what_many_threads_read(settings: Any) -> None:
    settings.AUDIT_BACKGROUND_FLUSH = True
    workspace = make_workspace()
    readers = [threading.Thread(target=lambda: [read_token(workspace.pk) for _ in range(25)]) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=10)
    patience = threading.Event()
    for _ in range(100):
        if AuditEvent.objects.count() == 100:
            break
        patience.wait(0.05)
    assert AuditEvent.objects.count() == 100


@pytest.mark.django_db(transaction=True)
def test_a_flush_at_exit_waits_for_the_write_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace()
    read_token(workspace.pk)
    inserting, go_on = threading.Event(), threading.Event()
    insert = audit_buffer._insert

    def slow(events: list[AuditEvent]) -> None:
        inserting.set()
        assert go_on.wait(10)
        insert(events)

    monkeypatch.setattr(audit_buffer, "_insert", slow)

    def write() -> None:
        audit.flush()
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert inserting.wait(10)
    threading.Timer(0.1, go_on.set).start()
    audit.flush()  # the one at exit
    assert AuditEvent.objects.count() == 1
    writer.join(timeout=10)


def _raise(error: Exception) -> Any:
    def insert(_events: list[AuditEvent]) -> None:
        raise error

    return insert


# --- reading ---------------------------------------------------------------------------------------------


@pytest.fixture
def trail(workspace: Workspace, alice: User) -> Workspace:
    """Five events of different people and days, and one of another workspace."""
    bob = make_user("bob@example.com")
    rows = [
        (datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC), AuditAction.WORKSPACE_CHANGED, Actor.member(alice), "Acme"),
        (datetime(2026, 1, 2, 0, 0, tzinfo=UTC), AuditAction.MEMBER_REMOVED, Actor.member(bob), "dora@example.com"),
        (datetime(2026, 1, 2, 12, 0, tzinfo=UTC), AuditAction.TOKEN_READ, WORKER, "github / default"),
        (datetime(2026, 1, 3, 0, 0, tzinfo=UTC), AuditAction.TOKEN_READ, Actor.member(bob), "github / default"),
    ]
    for at, action, actor, label in rows:
        event = audit._event(
            workspace.pk, action, actor, target=None, target_label=label, result=audit.AuditResult.OK, detail=None
        )
        event.at = at
        event.save()
    record(make_workspace(), AuditAction.WORKSPACE_CHANGED, OPERATOR, target_label="theirs")
    return workspace


@pytest.mark.parametrize(
    ("wanted", "hours"),
    [
        (AuditFilter(), ["03T00", "02T12", "02T00", "01T23"]),
        (AuditFilter(action="token:read"), ["03T00", "02T12"]),
        (AuditFilter(actor="BOB@"), ["03T00", "02T00"]),
        (AuditFilter(target="github"), ["03T00", "02T12"]),
        (AuditFilter(since=date(2026, 1, 2)), ["03T00", "02T12", "02T00"]),
        (AuditFilter(until=date(2026, 1, 2)), ["02T12", "02T00", "01T23"]),
        (AuditFilter(since=date(2026, 1, 2), until=date(2026, 1, 2)), ["02T12", "02T00"]),
        (AuditFilter(until=date.max), ["03T00", "02T12", "02T00", "01T23"]),
        (AuditFilter(actor="%"), []),
    ],
)
def test_filters_find_what_they_say(trail: Workspace, wanted: AuditFilter, hours: list[str]) -> None:
    assert [f"{event.at:%dT%H}" for event in find_events(trail, wanted)] == hours


def test_pages_neither_skip_nor_repeat_when_new_events_arrive(workspace: Workspace) -> None:
    for number in range(7):
        record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR, target_label=str(number))
    seen, cursor = [], None
    for _turn in range(3):
        page = read_page(find_events(workspace, AuditFilter()), cursor, size=3)
        seen += [event.target_label for event in page.events]
        cursor = page.next_cursor
        record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR, target_label="new")
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert cursor is None


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_the_export_runs_no_formula(workspace: Workspace, beginning: str) -> None:
    record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR, target_label=f"{beginning}HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO("".join(export_csv(find_events(workspace, AuditFilter()))), newline="")))
    assert rows[0]["target_label"] == f"'{beginning}HYPERLINK(1)"


def test_the_export_page_streams_what_the_filters_show(trail: Workspace, as_alice: Client) -> None:
    answer = as_alice.get("/w/acme/audit/export/?action=token:read")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="acme-audit-')
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode(), newline="")))  # type: ignore[attr-defined]
    assert [row["action"] for row in rows] == ["token:read", "token:read"]
    exported = AuditEvent.objects.get(action="audit:exported")
    assert exported.detail == {"filter": {"action": "token:read"}}
    assert exported.request_id is not None


@pytest.mark.parametrize(
    "query",
    [
        "before=abc",
        "before=-1",
        "before=99999999999999999999999999",
        "before=9999999999999999999",
        "since=yesterday",
        "since=0001-01-01&until=9999-12-31",
        "action=no:such",
        "actor=" + "x" * 5000,
        "target=%00",
        "before=٣",
    ],
)
def test_odd_filters_are_no_errors(trail: Workspace, as_alice: Client, query: str) -> None:
    assert as_alice.get(f"/w/acme/audit/?{query}").status_code == 200
    assert as_alice.get(f"/w/acme/audit/export/?{query}").status_code == 200


def test_htmx_gets_the_results_alone(trail: Workspace, as_alice: Client) -> None:
    part = as_alice.get("/w/acme/audit/?action=token:read", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert part.count("<tr>") == 3


def test_viewers_see_the_log_but_do_not_export(trail: Workspace, client: Client) -> None:
    viewer = make_member(trail, role=Role.VIEWER).user
    client.force_login(viewer)
    page = client.get("/w/acme/audit/")
    assert "Member: removed" in page.content.decode()
    assert "Export" not in page.content.decode()
    assert client.get("/w/acme/audit/export/").status_code == 403


def test_the_log_shows_text_as_text(workspace: Workspace, as_alice: Client) -> None:
    record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR, target_label="<script>x</script>", detail={"<b>": "<i>"})
    page = as_alice.get("/w/acme/audit/").content.decode()
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page
    assert "<i>" not in page


def test_every_action_has_words() -> None:
    for action in AuditAction:
        assert ":" in action.label
        assert "_" not in action.label
    assert AuditAction.API_KEY_CREATED.label == "API key: created"
