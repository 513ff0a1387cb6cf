"""Redis carries wake-ups and counts rate limits; everything else goes on without it."""

from __future__ import annotations

import time

import pytest
import requests

from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import all_due_again, make_due
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import BEFORE, Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 60
GONE_SECONDS = 15.0


def test_redis_stopped_and_flushed(installation: Installation, realm: Realm) -> None:
    """It goes while calls are under way and comes back empty; what fell due meanwhile renews by the next beat."""
    integration = make_due(realm, CONNECTIONS)
    realm.rules(hold=BEFORE)
    _, url = installation.web("a", RATE_LIMIT_SCALE="1")
    program = installation.program(url, integration.workspace, "tokens:read")
    installation.beat("a")
    for worker in [installation.worker(host, wait=False) for host in ("a", "b")]:
        worker.wait_for_line(WORKER_READY)
    installation.wake()
    wait_until(lambda: len(realm.report().held) == CONNECTIONS, "all calls")

    installation.services.redis.stop()
    realm.release()
    realm.rules()
    wait_until(everything_settled, "calls under way to end without a broker")
    all_due_again()
    token = f"/connections/{integration.connections.earliest('name').pk}/token"
    end = time.monotonic() + GONE_SECONDS
    while time.monotonic() < end:
        answer = program.ask("GET", token)
        assert answer.status_code == 200, answer.text
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
        time.sleep(0.5)
    installation.services.redis.start()
    wait_until(lambda: len(realm.report().answered) >= 2 * CONNECTIONS, "the next beat")
    wait_until(everything_settled, "everybody to settle")

    all_due_again()
    for _ in range(20):
        installation.services.redis.flush()
        time.sleep(0.1)
    wait_until(lambda: len(realm.report().answered) >= 3 * CONNECTIONS, "the next beat")
    wait_until(everything_settled, "everybody to settle")
    assert {len(calls) for calls in realm.report().by_family().values()} == {3}
    assert_everybody_renews(installation, realm)
