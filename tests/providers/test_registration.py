"""Providers that are protected resources: endpoints and a client of the workspace's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.connections.parties import parties_of
from integrations.models import ConnectionState, GrantType, Integration
from integrations.oauth.errors import ConfigurationRefused
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.discovery import DiscoveryFailed
from integrations.providers.registration import (
    ForeignEndpointsFound,
    Registration,
    discover_and_register,
    registered_client,
    with_discovered,
)
from integrations.providers.registry import find_spec
from integrations.providers.setup import InvalidSetup, is_configured, save_integration
from tests.factories import make_connection
from tests.servers.mcp import CANARY, PROVIDER_ID, RESOURCE_METADATA, SERVER_METADATA, TOKEN_CANARY, MCPServer, mcp
from workspaces.audit import Actor
from workspaces.models import AuditEvent, Workspace

__all__ = ["mcp"]

ACTOR = Actor.operator()


def register(
    workspace: Workspace,
    server: MCPServer,
    grant_type: GrantType = GrantType.AUTHORIZATION_CODE,
    **kwargs: Any,
) -> Registration:
    return discover_and_register(workspace, server.spec, grant_type, actor=ACTOR, **kwargs)


def saved(workspace: Workspace) -> Integration:
    return workspace.integrations.get(provider_id=PROVIDER_ID)


def test_one_call_finds_the_server_registers_and_saves(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    done = register(workspace, mcp)
    assert (done.error, done.saved) == (None, True)
    assert [step.looked_for for step in done.steps if step.ok] == [
        "Protected resource metadata",
        "Authorization server metadata",
        "Client registration",
    ]
    (request,) = mcp.wire.to("/as/register")
    assert request.json == {
        "client_name": "Grantry",
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": ["http://localhost:8000/oauth/callback"],
    }
    integration = saved(workspace)
    assert integration.client_id == "client-1"
    assert integration.client_secret == f"{CANARY}-1"
    assert integration.token_endpoint_auth_method == "client_secret_post"
    assert integration.registration_access_token == TOKEN_CANARY
    assert integration.discovered is not None
    assert integration.discovered["endpoints"] == {
        "issuer": mcp.issuer,
        "authorization_endpoint": f"{mcp.issuer}/authorize",
        "token_endpoint": f"{mcp.issuer}/token",
        "revocation_endpoint": f"{mcp.issuer}/revoke",
    }
    client = registered_client(integration)
    assert client is not None
    assert datetime.fromisoformat(client["client_secret_expires_at"]) == datetime(2030, 1, 1, tzinfo=UTC)
    assert is_configured(mcp.spec, integration)


def test_no_secret_is_told(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    done = register(workspace, mcp)
    events = list(AuditEvent.objects.filter(action__startswith="integration:").values("action", "detail"))
    assert [event["action"] for event in events] == ["integration:discovered", "integration:configured"]
    told = f"{done!r} {events} {saved(workspace).discovered}"
    assert "canary" not in told
    assert mcp.issuer in told


def test_requests_go_to_what_was_discovered_and_name_the_resource(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp)
    server = parties_of(saved(workspace), parameters={}).server
    assert server.token_endpoint == f"{mcp.issuer}/token"
    assert server.authorization_endpoint == f"{mcp.issuer}/authorize"
    assert server.revocation_endpoint == f"{mcp.issuer}/revoke"
    assert server.issuer == mcp.issuer
    assert server.authorization_params == server.token_params == {"resource": mcp.resource}


def test_before_the_discovery_it_is_not_set_up_and_says_so(workspace: Workspace, mcp: MCPServer) -> None:
    integration = save_integration(
        workspace, mcp.spec, GrantType.AUTHORIZATION_CODE, client_id="by-hand", client_secret="s", actor=ACTOR
    )
    assert not is_configured(mcp.spec, integration)
    with pytest.raises(ConfigurationRefused) as caught:
        parties_of(integration, parameters={})
    assert caught.value.code == "not_discovered"


def test_what_the_definition_states_stays() -> None:
    spec = ProviderSpec(
        "x_mcp",
        "X",
        "https://stated.example/token",
        (GrantType.AUTHORIZATION_CODE,),
        token_params={"resource": "https://own.example"},
        resource="https://r.example/mcp",
    )
    endpoints = {"token_endpoint": "https://found.example/token", "revocation_endpoint": "https://found.example/r"}
    integration = Integration(discovered={"endpoints": endpoints, "resource": "https://r.example", "client": None})
    merged = with_discovered(spec, integration)
    assert merged.token_endpoint == "https://stated.example/token"
    assert merged.revocation_endpoint == "https://found.example/r"
    assert merged.token_params == {"resource": "https://own.example"}
    assert merged.authorization_params == {"resource": "https://r.example"}
    assert with_discovered(replace(spec, resource=""), integration).revocation_endpoint == ""


def test_a_service_account_needs_a_secret_and_no_redirect_uri(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp, GrantType.CLIENT_CREDENTIALS)
    (request,) = mcp.wire.to("/as/register")
    assert request.json["grant_types"] == ["client_credentials"]
    assert request.json["response_types"] == []
    assert "redirect_uris" not in request.json
    mcp.wire.forget()
    mcp.publish(token_endpoint_auth_methods_supported=["none"])
    refused = register(workspace, mcp, GrantType.CLIENT_CREDENTIALS)
    assert refused.error is not None
    assert refused.error.code == "registration_unknown_auth_method"
    assert mcp.wire.to("/as/register") == []


def test_a_public_client_clears_an_old_secret(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp)
    mcp.wire.forget()
    mcp.publish(token_endpoint_auth_methods_supported=["none"])
    mcp.register(client_secret=None, token_endpoint_auth_method="none", registration_access_token=None)
    register(workspace, mcp)
    integration = saved(workspace)
    assert integration.client_id == "client-2"
    assert not integration.has_client_secret
    assert integration.token_endpoint_auth_method == ClientAuth.NONE
    assert integration.registration_access_token is None
    assert is_configured(mcp.spec, integration)


def test_scopes_of_the_integration_are_registered_and_kept(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    save_integration(
        workspace,
        mcp.spec,
        GrantType.AUTHORIZATION_CODE,
        client_id="x",
        client_secret="s",
        additional_scopes=["notes:read"],
        actor=ACTOR,
    )
    register(workspace, mcp, additional_scopes=["notes:read"])
    assert mcp.wire.to("/as/register")[0].json["scope"] == "notes:read"
    assert saved(workspace).additional_scopes == ["notes:read"]


@pytest.mark.parametrize("field", ["token_endpoint", "registration_endpoint", "userinfo_endpoint"])
def test_foreign_endpoints_wait_for_a_confirmation(field: str, workspace: Workspace, mcp: MCPServer) -> None:
    # Where nothing listens and nothing may be asked: only the name counts here.
    mcp.publish(**{field: "https://foreign.example/x"})
    mcp.register()
    with pytest.raises(ForeignEndpointsFound) as caught:
        register(workspace, mcp)
    assert set(caught.value.errors) == {field}
    assert not workspace.integrations.exists()
    assert mcp.wire.to("/as/register") == []
    if field != "registration_endpoint":
        assert register(workspace, mcp, confirm_foreign=True).error is None
        assert with_discovered(mcp.spec, saved(workspace)).token_endpoint


@pytest.mark.parametrize(
    ("changes", "answer", "code"),
    [
        ({"registration_endpoint": None}, None, "registration_not_offered"),
        ({}, {"status": 400, "json": {"error": "invalid_redirect_uri"}}, "invalid_redirect_uri"),
        ({}, {"status": 503}, "outage"),
        ({}, {"status": 302, "headers": {"Location": "http://10.0.0.1/"}}, "redirected"),
    ],
)
def test_without_a_client_the_endpoints_are_kept_the_first_time(
    changes: dict[str, Any],
    answer: dict[str, Any] | None,
    code: str,
    workspace: Workspace,
    mcp: MCPServer,
) -> None:
    mcp.publish(**changes)
    if answer is not None:
        mcp.wire.answer("/as/register", **answer)
    done = register(workspace, mcp)
    assert done.error is not None
    assert (done.error.code, done.saved, done.steps[-1].ok, done.steps[-1].code) == (code, True, False, code)
    integration = saved(workspace)
    assert not is_configured(mcp.spec, integration)
    by_hand = save_integration(
        workspace, mcp.spec, GrantType.AUTHORIZATION_CODE, client_id="by-hand", client_secret="s", actor=ACTOR
    )
    assert is_configured(mcp.spec, by_hand)
    assert registered_client(by_hand) is None


def test_a_registration_that_fails_later_changes_nothing(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp)
    before = saved(workspace)
    mcp.wire.forget()
    mcp.publish(token_endpoint=f"{mcp.issuer}/moved")
    mcp.wire.answer("/as/register", status=500)
    done = register(workspace, mcp)
    assert not done.saved
    after = saved(workspace)
    assert (after.discovered, after.client_id, after.client_secret) == (
        before.discovered,
        before.client_id,
        before.client_secret,
    )


def test_a_client_entered_by_hand_is_not_called_registered(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp)
    assert registered_client(saved(workspace)) is not None
    save_integration(
        workspace, mcp.spec, GrantType.AUTHORIZATION_CODE, client_id="by-hand", client_secret="s", actor=ACTOR
    )
    assert registered_client(saved(workspace)) is None


def test_tokens_do_not_follow_endpoints_to_another_host(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    register(workspace, mcp)
    connection = make_connection(saved(workspace))
    register(workspace, mcp)  # the same endpoints: a new client alone costs no token
    connection.refresh_from_db()
    assert connection.state == ConnectionState.CONNECTED
    mcp.wire.forget()
    mcp.publish(token_endpoint="https://moved.example/token")
    mcp.register()
    register(workspace, mcp, confirm_foreign=True)
    connection = type(connection).objects.get(pk=connection.pk)
    assert connection.state == ConnectionState.RECONNECT_REQUIRED
    assert connection.last_error_code == "endpoint_changed"
    assert not hasattr(connection, "token")


def test_nothing_is_saved_when_nothing_is_found(workspace: Workspace, mcp: MCPServer) -> None:
    mcp.wire.answer(RESOURCE_METADATA, json={"resource": "https://victim.example", "authorization_servers": []})
    with pytest.raises(DiscoveryFailed) as caught:
        register(workspace, mcp)
    assert caught.value.code == "metadata_resource_mismatch"
    assert mcp.wire.to(SERVER_METADATA) == []
    assert not workspace.integrations.exists()


def test_workspaces_have_clients_of_their_own(workspace: Workspace, charlie: Any, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    other = Workspace.objects.get(slug="other")
    register(workspace, mcp)
    register(other, mcp)
    assert (saved(workspace).client_id, saved(other).client_id) == ("client-1", "client-2")


def test_only_resources_and_their_grants_are_discovered(workspace: Workspace, mcp: MCPServer) -> None:
    with pytest.raises(InvalidSetup):
        discover_and_register(workspace, find_spec(workspace, "github"), "authorization_code", actor=ACTOR)
    only_people = replace(mcp.spec, grant_types=(GrantType.AUTHORIZATION_CODE,))
    with pytest.raises(InvalidSetup):
        discover_and_register(workspace, only_people, "client_credentials", actor=ACTOR)
    assert mcp.wire.requests == []
