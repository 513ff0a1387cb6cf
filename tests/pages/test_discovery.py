"""Discover and register, in the configuration of an MCP server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.models import GrantType, Integration
from integrations.providers.registration import discover_and_register
from tests.factories import make_connection, make_integration
from tests.pages.conftest import continue_url, query_of, url
from tests.servers.mcp import PROVIDER_ID, MCPServer, mcp
from workspaces.audit import Actor
from workspaces.models import Workspace
from workspaces.roles import Role

__all__ = ["mcp"]

pytestmark = pytest.mark.usefixtures("workspace")

BUTTON = "Discover and register</button>"


def page_url(name: str) -> str:
    return url(name, Integration(provider_id=PROVIDER_ID, grant_type=GrantType.AUTHORIZATION_CODE))


def text_of(response: Any) -> str:
    return str(response.content.decode())


@pytest.fixture
def registered(workspace: Workspace, mcp: MCPServer) -> Integration:
    """The MCP server, discovered and with a client."""
    mcp.publish()
    mcp.register()
    discover_and_register(workspace, mcp.spec, GrantType.AUTHORIZATION_CODE, actor=Actor.operator())
    return workspace.integrations.get(provider_id=PROVIDER_ID)


def test_the_configuration_offers_it_and_shows_no_endpoint_yet(as_alice: Client, mcp: MCPServer) -> None:
    text = text_of(as_alice.get(page_url("configuration")))
    assert BUTTON in text
    assert page_url("discover") in text
    assert mcp.issuer not in text
    assert mcp.wire.requests == []


def test_providers_with_endpoints_do_not_offer_it(as_alice: Client, workspace: Workspace) -> None:
    github = make_integration(workspace)
    assert BUTTON not in text_of(as_alice.get(url("configuration", github)))
    assert as_alice.post(url("discover", github)).status_code == 404


def test_one_click_registers_and_leads_to_connect(as_alice: Client, mcp: MCPServer) -> None:
    mcp.publish()
    mcp.register()
    response = as_alice.post(page_url("discover"))
    text = text_of(response)
    assert response.status_code == 200
    for shown in (mcp.issuer, "client-1", f"{mcp.issuer}/token", f"{mcp.issuer}/register", "Client registration"):
        assert shown in text
    assert "canary" not in text
    assert "Connect with OAuth" in text
    sent = query_of(continue_url(as_alice.post(page_url("connect"))))
    assert (sent["client_id"], sent["resource"]) == ("client-1", mcp.resource)
    assert sent["code_challenge_method"] == "S256"


def test_foreign_endpoints_are_shown_and_taken_only_when_confirmed(
    as_alice: Client, mcp: MCPServer, workspace: Workspace
) -> None:
    mcp.publish(token_endpoint="https://foreign.example/token")
    mcp.register()
    response = as_alice.post(page_url("discover"))
    text = text_of(response)
    assert response.status_code == 422
    assert "https://foreign.example/token" in text
    assert 'name="confirm_foreign"' in text
    assert not workspace.integrations.exists()
    assert as_alice.post(page_url("discover"), {"confirm_foreign": "on"}).status_code == 200
    assert workspace.integrations.get().client_id == "client-1"


def test_a_discovery_that_fails_says_what_was_tried(as_alice: Client, mcp: MCPServer, workspace: Workspace) -> None:
    text = text_of(as_alice.post(page_url("discover")))
    assert "No metadata document was found" in text
    assert "Enter a client by hand" not in text  # it would have no endpoint to go to
    assert f"{mcp.wire.url}/.well-known/oauth-protected-resource/mcp" in text
    assert not workspace.integrations.exists()


def test_without_registration_a_client_is_entered_by_hand(as_alice: Client, mcp: MCPServer) -> None:
    mcp.publish(registration_endpoint=None)
    text = text_of(as_alice.post(page_url("discover")))
    assert "offers no client registration" in text
    assert '<details class="g-details" open><summary>' in text
    saved = as_alice.post(
        page_url("configuration"),
        {"client_id": "by-hand", "client_secret": "s-1", "token_endpoint_auth_method": "client_secret_post"},
    )
    assert saved.status_code == 302
    assert query_of(continue_url(as_alice.post(page_url("connect"))))["client_id"] == "by-hand"


def test_a_client_that_connections_use_is_replaced_only_when_confirmed(
    as_alice: Client, registered: Integration, mcp: MCPServer
) -> None:
    make_connection(registered)
    refused = as_alice.post(page_url("discover"))
    assert refused.status_code == 422
    assert "1 connection was made with it" in text_of(refused)
    assert mcp.clients == 1
    assert as_alice.post(page_url("discover"), {"confirm_client": "on"}).status_code == 200
    registered.refresh_from_db()
    assert registered.client_id == "client-2"


def test_a_redirect_host_is_registered_and_another_one_later_is_told(
    as_alice: Client, mcp: MCPServer, workspace: Workspace
) -> None:
    mcp.publish()
    mcp.register()
    workspace.redirect_host = "https://connect.acme.example"
    workspace.save()
    told = "The redirect URI is another one now"
    assert told not in text_of(as_alice.post(page_url("discover")))
    assert mcp.wire.to("/as/register")[0].json["redirect_uris"] == ["https://connect.acme.example/oauth/callback"]
    workspace.redirect_host = ""
    workspace.save()
    assert told in text_of(as_alice.get(page_url("configuration")))
    as_alice.post(page_url("discover"))
    assert told not in text_of(as_alice.get(page_url("configuration")))


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.EDITOR, 403), (Role.ADMIN, 200)])
def test_it_takes_an_admin(
    role: Role, status: int, sign_in: Callable[[Role], Client], mcp: MCPServer, workspace: Workspace
) -> None:
    mcp.publish()
    mcp.register()
    browser = sign_in(role)
    assert (BUTTON in text_of(browser.get(page_url("configuration")))) is (status == 200)
    assert browser.post(page_url("discover")).status_code == status
    assert workspace.integrations.exists() is (status == 200)


def test_it_is_limited(as_alice: Client, mcp: MCPServer, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.RATE_LIMIT_SCALE = 1
    monkeypatch.setattr("integrations.connections.views.discovery.TRIES", 1)
    assert [as_alice.post(page_url("discover")).status_code for _ in range(4)][-1] == 429


def test_it_takes_a_post(as_alice: Client, mcp: MCPServer) -> None:
    assert as_alice.get(page_url("discover")).status_code == 405
