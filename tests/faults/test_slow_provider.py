"""A provider that answers after everybody has stopped listening: what is avoidable is avoided, the rest is told.

A call ends after 10 s without a byte and after 20 s in any case, a lease after 60 s: nobody else may ask with the same
token meanwhile. What the provider did with a call that was given up nobody can know. It is tried again: a provider that
has not read it, or gives the successor again, renews; one that forgives nothing wants a person.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from integrations.models import Connection
from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import make_due
from tests.faults.harness.database import let_pass
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import BEFORE, Realm, StrictServer

pytestmark = pytest.mark.faults

CONNECTIONS = 10
SLOWER_THAN_THE_LEASE = 75.0


def test_provider_slower_than_the_lease(installation: Installation, provider: StrictServer) -> None:
    unread, forgiving, strict = (provider.realm(name) for name in ("unread", "forgiving", "strict"))
    for realm in (unread, forgiving, strict):
        make_due(realm, CONNECTIONS)
    unread.rules(hold=BEFORE)
    forgiving.rules(latency=SLOWER_THAN_THE_LEASE, grace=300)
    strict.rules(trickle=4.0, only=["strict-0001"])
    installation.beat("a")
    for worker in [installation.worker(host, wait=False) for host in ("a", "b")]:
        worker.wait_for_line(WORKER_READY)
    installation.wake(times=4)

    wait_until(lambda: len(hung_up(unread)) >= CONNECTIONS, "the unread calls to be given up")
    wait_until(lambda: len(hung_up(forgiving)) >= CONNECTIONS, "the late calls to be given up")
    wait_until(lambda: hung_up(strict) == ["strict-0001"], "the dripping call to be given up")
    unread.rules()
    forgiving.rules(grace=300)
    strict.rules()
    for realm in (unread, forgiving, strict):
        assert_calls_follow_each_other(realm)

    def recovered() -> bool:
        let_pass(60)
        installation.wake()
        return not Connection.objects.filter(state="degraded").exists()

    wait_until(lambda: Connection.objects.filter(state="degraded").exists(), "failures to be settled")
    wait_until(recovered, "everybody to recover", every=2.5)
    wait_until(everything_settled, "everybody to settle")

    for realm in (unread, forgiving, strict):
        assert_calls_follow_each_other(realm)
    troubled = Connection.objects.exclude(state="connected").values_list("name", "state")
    assert dict(troubled) == {"strict-0001": "reconnect_required"}
    assert_everybody_renews(installation, unread, forgiving, strict, but={"strict-0001"})


def hung_up(realm: Realm) -> list[str]:
    """Families whose call was given up."""
    return [call.family for call in realm.report().calls if call.hung_up]


def assert_calls_follow_each_other(realm: Realm) -> None:
    """Nobody asks for a family while a call for it is under way, whoever makes it."""
    for family, calls in realm.report().by_family().items():
        for before, after in pairwise(calls):
            assert before.ended_at is not None, family
            assert before.ended_at <= after.at, family
