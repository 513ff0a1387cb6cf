"""A workspace with a redirect host, and one browser as each of its two hosts sees it: cookies belong to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from integrations.connections.connect_links import create_connect_link
from integrations.models import Integration
from integrations.providers.custom import create_custom_provider
from tests.factories import make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import Workspace

OPERATOR = Actor.operator()
HOST = "connect.acme.example"
PUBLIC = "http://localhost:8000"
CANONICAL = "workspaces.middleware.CanonicalHostMiddleware"


@pytest.fixture
def _real_hosts(settings: Any) -> None:
    """The hosts that count in production: the test run allows every name and redirects none."""
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "other.example.com"]
    behind = settings.MIDDLEWARE.index("csp.middleware.CSPMiddleware") + 1
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:behind], CANONICAL, *settings.MIDDLEWARE[behind:]]


@pytest.fixture
def own_host(workspace: Workspace) -> Workspace:
    """Acme, at https://connect.acme.example."""
    workspace.redirect_host = f"https://{HOST}"
    workspace.save()
    return workspace


@pytest.fixture
def delegated(workspace: Workspace, provider_server: ScriptedServer) -> Integration:
    """A custom provider whose server grants everything."""
    base = provider_server.url
    provider = create_custom_provider(
        workspace,
        {
            "name": "Northwind",
            "grant_types": ["authorization_code"],
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "scopes": [{"name": "files", "required": True}],
        },
        actor=OPERATOR,
    )
    token = {"access_token": "issued-access-token", "token_type": "Bearer", "expires_in": 3600, "scope": "files"}
    provider_server.answer("/token", json=token)
    provider_server.answer("/userinfo", json={"sub": "9", "email": "customer@example.com"})
    return make_integration(workspace, provider.provider_id)


@dataclass
class Visitor:
    """One browser: a jar of cookies for each host."""

    own: Client
    public: Client

    @classmethod
    def new(cls, **options: Any) -> Visitor:
        """Somebody who was never here."""
        return cls(Client(headers={"Host": HOST}, **options), Client(headers={"Host": "localhost:8000"}, **options))

    def follow(self, url: str) -> Any:
        """Open an absolute address at the host that it names, and stay at the answer."""
        for base, client in ((f"https://{HOST}", self.own), (PUBLIC, self.public)):
            if url.startswith(base):
                return client.get(url.removeprefix(base))
        raise AssertionError(f"{url} leads elsewhere.")


@pytest.fixture
def visitor(db: None) -> Visitor:
    return Visitor.new()


def link_path(integration: Integration, **options: Any) -> str:
    """A connect link of the integration's workspace, without its host."""
    fresh = Integration.objects.select_related("workspace").get(pk=integration.pk)
    address, _ = create_connect_link(fresh, actor=OPERATOR, **options)
    return "/connect/" + address.partition("/connect/")[2]
