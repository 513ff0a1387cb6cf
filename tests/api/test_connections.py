"""Connections and tokens through the API, against a real server."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.models import Connection, Integration, Token
from tests.api.client import ApiClient
from tests.factories import make_connection
from tests.servers.scripted import ScriptedServer
from workspaces import audit
from workspaces.models import AuditEvent, Workspace

SERVICE = "/integrations/custom_own/client_credentials"
DELEGATED = "/integrations/custom_own/authorization_code"
GITHUB = "/integrations/github/authorization_code"
FRESH = {"access_token": "fresh", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rotated"}
RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_a_connection_has_the_whole_shape_and_no_token(api: ApiClient, connection: Connection) -> None:
    response = api.get(f"/connections/{connection.pk}")
    body = response.json()
    assert (body["id"], body["name"], body["is_default"]) == (str(connection.pk), "default", True)
    assert (body["provider_id"], body["grant_type"]) == ("github", "authorization_code")
    assert body["status"] == "connected"
    assert body["account"] == {"id": "1", "label": "octocat"}
    assert body["missing_scopes"] == ["repo", "read:org"]
    assert RFC3339_UTC.fullmatch(body["expires_at"])
    assert RFC3339_UTC.fullmatch(body["next_refresh_at"])
    assert body["last_error"] is None
    assert "access-token-1" not in response.content.decode()
    assert "refresh-token-1" not in response.content.decode()


def test_a_connection_says_when_a_person_has_to_consent_again(api: ApiClient, connection: Connection) -> None:
    path = f"/connections/{connection.pk}"
    assert api.get(path).json()["consent_expires_at"] is None
    Token.objects.filter(pk=connection.pk).update(has_refresh_token=False)
    body = api.get(path).json()
    assert body["consent_expires_at"] == body["expires_at"]
    assert RFC3339_UTC.fullmatch(body["consent_expires_at"])
    Token.objects.filter(pk=connection.pk).update(expires_at=timezone.now())
    body = api.get(path).json()
    assert (body["status"], body["consent_expires_at"]) == ("reconnect_required", None)


def test_connections_come_in_pages_with_constant_queries(
    api: ApiClient, github: Integration, django_assert_num_queries: Any
) -> None:
    for number in range(7):
        make_connection(github, "default" if number == 0 else f"c{number}", with_token=number % 2 == 0)
    for path in ("/connections", f"{GITHUB}/connections"):
        api.get(path)  # the key's last use is written once a minute
        queries = 3 if path == "/connections" else 4  # key; integration; connections; custom providers
        with django_assert_num_queries(queries):
            everything = api.get(path).json()["items"]
        assert [item["name"] for item in everything] == ["default", "c1", "c2", "c3", "c4", "c5", "c6"]
        seen, cursor = [], ""
        while cursor is not None:
            page = api.get(path, limit=3, cursor=cursor).json()
            seen += page["items"]
            cursor = page["next"]
        assert seen == everything


# --- client credentials ---------------------------------------------------------------------------------
def test_a_service_connection_is_made_with_its_token(
    api: ApiClient, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json={"access_token": "one", "token_type": "Bearer", "expires_in": 600})
    response = api.post(f"{SERVICE}/connections", {"name": "reports", "additional_scopes": ["write"]})
    assert response.status_code == 201
    body = response.json()
    assert (body["name"], body["status"], body["requested_scopes"]) == ("reports", "connected", ["read", "write"])
    assert provider_server.to("/token")[0].form["scope"] == "read write"
    token = api.get(f"{SERVICE}/token", connection="reports").json()
    assert (token["access_token"], token["connection_id"]) == ("one", body["id"])


def test_a_name_twice_is_409(api: ApiClient, service: Integration, provider_server: ScriptedServer) -> None:
    make_connection(service, "reports", refresh_token=None)
    response = api.post(f"{SERVICE}/connections", {"name": "reports"})
    assert (response.status_code, response.json()["code"]) == (409, "name_taken")
    assert provider_server.to("/token") == []


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (401, {"error": "invalid_client"}, (409, "misconfigured", "invalid_client")),
        (400, {"error": "invalid_scope"}, (409, "misconfigured", "invalid_scope")),
        (200, {"no": "token"}, (409, "misconfigured", "no_access_token")),
        (503, {}, (503, "temporarily_unavailable", "outage")),
        (429, {}, (503, "temporarily_unavailable", "throttled")),
    ],
)
def test_where_the_provider_refuses_nothing_is_made(
    status: int,
    answer: dict[str, Any],
    expected: tuple[int, str, str],
    api: ApiClient,
    service: Integration,
    provider_server: ScriptedServer,
) -> None:
    provider_server.answer("/token", status=status, json=answer)
    response = api.post(f"{SERVICE}/connections", {"name": "reports"})
    problem = response.json()
    assert (response.status_code, problem["code"], problem["provider_code"]) == expected
    assert ("Retry-After" in response) == (response.status_code == 503)
    assert not Connection.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({}, "name"),
        ({"name": "a", "parameters": {"nope": "x"}}, "parameters"),
        ({"name": "a", "additional_scopes": ["two words"]}, "additional_scopes"),
        ({"name": "a", "client_secret": "x"}, "client_secret"),
    ],
)
def test_a_service_connection_that_cannot_work_is_422(
    body: dict[str, Any], field: str, api: ApiClient, service: Integration, provider_server: ScriptedServer
) -> None:
    response = api.post(f"{SERVICE}/connections", body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].split(".")[0] == field
    assert provider_server.requests == []


def test_under_authorization_code_a_person_connects(api: ApiClient, delegated: Integration) -> None:
    response = api.post(f"{DELEGATED}/connections", {"name": "x"})
    assert (response.status_code, response.json()["code"]) == (409, "wrong_grant_type")


# --- change ---------------------------------------------------------------------------------------------
def test_renaming_and_making_it_the_default(api: ApiClient, connection: Connection, github: Integration) -> None:
    other = make_connection(github, "other")
    body = api.patch(f"/connections/{other.pk}", {"name": "main", "is_default": True}).json()
    assert (body["name"], body["is_default"]) == ("main", True)
    assert api.get(f"/connections/{connection.pk}").json()["is_default"] is False
    assert api.get(f"{GITHUB}/token").json()["connection_id"] == str(other.pk)


def test_a_taken_name_is_409_and_changes_nothing(api: ApiClient, connection: Connection, github: Integration) -> None:
    other = make_connection(github, "other")
    response = api.patch(f"/connections/{other.pk}", {"name": "default", "is_default": True})
    assert (response.status_code, response.json()["code"]) == (409, "name_taken")
    assert list(github.connections.filter(is_default=True)) == [connection]


def test_a_default_cannot_be_taken_away_only_moved(api: ApiClient, connection: Connection) -> None:
    assert api.patch(f"/connections/{connection.pk}", {"is_default": False}).status_code == 422


# --- refresh --------------------------------------------------------------------------------------------
def test_refresh_rotates_the_token(api: ApiClient, delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/token", json=FRESH)
    response = api.post(f"/connections/{connection.pk}/refresh")
    assert response.status_code == 200
    assert response.json()["last_refreshed_at"] is not None
    assert provider_server.to("/token")[0].form["refresh_token"] == "refresh-token-1"
    assert api.get(f"/connections/{connection.pk}/token").json()["access_token"] == "fresh"


def test_a_failed_refresh_is_200_with_the_cause(
    api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/token", status=400, json={"error": "invalid_grant"})
    response = api.post(f"/connections/{connection.pk}/refresh")
    assert response.status_code == 200
    body = response.json()
    assert (body["status"], body["last_error"]["code"]) == ("reconnect_required", "invalid_grant")
    again = api.post(f"/connections/{connection.pk}/refresh")
    assert (again.status_code, again.json()["code"]) == (409, "reconnect_required")
    assert len(provider_server.to("/token")) == 1


def test_nothing_to_refresh_is_409(api: ApiClient, delegated: Integration, provider_server: ScriptedServer) -> None:
    lasting = make_connection(delegated, refresh_token=None)
    empty = make_connection(delegated, "empty", with_token=False)
    refused = api.post(f"/connections/{lasting.pk}/refresh")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_refresh")
    refused = api.post(f"/connections/{empty.pk}/refresh")
    assert refused.status_code == 409
    assert provider_server.requests == []


def test_within_the_providers_pause_it_is_503(
    api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/token", status=429, headers={"Retry-After": "120"})
    first = api.post(f"/connections/{connection.pk}/refresh")
    assert (first.status_code, first.json()["status"]) == (200, "degraded")
    second = api.post(f"/connections/{connection.pk}/refresh")
    assert (second.status_code, second.json()["code"]) == (503, "temporarily_unavailable")
    assert 1 <= int(second["Retry-After"]) <= 120
    assert len(provider_server.to("/token")) == 1


# --- disconnect and delete ------------------------------------------------------------------------------
@pytest.mark.parametrize(("status", "expected"), [(200, "revoked"), (500, "failed")])
def test_disconnect_says_what_became_of_the_token(
    status: int, expected: str, api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/revoke", status=status)
    body = api.post(f"/connections/{connection.pk}/disconnect").json()
    assert (body["revocation"], body["status"], body["expires_at"]) == (expected, "configured", None)
    hints = [request.form["token_type_hint"] for request in provider_server.to("/revoke")]
    assert hints == ["refresh_token", "access_token"]
    refused = api.get(f"/connections/{connection.pk}/token")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_connected")
    assert api.post(f"/connections/{connection.pk}/disconnect").json()["revocation"] == "nothing"


def test_deleting_a_connection_revokes_first(
    api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/revoke")
    assert api.delete(f"/connections/{connection.pk}", force="true").status_code == 204
    assert len(provider_server.to("/revoke")) == 2
    assert api.get(f"/connections/{connection.pk}").status_code == 404


# --- tokens ---------------------------------------------------------------------------------------------
def test_a_token_read_gives_the_token_and_is_never_cached(api: ApiClient, connection: Connection) -> None:
    response = api.get(f"{GITHUB}/token")
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert (body["access_token"], body["token_type"], body["warning"]) == ("access-token-1", "Bearer", None)
    assert body["connection_id"] == str(connection.pk)
    assert api.get(f"/connections/{connection.pk}/token").json() == body


def test_a_token_read_is_a_handful_of_queries(
    api: ApiClient, connection: Connection, django_assert_num_queries: Any
) -> None:
    api.get("/integrations")  # the key's last use is written once a minute
    with django_assert_num_queries(2):  # the key with its workspace; the connection with its token
        api.get(f"/connections/{connection.pk}/token")
    with django_assert_num_queries(3):  # and the integration
        api.get(f"{GITHUB}/token")


def test_a_token_read_is_in_the_audit_trail(api: ApiClient, connection: Connection) -> None:
    api.get(f"/connections/{connection.pk}/token")
    audit.flush()
    event = AuditEvent.objects.get(action="token:read")
    assert (event.actor_kind, event.target_id) == ("api_key", str(connection.pk))
    told = api.get("/audit-events", action="token:read").json()["items"]
    assert [(one["actor"]["kind"], one["target"]["id"]) for one in told] == [("api_key", str(connection.pk))]
    assert "access-token-1" not in str(told)


def test_an_expired_token_is_renewed_on_read(
    api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated, issued_at=timezone.now() - timedelta(hours=2))
    provider_server.answer("/token", json=FRESH)
    assert api.get(f"{DELEGATED}/token").json()["access_token"] == "fresh"
    assert api.get(f"{DELEGATED}/token").json()["access_token"] == "fresh"
    assert len(provider_server.to("/token")) == 1


def test_min_ttl_asks_for_more_life(api: ApiClient, delegated: Integration, provider_server: ScriptedServer) -> None:
    make_connection(delegated, issued_at=timezone.now() - timedelta(minutes=50))  # ten minutes left of an hour
    provider_server.answer("/token", json={**FRESH, "expires_in": 900})
    assert api.get(f"{DELEGATED}/token", min_ttl=300).json()["access_token"] == "access-token-1"
    assert api.get(f"{DELEGATED}/token", min_ttl=1200).json()["access_token"] == "fresh"


@pytest.mark.parametrize("min_ttl", ["-1", "soon", "86401"])
def test_min_ttl_is_checked(min_ttl: str, api: ApiClient, connection: Connection) -> None:
    response = api.get(f"{GITHUB}/token", min_ttl=min_ttl)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "min_ttl"


def test_a_token_that_cannot_be_renewed_is_served_with_a_warning_while_it_lives(
    api: ApiClient, delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated, issued_at=timezone.now() - timedelta(minutes=50))
    provider_server.answer("/token", status=503)
    body = api.get(f"{DELEGATED}/token", min_ttl=1500).json()
    assert body["access_token"] == "access-token-1"
    assert body["warning"]


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (503, {}, (503, "temporarily_unavailable")),
        (400, {"error": "invalid_grant"}, (409, "reconnect_required")),
        (401, {"error": "invalid_client"}, (409, "misconfigured")),
    ],
)
def test_an_expired_token_is_never_handed_out(
    status: int,
    answer: dict[str, Any],
    expected: tuple[int, str],
    api: ApiClient,
    delegated: Integration,
    provider_server: ScriptedServer,
) -> None:
    make_connection(delegated, issued_at=timezone.now() - timedelta(hours=2))
    provider_server.answer("/token", status=status, json=answer)
    response = api.get(f"{DELEGATED}/token")
    assert (response.status_code, response.json()["code"]) == expected
    assert ("Retry-After" in response) == (status == 503)
    assert "access-token-1" not in response.content.decode()
    assert response["Cache-Control"] == "no-store"


def test_an_unknown_lifetime_is_null_and_never_expires(api: ApiClient, github: Integration) -> None:
    make_connection(github, lifetime=None, refresh_token=None, issued_at=timezone.now() - timedelta(days=400))
    body = api.get(f"{GITHUB}/token").json()
    assert (body["access_token"], body["expires_at"]) == ("access-token-1", None)


def test_what_is_not_connected_says_so(api: ApiClient, workspace: Workspace, github: Integration) -> None:
    for path in (GITHUB, "/integrations/slack/authorization_code"):
        response = api.get(f"{path}/token")
        assert (response.status_code, response.json()["code"]) == (409, "not_connected")
    assert api.get(f"{GITHUB}/token", connection="nobody").status_code == 404
    assert api.get(f"{GITHUB}/token", connection="default").status_code == 409
