"""Tasks are wake-ups, commands do the same work; keys rotate without losing anything."""

from __future__ import annotations

import io
import logging
import threading
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from integrations import crypto, rotation, tasks, wake
from integrations.connections import batch, spool
from integrations.connections.renewal import Renewed
from integrations.fields import closed, swap_ciphertext
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    IssuedToken,
    Token,
    TokenSchedule,
    TokenSecrets,
)
from integrations.providers.registry import find_spec
from integrations.providers.setup import save_integration
from tests.connections.conftest import NOW, TOKEN, define_provider, token_answer
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace


def output_of(name: str, *args: str) -> str:
    out = io.StringIO()
    call_command(name, *args, stdout=out)
    return out.getvalue()


def make_due(integration: Integration, count: int) -> list[Connection]:
    long_ago = timezone.now() - timedelta(hours=2)
    return [make_connection(integration, f"c{n}", issued_at=long_ago, due_at=long_ago) for n in range(count)]


def test_the_command_does_the_work_of_a_tick(delegated: Integration, provider_server: ScriptedServer) -> None:
    make_due(delegated, 3)
    provider_server.answer(TOKEN, json=token_answer())
    assert "claimed: 1, renewed: 1" in output_of("refresh_due", "--once", "--limit", "1")
    assert "claimed: 2, renewed: 2" in output_of("refresh_due")
    assert "claimed: 0" in output_of("refresh_due")


@pytest.mark.django_db(transaction=True)
def test_the_tasks_do_it_too_and_close_their_database_connections(provider_server: ScriptedServer) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    first, second = make_due(make_integration(workspace, "custom_acme"), 2)
    provider_server.answer(TOKEN, json=token_answer())
    tasks.refresh_connection(str(first.pk))
    assert database.connection is None
    assert Token.objects.get(pk=first.pk).open().access_token == "access-2"
    tasks.refresh_due()
    assert Token.objects.get(pk=second.pk).open().access_token == "access-2"
    tasks.refresh_due()
    assert len(provider_server.to(TOKEN)) == 2
    tasks.sweep()


@pytest.mark.django_db(transaction=True)
def test_schedules_are_made_anew_and_ends_of_consent_told_by_tasks(provider_server: ScriptedServer) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    [connection] = make_due(make_integration(workspace, "custom_acme"), 1)
    Token.objects.update(has_refresh_token=False, consent_notice_due_at=timezone.now())
    Workspace.objects.update(schedule_stale_since=timezone.now() - timedelta(hours=1))
    tasks.reschedule()
    assert TokenSchedule.objects.get().refresh_due_at is None
    assert Workspace.objects.get().schedule_stale_since is None
    tasks.forecast_consents()
    assert database.connection is None
    assert Connection.objects.get(pk=connection.pk).state == ConnectionState.RECONNECT_REQUIRED


@pytest.mark.django_db(transaction=True)
def test_a_second_batch_in_the_same_process_leaves_at_once(provider_server: ScriptedServer) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    make_due(make_integration(workspace, "custom_acme"), 1)
    slow = threading.Event()
    provider_server.answer(TOKEN, json=token_answer(), wait=slow)
    first = threading.Thread(target=tasks.refresh_due)
    first.start()
    while not provider_server.to(TOKEN):
        slow.wait(0.01)
    tasks.refresh_due()
    slow.set()
    first.join(30)
    assert len(provider_server.to(TOKEN)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_task_that_fails_is_logged_and_does_not_raise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> None:
        raise ValueError("boom")

    monkeypatch.setattr(batch, "refresh_due", explode)
    with caplog.at_level(logging.ERROR):
        tasks.refresh_due()
        tasks.refresh_due()  # the lock was given back
    assert caplog.text.count("integrations.refresh_due failed") == 2


@pytest.mark.django_db(transaction=True)
def test_refreshing_what_was_deleted_is_nothing() -> None:
    tasks.refresh_connection("00000000-0000-0000-0000-000000000001")


@pytest.mark.django_db(transaction=True)
def test_a_worker_is_woken_after_the_commit_and_a_dead_broker_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []

    def refuse(name: str, **_options: Any) -> None:
        sent.append(name)
        raise OSError("broker is down")

    monkeypatch.setattr(wake.current_app, "send_task", refuse)
    with transaction.atomic():
        wake.wake_worker()
        assert sent == []
    assert sent == [tasks.refresh_due.name]
    assert "could not be woken" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_corrected_credentials_wake_a_worker(
    workspace: Workspace, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(wake.current_app, "send_task", lambda name, **_options: sent.append(name))
    integration = make_integration(workspace, client_error_code="invalid_client")
    make_connection(integration)
    save_integration(
        workspace,
        find_spec(workspace, "github"),
        integration.grant_type,
        client_id="client-1",
        client_secret="the right one",
        additional_scopes=[],
        parameters=None,
        token_endpoint_auth_method=None,
        actor=Actor.member(alice),
    )
    assert sent == [tasks.refresh_due.name]


# --- key rotation ---------------------------------------------------------------------------------------
@pytest.fixture
def new_key(settings: Any) -> bytes:
    """A new first key; the old one still opens."""
    key = Fernet.generate_key()
    settings.FERNET_KEYS = [key, *settings.FERNET_KEYS]
    return key


def test_everything_moves_to_the_first_key(delegated: Integration, settings: Any, new_key: bytes) -> None:
    connections = [make_connection(delegated, f"c{n}", access_token=f"token-{n}") for n in range(5)]
    settings.FERNET_KEYS = settings.FERNET_KEYS[1:]
    old = make_connection(delegated, "old", access_token="token-old")
    settings.FERNET_KEYS = [new_key, *settings.FERNET_KEYS]
    assert "would be re-encrypted" in output_of("rotate_fernet_keys", "--dry-run")
    out = output_of("rotate_fernet_keys")
    assert "7 values: 2 re-encrypted, 5 were under the first key already" in out
    assert "integrations.Token: " in out
    settings.FERNET_KEYS = [new_key]
    for number, connection in enumerate(connections):
        assert Token.objects.get(pk=connection.pk).open().access_token == f"token-{number}"
    assert Token.objects.get(pk=old.pk).open().access_token == "token-old"
    assert Integration.objects.get().client_secret == "client-secret-value"
    assert "0 re-encrypted" in output_of("rotate_fernet_keys")


def test_a_dry_run_changes_nothing(delegated: Integration, settings: Any) -> None:
    key = Fernet.generate_key()
    old = settings.FERNET_KEYS
    settings.FERNET_KEYS = [key, *old]
    output_of("rotate_fernet_keys", "--dry-run")
    settings.FERNET_KEYS = old
    assert Integration.objects.get().client_secret == "client-secret-value"


def test_what_no_key_opens_is_counted_and_left_alone(delegated: Integration, settings: Any) -> None:
    lost, old = Fernet.generate_key(), settings.FERNET_KEYS
    settings.FERNET_KEYS = [lost]
    make_connection(delegated, "lost")
    settings.FERNET_KEYS = [Fernet.generate_key(), *old]
    with pytest.raises(CommandError, match="1 values cannot be opened"):
        output_of("rotate_fernet_keys")
    with closed():
        assert crypto.is_under_first_key(Integration.objects.get().client_secret.ciphertext)
    settings.FERNET_KEYS = [lost]
    assert Token.objects.get().open().access_token == "access-token-1"


def test_it_goes_through_all_rows_in_batches(
    delegated: Integration, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        make_connection(delegated, f"c{number}")
    settings.FERNET_KEYS = [Fernet.generate_key(), *settings.FERNET_KEYS]
    monkeypatch.setattr(rotation, "BATCH", 3)
    reports: list[tuple[str, int]] = []
    progress = rotation.rotate(report=lambda name, so_far: reports.append((name, so_far.seen)))
    assert (progress.seen, progress.rotated) == (8, 8)
    assert [report for report in reports if report[0] != "integrations.Connection"] == [
        ("integrations.Integration", 1),
        ("integrations.Token", 4),
        ("integrations.Token", 7),
        ("integrations.Token", 8),
    ]


def test_a_value_that_changed_meanwhile_wins(
    delegated: Integration, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_connection(delegated)
    settings.FERNET_KEYS = [Fernet.generate_key(), *settings.FERNET_KEYS]

    def change_first(column: Any, pk: Any, old: bytes, new: bytes) -> bool:
        if column.model is Integration:
            row = Integration.objects.get(pk=pk)
            row.client_secret = "changed by a person"
            row.save()
        return swap_ciphertext(column, pk, old, new)

    monkeypatch.setattr(rotation, "swap_ciphertext", change_first)
    assert rotation.rotate().changed_meanwhile == 1
    assert Integration.objects.get().client_secret == "changed by a person"


def test_kept_answers_are_rotated_too(delegated: Integration, settings: Any) -> None:
    connection = make_connection(delegated, issued_at=NOW)
    issued = IssuedToken(TokenSecrets("kept", "kept-refresh"), NOW, NOW + timedelta(hours=1))
    spool.put(Renewed(connection.pk, connection.workspace_id, connection.token.version, issued, None, None, None))
    settings.FERNET_KEYS = [Fernet.generate_key(), *settings.FERNET_KEYS]
    output_of("rotate_fernet_keys")
    settings.FERNET_KEYS = settings.FERNET_KEYS[:1]
    batch.refresh_due(now=NOW)
    assert Token.objects.get().open().refresh_token == "kept-refresh"
