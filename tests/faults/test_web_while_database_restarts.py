"""The web process while PostgreSQL restarts: it refuses politely, answers again by itself, and loses no renewal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import requests
from django.utils import timezone

from integrations.models import Connection, Token
from tests.faults.harness.checks import assert_everybody_renews, everything_settled, not_stored
from tests.faults.harness.data import make_due
from tests.faults.harness.database import reconnect
from tests.faults.harness.installation import Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.program import Program
from tests.servers.strict_rotating import AFTER, Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 8
READERS = 8
# Longer than a reader's patience: the answer has to wait in a file.
GONE_SECONDS = 14.0


def test_web_under_load_while_the_database_restarts(installation: Installation, realm: Realm) -> None:
    """Valid tokens are read all the time; one reader's token has expired, and is with the provider when it happens."""
    integration = make_due(realm, CONNECTIONS)
    expired = integration.connections.get(name="main-0000")
    Token.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(minutes=1))
    realm.rules(hold=AFTER)
    web, url = installation.web("a")
    program = installation.program(url, integration.workspace, "tokens:read")
    others = list(integration.connections.exclude(pk=expired.pk))

    with reading(program, others) as statuses, waiting_reader(program, expired) as waited:
        wait_until(lambda: realm.report().held == ["main-0000"], "the reader's call")
        wait_until(lambda: statuses[200] > READERS, "readers")
        installation.services.postgres.stop("fast")
        realm.release()
        time.sleep(GONE_SECONDS)
        installation.services.postgres.start()
        reconnect()
        before = statuses[200]
        wait_until(lambda: statuses[200] > before + 5 * READERS, "answers again", or_say=lambda: statuses)
        wait_until(lambda: waited, "the waiting reader")

    assert web.is_running()
    assert set(statuses) <= {200, 503}, statuses
    assert waited[0].status_code in (200, 503), waited[0].text
    wait_until(lambda: not not_stored(realm), "the renewal to be stored", or_say=lambda: web.log[-2000:])
    wait_until(lambda: not installation.spooled("a"), "the file to be removed")
    realm.rules()
    installation.worker("b")
    installation.wake()
    wait_until(everything_settled, "the others to renew")
    assert len(realm.report().by_family()["main-0000"]) == 1
    answer = program.ask("GET", f"/connections/{expired.pk}/token")
    assert answer.status_code == 200, answer.text
    assert_everybody_renews(installation, realm)


@contextmanager
def reading(program: Program, connections: list[Connection]) -> Iterator[Counter[int]]:
    """Readers that never stop asking, and how often each status came. 0: no answer."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def read(connection: Connection) -> None:
        while not ended.is_set():
            try:
                statuses[program.ask("GET", f"/connections/{connection.pk}/token").status_code] += 1
            except requests.RequestException:
                statuses[0] += 1
            time.sleep(0.02)

    threads = [
        threading.Thread(target=read, args=(connections[number % len(connections)],), daemon=True)
        for number in range(READERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join(40)


@contextmanager
def waiting_reader(program: Program, connection: Connection) -> Iterator[list[requests.Response]]:
    """One reader whose token has to be renewed first; its answer once it has come."""
    answers: list[requests.Response] = []

    def ask() -> None:
        answers.append(program.ask("GET", f"/connections/{connection.pk}/token"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        thread.join(40)
