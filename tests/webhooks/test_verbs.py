"""What people do with endpoints and deliveries: change, roll, test, replay, delete; and who is woken by a notice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import transaction

from integrations import rotation, tasks, wake
from integrations.crypto import SealError
from integrations.models import DeliveryStatus, Notice, WebhookDelivery, WebhookEndpoint
from integrations.webhooks import deliveries, endpoints
from integrations.webhooks.endpoints import NewSecret, WebhookRefused, change_endpoint, create_endpoint, roll_secret
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import ScriptedServer
from tests.webhooks.conftest import HOOK, NOW, OPERATOR, later, only_delivery, run, verifies
from workspaces.errors import RateLimited
from workspaces.models import AuditEvent, Workspace

MakeNotice = Callable[..., Notice]


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=24)])
def test_after_a_roll_the_new_secret_verifies_and_the_old_one_for_as_long_as_was_chosen(
    overlap: timedelta, receiver: ScriptedServer, new_endpoint: NewSecret, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    rolled = roll_secret(new_endpoint.endpoint, overlap, actor=OPERATOR)
    # Its end stands in the row, by the database's clock: the run is shortly before and after it.
    end = rolled.endpoint.previous_until or NOW
    assert (end == NOW) is (not overlap)
    notice()
    run(NOW)
    WebhookEndpoint.objects.update(previous_until=later(hours=24) if overlap else None)
    notice(at=later(hours=23))
    run(later(hours=23))
    notice(at=later(hours=24))
    run(later(hours=24))
    _, within, after = receiver.to(HOOK)
    assert verifies(within, rolled.secret)
    assert verifies(after, rolled.secret)
    assert verifies(within, new_endpoint.secret) is bool(overlap)
    assert not verifies(after, new_endpoint.secret)


def test_secrets_and_the_url_are_sealed_and_in_no_event(new_endpoint: NewSecret, workspace: Workspace) -> None:
    endpoint = new_endpoint.endpoint
    rolled = roll_secret(endpoint, timedelta(hours=1), actor=OPERATOR)
    change_endpoint(endpoint, url=str(endpoint.url) + "&more=query-secret-2", description="Ops", actor=OPERATOR)
    text = str([event.__dict__ for event in AuditEvent.objects.all()]) + repr(endpoint) + repr(rolled)
    for secret in (new_endpoint.secret, rolled.secret, "secret-path", "query-secret"):
        assert secret not in text
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert actions[-3:] == ["webhook:created", "webhook:secret_rolled", "webhook:changed"]
    assert AuditEvent.objects.latest("pk").detail == {"changed": ["url", "description"], "enabled": True}
    change_endpoint(endpoint, description="Ops", actor=OPERATOR)
    assert AuditEvent.objects.count() == len(actions)  # nothing changed, nothing to record


def test_key_rotation_reaches_url_and_both_secrets(new_endpoint: NewSecret, settings: Any) -> None:
    rolled = roll_secret(new_endpoint.endpoint, timedelta(hours=1), actor=OPERATOR)
    old, new = settings.FERNET_KEYS, [Fernet.generate_key()]
    settings.FERNET_KEYS = new + old
    assert rotation.rotate().rotated >= 3
    settings.FERNET_KEYS = new
    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.signing_secrets(endpoint.created_at) == [rolled.secret, new_endpoint.secret]
    assert str(endpoint.url).endswith("?key=query-secret")
    settings.FERNET_KEYS = old
    with pytest.raises(SealError):
        endpoint.signing_secrets(NOW)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "not a url"}, "url"),
        ({"url": "https://user:password@hooks.example.com/"}, "url"),
        ({"url": "https://hooks.example.com/#part"}, "url"),
        ({"events": ["connection.degraded", "nothing.known"]}, "events"),
        ({"events": ["webhook.test"]}, "events"),
        ({"description": "read\u202ebackwards"}, "description"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_values_that_cannot_stand_are_refused_by_name(values: dict[str, Any], field: str, workspace: Workspace) -> None:
    with pytest.raises(WebhookRefused) as refused:
        create_endpoint(workspace, **{"url": "https://hooks.example.com/", **values}, actor=OPERATOR)
    assert refused.value.field == field
    assert not workspace.webhook_endpoints.exists()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Hooks.Example.com/a?b=c", "https://hooks.example.com"),
        ("https://hooks.example.com:8443/a", "https://hooks.example.com:8443"),
        ("https://[2606:4700::1]/a", "https://[2606:4700::1]"),
    ],
)
def test_the_origin_is_all_that_is_shown_to_everybody(url: str, origin: str, workspace: Workspace) -> None:
    assert create_endpoint(workspace, url=url, actor=OPERATOR).endpoint.origin == origin


def test_a_workspace_has_a_limit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 1)
    create_endpoint(workspace, url="https://hooks.example.com/", actor=OPERATOR)
    with pytest.raises(WebhookRefused, match="may have 1"):
        create_endpoint(workspace, url="https://hooks.example.com/", actor=OPERATOR)
    create_endpoint(make_workspace(), url="https://hooks.example.com/", actor=OPERATOR)


def test_disabling_gives_up_what_waits_and_enabling_begins_anew(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    receiver.answer(HOOK, status=200)
    notice()
    run()
    change_endpoint(endpoint, enabled=False, actor=OPERATOR)
    assert only_delivery().status == DeliveryStatus.GIVEN_UP
    notice(at=later(hours=1))
    assert run(later(hours=1)).sent == 0
    with pytest.raises(WebhookRefused, match="Enable it first"):
        deliveries.replay_failed(endpoint, NOW, actor=OPERATOR)
    change_endpoint(endpoint, enabled=True, actor=OPERATOR)
    assert (endpoint.failing_since, endpoint.failures, endpoint.disabled_because) == (None, 0, "")
    assert run(later(hours=2)).sent == 0  # what happened meanwhile is not sent later
    assert deliveries.replay_failed(endpoint, NOW, actor=OPERATOR) == 1
    assert run(later(hours=3)).delivered == 1


def test_a_replay_sends_the_same_message_again_whatever_became_of_it(
    receiver: ScriptedServer, new_endpoint: NewSecret, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice()
    run()
    deliveries.replay(only_delivery(), actor=OPERATOR)
    assert only_delivery().status == DeliveryStatus.PENDING
    assert run(later(hours=1)).delivered == 1
    first, second = receiver.to(HOOK)
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["webhook-timestamp"] == str(int(later(hours=1).timestamp()))
    assert verifies(second, new_endpoint.secret)
    assert AuditEvent.objects.filter(action="webhook:replayed").count() == 1


def test_replaying_all_that_failed_leaves_older_ones_delivered_ones_and_other_endpoints_alone(
    workspace: Workspace, receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    receiver.answer("/other", status=500)
    other = create_endpoint(workspace, url=f"{receiver.url}/other", actor=OPERATOR).endpoint
    for hours in (0, 1, 2):
        notice(at=later(hours=hours))
    run(later(hours=2))
    WebhookDelivery.objects.filter(created_at=later(hours=2)).update(
        status=DeliveryStatus.DELIVERED, next_attempt_at=None
    )
    WebhookDelivery.objects.filter(created_at=later(hours=1)).update(
        status=DeliveryStatus.GIVEN_UP, next_attempt_at=None
    )
    assert deliveries.replay_failed(endpoint, later(minutes=30), actor=OPERATOR) == 1
    replayed = WebhookDelivery.objects.get(status=DeliveryStatus.PENDING)
    assert (replayed.endpoint, replayed.created_at) == (endpoint, later(hours=1))
    assert deliveries.replay_failed(other, later(hours=9), actor=OPERATOR) == 0


def test_a_workspace_sends_so_many_tests_a_minute_however_many_webhooks_it_has(
    workspace: Workspace, receiver: ScriptedServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds a web thread for as long as its receiver takes."""
    settings.RATE_LIMIT_SCALE = 1.0
    monkeypatch.setattr(deliveries, "TESTS_PER_MINUTE", 1)
    receiver.answer(HOOK)

    def send_some() -> None:
        for _ in range(3):  # the minute may turn once in between
            one = create_endpoint(workspace, url=receiver.url + HOOK, actor=OPERATOR).endpoint
            deliveries.send_test(one, actor=OPERATOR)

    with pytest.raises(RateLimited):
        send_some()


def test_a_test_is_sent_once_even_to_a_disabled_endpoint_and_counts_for_nothing(
    receiver: ScriptedServer, new_endpoint: NewSecret
) -> None:
    endpoint = new_endpoint.endpoint
    receiver.answer(HOOK, status=410, body="no more")
    receiver.answer(HOOK, status=204)
    failed = deliveries.send_test(endpoint, actor=OPERATOR)
    assert (failed.status, failed.last_status, failed.next_attempt_at) == (DeliveryStatus.GIVEN_UP, 410, None)
    endpoint.refresh_from_db()
    assert endpoint.enabled
    assert endpoint.failing_since is None
    change_endpoint(endpoint, enabled=False, actor=OPERATOR)
    arrived = deliveries.send_test(endpoint, actor=OPERATOR)
    assert arrived.status == DeliveryStatus.DELIVERED
    received = receiver.to(HOOK)[-1]
    assert verifies(received, new_endpoint.secret)
    assert received.json["type"] == "webhook.test"
    assert set(received.json["data"]) >= {"workspace", "provider_id", "connection", "status", "url"}
    change_endpoint(endpoint, enabled=True, actor=OPERATOR)
    with pytest.raises(WebhookRefused, match="test"):
        deliveries.replay(arrived, actor=OPERATOR)
    assert deliveries.replay_failed(endpoint, failed.created_at - timedelta(days=1), actor=OPERATOR) == 0
    assert [event.result for event in AuditEvent.objects.filter(action="webhook:tested").order_by("pk")] == [
        "failed",
        "ok",
    ]


def test_deleting_takes_the_log_along_and_leaves_the_notice(
    receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    notice()
    run()
    endpoints.delete_endpoint(endpoint, actor=OPERATOR)
    assert not WebhookDelivery.objects.exists()
    assert Notice.objects.exists()
    assert run(later(days=1)).sent == 0
    with pytest.raises(WebhookRefused, match="deleted"):
        change_endpoint(endpoint, enabled=False, actor=OPERATOR)


@pytest.mark.django_db(transaction=True)
def test_a_notice_wakes_a_worker_after_the_commit_once_for_many_and_rarely_while_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from integrations.models import NoticeKind
    from integrations.notices import notice_of_integration

    integration = make_integration(make_workspace())
    sent: list[str] = []
    monkeypatch.setattr(wake, "_quiet_until", {})
    monkeypatch.setattr(wake.current_app, "send_task", lambda name, **_options: sent.append(name))
    with transaction.atomic():
        for _ in range(50):
            notice_of_integration(integration, NoticeKind.DEGRADED, at=NOW)
        assert sent == []
    assert sent == [tasks.deliver_webhooks.name]

    def refuse(name: str, **_options: Any) -> None:
        sent.append(name)
        raise OSError("broker is down")

    monkeypatch.setattr(wake, "_quiet_until", {})
    monkeypatch.setattr(wake, "AT_MOST_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(wake.current_app, "send_task", refuse)
    for _ in range(3):
        notice_of_integration(integration, NoticeKind.DEGRADED, at=NOW)
    assert len(sent) == 2


@pytest.mark.django_db(transaction=True)
def test_the_task_tells_what_happened(receiver: ScriptedServer) -> None:
    from integrations.models import NoticeKind
    from integrations.notices import notice_of_integration

    receiver.answer(HOOK)
    workspace = make_workspace()
    create_endpoint(workspace, url=receiver.url + HOOK, actor=OPERATOR)
    integration = make_connection(make_integration(workspace)).integration
    told = notice_of_integration(integration, NoticeKind.RECOVERED, at=WebhookEndpoint.objects.get().created_at)
    tasks.deliver_webhooks()
    assert [received.headers["webhook-id"] for received in receiver.to(HOOK)] == [str(told.public_id)]
    tasks.sweep()
