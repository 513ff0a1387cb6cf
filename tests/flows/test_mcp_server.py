"""An MCP server whose tokens a certified server issues: found, registered at, connected and renewed by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integrations.connections.authorization import start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.refresh import refresh_connection
from integrations.models import Connection, GrantType
from integrations.providers import registry
from integrations.providers.base import ProviderSpec, ScopeDefinition
from integrations.providers.catalogue import catalogue
from tests.api.client import ApiClient, make_key
from tests.flows.visitor import go_through_consent
from tests.servers.npm_oidc import OIDCServer, npm_oidc_server
from tests.servers.scripted import ScriptedServer, scripted_server
from workspaces.audit import Actor
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.node, pytest.mark.django_db]

CALLBACK = "http://localhost:8000/oauth/callback"
BROWSER = "binding-of-this-browser"
SCOPES = ("openid", "offline_access", "notes:read")


@dataclass(frozen=True)
class Notes:
    """The MCP server and the authorization server that it names."""

    mcp: ScriptedServer
    oidc: OIDCServer

    @property
    def resource(self) -> str:
        return f"{self.mcp.url}/mcp"


@pytest.fixture
def notes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    settings.PUBLIC_BASE_URL = "http://localhost:8000"
    with scripted_server() as mcp, npm_oidc_server(registration=True, resource=f"{mcp.url}/mcp") as oidc:
        settings.OUTBOUND_ALLOWED_HOSTS = [mcp.host, oidc.host]
        found = Notes(mcp, oidc)
        described = f"{mcp.url}/.well-known/oauth-protected-resource/mcp"
        mcp.answer("/mcp", status=401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{described}"'})
        mcp.answer(
            "/.well-known/oauth-protected-resource/mcp",
            json={"resource": found.resource, "authorization_servers": [oidc.issuer]},
        )
        spec = ProviderSpec(
            "notes_mcp",
            "Notes (MCP)",
            "",
            (GrantType.AUTHORIZATION_CODE,),
            resource=found.resource,
            scopes={GrantType.AUTHORIZATION_CODE: tuple(ScopeDefinition(name, required=True) for name in SCOPES)},
            authorization_params={"prompt": "consent"},  # offline_access needs it (OpenID Connect Core §11)
        )
        monkeypatch.setattr(registry, "catalogue", lambda: {**catalogue(), "notes_mcp": spec})
        yield found


def test_from_one_call_to_a_token_for_that_resource(workspace: Workspace, alice: User, notes: Notes) -> None:
    """RFC 9728 leads to RFC 8414 leads to RFC 7591; consent, exchange and renewal name the resource (RFC 8707)."""
    api = ApiClient(make_key(workspace))
    registered = api.post("/integrations/notes_mcp/authorization_code/discover").json()
    assert (registered["ok"], registered["integration"]["status"]) == (True, "configured"), registered

    integration = workspace.integrations.get()
    started = start_authorization(integration, binding=BROWSER, user=alice, actor=Actor.member(alice))
    answer = go_through_consent(started.url, stop_before=CALLBACK)
    outcome = complete_authorization(answer, binding=BROWSER, user=alice)
    assert outcome.ok, (outcome.code, outcome.message, outcome.provider_text)
    connection = Connection.objects.get(pk=outcome.connection_id)
    first = connection.token.open().access_token

    assert refresh_connection(connection.pk, forced=True, actor=Actor.member(alice)).refreshed
    assert Connection.objects.get(pk=connection.pk).token.open().access_token != first
    asked = [(one["grant_type"], one["status"], one["resource"]) for one in notes.oidc.token_requests()]
    assert asked == [
        ("authorization_code", 200, notes.resource),
        ("refresh_token", 200, notes.resource),
    ]
