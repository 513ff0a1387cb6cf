"""SIGKILL of a worker wherever it may be. Only what lies between spending and commit cannot survive, and is told."""

from __future__ import annotations

import pytest

from integrations.models import Connection, TokenSchedule
from tests.faults.harness.checks import assert_everybody_renews, everything_settled, not_stored
from tests.faults.harness.data import make_due
from tests.faults.harness.database import let_leases_run_out
from tests.faults.harness.installation import WORKER_READY, Installation
from tests.faults.harness.locks import kill_at_lock, locked
from tests.faults.harness.processes import Process
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import AFTER, BEFORE, Realm, StrictServer

pytestmark = pytest.mark.faults

CONNECTIONS = 20
HOLD_BACK_LOADS = "LOCK TABLE integrations_integration IN ACCESS EXCLUSIVE MODE"
HOLD_BACK_CLAIMS = "LOCK TABLE integrations_tokenschedule IN EXCLUSIVE MODE"
HOLD_BACK_COMMIT = (
    "SELECT 1 FROM integrations_token WHERE connection_id IN"
    " (SELECT id FROM integrations_connection WHERE name = ANY(%s)) FOR UPDATE"
)


def test_killed_after_the_claim_and_before_the_call(installation: Installation, realm: Realm) -> None:
    make_due(realm, CONNECTIONS)
    with locked(installation, HOLD_BACK_LOADS):
        victim = installation.worker("a")
        installation.wake()
        kill_at_lock(installation, victim, "integrations_integration")

    assert TokenSchedule.objects.filter(lease_id__isnull=False).count() == CONNECTIONS
    assert realm.report().calls == []
    successor = installation.worker("b", wait=False)
    take_over(installation, successor)
    assert_everybody_renews(installation, realm)


def test_killed_before_the_provider_has_read_the_request(installation: Installation, realm: Realm) -> None:
    make_due(realm, CONNECTIONS)
    realm.rules(hold=BEFORE)
    victim, successor = wait_until_all_are_held(installation, realm)
    victim.kill()
    wait_until(lambda: not realm.report().held, "the provider to see that nobody listens")

    realm.rules()
    take_over(installation, successor)
    assert_everybody_renews(installation, realm)


def test_killed_while_the_provider_answers_nobody(installation: Installation, provider: StrictServer) -> None:
    """The tokens are spent and their successors went nowhere: a provider with a grace period gives them again."""
    strict, forgiving = provider.realm("strict"), provider.realm("forgiving")
    for realm in (strict, forgiving):
        make_due(realm, CONNECTIONS)
    strict.rules(hold=AFTER, only=["strict-0003"])
    forgiving.rules(hold=AFTER, grace=120)
    victim = installation.worker("a")
    installation.wake()
    successor = installation.worker("b", wait=False)
    wait_until(lambda: len(forgiving.report().held) + len(strict.report().held) == CONNECTIONS + 1, "calls to be held")
    wait_until(lambda: not_stored(strict) == {"strict-0003"}, "the others' commits")
    victim.kill()

    strict.rules()
    forgiving.rules(grace=120)
    take_over(installation, successor)
    assert_outcome_unknown({"strict-0003"})
    assert_everybody_renews(installation, strict, forgiving, but={"strict-0003"})


def test_killed_between_answer_and_commit(installation: Installation, provider: StrictServer) -> None:
    """The one window that nothing can close."""
    strict, forgiving = provider.realm("strict"), provider.realm("forgiving")
    for realm in (strict, forgiving):
        make_due(realm, CONNECTIONS)
    unlucky = ["strict-0007", "forgiving-0007"]
    strict.rules(hold=BEFORE, only=unlucky)
    forgiving.rules(hold=BEFORE, only=unlucky, grace=120)
    victim = installation.worker("a")
    installation.wake()
    successor = installation.worker("b", wait=False)
    wait_until(lambda: len(strict.report().answered) == len(forgiving.report().answered) == CONNECTIONS - 1, "answers")
    wait_until(lambda: not not_stored(strict) | not_stored(forgiving), "the others' commits")
    with locked(installation, HOLD_BACK_COMMIT, unlucky):
        strict.release()
        forgiving.release()
        wait_until(lambda: not_stored(strict) | not_stored(forgiving) == set(unlucky), "both to be answered")
        kill_at_lock(installation, victim, "integrations_token")

    strict.rules()
    forgiving.rules(grace=120)
    take_over(installation, successor)
    assert_outcome_unknown({"strict-0007"})
    assert_everybody_renews(installation, strict, forgiving, but={"strict-0007"})


def test_killed_after_some_commits(installation: Installation, realm: Realm) -> None:
    make_due(realm, CONNECTIONS)
    held = {f"main-{number:04}" for number in range(0, CONNECTIONS, 2)}
    realm.rules(hold=BEFORE, only=sorted(held))
    victim = installation.worker("a")
    installation.wake()
    successor = installation.worker("b", wait=False)
    wait_until(lambda: len(realm.report().answered) == CONNECTIONS - len(held), "the others' answers")
    wait_until(lambda: not not_stored(realm), "their commits")
    victim.kill()

    realm.rules()
    take_over(installation, successor)
    made = {family: len(calls) for family, calls in realm.report().by_family().items()}
    assert {family for family, count in made.items() if count > 1} == held, "only abandoned calls are made again"
    assert_everybody_renews(installation, realm)


def test_killed_between_two_batches(installation: Installation, realm: Realm) -> None:
    """While it claims: what its connection had begun is rolled back."""
    make_due(realm, CONNECTIONS)
    with locked(installation, HOLD_BACK_CLAIMS):
        victim = installation.worker("a")
        installation.wake()
        kill_at_lock(installation, victim, "integrations_tokenschedule")

    assert not TokenSchedule.objects.filter(lease_id__isnull=False).exists()
    successor = installation.worker("b", wait=False)
    take_over(installation, successor)
    assert_everybody_renews(installation, realm)


def wait_until_all_are_held(installation: Installation, realm: Realm) -> tuple[Process, Process]:
    """A worker whose calls are all with the provider, and one that is starting."""
    victim = installation.worker("a")
    installation.wake()
    successor = installation.worker("b", wait=False)
    wait_until(lambda: len(realm.report().held) == CONNECTIONS, "all calls to be held", or_say=lambda: victim.log)
    return victim, successor


def take_over(installation: Installation, successor: Process) -> None:
    """The victim's leases run out, and another worker comes by."""
    successor.wait_for_line(WORKER_READY)
    let_leases_run_out()
    installation.wake()
    wait_until(everything_settled, "another worker to take over", or_say=lambda: successor.log)


def assert_outcome_unknown(families: set[str]) -> None:
    """These need a person, because the provider takes the spent token for stolen, and say so; nobody else does."""
    troubled = Connection.objects.exclude(state="connected").values_list("name", "state", "last_error_code")
    assert set(troubled) == {(family, "reconnect_required", "refresh_outcome_unknown") for family in families}
