"""A workspace with one of everything at a provider that says what a test tells it to, and a browser for each role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.template.base import Template
from django.test import Client

from integrations.models import Connection, GrantType, Integration
from integrations.providers.custom import create_custom_provider
from tests.factories import make_connection, make_integration, make_member, make_user
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace
from workspaces.roles import Role

PROVIDER_ID = "custom_acme"


def definition(server: ScriptedServer, **changes: Any) -> dict[str, Any]:
    """A provider in the API's shape whose endpoints are the scripted server."""
    return {
        "name": "Acme",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
        "userinfo_endpoint": f"{server.url}/userinfo",
        "scopes": [{"name": "read", "required": True}, {"name": "write", "required": False}],
        **changes,
    }


@pytest.fixture
def define(workspace: Workspace, provider_server: ScriptedServer) -> Callable[..., str]:
    """Make a custom provider; returns its id."""

    def make(**changes: Any) -> str:
        made = create_custom_provider(workspace, definition(provider_server, **changes), actor=Actor.operator())
        return made.provider_id

    return make


@pytest.fixture
def delegated(workspace: Workspace, define: Callable[..., str]) -> Integration:
    """Acme with a delegated user."""
    return make_integration(workspace, define())


@pytest.fixture
def service(workspace: Workspace, delegated: Integration) -> Integration:
    """Acme as a service account."""
    return make_integration(workspace, delegated.provider_id, GrantType.CLIENT_CREDENTIALS)


@pytest.fixture
def connected(delegated: Integration) -> Connection:
    """A delegated connection with a token."""
    return make_connection(delegated, account={"id": "1", "label": "robin@example.com"})


def browser_of(user: User, **options: Any) -> Client:
    """A browser in which someone is signed in."""
    client = Client(**options)
    client.force_login(user)
    return client


@pytest.fixture
def _as_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that note no copy of each context for `answer.context`: an eighth of what a long form costs."""
    monkeypatch.setattr(Template, "_render", lambda self, context: self.nodelist.render(context))


@pytest.fixture
def sign_in(workspace: Workspace) -> Callable[[Role], Client]:
    """A browser in which a new member with the role is signed in."""

    def browser(role: Role) -> Client:
        user = make_user()
        make_member(workspace, user, role)
        return browser_of(user)

    return browser


def token_answer(
    access_token: str = "access-2", refresh_token: str | None = "refresh-2", **more: Any
) -> dict[str, Any]:
    """What a token endpoint answers."""
    answer: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600}
    if refresh_token is not None:
        answer["refresh_token"] = refresh_token
    return {**answer, **more}
