"""Integrations through the API: set up, read, test, connect links, delete."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import Connection, ConnectLink, GrantType, Integration
from tests.api.client import ApiClient
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.models import AuditEvent, Workspace

GITHUB = "/integrations/github/authorization_code"
SERVICE = "/integrations/custom_own/client_credentials"
DELEGATED = "/integrations/custom_own/authorization_code"


def test_every_provider_and_grant_can_be_read_before_it_is_saved(api: ApiClient) -> None:
    body = api.get(GITHUB).json()
    assert body["status"] == "not_configured"
    assert body["redirect_uri"] == "http://localhost:8000/oauth/callback"
    assert body["status_reason"]["next_step"] == "Set up"
    assert (body["client_id"], body["has_client_secret"], body["created_at"]) == ("", False, None)
    assert body["expression"] == "${{ SECRETS.github_oauth.GITHUB_USER_TOKEN }}"
    assert api.get("/integrations").json() == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["/integrations/github/client_credentials", "/integrations/github/password"])
def test_a_grant_type_that_the_provider_has_not_is_404(path: str, api: ApiClient) -> None:
    assert api.get(path).status_code == 404


def test_saving_client_credentials_makes_it_configured(api: ApiClient) -> None:
    saved = api.put(GITHUB, {"client_id": "abc", "client_secret": "canary-secret", "additional_scopes": ["gist"]})
    assert saved.status_code == 200
    body = saved.json()
    assert body["status"] == "configured"
    assert body["status_reason"]["next_step"] == "Connect with OAuth"
    assert (body["client_id"], body["has_client_secret"]) == ("abc", True)
    assert body["additional_scopes"] == ["gist"]
    assert body["scopes"][-1] == "gist"
    assert "canary-secret" not in saved.content.decode()
    assert Integration.objects.get().client_secret == "canary-secret"
    assert api.get(GITHUB).json() == body
    assert api.get("/integrations").json()["items"] == [body]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"additional_scopes": []}, "old-secret"),
        ({"client_secret": ""}, "old-secret"),
        ({"client_secret": "new-secret"}, "new-secret"),
        ({"client_secret": None}, None),
    ],
)
def test_an_absent_secret_is_kept_and_null_clears_it(
    body: dict[str, Any], expected: str | None, api: ApiClient
) -> None:
    api.put(GITHUB, {"client_id": "abc", "client_secret": "old-secret", "additional_scopes": ["gist"]})
    answer = api.put(GITHUB, body)
    assert answer.status_code == 200
    assert answer.json()["client_id"] == "abc"
    assert answer.json()["additional_scopes"] == body.get("additional_scopes", ["gist"])
    assert Integration.objects.get().client_secret == expected


def test_a_base_scope_cannot_be_removed_by_a_crafted_request(api: ApiClient, own_provider: dict[str, Any]) -> None:
    body = api.put(SERVICE, {"client_id": "a", "client_secret": "b", "additional_scopes": []}).json()
    assert body["base_scopes"] == ["read"]
    assert body["scopes"] == ["read"]


def test_a_scope_outside_the_rules_is_422_and_named(api: ApiClient) -> None:
    response = api.put(GITHUB, {"client_id": "a", "client_secret": "b", "additional_scopes": ["two words"]})
    assert response.status_code == 422
    error = response.json()["errors"][0]
    assert error["field"] == "additional_scopes"
    assert "two words" in error["message"]
    assert not Integration.objects.exists()


def test_integrations_come_in_pages_with_constant_queries(
    api: ApiClient, workspace: Workspace, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    api.get("/integrations")  # the key's last use is written once a minute
    providers = [p for p in api.get("/providers").json()["items"] if "authorization_code" in p["grant_types"]][:20]
    for number, provider in enumerate(providers):
        integration = make_integration(workspace, provider["provider_id"])
        for name in range(1 + number % 3):
            make_connection(integration, "default" if name == 0 else f"c{name}")
    # The key with its workspace; custom providers; integrations; their connections with tokens and schedules; their
    # client keys.
    with django_assert_num_queries(5):
        everything = api.get("/integrations").json()["items"]
    assert len(everything) == len(providers)
    seen, cursor = [], ""
    while cursor is not None:
        page = api.get("/integrations", limit=2, cursor=cursor).json()
        assert len(page["items"]) <= 2
        seen += page["items"]
        cursor = page["next"]
    assert [(i["provider_id"], i["grant_type"]) for i in seen] == [
        (i["provider_id"], i["grant_type"]) for i in everything
    ]
    assert seen == sorted(seen, key=lambda i: (i["provider_id"], i["grant_type"]))
    with django_assert_max_num_queries(5):
        api.get(GITHUB)


def test_the_status_is_the_worst_of_the_connections(api: ApiClient, github: Integration) -> None:
    make_connection(github)
    make_connection(github, "second", state="reconnect_required")
    body = api.get(GITHUB).json()
    assert body["status"] == "reconnect_required"
    assert body["status_reason"]["next_step"] == "Reconnect with OAuth"


# --- test -----------------------------------------------------------------------------------------------
def test_a_test_fetches_and_stores_a_service_token(
    api: ApiClient, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json={"access_token": "fresh", "token_type": "Bearer", "expires_in": 3600})
    response = api.post(f"{SERVICE}/test")
    assert response.status_code == 200
    body = response.json()
    assert body["ok"] is True
    assert all(step["ok"] for step in body["steps"])
    assert body["expires_at"] is not None
    assert "fresh" not in response.content.decode()
    assert provider_server.to("/token")[0].form["grant_type"] == "client_credentials"
    assert api.get(f"{SERVICE}/token").json()["access_token"] == "fresh"


def test_a_failed_test_is_200_and_says_what_to_do(
    api: ApiClient, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", status=401, json={"error": "invalid_client"})
    response = api.post(f"{SERVICE}/test", {})
    assert response.status_code == 200
    body = response.json()
    assert (body["ok"], body["code"]) == (False, "invalid_client")
    assert "client secret" in body["message"]
    assert api.get(SERVICE).json()["status"] == "misconfigured"


def test_a_test_of_a_connection_that_is_not_there_is_404(api: ApiClient, service: Integration) -> None:
    assert api.post(f"{SERVICE}/test", {"connection": "nobody"}).status_code == 404


@pytest.mark.parametrize("call", ["test", "connect-links", "connections"])
def test_before_it_is_set_up_there_is_nothing_to_do(call: str, api: ApiClient, own_provider: dict[str, Any]) -> None:
    path = SERVICE if call == "connections" else DELEGATED
    response = api.post(f"{path}/{call}", {"name": "x"} if call == "connections" else {})
    assert response.status_code == 409
    assert response.json()["code"] == "not_configured"


# --- connect links --------------------------------------------------------------------------------------
def test_a_connect_link_is_made_once_and_leads_to_consent(
    api: ApiClient, delegated: Integration, workspace: Workspace
) -> None:
    workspace.return_urls = ["https://app.example.com/connected"]
    workspace.save()
    body = {"connection": "customer-7", "return_url": "https://app.example.com/connected?x=1"}
    response = api.post(f"{DELEGATED}/connect-links", body)
    assert response.status_code == 201
    url = response.json()["url"]
    assert url.startswith("http://localhost:8000/connect/")
    link = ConnectLink.objects.get()
    assert link.connection_name == "customer-7"
    assert url.rstrip("/").rsplit("/", 1)[-1] not in str(vars(link))  # only its hash is stored
    assert link.created_by.startswith("test key")
    assert AuditEvent.objects.filter(action="connect_link:created", actor_kind="api_key").count() == 1


def test_a_connect_link_needs_no_body(api: ApiClient, delegated: Integration) -> None:
    assert api.post(f"{DELEGATED}/connect-links").status_code == 201
    assert ConnectLink.objects.get().connection_name == "default"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"return_url": "https://evil.example.com/"}, "return_url"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
        ({"parameters": {"unknown": "x"}}, "parameters"),
        ({"additional_scopes": ["two words"]}, "additional_scopes"),
        ({"connection": " "}, "connection"),
    ],
)
def test_a_connect_link_that_cannot_work_is_422(
    body: dict[str, Any], field: str, api: ApiClient, delegated: Integration
) -> None:
    response = api.post(f"{DELEGATED}/connect-links", body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].split(".")[0] == field
    assert not ConnectLink.objects.exists()


def test_a_connect_link_is_for_people_only(api: ApiClient, service: Integration) -> None:
    response = api.post(f"{SERVICE}/connect-links", {})
    assert (response.status_code, response.json()["code"]) == (409, "wrong_grant_type")


# --- delete ---------------------------------------------------------------------------------------------
def test_deleting_revokes_first_and_needs_force_while_connected(
    api: ApiClient, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/revoke")
    make_connection(service, access_token="to-revoke", refresh_token=None)
    refused = api.delete(SERVICE)
    assert (refused.status_code, refused.json()["code"]) == (409, "has_dependants")
    assert any("default" in name for name in refused.json()["dependants"])
    assert api.delete(SERVICE, force="true").status_code == 204
    assert [request.form["token"] for request in provider_server.to("/revoke")] == ["to-revoke"]
    assert not Connection.objects.exists()
    assert api.get(SERVICE).json()["status"] == "not_configured"


def test_deleting_what_is_not_saved_is_404(api: ApiClient) -> None:
    assert api.delete(GITHUB).status_code == 404


def test_grant_types_stand_side_by_side(api: ApiClient, service: Integration, delegated: Integration) -> None:
    listed = [(item["provider_id"], item["grant_type"]) for item in api.get("/integrations").json()["items"]]
    assert listed == [("custom_own", GrantType.AUTHORIZATION_CODE), ("custom_own", GrantType.CLIENT_CREDENTIALS)]
