"""PostgreSQL away for longer than a lease, while as many answers as there can be are on their way."""

from __future__ import annotations

import time

import pytest

from config.management.commands.worker import STOP_SECONDS
from tests.faults.harness.checks import assert_everybody_renews, everything_settled, not_stored
from tests.faults.harness.data import make_due
from tests.faults.harness.database import reconnect
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.locks import locked
from tests.faults.harness.processes import Process
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import AFTER, Realm

pytestmark = pytest.mark.faults

CONNECTIONS = 64  # no more are asked of one host at once, over all workers
GONE_SECONDS = 90.0
HANGING, HANGS_SECONDS = 40, 12.0
FIRST_HALF = (
    "SELECT 1 FROM integrations_tokenschedule WHERE connection_id IN"
    " (SELECT id FROM integrations_connection WHERE name < 'main-0032') FOR UPDATE"
)


def test_database_gone_under_its_refreshes_and_a_worker_stopped_meanwhile(
    installation: Installation, realm: Realm
) -> None:
    """Half of the answers wait in the memory of a worker that stays, half go with one that is told to stop."""
    make_due(realm, CONNECTIONS)
    realm.rules(hold=AFTER)
    workers = share_between_both(installation, realm)

    installation.services.postgres.stop("immediate")
    gone_since = time.monotonic()
    realm.release()
    for worker in workers:
        worker.wait_for_line("The database is away")
    leaving, staying = workers
    leaving.terminate()
    assert leaving.stop(STOP_SECONDS), "it had to be killed, with what it held in memory"
    assert len(installation.spooled("a")) > 0
    installation.worker("a")
    installation.beat("b")
    time.sleep(max(0.0, gone_since + GONE_SECONDS - time.monotonic()))
    installation.services.postgres.start()
    reconnect()

    wait_until(lambda: not not_stored(realm), "all answers to be stored", or_say=lambda: staying.log)
    wait_until(everything_settled, "everybody to settle")
    assert installation.spooled("a") == installation.spooled("b") == []
    assert {len(calls) for calls in realm.report().by_family().values()} == {1}
    realm.rules()
    assert_everybody_renews(installation, realm)


def test_database_that_hangs_while_answers_arrive(installation: Installation, realm: Realm) -> None:
    """Its connections stay open, and nothing comes: commits wait, and end well."""
    make_due(realm, HANGING)
    realm.rules(hold=AFTER)
    installation.worker("a")
    installation.wake()
    wait_until(lambda: len(realm.report().held) == HANGING, "all calls")
    with installation.services.postgres.frozen():
        realm.release()
        time.sleep(HANGS_SECONDS)

    realm.rules()
    wait_until(lambda: not not_stored(realm), "all answers to be stored")
    wait_until(everything_settled, "everybody to settle")
    assert {len(calls) for calls in realm.report().by_family().values()} == {1}
    assert_everybody_renews(installation, realm)


def share_between_both(installation: Installation, realm: Realm) -> list[Process]:
    """One worker claims what is not locked, the other the rest; no answer comes before the release."""
    with locked(installation, FIRST_HALF):
        first = installation.worker("a")
        installation.wake(times=8)
        wait_until(lambda: len(realm.report().held) == CONNECTIONS // 2, "half of the calls")
        second = installation.worker("b", wait=False)
        second.wait_for_line(WORKER_READY, seconds=15)
    installation.wake(times=8)
    wait_until(lambda: len(realm.report().held) == CONNECTIONS, "all calls", seconds=18)
    return [first, second]
