"""Who may call what: every call against every kind of key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.models import Connection, CustomProvider, Integration, WebhookDelivery, WebhookEndpoint
from integrations.providers.custom import create_custom_provider
from integrations.webhooks.endpoints import create_endpoint
from tests.api.client import ALL_SCOPES, ApiClient, document, make_key
from tests.factories import make_connection, make_integration, make_member, make_user
from workspaces.api_keys import create_api_key, revoke_api_key
from workspaces.audit import Actor
from workspaces.models import ApiKey, AuditEvent, User, Workspace
from workspaces.roles import Role

GITHUB = "/integrations/github/authorization_code"
CUSTOM = "/integrations/custom_secret/authorization_code"
HOOK, REPLAY = "/webhooks/{webhook_id}", "/webhook-deliveries/{delivery_id}/replay"


@dataclass(frozen=True)
class Call:
    """One call of the contract. `body` is invalid where there is one: refusals must come before it is read."""

    method: str
    path: str
    scope: str
    foreign: str = ""  # the same call on something that belongs to Alice's workspace

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


# This table is written by hand on purpose: it is the contract, not what the code says about itself.
CALLS = [
    Call("GET", "/providers", "integrations:read"),
    Call("POST", "/providers", "integrations:write"),
    Call("POST", "/providers/discover", "integrations:write"),
    Call("POST", "/providers/import", "integrations:write"),
    Call("GET", "/providers/github/export", "integrations:read", "/providers/custom_secret/export"),
    Call("POST", "/providers/github/inspect", "integrations:read", "/providers/custom_secret/inspect"),
    Call("GET", "/providers/github", "integrations:read", "/providers/custom_secret"),
    Call("PATCH", "/providers/github", "integrations:write", "/providers/custom_secret"),
    Call("DELETE", "/providers/github", "integrations:write", "/providers/custom_secret"),
    Call("POST", "/providers/github/publish", "integrations:write", "/providers/custom_secret/publish"),
    Call("GET", "/integrations", "integrations:read"),
    Call("GET", GITHUB, "integrations:read", CUSTOM),
    Call("PUT", GITHUB, "integrations:write", CUSTOM),
    Call("DELETE", GITHUB, "integrations:write", CUSTOM),
    Call("POST", f"{GITHUB}/client-key/rotate", "integrations:write", f"{CUSTOM}/client-key/rotate"),
    Call("POST", f"{GITHUB}/test", "connections:write", f"{CUSTOM}/test"),
    Call("POST", f"{GITHUB}/discover", "integrations:write", f"{CUSTOM}/discover"),
    Call("POST", f"{GITHUB}/connect-links", "connections:write", f"{CUSTOM}/connect-links"),
    Call("GET", f"{GITHUB}/connections", "connections:read", f"{CUSTOM}/connections"),
    Call("POST", f"{GITHUB}/connections", "connections:write", f"{CUSTOM}/connections"),
    Call("GET", f"{GITHUB}/token", "tokens:read", f"{CUSTOM}/token"),
    Call("GET", "/connections", "connections:read"),
    Call("GET", "/connections/{id}", "connections:read", "/connections/{id}"),
    Call("PATCH", "/connections/{id}", "connections:write", "/connections/{id}"),
    Call("DELETE", "/connections/{id}", "connections:write", "/connections/{id}"),
    Call("POST", "/connections/{id}/refresh", "connections:write", "/connections/{id}/refresh"),
    Call("POST", "/connections/{id}/disconnect", "connections:write", "/connections/{id}/disconnect"),
    Call("GET", "/connections/{id}/token", "tokens:read", "/connections/{id}/token"),
    Call("GET", "/notices", "connections:read"),
    Call("GET", "/webhooks", "webhooks:read"),
    Call("POST", "/webhooks", "webhooks:write"),
    Call("GET", HOOK, "webhooks:read", HOOK),
    Call("PATCH", HOOK, "webhooks:write", HOOK),
    Call("DELETE", HOOK, "webhooks:write", HOOK),
    Call("POST", f"{HOOK}/test", "webhooks:write", f"{HOOK}/test"),
    Call("POST", f"{HOOK}/roll-secret", "webhooks:write", f"{HOOK}/roll-secret"),
    Call("GET", f"{HOOK}/deliveries", "webhooks:read", f"{HOOK}/deliveries"),
    Call("POST", REPLAY, "webhooks:write", REPLAY),
    Call("GET", "/audit-events", "audit:read"),
]
every_call = pytest.mark.parametrize("call", CALLS, ids=str)


@pytest.fixture
def alices(workspace: Workspace) -> Connection:
    """What an outsider might aim at: a custom provider, an integration, a connection with a token, a webhook."""
    hook = create_endpoint(workspace, url="https://custom_secret.example/", actor=Actor.operator()).endpoint
    WebhookDelivery.objects.create(workspace=workspace, endpoint=hook, event_type="webhook.test", body="{}")
    create_custom_provider(
        workspace,
        {
            "name": "Secret",
            "grant_types": ["authorization_code"],
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
        },
        actor=Actor.operator(),
    )
    return make_connection(make_integration(workspace, "custom_secret"))


def send(call: Call, key: str | None, path: str, connection: Connection) -> Any:
    raw = None if call.method in ("GET", "DELETE") else b"{ this is not JSON"
    hook, delivery = WebhookEndpoint.objects.get(), WebhookDelivery.objects.get()
    ids = {"{id}": connection.pk, "{webhook_id}": hook.pk, "{delivery_id}": delivery.pk}
    for placeholder, pk in ids.items():
        path = path.replace(placeholder, str(pk))
    return ApiClient(key).call(call.method, path, raw=raw)


def snapshot() -> Any:
    return (
        list(Integration.objects.order_by("pk").values("pk", "client_id", "updated_at")),
        list(Connection.objects.order_by("pk").values("pk", "name", "state", "updated_at")),
        list(CustomProvider.objects.order_by("pk").values("pk", "provider_id")),
        AuditEvent.objects.exclude(action__startswith="api_key:").count(),
    )


def test_the_table_has_every_call_of_the_document() -> None:
    listed = {(call.method, call.path.replace(GITHUB, "/integrations/{provider_id}/{grant_type}")) for call in CALLS}
    listed = {(m, p.replace("/github", "/{provider_id}").replace("{id}", "{connection_id}")) for m, p in listed}
    found = {(method.upper(), path) for path, ops in document()["paths"].items() for method in ops}
    assert found == listed


@every_call
def test_without_a_key_it_is_401(call: Call, alices: Connection) -> None:
    response = send(call, None, call.path, alices)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="Grantry"'
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "unauthorized"


@every_call
def test_bad_expired_and_revoked_keys_get_the_same_401(call: Call, workspace: Workspace, alices: Connection) -> None:
    now = timezone.now()
    good = make_key(workspace)
    expired = create_api_key(
        workspace,
        name="old",
        scopes=ALL_SCOPES,
        actor=Actor.operator(),
        created_by=None,
        expires_at=now - timedelta(hours=1),
        now=now - timedelta(hours=2),
    ).key
    revoked = create_api_key(workspace, name="gone", scopes=ALL_SCOPES, actor=Actor.operator(), created_by=None)
    revoke_api_key(revoked.api_key, actor=Actor.operator())
    wrong_secret = good[:-1] + ("a" if good[-1] != "a" else "b")
    answers = [
        send(call, key, call.path, alices)
        for key in (wrong_secret, expired, revoked.key, "gr_nothing", "", "x" * 5000, "gr_ä_ö")
    ]
    assert {answer.status_code for answer in answers} == {401}
    bodies = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert {answer["WWW-Authenticate"] for answer in answers} == {'Bearer realm="Grantry", error="invalid_token"'}


@every_call
def test_a_key_without_the_scope_is_403_and_names_it(call: Call, workspace: Workspace, alices: Connection) -> None:
    others = [scope for scope in ALL_SCOPES if scope != call.scope]
    before = snapshot()
    # Asked before the object is looked for and before the body is read.
    response = send(call, make_key(workspace, *others), call.path.replace("github", "no-such"), alices)
    assert response.status_code == 403
    problem = response.json()
    assert (problem["code"], problem["required_scope"]) == ("insufficient_scope", call.scope)
    assert call.scope in problem["detail"]
    assert f'error="insufficient_scope", scope="{call.scope}"' in response["WWW-Authenticate"]
    assert snapshot() == before


@pytest.mark.parametrize("call", [call for call in CALLS if call.foreign], ids=str)
def test_another_workspaces_object_is_404_even_with_a_bad_body(
    call: Call, alices: Connection, other_api: ApiClient
) -> None:
    before = snapshot()
    response = send(call, other_api.key, call.foreign, alices)
    assert response.status_code == 404
    assert snapshot() == before
    text = response.content.decode()
    assert str(alices.pk) not in text
    assert "custom_secret" not in text
    # Word for word what a thing that exists nowhere gets.
    nowhere = send(call, other_api.key, call.foreign.replace("custom_secret", "custom_none"), alices)
    assert {**response.json(), "request_id": ""} == {**nowhere.json(), "request_id": ""}


@pytest.mark.parametrize(
    "path", ["/providers", "/integrations", "/connections", "/notices", "/webhooks", "/audit-events"]
)
def test_lists_hold_only_the_workspaces_own(path: str, alices: Connection, other_api: ApiClient) -> None:
    text = json.dumps(other_api.get(path).json())
    assert str(alices.pk) not in text
    assert "custom_secret" not in text


@pytest.mark.parametrize("path", ["/nothing", "/connections/not-a-uuid", "/secrets", "/providers/", "/x%00y", "/"])
def test_unknown_paths_are_problems_that_echo_nothing(path: str, api: ApiClient) -> None:
    response = api.get(path)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "not_found"
    assert "not-a-uuid" not in response.content.decode()


@pytest.mark.parametrize("provider_id", ["github%00", "%0A", "..", "a" * 3000])
def test_odd_provider_ids_are_404(provider_id: str, api: ApiClient) -> None:
    assert api.get(f"/providers/{provider_id}").status_code == 404


def test_other_methods_are_405_with_allow(api: ApiClient) -> None:
    response = api.call("POST", "/audit-events", {})
    assert response.status_code == 405
    assert response["Allow"] == "GET"
    assert response.json()["code"] == "method_not_allowed"


def test_a_signed_in_browser_is_nobody_here(as_alice: Any, workspace: Workspace) -> None:
    assert as_alice.get("/api/v1/integrations").status_code == 401


@pytest.mark.parametrize("header", ["Basic {key}", "{key}", "Bearer", "Bearer {key} {key}", "Token {key}"])
def test_only_the_bearer_scheme_counts(header: str, api: ApiClient) -> None:
    response = api.http.get("/api/v1/integrations", headers={"Authorization": header.format(key=api.key)})
    assert response.status_code == 401


def test_the_scheme_is_read_without_regard_to_case(api: ApiClient) -> None:
    response = api.http.get("/api/v1/integrations", headers={"Authorization": f"bearer {api.key}"})
    assert response.status_code == 200


def test_a_key_never_exceeds_its_creators_role(workspace: Workspace) -> None:
    admin = make_member(workspace, make_user(), Role.ADMIN)
    key = make_key(workspace, "tokens:read", "connections:read", created_by=admin.user)
    admin.role = Role.VIEWER
    admin.save()
    api = ApiClient(key)
    assert api.get("/connections").status_code == 200
    assert api.get(f"{GITHUB}/token").status_code == 403


def test_a_removed_members_key_stops_at_the_next_request(workspace: Workspace, bob: User) -> None:
    api = ApiClient(make_key(workspace, "connections:read", created_by=bob))
    assert api.get("/connections").status_code == 200
    workspace.memberships.filter(user=bob).delete()
    assert api.get("/connections").status_code == 401


def test_the_last_use_is_noted(api: ApiClient) -> None:
    api.get("/integrations")
    assert ApiKey.objects.get().last_used_at is not None


def test_too_many_requests_are_429_with_retry_after(
    api: ApiClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RATE_LIMIT_SCALE = 1.0
    monkeypatch.setattr("integrations.api.authentication.REQUESTS_PER_MINUTE", 2)
    answers = [api.get("/integrations") for _ in range(5)]  # five: the minute may turn once in between
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert 1 <= int(limited[0]["Retry-After"]) <= 60
    assert limited[0].json()["code"] == "rate_limited"
