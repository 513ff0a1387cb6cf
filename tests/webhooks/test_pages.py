"""The pages: what each role sees, and every button without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from integrations.models import DeliveryStatus, Notice, WebhookDelivery, WebhookEndpoint
from integrations.webhooks.log import PAGE
from integrations.webhooks.outcomes import disable
from tests.factories import make_member, make_user
from tests.servers.scripted import ScriptedServer
from tests.webhooks.conftest import HOOK, NOW, OPERATOR, later, only_delivery, run
from workspaces.models import Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.usefixtures("workspace")
MakeNotice = Callable[..., Notice]


def url(name: str, **kwargs: Any) -> str:
    return reverse(f"webhooks:{name}", kwargs={"workspace": "acme", **kwargs})


def text(answer: Any) -> str:
    return answer.content.decode()


@pytest.fixture
def as_viewer(workspace: Workspace) -> Client:
    user = make_user()
    make_member(workspace, user, Role.VIEWER)
    browser = Client()
    browser.force_login(user)
    return browser


def test_an_empty_list_says_what_a_webhook_is_and_who_makes_one(as_alice: Client, as_viewer: Client) -> None:
    page = text(as_alice.get(url("list")))
    assert "No webhook yet" in page
    assert url("new") in page
    assert f'href="{url("list")}" aria-current="page"' in page
    page = text(as_viewer.get(url("list")))
    assert "An admin can create one" in page
    assert url("new") not in page


def test_creating_shows_the_secret_once(as_alice: Client, receiver: ScriptedServer) -> None:
    form = {"url": f"{receiver.url}{HOOK}", "description": "Ops", "which": "chosen", "events": ["connection.degraded"]}
    answer = as_alice.post(url("new"), form)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", text(answer)))
    endpoint = WebhookEndpoint.objects.get()
    assert (str(endpoint.secret), endpoint.events, endpoint.description) == (secret, ["connection.degraded"], "Ops")
    for page in (url("list"), url("detail", endpoint_id=endpoint.pk), url("edit", endpoint_id=endpoint.pk)):
        assert "whsec_" not in text(as_alice.get(page))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"url": "", "which": "all"}, "Enter a URL"),
        ({"url": "https://10.0.0.1/", "which": "all"}, "not on the public internet"),
        ({"url": "https://hooks.example.com/", "which": "chosen"}, "Choose at least one event"),
        ({"url": "https://hooks.example.com/", "which": "all", "description": "x" * 201}, "at most 200"),
    ],
)
def test_a_form_with_errors_comes_back_with_what_was_entered(
    form: dict[str, str], words: str, as_alice: Client
) -> None:
    answer = as_alice.post(url("new"), form)
    assert answer.status_code == 422
    assert words in text(answer)
    assert f'value="{form["url"]}"' in text(answer) or not form["url"]
    assert not WebhookEndpoint.objects.exists()


def test_viewers_see_the_origin_and_the_log_and_nothing_to_press(
    as_alice: Client, as_viewer: Client, receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice()
    run()
    detail = url("detail", endpoint_id=endpoint.pk)
    for browser, manages in ((as_alice, True), (as_viewer, False)):
        assert receiver.url in text(browser.get(url("list")))
        page = text(browser.get(detail))
        assert "integration.degraded" in page
        assert ("secret-path" in page) is manages
        assert ("query-secret" in page) is manages
        assert ("Send test event" in page) is manages
        assert ('method="post"' in page.partition('id="main"')[2]) is manages
    for name in ("edit", "roll", "delete"):
        assert as_viewer.get(url(name, endpoint_id=endpoint.pk)).status_code == 403
    assert as_viewer.get(url("delivery", delivery_id=only_delivery().pk)).status_code == 403


def test_editing_keeps_the_secret_and_changes_the_rest(as_alice: Client, endpoint: WebhookEndpoint) -> None:
    before = str(endpoint.secret)
    page = url("edit", endpoint_id=endpoint.pk)
    assert "query-secret" in text(as_alice.get(page))
    form = {"url": "https://hooks.example.com/x", "which": "chosen", "events": ["connection.recovered"]}
    assert as_alice.post(page, form).status_code == 302
    endpoint.refresh_from_db()
    assert (str(endpoint.url), endpoint.origin) == ("https://hooks.example.com/x", "https://hooks.example.com")
    assert (endpoint.events, str(endpoint.secret)) == (["connection.recovered"], before)


def test_a_test_event_leads_to_what_came_back(
    as_alice: Client, receiver: ScriptedServer, endpoint: WebhookEndpoint
) -> None:
    receiver.answer(HOOK, status=400, body="<script>alert(1)</script>")
    receiver.answer(HOOK, status=200)
    answer = as_alice.post(url("test", endpoint_id=endpoint.pk), follow=True)
    page = text(answer)
    assert "Not delivered" in page
    assert "answered 400" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "webhook-signature: v1," in page
    assert "Send another test" in page
    assert "The test arrived" in text(as_alice.post(url("test", endpoint_id=endpoint.pk), follow=True))


def test_tests_are_limited(
    as_alice: Client, receiver: ScriptedServer, endpoint: WebhookEndpoint, settings: Any
) -> None:
    settings.RATE_LIMIT_SCALE = 0.05
    receiver.answer(HOOK)
    as_alice.post(url("test", endpoint_id=endpoint.pk))
    assert "Too many tries" in text(as_alice.post(url("test", endpoint_id=endpoint.pk), follow=True))
    assert len(receiver.to(HOOK)) == 1


def test_replaying_one_and_all(
    as_alice: Client, receiver: ScriptedServer, endpoint: WebhookEndpoint, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    notice()
    run()
    page = as_alice.post(url("delivery_replay", delivery_id=only_delivery().pk), follow=True)
    assert "being sent again" in text(page)
    assert only_delivery().status == DeliveryStatus.PENDING
    run(later(minutes=1))
    WebhookDelivery.objects.update(created_at=endpoint.created_at)
    page = as_alice.post(url("replay_failed", endpoint_id=endpoint.pk), {"since": "3600"}, follow=True)
    assert "1 delivery is being sent again." in text(page)
    page = as_alice.post(url("replay_failed", endpoint_id=endpoint.pk), {"since": "3600"}, follow=True)
    assert "Nothing failed in that time." in text(page)
    page = as_alice.post(url("replay_failed", endpoint_id=endpoint.pk), {"since": "forever"}, follow=True)
    assert "Choose how far back" in text(page)


def test_switching_off_and_on_again(as_alice: Client, endpoint: WebhookEndpoint) -> None:
    page = text(as_alice.post(url("switch", endpoint_id=endpoint.pk), follow=True))
    assert "Nothing more is sent to it" in page
    assert "can be replayed" in page
    page = text(as_alice.post(url("switch", endpoint_id=endpoint.pk), {"enabled": "1"}, follow=True))
    assert "The webhook is enabled." in page


def test_one_that_was_disabled_by_itself_is_told_on_the_list(as_viewer: Client, endpoint: WebhookEndpoint) -> None:
    from integrations.models import DisabledBecause

    disable(endpoint, DisabledBecause.FAILING, NOW, actor=OPERATOR)
    page = text(as_viewer.get(url("list")))
    assert "A webhook was disabled" in page
    assert "for five days" in page


def test_rolling_shows_the_new_secret_once(as_alice: Client, endpoint: WebhookEndpoint) -> None:
    page = url("roll", endpoint_id=endpoint.pk)
    assert "Roll signing secret" in text(as_alice.get(page))
    answer = as_alice.post(page, {"overlap": "3600"})
    endpoint.refresh_from_db()
    assert str(endpoint.secret) in text(answer).replace("&#x2B;", "+")
    assert "signs too" in text(answer)
    assert "Rolling again stops it at once" in text(as_alice.get(page))
    assert as_alice.post(page, {"overlap": "1"}).status_code == 422


def test_deleting_asks_first(as_alice: Client, endpoint: WebhookEndpoint) -> None:
    page = url("delete", endpoint_id=endpoint.pk)
    assert "cannot be brought back" in text(as_alice.get(page))
    assert WebhookEndpoint.objects.exists()
    assert as_alice.post(page, follow=True).status_code == 200
    assert not WebhookEndpoint.objects.exists()


def test_the_log_is_filtered_in_the_url_and_comes_in_pages(as_alice: Client, endpoint: WebhookEndpoint) -> None:
    for number in range(PAGE + 2):
        status = DeliveryStatus.DELIVERED if number else DeliveryStatus.GIVEN_UP
        WebhookDelivery.objects.create(
            workspace=endpoint.workspace, endpoint=endpoint, event_type="connection.degraded", body="{}",
            status=status, created_at=later(minutes=number),
        )  # fmt: skip
    detail = url("detail", endpoint_id=endpoint.pk)
    first = text(as_alice.get(detail))
    assert first.count('<th scope="row"') == PAGE
    found = re.search(r'href="(\?[^"]*before=[^"]*)"', first)
    assert found
    second = text(as_alice.get(detail + found[1].replace("&amp;", "&")))
    assert second.count('<th scope="row"') == 2
    assert "Given up" in second
    part = text(as_alice.get(f"{detail}?status=given_up", headers={"HX-Request": "true"}))
    assert part.strip().startswith('<div id="log"')
    assert part.count('<th scope="row"') == 1
    assert "Nothing matches" in text(as_alice.get(f"{detail}?status=pending"))
    for odd in ("?status=odd", "?before=odd"):
        assert text(as_alice.get(detail + odd)).count('<th scope="row"') == PAGE
