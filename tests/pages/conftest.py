"""A workspace's own provider whose authorization server says what a test tells it to, and people of each role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse

from integrations.models import GrantType, Integration
from integrations.providers.custom import create_custom_provider
from tests.factories import make_integration, make_member, make_user
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import Workspace
from workspaces.roles import Role

PROVIDER_ID = "custom_northwind"
CANARY = "canary-client-secret-0123456789"


@pytest.fixture
def northwind(workspace: Workspace, provider_server: ScriptedServer) -> str:
    """The id of a custom provider under both grant types."""
    create_custom_provider(
        workspace,
        {
            "name": "Northwind",
            "grant_types": ["authorization_code", "client_credentials"],
            "authorization_endpoint": f"{provider_server.url}/authorize",
            "token_endpoint": f"{provider_server.url}/token",
            "revocation_endpoint": f"{provider_server.url}/revoke",
            "userinfo_endpoint": f"{provider_server.url}/userinfo",
            "scopes": [{"name": "openid", "required": True}, {"name": "files", "required": False}],
        },
        actor=Actor.operator(),
    )
    return PROVIDER_ID


@pytest.fixture
def delegated(workspace: Workspace, northwind: str) -> Integration:
    """Northwind with a delegated user, credentials saved."""
    return make_integration(workspace, northwind, client_secret=CANARY)


@pytest.fixture
def service(workspace: Workspace, northwind: str) -> Integration:
    """Northwind as a service account, credentials saved."""
    return make_integration(workspace, northwind, GrantType.CLIENT_CREDENTIALS, client_secret=CANARY)


@pytest.fixture
def sign_in(workspace: Workspace) -> Callable[[Role], Client]:
    """A browser in which a member with the role is signed in."""

    def browser(role: Role) -> Client:
        user = make_user()
        make_member(workspace, user, role)
        client = Client()
        client.force_login(user)
        return client

    return browser


def url(name: str, integration: Integration | None = None, **kwargs: Any) -> str:
    """The address of a page in Alice's workspace, of an integration if one is given."""
    base: dict[str, Any] = {"workspace": "acme"}
    if integration is not None:
        base |= {"provider_id": integration.provider_id, "grant_type": integration.grant_type}
    return reverse(f"integrations:{name}", kwargs={**base, **kwargs})


def continue_url(response: Any) -> str:
    """Where the page without JavaScript leads on to."""
    text = response.content.decode()
    _, _, rest = text.partition('id="continue" href="')
    assert rest, "the page has no link to continue with"
    return rest.partition('"')[0].replace("&amp;", "&")


def query_of(address: str) -> dict[str, str]:
    """The query of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def token_answer(**fields: Any) -> dict[str, Any]:
    """What a token endpoint answers."""
    return {
        "access_token": "issued-access-token",
        "refresh_token": "issued-refresh-token",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "openid files",
        **fields,
    }
