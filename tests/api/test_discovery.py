"""Discovery through the API: what is proposed, what is saved, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import CustomProvider
from tests.api.client import ApiClient, make_key
from tests.servers.mcp import PROVIDER_ID, MCPServer, mcp
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace
from workspaces.roles import KeyScope

__all__ = ["mcp"]

OAUTH = "/.well-known/oauth-authorization-server"
FOREIGN = {"token_endpoint": "https://oauth.example.net/token", "userinfo_endpoint": "https://api.example.net/me"}


def publish(server: ScriptedServer, **changes: Any) -> str:
    """Let the server publish its metadata; returns its issuer."""
    server.answer(
        OAUTH,
        json={
            "issuer": server.url,
            "authorization_endpoint": f"{server.url}/authorize",
            "token_endpoint": f"{server.url}/token",
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "scopes_supported": ["read", "write"],
            **changes,
        },
    )
    return server.url


def test_an_issuer_alone_makes_a_provider(api: ApiClient, provider_server: ScriptedServer) -> None:
    created = api.post("/providers", {"issuer": publish(provider_server)})
    assert created.status_code == 201
    provider = created.json()
    assert provider["name"] == "127.0.0.1"
    assert provider["provider_id"] == "custom_127_0_0_1"
    assert provider["issuer"] == provider_server.url
    assert provider["token_endpoint"] == f"{provider_server.url}/token"
    assert provider["authorization_endpoint"] == f"{provider_server.url}/authorize"
    assert provider["grant_types"] == ["authorization_code", "client_credentials"]
    assert provider["token_endpoint_auth_method"] == "client_secret_post"
    assert [scope["name"] for scope in provider["suggested_scopes"]] == ["read", "write"]
    assert api.get(f"/providers/{provider['provider_id']}").json() == provider


def test_fields_that_are_sent_win_over_discovered_ones(api: ApiClient, provider_server: ScriptedServer) -> None:
    sent = {
        "issuer": publish(provider_server),
        "name": "Own",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scopes": [{"name": "read", "required": True, "description": ""}],
    }
    provider = api.post("/providers", sent).json()
    assert {field: provider[field] for field in sent} == sent


def test_with_a_token_endpoint_nobody_is_asked(api: ApiClient, provider_server: ScriptedServer) -> None:
    body = {
        "name": "Own",
        "issuer": publish(provider_server),
        "grant_types": ["client_credentials"],
        "token_endpoint": f"{provider_server.url}/own-token",
    }
    assert api.post("/providers", body).status_code == 201
    assert provider_server.requests == []


def test_foreign_endpoints_are_refused_by_name_until_they_are_confirmed(
    api: ApiClient, provider_server: ScriptedServer
) -> None:
    body = {"issuer": publish(provider_server, **FOREIGN)}
    refused = api.post("/providers", body)
    assert refused.status_code == 422
    errors = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert set(errors) == {"token_endpoint", "userinfo_endpoint"}
    assert "https://oauth.example.net/token" in errors["token_endpoint"]
    assert "confirm_foreign_endpoints" in errors["token_endpoint"]
    assert not CustomProvider.objects.exists()
    created = api.post("/providers", {**body, "confirm_foreign_endpoints": True})
    assert created.status_code == 201
    assert created.json()["token_endpoint"] == FOREIGN["token_endpoint"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "https://victim.example"}, "https://victim.example"),
        ({"token_endpoint": "http://id.example.com/token"}, "token_endpoint"),
        ({"token_endpoint": "https://10.0.0.1/token"}, "token_endpoint"),
        ({"token_endpoint": None}, "token endpoint"),
    ],
)
def test_hostile_metadata_saves_nothing(
    changes: dict[str, Any], words: str, api: ApiClient, provider_server: ScriptedServer
) -> None:
    publish(provider_server, **changes)
    refused = api.post("/providers", {"issuer": provider_server.url, "confirm_foreign_endpoints": True})
    assert refused.status_code == 422
    problem = refused.json()
    assert [error["field"] for error in problem["errors"]] == ["issuer"]
    assert words in problem["detail"]
    assert problem["tried"][0]["url"] == f"{provider_server.url}{OAUTH}"
    assert not CustomProvider.objects.exists()


@pytest.mark.parametrize(
    "issuer",
    ["http://id.example.com", "https://10.0.0.1", "https://localhost", "ftp://x", "https://id.example.com?a=b"],
)
@pytest.mark.parametrize("path", ["/providers", "/providers/discover"])
def test_what_cannot_be_an_issuer_is_422(issuer: str, path: str, api: ApiClient) -> None:
    refused = api.post(path, {"issuer": issuer})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["issuer"]


def test_a_server_that_is_away_is_503(api: ApiClient, provider_server: ScriptedServer) -> None:
    for path in (OAUTH, "/.well-known/openid-configuration"):
        provider_server.answer(path, status=503, headers={"Retry-After": "17"})
    away = api.post("/providers", {"issuer": provider_server.url})
    assert (away.status_code, away.json()["code"]) == (503, "temporarily_unavailable")
    assert away["Retry-After"] == "17"


def test_a_proposal_is_not_saved_and_can_be_posted_as_it_is(api: ApiClient, provider_server: ScriptedServer) -> None:
    issuer = publish(provider_server, registration_endpoint=f"{provider_server.url}/register", **FOREIGN)
    answer = api.post("/providers/discover", {"issuer": issuer})
    assert answer.status_code == 200
    found = answer.json()
    assert not CustomProvider.objects.exists()
    assert found["registration_endpoint"] == f"{provider_server.url}/register"
    assert found["foreign_endpoints"] == [{"field": field, "url": url} for field, url in FOREIGN.items()]
    assert [(one["ok"], one["status"]) for one in found["tried"]] == [(True, 200)]
    assert found["duration_ms"] == sum(one["duration_ms"] for one in found["tried"])
    created = api.post("/providers", found["definition"])
    assert created.status_code == 201
    assert created.json()["token_endpoint"] == FOREIGN["token_endpoint"]  # stated now, no longer discovered


def test_a_resource_leads_to_its_server(api: ApiClient, provider_server: ScriptedServer) -> None:
    issuer = publish(provider_server)
    resource = f"{provider_server.url}/mcp"
    provider_server.answer(
        "/.well-known/oauth-protected-resource/mcp", json={"resource": resource, "authorization_servers": [issuer]}
    )
    found = api.post("/providers/discover", {"resource": resource}).json()
    assert found["resource"] == resource
    assert found["definition"]["token_params"] == {"resource": resource}
    assert api.post("/providers", found["definition"]).status_code == 201
    refused = api.post("/providers/discover", {"resource": "https://10.0.0.1/mcp"})
    assert [error["field"] for error in refused.json()["errors"]] == ["resource"]


@pytest.mark.parametrize("body", [{}, {"issuer": "https://a.example", "resource": "https://a.example"}, {"issuer": ""}])
def test_either_an_issuer_or_a_resource_is_asked_for(body: dict[str, Any], api: ApiClient) -> None:
    assert api.post("/providers/discover", body).status_code == 422


def test_refusals_come_in_their_order(workspace: Workspace, provider_server: ScriptedServer) -> None:
    issuer = publish(provider_server)
    assert ApiClient("gr_unknown").post("/providers/discover", {"issuer": issuer}).status_code == 401
    reader = ApiClient(make_key(workspace, KeyScope.INTEGRATIONS_READ))
    for body in ({"issuer": issuer}, {"nonsense": True}):
        refused = reader.post("/providers/discover", body)
        assert (refused.status_code, refused.json()["required_scope"]) == (403, "integrations:write")
    assert provider_server.requests == []


def test_discoveries_are_limited(
    api: ApiClient, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.RATE_LIMIT_SCALE = 1
    monkeypatch.setattr("integrations.api.discovery.DISCOVERIES_PER_MINUTE", 2)
    issuer = publish(provider_server)
    answers = [api.post("/providers/discover", {"issuer": issuer}) for _ in range(6)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert "Retry-After" in answers[-1]


# --- integrations of protected resources -------------------------------------------------------------------
MCP = f"/integrations/{PROVIDER_ID}/authorization_code"


def test_an_mcp_server_is_discovered_registered_and_ready_to_connect(api: ApiClient, mcp: MCPServer) -> None:
    assert api.get(MCP).json()["discovered"] is None
    mcp.publish()
    mcp.register()
    answer = api.post(f"{MCP}/discover")
    assert answer.status_code == 200
    result = answer.json()
    assert (result["ok"], result["code"]) == (True, "ok")
    assert [step["code"] for step in result["tried"] if step["ok"]] == ["found", "found", "registered"]
    integration = result["integration"]
    assert integration == api.get(MCP).json()
    assert (integration["status"], integration["client_id"], integration["has_client_secret"]) == (
        "configured",
        "client-1",
        True,
    )
    assert integration["discovered"]["endpoints"]["token_endpoint"] == f"{mcp.issuer}/token"
    assert integration["discovered"]["resource"] == mcp.resource
    assert integration["discovered"]["client_registered"] is True
    assert integration["discovered"]["client_secret_expires_at"].startswith("2030-01-01")
    assert b"canary" not in answer.content
    link = api.post(f"{MCP}/connect-links")
    assert link.status_code == 201


def test_a_registration_that_fails_is_told_with_200(api: ApiClient, mcp: MCPServer) -> None:
    nothing = api.post(f"{MCP}/discover").json()
    assert (nothing["ok"], nothing["code"], nothing["integration"]["status"]) == (
        False,
        "metadata_not_found",
        "not_configured",
    )
    mcp.wire.forget()
    mcp.publish(registration_endpoint=None)
    without = api.post(f"{MCP}/discover").json()
    assert (without["ok"], without["code"]) == (False, "registration_not_offered")
    assert without["integration"]["discovered"]["client_registered"] is False


def test_foreign_endpoints_of_an_mcp_server_are_confirmed_by_name(api: ApiClient, mcp: MCPServer) -> None:
    mcp.publish(token_endpoint="https://foreign.example/token")
    mcp.register()
    refused = api.post(f"{MCP}/discover")
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["token_endpoint"]
    assert api.post(f"{MCP}/discover", {"confirm_foreign_endpoints": True}).json()["ok"] is True


def test_a_provider_with_endpoints_has_nothing_to_discover(api: ApiClient) -> None:
    refused = api.post("/integrations/github/authorization_code/discover")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
