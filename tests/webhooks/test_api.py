"""Webhooks over HTTP: the same verbs, by programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.models import Notice, WebhookDelivery, WebhookEndpoint
from tests.api.client import ApiClient, make_key
from tests.servers.scripted import ScriptedServer
from tests.webhooks.conftest import HOOK, later, only_delivery, run, verifies
from workspaces.models import AuditEvent, Workspace

MakeNotice = Callable[..., Notice]


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return ApiClient(make_key(workspace))


@pytest.fixture
def made(api: ApiClient, receiver: ScriptedServer) -> dict[str, Any]:
    answer = api.post("/webhooks", {"url": f"{receiver.url}{HOOK}?key=1", "description": "Ops"})
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_a_webhook_from_creation_to_deletion(api: ApiClient, made: dict[str, Any], receiver: ScriptedServer) -> None:
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    path = f"/webhooks/{made['id']}"
    assert api.get(path).json() == made
    assert api.get("/webhooks").json() == {"items": [made], "next": None}
    assert made["url"] == f"{receiver.url}{HOOK}?key=1"
    changed = api.patch(path, {"events": ["connection.recovered"], "enabled": False}).json()
    assert (changed["events"], changed["enabled"], changed["disabled_because"]) == (
        ["connection.recovered"], False, "member",
    )  # fmt: skip
    assert api.patch(path, {"events": []}).json()["events"] == []
    rolled = api.post(f"{path}/roll-secret", {"overlap_seconds": 60}).json()
    assert rolled["secret"] not in (secret, "")
    assert rolled["previous_secret_until"] is not None
    assert api.post(f"{path}/roll-secret", {"overlap_seconds": 0}).json()["previous_secret_until"] is None
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert "whsec_" not in str(list(AuditEvent.objects.values()))


def test_a_test_shows_its_result(api: ApiClient, made: dict[str, Any], receiver: ScriptedServer) -> None:
    receiver.answer(HOOK, status=302, headers={"Location": "/"})
    receiver.answer(HOOK, status=202)
    failed = api.post(f"/webhooks/{made['id']}/test").json()
    assert (failed["status"], failed["last_status"], failed["last_error"]) == ("given_up", 302, "redirect")
    assert "not followed" in failed["last_message"]
    arrived = api.post(f"/webhooks/{made['id']}/test").json()
    assert (arrived["status"], arrived["last_error"], arrived["event_type"]) == ("delivered", None, "webhook.test")
    assert verifies(receiver.to(HOOK)[-1], made["secret"])
    assert receiver.to(HOOK)[-1].json == arrived["payload"]
    refused = api.post(f"/webhook-deliveries/{arrived['id']}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_the_log_comes_in_pages_and_by_status(
    api: ApiClient, made: dict[str, Any], receiver: ScriptedServer, notice: MakeNotice
) -> None:
    receiver.answer(HOOK, status=500)
    for minutes in range(5):
        notice(at=later(minutes=minutes))
    run(later(hours=1))
    path = f"/webhooks/{made['id']}/deliveries"
    first = api.get(path, limit=3).json()
    second = api.get(path, limit=3, cursor=first["next"]).json()
    assert second["next"] is None
    items = [*first["items"], *second["items"]]
    assert [one["payload"]["timestamp"] for one in items] == [
        f"2040-01-02T12:0{minutes}:00.000Z" for minutes in (4, 3, 2, 1, 0)
    ]
    assert {one["status"] for one in items} == {"failed"}
    assert api.get(path, status="delivered").json()["items"] == []
    assert api.get(path, status="unknown").status_code == 422
    assert api.get(path, cursor="bogus").status_code == 422
    WebhookDelivery.objects.filter(pk=items[2]["id"]).delete()
    assert api.get(path, limit=3, cursor=first["next"]).json()["items"] == []  # swept meanwhile


def test_a_replay_makes_a_delivery_due_again(
    api: ApiClient, made: dict[str, Any], receiver: ScriptedServer, notice: MakeNotice
) -> None:
    receiver.answer(HOOK)
    notice()
    run()
    answer = api.post(f"/webhook-deliveries/{only_delivery().pk}/replay").json()
    assert (answer["status"], answer["attempts"]) == ("pending", 0)
    assert run(later(hours=1)).delivered == 1
    WebhookEndpoint.objects.update(enabled=False)
    assert api.post(f"/webhook-deliveries/{only_delivery().pk}/replay").status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "https://127.0.0.2/"}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://hooks.example.com/", "events": ["nothing"]}, "events"),
        ({"url": "https://hooks.example.com/", "secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_cannot_stand_is_refused_by_field(body: dict[str, Any], field: str, api: ApiClient) -> None:
    answer = api.post("/webhooks", body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not WebhookEndpoint.objects.exists()


def test_reading_is_a_scope_of_its_own(workspace: Workspace, made: dict[str, Any]) -> None:
    reader = ApiClient(make_key(workspace, "webhooks:read"))
    path = f"/webhooks/{made['id']}"
    assert reader.get(path).status_code == 200
    for answer in (
        reader.post("/webhooks", {"url": "https://hooks.example.com/"}),
        reader.patch(path, {"enabled": False}),
        reader.post(f"{path}/test"),
        reader.post(f"{path}/roll-secret", {}),
        reader.delete(path),
    ):
        assert answer.status_code == 403
        assert answer.json()["required_scope"] == "webhooks:write"
    stranger = ApiClient(make_key(workspace, "connections:read"))
    assert stranger.get("/webhooks").status_code == 403
