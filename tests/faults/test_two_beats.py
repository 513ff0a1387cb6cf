"""Any number of beats and workers: one provider call per due token."""

from __future__ import annotations

import pytest

from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import make_due
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 400


def test_two_beats_and_three_workers_make_one_call_per_due_token(installation: Installation, realm: Realm) -> None:
    realm.rules(latency=0.05)
    make_due(realm, CONNECTIONS)
    for host in ("a", "b"):
        installation.beat(host)
    workers = [installation.worker(host, wait=False) for host in ("a", "a", "b")]
    for worker in workers:
        worker.wait_for_line(WORKER_READY)
    installation.wake(times=10)

    wait_until(lambda: len(realm.report().answered) >= CONNECTIONS, "every token to renew")
    wait_until(everything_settled, "the last commits")

    calls = realm.report().by_family()
    assert len(calls) == CONNECTIONS
    assert {family: len(made) for family, made in calls.items() if len(made) > 1} == {}
    assert_everybody_renews(installation, realm)
