"""Providers through the API."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import CustomProvider, GrantType
from tests.api.client import ApiClient
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.models import AuditEvent, Workspace

BILLING = {
    "name": "Billing Service",
    "grant_types": ["authorization_code", "client_credentials"],
    "authorization_endpoint": "https://id.example.com/authorize",
    "token_endpoint": "https://id.example.com/token",
    "scopes": [{"name": "invoices.read", "required": True}, {"name": "profile", "required": False}],
}


def test_built_in_providers_have_the_whole_shape(api: ApiClient) -> None:
    provider = api.get("/providers/github").json()
    assert provider["provider_id"] == "github"
    assert provider["authorization_endpoint"] == "https://github.com/login/oauth/authorize"
    assert provider["custom"] is False
    listed = api.get("/providers").json()
    assert provider in listed["items"]
    assert listed["next"] is None


def test_providers_come_in_pages(api: ApiClient) -> None:
    everything = [item["provider_id"] for item in api.get("/providers").json()["items"]]
    seen: list[str] = []
    cursor = ""
    for _ in everything:
        page = api.get("/providers", limit=3, cursor=cursor).json()
        seen += [item["provider_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert cursor is None
    assert seen == sorted(everything)


def test_a_custom_provider_is_made_read_changed_and_deleted(api: ApiClient, workspace: Workspace) -> None:
    created = api.post("/providers", BILLING)
    assert created.status_code == 201
    provider = created.json()
    assert provider["provider_id"] == "custom_billing_service"
    assert (provider["draft"], provider["version"], provider["custom"]) == (False, 1, True)
    assert provider["base_scopes"] == ["invoices.read"]
    assert api.get("/providers/custom_billing_service").json() == provider

    changed = api.patch(
        "/providers/custom_billing_service", {"name": "Billing", "api_base_url": "https://x.example.com"}
    )
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["version"]) == ("Billing", 2)
    assert changed.json()["token_endpoint"] == BILLING["token_endpoint"]

    assert api.delete("/providers/custom_billing_service").status_code == 204
    assert api.get("/providers/custom_billing_service").status_code == 404
    actions = AuditEvent.objects.filter(action__startswith="provider:").order_by("pk")
    assert [event.action for event in actions] == ["provider:created", "provider:changed", "provider:deleted"]
    assert {event.actor_kind for event in actions} == {"api_key"}


def test_what_get_answers_can_be_posted_and_patched_back(api: ApiClient) -> None:
    provider = api.post("/providers", BILLING).json()
    again = api.patch("/providers/custom_billing_service", provider)
    assert again.status_code == 200
    assert again.json() == {**provider, "version": 2}
    copy = api.post("/providers", {**provider, "provider_id": "other"})
    assert copy.status_code == 201
    assert copy.json() == {**provider, "provider_id": "custom_other"}


def test_a_draft_waits_until_it_is_published(api: ApiClient) -> None:
    api.post("/providers", BILLING)
    draft = api.patch("/providers/custom_billing_service", {"name": "Next", "draft": True}).json()
    assert (draft["draft"], draft["name"]) == (True, "Next")
    listed = {item["provider_id"]: item["name"] for item in api.get("/providers").json()["items"]}
    assert listed["custom_billing_service"] == "Billing Service"
    published = api.post("/providers/custom_billing_service/publish")
    assert published.status_code == 200
    assert published.json()["draft"] is False
    listed = {item["provider_id"]: item["name"] for item in api.get("/providers").json()["items"]}
    assert listed["custom_billing_service"] == "Next"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token_endpoint": "http://id.example.com/token"}, "token_endpoint"),
        ({"token_endpoint": "https://127.0.0.1/token"}, "token_endpoint"),
        ({"authorization_endpoint": ""}, "authorization_endpoint"),
        ({"grant_types": []}, "grant_types"),
        ({"grant_types": ["password"]}, "grant_types.0"),
        ({"name": ""}, "name"),
        ({"scopes": [{"name": "two words"}]}, "scopes"),
        ({"tokenendpoint": "https://id.example.com/token"}, "tokenendpoint"),
    ],
)
def test_a_definition_that_cannot_work_is_422(change: dict[str, Any], field: str, api: ApiClient) -> None:
    response = api.post("/providers", {**BILLING, **change})
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]
    assert not CustomProvider.objects.exists()


LISTS = "Send a list of scopes, or an object with such a list for each grant type."
ENTRY = "Send a scope's name, or an object with name, required and description."


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"scopes": "profile"}, "scopes", LISTS),
        ({"scopes": 7}, "scopes", LISTS),
        ({"scopes": ["read", 7]}, "scopes.1", ENTRY),
        ({"scopes": [{"nam": "read"}]}, "scopes.0.name", "This field is required."),
        ({"scopes": {"client_credentials": "read"}}, "scopes.client_credentials", "Send a list."),
        ({"scopes": {"client_credentials": [7]}}, "scopes.client_credentials.0", ENTRY),
        ({"scopes": {"password": []}}, "scopes.password", "Send one of 'authorization_code' or 'client_credentials'."),
        ({"suggested_scopes": [7]}, "suggested_scopes.0", ENTRY),
        ({"suggested_scopes": [{}]}, "suggested_scopes.0.name", "This field is required."),
        ({"base_scopes": "read"}, "base_scopes", LISTS.replace("scopes,", "scopes' names,")),
        ({"base_scopes": [7]}, "base_scopes.0", "Send text."),
    ],
)
def test_a_value_of_several_forms_is_refused_once_in_words_that_name_them(
    change: dict[str, Any], field: str, message: str, api: ApiClient
) -> None:
    errors = api.post("/providers", {**BILLING, **change}).json()["errors"]
    assert [error["message"] for error in errors if error["field"] == field] == [message]
    assert all(error["field"] == field or error["field"].endswith(".nam") for error in errors)
    assert "Shape" not in str(errors)


@pytest.mark.parametrize("scopes", [["read"], {"authorization_code": ["read"], "client_credentials": ["read"]}])
def test_a_scope_may_be_its_name_alone(scopes: Any, api: ApiClient) -> None:
    made = api.post("/providers", {**BILLING, "scopes": scopes, "suggested_scopes": ["write"]})
    assert made.status_code == 201
    assert made.json()["scopes"] == [{"name": "read", "required": False, "description": ""}]
    assert made.json()["suggested_scopes"] == [{"name": "write", "required": False, "description": ""}]


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("DELETE", ""), ("POST", "/publish")])
def test_built_in_providers_stay_as_they_are(method: str, path: str, api: ApiClient) -> None:
    response = api.call(method, f"/providers/github{path}", {"name": "x"} if method == "PATCH" else None)
    assert response.status_code == 409
    assert response.json()["code"] == "builtin_provider"


def test_a_provider_in_use_goes_only_with_force_and_revokes_first(
    api: ApiClient, own_provider: dict[str, Any], provider_server: ScriptedServer, workspace: Workspace
) -> None:
    provider_server.answer("/revoke", status=200)
    integration = make_integration(workspace, "custom_own", GrantType.CLIENT_CREDENTIALS)
    make_connection(integration, access_token="the-access-token", refresh_token=None)

    refused = api.delete("/providers/custom_own")
    assert refused.status_code == 409
    assert refused.json()["code"] == "has_dependants"
    assert any("custom_own" in name for name in refused.json()["dependants"])
    assert provider_server.to("/revoke") == []

    assert api.delete("/providers/custom_own", force="true").status_code == 204
    assert [request.form["token"] for request in provider_server.to("/revoke")] == ["the-access-token"]
    assert not CustomProvider.objects.exists()
    assert api.get("/integrations").json()["items"] == []


def test_moving_the_token_endpoint_clears_the_secret_and_asks_for_consent(
    api: ApiClient, own_provider: dict[str, Any], workspace: Workspace
) -> None:
    connection = make_connection(make_integration(workspace, "custom_own", GrantType.AUTHORIZATION_CODE))
    moved = api.patch("/providers/custom_own", {"token_endpoint": "https://elsewhere.example.com/token"})
    assert moved.status_code == 200
    integration = api.get("/integrations/custom_own/authorization_code").json()
    assert integration["has_client_secret"] is False
    told = api.get(f"/connections/{connection.pk}").json()
    assert (told["status"], told["last_error"]["code"]) == ("reconnect_required", "endpoint_changed")
    refused = api.get(f"/connections/{connection.pk}/token")
    assert (refused.status_code, refused.json()["code"]) == (409, "reconnect_required")


def test_hidden_config_values_are_never_rendered(api: ApiClient) -> None:
    value = {"key": "region", "label": "Region", "value": "eu-central", "type": "text", "visible": True}
    body = {**BILLING, "config_values": [value], "token_endpoint": "https://id.example.com/{{region}}/token"}
    created = api.post("/providers", body)
    assert created.status_code == 201
    assert created.json()["config_values"] == [value]
