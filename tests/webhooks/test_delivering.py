"""From a notice to a signed request, and everything that can come back."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database

from integrations.clock import Clock
from integrations.connections.stopping import Stopping
from integrations.models import (
    Connection,
    DeliveryStatus,
    DisabledBecause,
    Notice,
    NoticeKind,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from integrations.webhooks import claims, deliverer, endpoints, outcomes
from integrations.webhooks.deliverer import deliver_webhooks
from integrations.webhooks.endpoints import NewSecret, create_endpoint
from integrations.webhooks.fanout import MOST_BATCHES, fan_out
from integrations.webhooks.sweep import KEEP_DELIVERIES, sweep
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import Answer, Received, ScriptedServer
from tests.webhooks.conftest import HOOK, NOW, OPERATOR, NoJitter, later, only_delivery, run, verifies
from workspaces.models import AuditEvent, Workspace

MakeNotice = Callable[..., Notice]


def test_a_notice_is_told_with_a_signature_that_the_receiver_can_check(
    receiver: ScriptedServer, new_endpoint: NewSecret, notice: MakeNotice, connection: Connection
) -> None:
    receiver.answer(HOOK, status=204)
    told = notice(
        NoticeKind.RECONNECT_REQUIRED,
        about_connection=True,
        code="invalid_grant",
        message="A person has to consent again.",
        reference=uuid.uuid4(),
    )
    assert str(run()) == "1 new, 1 sent, 1 delivered"

    [received] = receiver.to(HOOK)
    assert received.method == "POST"
    assert received.query == "key=query-secret"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "Grantry"
    assert received.headers["webhook-id"] == str(told.public_id)
    assert received.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert verifies(received, new_endpoint.secret)
    assert received.json == {
        "type": "connection.reconnect_required",
        "timestamp": "2040-01-02T12:00:00.000Z",
        "data": {
            "workspace": "acme",
            "provider_id": "github",
            "grant_type": "authorization_code",
            "connection": {"id": str(connection.pk), "name": "default"},
            "status": "reconnect_required",
            "code": "invalid_grant",
            "message": "A person has to consent again.",
            "reference": str(told.reference),
            "ends_at": None,
            "url": f"http://localhost:8000/w/acme/integrations/github/authorization_code/connections/{connection.pk}/",
        },
    }
    delivery = only_delivery()
    assert delivery.status == DeliveryStatus.DELIVERED
    assert delivery.delivered_at == NOW
    assert delivery.attempts_made == 1
    assert run().sent == 0


def test_it_says_what_a_notice_of_a_whole_integration_and_an_ending_consent_say(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice, connection: Connection
) -> None:
    receiver.answer(HOOK)
    notice(NoticeKind.RECOVERED)
    notice(NoticeKind.CONSENT_EXPIRING, about_connection=True, ends_at=later(days=3))
    gone = notice(NoticeKind.DEGRADED, about_connection=True)
    Notice.objects.filter(pk=gone.pk).update(connection=None, integration=None)
    run()
    told = {received.json["type"]: received.json["data"] for received in receiver.to(HOOK)}
    assert told["integration.recovered"]["connection"] is None
    assert told["integration.recovered"]["status"] == "connected"
    assert told["integration.recovered"]["url"].endswith("/integrations/github/authorization_code/")
    assert told["connection.consent_expiring"]["ends_at"] == "2040-01-05T12:00:00.000Z"
    assert told["connection.degraded"]["connection"] == {"id": None, "name": "default"}
    assert told["connection.degraded"]["url"].endswith("/w/acme/integrations/")


def test_only_endpoints_that_want_an_event_and_were_there_when_it_happened_are_told(
    workspace: Workspace, receiver: ScriptedServer, notice: MakeNotice
) -> None:
    receiver.answer("/chosen")
    for path, events in (("/chosen", ["integration.degraded"]), ("/other", ["connection.degraded"])):
        create_endpoint(workspace, url=receiver.url + path, events=events, actor=OPERATOR)
    switched_off = create_endpoint(workspace, url=f"{receiver.url}/off", actor=OPERATOR).endpoint
    endpoints.change_endpoint(switched_off, enabled=False, actor=OPERATOR)
    elsewhere = create_endpoint(make_workspace(), url=f"{receiver.url}/elsewhere", actor=OPERATOR).endpoint
    notice()
    before = notice(at=NOW - timedelta(days=365 * 30))
    run()
    assert [received.path for received in receiver.requests] == ["/chosen"]
    assert not elsewhere.deliveries.exists()
    before.refresh_from_db()
    assert before.webhooks_done_at == NOW  # looked at, and nobody's business


def test_a_notice_is_fanned_out_once(endpoint: WebhookEndpoint, notice: MakeNotice) -> None:
    told = notice()
    assert fan_out(NOW) == 1
    assert fan_out(NOW) == 0
    Notice.objects.filter(pk=told.pk).update(webhooks_done_at=None)  # as a second worker would see it
    fan_out(NOW)
    assert WebhookDelivery.objects.count() == 1


def test_what_fails_is_tried_again_for_three_days_and_then_given_up(
    receiver: ScriptedServer, new_endpoint: NewSecret, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500, body="out of order")
    notice()
    now, waits = NOW, []
    run(now)
    while (delivery := only_delivery()).next_attempt_at is not None:
        assert delivery.status == DeliveryStatus.FAILED
        waits.append((delivery.next_attempt_at - now).total_seconds())
        assert run(delivery.next_attempt_at - timedelta(milliseconds=1)).sent == 0
        now = delivery.next_attempt_at
        run(now)
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert timedelta(days=3) < now - NOW < timedelta(days=4)
    assert delivery.status == DeliveryStatus.GIVEN_UP
    assert (delivery.last_status, delivery.last_error) == (500, "refused")
    assert delivery.attempts.count() == 10
    assert delivery.attempts.first().response_body == "out of order"
    requests = receiver.to(HOOK)
    assert len({received.headers["webhook-id"] for received in requests}) == 1
    assert len({received.headers["webhook-timestamp"] for received in requests}) == 10
    assert all(verifies(received, new_endpoint.secret) for received in requests)
    assert run(now + timedelta(days=9)).sent == 0


def test_pauses_are_spread_by_jitter(receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice) -> None:
    class Most(NoJitter):
        def uniform(self, a: float, b: float) -> float:
            return max(a, b)

    receiver.answer(HOOK, status=500)
    notice()
    run(rng=Most())
    assert only_delivery().next_attempt_at == later(seconds=6)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Mon, 02 Jan 2040 12:01:00 GMT", 60),  # the answer's own Date is noon, too
        ("0", 5),  # our own pause is longer
        ("999999999", 86400),  # a day at most
    ],
)
def test_a_receiver_that_asks_for_a_pause_gets_it(
    status: int, header: str, seconds: int, receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    clock = {"Date": "Mon, 02 Jan 2040 12:00:00 GMT"} if "GMT" in header else {}
    receiver.answer(HOOK, status=status, headers={"Retry-After": header, **clock})
    notice()
    run()
    assert only_delivery().next_attempt_at == later(seconds=seconds)
    notice(at=later(seconds=1))
    # Nothing else is sent there either before that.
    run(later(seconds=2))
    assert len(receiver.to(HOOK)) == (2 if header == "0" else 1)


def test_an_endpoint_that_says_gone_is_disabled_at_once(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=410)
    notice()
    run()
    endpoint.refresh_from_db()
    assert not endpoint.enabled
    assert endpoint.disabled_because == DisabledBecause.GONE
    assert only_delivery().status == DeliveryStatus.GIVEN_UP
    event = AuditEvent.objects.get(action="webhook:disabled")
    assert event.detail["because"] == "gone"
    notice(at=later(hours=1))
    run(later(hours=1))
    assert WebhookDelivery.objects.count() == 1


def test_five_days_of_nothing_but_failures_disable_an_endpoint_and_one_success_does_not(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    receiver.answer(HOOK, status=200)
    receiver.answer(HOOK, status=500)
    notice()
    run()
    run(later(days=4))  # the second attempt is taken
    endpoint.refresh_from_db()
    assert (endpoint.failing_since, endpoint.failures) == (None, 0)
    notice(at=later(days=4, hours=1))
    run(later(days=4, hours=1))
    run(later(days=9))  # 4 days and 23 hours of failing
    endpoint.refresh_from_db()
    assert endpoint.enabled
    assert (endpoint.failing_since, endpoint.failures) == (later(days=4, hours=1), 2)
    notice(at=later(days=9, hours=2))
    run(later(days=9, hours=2))
    endpoint.refresh_from_db()
    assert endpoint.disabled_because == DisabledBecause.FAILING
    assert not WebhookDelivery.objects.filter(next_attempt_at__isnull=False).exists()


def test_a_redirect_is_refused(receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice) -> None:
    receiver.answer(HOOK, status=307, headers={"Location": f"{receiver.url}/elsewhere"})
    notice()
    run()
    assert [received.path for received in receiver.requests] == [HOOK]
    assert only_delivery().last_error == "redirect"


def test_a_private_address_is_refused_when_saved_and_again_when_sent(
    workspace: Workspace, receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice, settings: Any
) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = []
    for url in ("https://127.0.0.1/", "https://localhost/", "http://hooks.example.com/", "https://169.254.169.254/"):
        with pytest.raises(endpoints.WebhookRefused) as refused:
            create_endpoint(workspace, url=url, actor=OPERATOR)
        assert refused.value.field == "url"
        assert "provider" not in refused.value.message
    notice()
    run()
    assert receiver.requests == []
    assert only_delivery().last_error == "address_refused"


def test_a_huge_answer_is_cut_and_control_characters_are_dropped(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, body="a\x00b\x1b[31mc\u202e\n" + "x" * 3_000_000, headers={"Content-Type": "text/\x07plain"})
    notice()
    run()
    assert only_delivery().status == DeliveryStatus.DELIVERED
    attempt = WebhookAttempt.objects.get()
    assert attempt.response_body.startswith("ab[31mc\nxxx")
    assert len(attempt.response_body) == 1024


def test_an_answer_that_says_the_address_back_is_kept_without_it(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.respond(HOOK, lambda asked: Answer(404, f"Not found: {asked.path}?{asked.query}, secret-path".encode()))
    notice()
    run()
    assert WebhookAttempt.objects.get().response_body == "Not found: …?…, …"


def test_what_nobody_foresaw_holds_up_one_delivery_only(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer(HOOK)
    first, _ = notice(), notice(at=later(seconds=1))
    real = deliverer.send

    def fail_for_one(message: Any, now: Any) -> Any:
        if message.event_id == first.public_id:
            raise ZeroDivisionError
        return real(message, now)

    monkeypatch.setattr(deliverer, "send", fail_for_one)
    assert run(later(seconds=2)).delivered == 1
    monkeypatch.undo()
    assert run(later(minutes=2)).delivered == 1


def test_a_receiver_that_cannot_be_reached_is_a_failure_in_plain_words(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.close()
    notice()
    run()
    delivery = only_delivery()
    assert delivery.status == DeliveryStatus.FAILED
    assert delivery.last_error == "unreachable"
    assert "secret-path" not in delivery.last_message
    assert "query-secret" not in delivery.last_message


def test_receivers_that_take_their_time_hold_nobody_up(
    workspace: Workspace, receiver: ScriptedServer, notice: MakeNotice
) -> None:
    """Twenty slow endpoints with two events each fill all the places that failing ones share, and no others."""
    slow, told = threading.Event(), threading.Event()
    receiver.answer("/slow", wait=slow)

    def quick(_: Received) -> Answer:
        told.set()
        return Answer(200)

    receiver.respond("/quick", quick)
    for number in range(20):
        one = create_endpoint(workspace, url=f"{receiver.url}/slow?{number}", actor=OPERATOR).endpoint
        WebhookEndpoint.objects.filter(pk=one.pk).update(origin=f"https://{number}.example", failing_since=NOW)
    for _ in range(2):
        notice()
    fan_out(NOW)
    create_endpoint(workspace, url=f"{receiver.url}/quick", actor=OPERATOR)
    notice(at=later(seconds=1))

    def let_go() -> None:
        assert told.wait(30)  # the quick one hears while all the slow ones keep us waiting
        slow.set()

    helper = threading.Thread(target=let_go)
    helper.start()
    run(later(seconds=2))
    helper.join(30)
    assert told.is_set()
    assert len(receiver.to("/slow")) == 60
    assert not WebhookDelivery.objects.exclude(status=DeliveryStatus.DELIVERED).exists()


def test_a_backlog_of_one_endpoint_is_no_one_elses_and_costs_claims_nothing(
    workspace: Workspace, endpoint: WebhookEndpoint
) -> None:
    other = create_endpoint(workspace, url=f"{endpoint.origin}/other", actor=OPERATOR).endpoint
    for owner, count, status in ((endpoint, 300, "pending"), (endpoint, 300, "delivered"), (other, 3, "pending")):
        WebhookDelivery.objects.bulk_create(
            WebhookDelivery(
                workspace=workspace, endpoint=owner, event_type="connection.degraded", body="{}", status=status,
                next_attempt_at=later(seconds=number) if status == "pending" else None,
            )
            for number in range(count)
        )  # fmt: skip
    found = claims.claim_due(claims.Shares(), later(hours=1))
    assert sorted(claim.endpoint_id for claim in found) == sorted([endpoint.pk, endpoint.pk, other.pk, other.pk])
    oldest = WebhookDelivery.objects.filter(pk__in=[claim.delivery_id for claim in found])
    assert max(oldest.values_list("next_attempt_at", flat=True)) == later(seconds=1)
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {claims._FIRST_DUE}", {"now": "2040-01-01 00:00:00"})
            plan = [row[3] for row in cursor.fetchall() if "delivery" in row[3] or " d " in f"{row[3]} "]
        assert len([line for line in plan if "webhook_delivery_due" in line]) == 3, plan


def test_one_endpoint_and_one_host_get_a_bounded_number_of_requests_at_once(workspace: Workspace) -> None:
    take = _taker(claims.Shares(), workspace.pk)
    ids = [uuid.uuid4() for _ in range(40)]
    assert [take(ids[0], "https://a") for _ in range(3)] == [True, True, False]
    assert sum(take(one, "https://a") for one in ids[1:]) == 6  # eight to one origin
    assert sum(take(one, f"https://{n}", failing=True) for n, one in enumerate(ids[1:])) == 8
    assert sum(take(uuid.uuid4(), f"https://x{n}") for n in range(40)) == 0  # 16 of one workspace


def test_no_workspace_takes_the_places_of_others(workspace: Workspace) -> None:
    """Fifty receivers made slow on purpose, failing or not, on a host that somebody else has receivers on too."""
    shares = claims.Shares()
    first, second, third = (_taker(shares, workspace_id) for workspace_id in (workspace.pk, uuid.uuid4(), uuid.uuid4()))
    assert sum(first(uuid.uuid4(), "https://shared", failing=True) for _ in range(50)) == 8
    assert second(uuid.uuid4(), "https://shared")
    assert sum(first(uuid.uuid4(), f"https://a{n}", failing=True) for n in range(50)) == 0
    assert second(uuid.uuid4(), "https://b", failing=True)
    assert sum(first(uuid.uuid4(), f"https://a{n}") for n in range(50)) == 8
    assert sum(third(uuid.uuid4(), f"https://c{n}") for n in range(50)) == 14  # 32 in all


def _taker(shares: claims.Shares, workspace_id: uuid.UUID) -> Callable[..., bool]:
    def take(endpoint_id: uuid.UUID, origin: str, *, failing: bool = False) -> bool:
        return shares.take(claims.Claim(uuid.uuid4(), endpoint_id, workspace_id, origin, failing, uuid.uuid4()))

    return take


def test_a_flood_of_notices_is_told_by_and_by(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks the run settles what it has sent, whose leases would run out meanwhile."""
    monkeypatch.setattr("integrations.webhooks.fanout.BATCH", 1)
    receiver.answer(HOOK)
    for _ in range(12):
        notice()
    assert fan_out(NOW) == MOST_BATCHES == 5
    summary = run()
    assert (summary.made, summary.delivered) == (7, 12)


def test_a_run_that_is_asked_to_stop_takes_no_more_work(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    """And writes down what comes of what it has sent."""
    stopping = Stopping()

    def stop(_: Received) -> Answer:
        stopping.begin()
        return Answer(200)

    receiver.respond(HOOK, stop)
    for _ in range(5):
        notice()
    summary = run(stopping=stopping)
    assert summary.sent == summary.delivered == claims.PER_ENDPOINT
    assert WebhookDelivery.objects.filter(status=DeliveryStatus.PENDING, lease_id=None).count() == 3


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_each_delivery_once(receiver: ScriptedServer) -> None:
    workspace = make_workspace()
    receiver.answer(HOOK)
    create_endpoint(workspace, url=receiver.url + HOOK, actor=OPERATOR)
    integration = make_connection(make_integration(workspace)).integration
    for number in range(30):
        Notice.objects.create(
            workspace=workspace, kind=NoticeKind.DEGRADED, at=later(seconds=number), integration=integration,
            provider_id="github", grant_type=integration.grant_type,
        )  # fmt: skip
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        try:
            deliver_webhooks(clock=Clock.standing_at(later(minutes=1)))
        finally:
            database.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(receiver.to(HOOK)) == 30
    assert len({received.headers["webhook-id"] for received in receiver.to(HOOK)}) == 30
    assert WebhookDelivery.objects.filter(status=DeliveryStatus.DELIVERED).count() == 30
    assert WebhookAttempt.objects.count() == 30


def test_a_delivery_whose_worker_was_killed_is_sent_again_when_the_lease_has_run_out(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice()
    fan_out(NOW)
    [lost] = claims.claim_due(claims.Shares(), NOW)
    assert run(NOW + claims.LEASE).sent == 0
    assert run(NOW + claims.LEASE + timedelta(seconds=1)).delivered == 1
    answer = deliverer.send(deliverer.message_of(only_delivery(), NOW), NOW)
    assert not outcomes.settle(lost, answer, NOW)  # what the first worker has to say comes too late
    assert only_delivery().attempts_made == 1


def test_the_outcome_of_an_attempt_is_written_once_although_its_confirmation_was_lost(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    notice()
    fan_out(NOW)
    [claim] = claims.claim_due(claims.Shares(), NOW)
    answer = deliverer.send(deliverer.message_of(only_delivery(), NOW), NOW)
    assert outcomes.settle(claim, answer, NOW)
    assert not outcomes.settle(claim, answer, NOW)
    assert only_delivery().attempts_made == 1


def test_an_endpoint_that_is_disabled_between_claim_and_sending_gets_nothing(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    notice()
    fan_out(NOW)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(enabled=False)
    run()
    assert receiver.requests == []
    assert only_delivery().status == DeliveryStatus.GIVEN_UP
    assert only_delivery().last_error == "endpoint_disabled"


def test_a_secret_that_no_key_opens_waits_without_counting_attempts(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice, settings: Any
) -> None:
    from cryptography.fernet import Fernet

    receiver.answer(HOOK)
    notice()
    keys = settings.FERNET_KEYS
    settings.FERNET_KEYS = [Fernet.generate_key()]
    assert run().sent == 0
    delivery = only_delivery()
    assert (delivery.last_error, delivery.attempts_made) == ("undecryptable", 0)
    settings.FERNET_KEYS = keys
    assert run(later(minutes=10)).delivered == 1


def test_the_log_of_attempts_is_bounded(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    notice()
    for number in range(outcomes.KEPT_ATTEMPTS + 2):
        now = later(minutes=number)
        WebhookDelivery.objects.update(next_attempt_at=now, attempts_made=0)
        run(now)
    assert WebhookAttempt.objects.count() == outcomes.KEPT_ATTEMPTS
    assert WebhookAttempt.objects.last().at == later(minutes=2)


def test_the_sweep_forgets_old_deliveries_and_secrets_whose_time_is_over(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice()
    run()
    endpoints.roll_secret(endpoint, timedelta(hours=1), actor=OPERATOR)
    assert sweep(NOW + KEEP_DELIVERIES) == 0
    endpoint.refresh_from_db()
    assert endpoint.previous_secret is None
    assert endpoint.previous_until is None
    assert sweep(NOW + KEEP_DELIVERIES + timedelta(seconds=1)) == 2  # the delivery and its attempt
    assert WebhookDelivery.objects.count() == 0


def test_the_payload_is_sent_byte_for_byte_as_it_was_signed_whatever_it_says(
    receiver: ScriptedServer, new_endpoint: NewSecret, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice(message="Ünïcode “quotes” \\ / \u2028 😀", about_connection=True)
    run()
    [received] = receiver.to(HOOK)
    assert verifies(received, new_endpoint.secret)
    assert json.loads(received.body)["data"]["message"] == "Ünïcode “quotes” \\ / \u2028 😀"
