"""A host whose clock is ten minutes off: due times, leases and lifetimes follow the database's clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from integrations.models import Token, TokenSchedule
from tests.faults import harness
from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import make_due
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import BEFORE, Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 40
SKEW = timedelta(minutes=10)
# What differs by less is the time that a test takes.
TOLERANCE = timedelta(minutes=2)


@pytest.mark.parametrize(("worker_sign", "beat_sign"), [("+", ""), ("", "-")])
def test_worker_or_beat_with_a_wrong_clock_renews_at_the_right_time(
    installation: Installation, realm: Realm, worker_sign: str, beat_sign: str
) -> None:
    """Half are due, half in five minutes. A wake-up is not stale because two clocks differ."""
    integration = make_due(realm, CONNECTIONS)
    later = [f"main-{number:04}" for number in range(0, CONNECTIONS, 2)]
    in_five_minutes = timezone.now() + timedelta(minutes=5)
    TokenSchedule.objects.filter(connection__name__in=later).update(refresh_due_at=in_five_minutes)
    due = set(integration.connections.exclude(name__in=later).values_list("name", flat=True))
    installation.beat("beat", **wrong_clock(beat_sign))
    installation.worker("worker", **wrong_clock(worker_sign))

    wait_until(lambda: len(realm.report().answered) >= len(due), "due tokens to renew")
    wait_until(everything_settled, "everybody to settle")
    assert set(realm.report().by_family()) == due
    for token in Token.objects.filter(connection__name__in=due):
        assert abs(token.issued_at - timezone.now()) < TOLERANCE
    assert_everybody_renews(installation, realm)


def test_a_worker_whose_clock_is_ahead_takes_nobodys_lease(installation: Installation, realm: Realm) -> None:
    make_due(realm, CONNECTIONS)
    realm.rules(hold=BEFORE)  # a worker looks for due tokens by itself as soon as it is up
    workers = [installation.worker("right", wait=False), installation.worker("wrong", wait=False, **wrong_clock("+"))]
    for worker in workers:
        worker.wait_for_line(WORKER_READY)
    installation.wake(times=8)
    wait_until(lambda: len(realm.report().held) == CONNECTIONS, "all calls", seconds=18)
    installation.wake(times=8)
    wait_until(lambda: not installation.queued(running=False), "the wake-ups to be taken", seconds=18)
    realm.release()
    realm.rules()
    wait_until(everything_settled, "everybody to settle")
    assert {len(calls) for calls in realm.report().by_family().values()} == {1}
    assert_everybody_renews(installation, realm)


def wrong_clock(sign: str) -> dict[str, str]:
    """The environment of a process whose clock is off, if there is a sign; durations are right. Needs libfaketime."""
    if not sign:
        return {}
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("needs libfaketime (Debian: faketime)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{sign}{SKEW.seconds}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(harness.__file__).parent / "wrong_clock"),
    }
