"""An MCP server and its authorization server, on the scripted server, and the built-in provider that leads there.

Use the fixture `mcp`; `catalogue` is patched as if the provider had a file of its own.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.models import GrantType
from integrations.providers import registry
from integrations.providers.base import ProviderSpec
from integrations.providers.catalogue import catalogue
from tests.servers.scripted import Answer, Received, ScriptedServer

PROVIDER_ID = "northwind_mcp"
RESOURCE_METADATA = "/.well-known/oauth-protected-resource/mcp"
SERVER_METADATA = "/.well-known/oauth-authorization-server/as"
CANARY = "canary-registered-secret"
TOKEN_CANARY = "canary-registration-token"


class MCPServer:
    """What it publishes; a test calls these with what differs."""

    def __init__(self, wire: ScriptedServer) -> None:
        self.wire = wire
        self.resource = f"{wire.url}/mcp"
        self.issuer = f"{wire.url}/as"
        self.clients = 0

    @property
    def spec(self) -> ProviderSpec:
        """The provider as its file would say it."""
        return ProviderSpec(
            PROVIDER_ID,
            "Northwind (MCP)",
            "",
            (GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS),
            resource=self.resource,
            category="MCP servers",
        )

    def publish(self, **changes: Any) -> None:
        """The resource's metadata and its server's."""
        self.wire.answer(RESOURCE_METADATA, json={"resource": self.resource, "authorization_servers": [self.issuer]})
        self.wire.answer(
            SERVER_METADATA,
            json={
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "registration_endpoint": f"{self.issuer}/register",
                "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
                **changes,
            },
        )

    def register(self, **changes: Any) -> None:
        """Registers clients client-1, client-2, …, each with a secret."""

        def answer(received: Received) -> Answer:
            self.clients += 1
            client = {
                **received.json,
                "client_id": f"client-{self.clients}",
                "client_secret": f"{CANARY}-{self.clients}",
                "client_secret_expires_at": 1893456000,
                "registration_access_token": TOKEN_CANARY,
                "registration_client_uri": f"{self.issuer}/register/client-{self.clients}",
                **changes,
            }
            return Answer(201, json.dumps(client).encode(), {"Content-Type": "application/json"})

        self.wire.respond("/as/register", answer)


@pytest.fixture
def mcp(provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> MCPServer:
    """The server, which publishes nothing yet, and its provider among the built-in ones."""
    server = MCPServer(provider_server)
    monkeypatch.setattr(registry, "catalogue", lambda: {**catalogue(), PROVIDER_ID: server.spec})
    return server
