"""A program with every scope, its workspace's integrations, and a provider that listens on loopback."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import Connection, GrantType, Integration
from integrations.providers.custom import create_custom_provider
from tests.api.client import ApiClient, make_key
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

GITHUB = "/integrations/github/authorization_code"
OWN = "/integrations/custom_own"


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    """A key of Alice's workspace with every scope."""
    return ApiClient(make_key(workspace))


@pytest.fixture
def other_api(charlie: User) -> ApiClient:
    """A key of Charlie's workspace with every scope."""
    return ApiClient(make_key(Workspace.objects.get(slug="other")))


@pytest.fixture
def github(workspace: Workspace) -> Integration:
    return make_integration(workspace)


@pytest.fixture
def connection(github: Integration) -> Connection:
    return make_connection(github, account={"id": "1", "label": "octocat"}, requested_scopes=["repo", "read:org"])


@pytest.fixture
def own_provider(workspace: Workspace, provider_server: ScriptedServer) -> dict[str, Any]:
    """A custom provider on the scripted server, for both grant types."""
    definition = {
        "name": "Own",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": f"{provider_server.url}/authorize",
        "token_endpoint": f"{provider_server.url}/token",
        "revocation_endpoint": f"{provider_server.url}/revoke",
        "scopes": [{"name": "read", "required": True}],
    }
    create_custom_provider(workspace, definition, actor=Actor.operator())
    return definition


@pytest.fixture
def service(workspace: Workspace, own_provider: dict[str, Any]) -> Integration:
    """The custom provider, set up for client_credentials."""
    return make_integration(workspace, "custom_own", GrantType.CLIENT_CREDENTIALS)


@pytest.fixture
def delegated(workspace: Workspace, own_provider: dict[str, Any]) -> Integration:
    """The custom provider, set up for authorization_code."""
    return make_integration(workspace, "custom_own", GrantType.AUTHORIZATION_CODE)
