"""Providers that are down, ask to be left alone, or refuse the client: few calls meanwhile, and everybody recovers."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from integrations.models import Connection, Integration, Notice, NoticeKind, ProviderPause, TokenSchedule
from integrations.providers.registry import find_newest_spec
from integrations.providers.setup import save_integration
from tests.faults.harness.checks import assert_everybody_renews, everything_settled
from tests.faults.harness.data import CALLS_AT_ONCE, make_due
from tests.faults.harness.database import let_pass
from tests.faults.harness.installation import Installation
from tests.faults.harness.waiting import wait_until
from tests.servers.strict_rotating import Realm, StrictServer
from workspaces.audit import Actor, AuditAction
from workspaces.models import AuditEvent

pytestmark = pytest.mark.faults

NEW_SECRET = "another-secret"


def test_provider_down_with_two_thousand_due_and_back(installation: Installation, realm: Realm) -> None:
    """Until the first failures are settled calls are under way; from then on it is a probe now and then."""
    make_due(realm, 2000)
    made_due_by = timezone.now()
    realm.rules(status=503)
    start(installation)
    first_round = TokenSchedule.objects.filter(refresh_due_at__lte=made_due_by)
    wait_until(lambda: not first_round.exists(), "everybody to be tried or held")
    assert 0 < len(realm.report().calls) <= CALLS_AT_ONCE
    realm.forget_calls()
    time.sleep(20)
    assert len(realm.report().calls) <= 2, "more than a probe now and then"

    realm.rules()

    def recovered() -> bool:
        let_pass(60)
        installation.wake()
        return len(realm.report().answered) >= 2000

    wait_until(recovered, "everybody to recover", seconds=300, every=2.5, or_say=states)
    wait_until(everything_settled, "everybody to settle")
    assert_everybody_renews(installation, realm)


def test_nobody_calls_before_the_time_that_a_provider_asked_for(
    installation: Installation, provider: StrictServer
) -> None:
    """Both forms of Retry-After (RFC 9110 §10.2.3), for the schedule and for a forced refresh."""
    seconds, count = 25, 250
    realms = {form: provider.realm(form) for form in ("seconds", "date")}
    integrations = {}
    for form, realm in realms.items():
        realm.rules(status=429, error="slow_down", retry_after=seconds, retry_after_form=form)
        integrations[form] = make_due(realm, count)
    start(installation)
    wait_until(lambda: ProviderPause.objects.count() == len(realms), "both pauses")
    wait_until(everything_settled, "everybody to be held")
    for form, realm in realms.items():
        assert len(realm.report().calls) <= CALLS_AT_ONCE, "more than were under way at the first refusal"
        realm.forget_calls()
        connection = integrations[form].connections.order_by("name").last()
        assert connection is not None
        installation.send("refresh_connection", str(connection.pk))
    installation.wake(times=4)
    earliest = ProviderPause.objects.earliest("until").until
    assert earliest > timezone.now() + timedelta(seconds=3), "too slow a machine to see that nobody calls"
    time.sleep((earliest - timezone.now()).total_seconds() - 0.5)
    assert [realm.report().calls for realm in realms.values()] == [[], []]

    for realm in realms.values():
        realm.rules()
    wait_until(lambda: sum(len(realm.report().answered) for realm in realms.values()) > 0, "the end of a pause")
    for _ in range(3):
        let_pass(30)
        installation.wake()
        wait_until(everything_settled, "those who were due to renew")
    wait_until(lambda: all(len(realm.report().answered) == count for realm in realms.values()), "everybody to recover")
    assert_everybody_renews(installation, *realms.values())


def test_refused_client_of_five_hundred_connections(installation: Installation, realm: Realm) -> None:
    """One alarm, no more calls than were under way, and everybody renews once the secret is right."""
    integration = make_due(realm, 500)
    realm.rules(secret=NEW_SECRET)
    start(installation)
    wait_until(lambda: Integration.objects.exclude(client_error_code="").exists(), "the alarm")
    wait_until(everything_settled, "everybody to wait")
    asked = len(realm.report().calls)
    assert asked <= CALLS_AT_ONCE
    installation.wake(times=4)
    wait_until(everything_settled, "nobody to be due")
    time.sleep(2)
    assert len(realm.report().calls) == asked, "nobody tries again by itself within the hour"
    alarms = Notice.objects.filter(kind=NoticeKind.MISCONFIGURED)
    assert [alarm.connection_name for alarm in alarms] == [""]
    assert AuditEvent.objects.filter(action=AuditAction.INTEGRATION_CLIENT_REFUSED).count() == 1

    correct_secret(integration, NEW_SECRET)
    installation.wake(times=4)
    wait_until(lambda: len(realm.report().answered) == 500, "everybody to renew", or_say=states)
    wait_until(everything_settled, "everybody to settle")
    assert_everybody_renews(installation, realm)


def start(installation: Installation) -> None:
    """Two hosts with a worker each, and a beat."""
    installation.beat("a")
    for worker in [installation.worker(host, wait=False) for host in ("a", "b")]:
        worker.wait_for_line("ready.")
    installation.wake(times=4)


def correct_secret(integration: Integration, secret: str) -> None:
    """What an admin does who reads the alarm."""
    integration.refresh_from_db()
    spec = find_newest_spec(integration.workspace, integration.provider_id)
    save_integration(
        integration.workspace,
        spec,
        integration.grant_type,
        client_id=integration.client_id,
        client_secret=secret,
        actor=Actor.operator(),
    )


def states() -> dict[str, int]:
    """How many connections are in which state."""
    found: dict[str, int] = {}
    for state in Connection.objects.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found
