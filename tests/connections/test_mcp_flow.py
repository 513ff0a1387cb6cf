"""Flows of providers whose endpoints were discovered: what they send, and what ends them."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.connections.authorization import start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.models import GrantType, Integration
from integrations.providers.registration import discover_and_register
from tests.pages.conftest import query_of
from tests.servers.mcp import MCPServer, mcp
from workspaces.audit import Actor
from workspaces.models import User, Workspace

__all__ = ["mcp"]

BROWSER = "binding-of-this-browser"


def register(workspace: Workspace, server: MCPServer, **changes: Any) -> Integration:
    server.wire.forget()
    server.publish(**changes)
    server.register()
    discover_and_register(workspace, server.spec, GrantType.AUTHORIZATION_CODE, actor=Actor.operator())
    server.wire.answer("/as/token", json={"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600})
    return workspace.integrations.get()


def start(integration: Integration, alice: User) -> dict[str, str]:
    return query_of(start_authorization(integration, binding=BROWSER, user=alice, actor=Actor.member(alice)).url)


def finish(sent: dict[str, str], alice: User, **more: str) -> AuthorizationOutcome:
    query = {"code": "code-1", "state": sent["state"], **more}
    return complete_authorization(list(query.items()), binding=BROWSER, user=alice)


@pytest.mark.parametrize(
    ("promised", "iss", "code"),
    [
        (True, "own", "ok"),
        (True, "", "missing_issuer"),
        (True, "https://evil.example", "issuer_mismatch"),
        (False, "", "ok"),
        (False, "https://evil.example", "issuer_mismatch"),
    ],
)
def test_a_server_that_promises_iss_has_to_send_it(
    promised: bool, iss: str, code: str, workspace: Workspace, alice: User, mcp: MCPServer
) -> None:
    """RFC 9207 §2.4."""
    integration = register(workspace, mcp, authorization_response_iss_parameter_supported=promised)
    outcome = finish(start(integration, alice), alice, **({"iss": mcp.issuer if iss == "own" else iss} if iss else {}))
    assert ("ok" if outcome.ok else outcome.code) == code
    assert len(mcp.wire.to("/as/token")) == (code == "ok")


def test_the_exchange_names_the_resource_and_the_registered_client(
    workspace: Workspace, alice: User, mcp: MCPServer
) -> None:
    sent = start(register(workspace, mcp), alice)
    assert sent["resource"] == mcp.resource
    assert finish(sent, alice).ok
    form = mcp.wire.to("/as/token")[0].form
    assert (form["resource"], form["client_id"], form["redirect_uri"]) == (
        mcp.resource,
        "client-1",
        sent["redirect_uri"],
    )


def test_a_discovery_ends_flows_under_way(workspace: Workspace, alice: User, mcp: MCPServer) -> None:
    """Another client or server than the one the browser was sent to gets no code (RFC 9700 §4.4)."""
    sent = start(register(workspace, mcp), alice)
    register(workspace, mcp)
    assert not finish(sent, alice).ok
    assert mcp.wire.to("/as/token") == []
