"""Tasks are wake-ups: however often they are delivered, a token is asked for once."""

from __future__ import annotations

import pytest

from integrations.models import TokenSchedule
from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import make_due
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import BEFORE, Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 60  # no more than one worker asks a host for at once
DELIVERIES = 40


def test_one_call_per_token_however_often_a_task_is_delivered(installation: Installation, realm: Realm) -> None:
    """A batch's wake-up forty times, and a forced refresh of one connection by as many tasks as threads, meanwhile."""
    integration = make_due(realm, CONNECTIONS)
    chosen = integration.connections.get(name="main-0042")
    realm.rules(hold=BEFORE)
    for worker in [installation.worker(host, wait=False) for host in ("a", "b")]:
        worker.wait_for_line(WORKER_READY)
    installation.wake(times=DELIVERIES)
    wait_until(lambda: len(realm.report().held) >= CONNECTIONS, "all calls", seconds=18)
    installation.send("refresh_connection", str(chosen.pk), times=8)
    installation.wake(times=DELIVERIES)
    realm.release()
    realm.rules()
    wait_until(everything_settled, "everybody to renew")
    wait_until(lambda: not installation.queued(), "the queue to be empty")
    wait_until(everything_settled, "the last forced refresh")

    calls = realm.report().by_family()
    assert set(calls) == set(integration.connections.values_list("name", flat=True))
    assert {family: len(made) for family, made in calls.items() if len(made) > 1} == {}
    assert TokenSchedule.objects.filter(attempts__gt=0).count() == 0
    assert_everybody_renews(installation, realm)
