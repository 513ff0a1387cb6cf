"""What a process keeps in files is stored by itself, once the database answers."""

from __future__ import annotations

import pytest

from integrations.connections import spool, spool_watch
from integrations.connections.commits import DatabaseAway, Patience
from integrations.models import Connection, Integration
from tests.connections.conftest import TOKEN, due_connection, token_answer
from tests.connections.test_outage_of_the_database import Away, run
from tests.servers.scripted import ScriptedServer


@pytest.fixture
def kept(delegated: Integration, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection whose new token is in a file only."""
    connection = due_connection(delegated)
    provider_server.answer(TOKEN, json=token_answer("access-kept", "refresh-kept"))
    with monkeypatch.context() as patch:
        Away(patch)
        with pytest.raises(DatabaseAway):
            run(patience=Patience(0, sleep=lambda _seconds: None))
    assert spool.is_waiting()
    return connection


def test_a_kept_answer_is_stored_without_a_batch(kept: Connection) -> None:
    assert spool_watch.store_what_is_kept()
    assert Connection.objects.get(pk=kept.pk).token.open().refresh_token == "refresh-kept"
    assert not spool.is_waiting()


def test_while_the_database_is_away_it_stays_and_is_looked_at_again_soon(
    kept: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Away(patch)
        assert spool_watch.store_what_is_kept()
    assert spool.is_waiting()
    spool_watch.store_what_is_kept()
    assert not spool.is_waiting()


def test_what_cannot_be_read_stays_and_is_not_looked_at_every_second(kept: Connection) -> None:
    path = next(spool.folder().glob("*.answer"))
    path.write_bytes(b"gAAAA-of-another-key")
    assert not spool_watch.store_what_is_kept()
    assert path.exists()
