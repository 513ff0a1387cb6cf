"""The certified authorization server beside the code under test, and a workspace that has it as a custom provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integrations.models import GrantType, Integration
from tests.api.client import ApiClient, make_key
from tests.servers import npm_oidc
from tests.servers.npm_oidc import OIDCServer
from workspaces.models import Workspace


@pytest.fixture(scope="session", autouse=True)
def _node() -> None:
    """One line says why these tests were skipped where Node.js is missing."""
    if reason := npm_oidc.why_missing():
        pytest.skip(reason)


@pytest.fixture
def oidc_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of the server; a test sets them with `parametrize("oidc_options", …, indirect=True)`."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
def oidc(oidc_options: dict[str, Any], settings: Any) -> Iterator[OIDCServer]:
    """A server of the test's own, which our door lets through."""
    settings.PUBLIC_BASE_URL = "http://localhost:8000"
    with npm_oidc.npm_oidc_server(**oidc_options) as server:
        settings.OUTBOUND_ALLOWED_HOSTS = [server.host]
        yield server


@dataclass(frozen=True)
class Setup:
    """A custom provider that was made by API, with its client saved by API."""

    api: ApiClient
    integration: Integration


def provider_definition(server: OIDCServer, **changes: Any) -> dict[str, Any]:
    """The body that makes the server a custom provider for people. offline_access needs prompt=consent (OIDC §11)."""
    return {
        "name": "Certified",
        "grant_types": ["authorization_code"],
        "issuer": server.issuer,
        "authorization_endpoint": server.endpoint("authorization"),
        "token_endpoint": server.endpoint("token"),
        "revocation_endpoint": server.endpoint("revocation"),
        "userinfo_endpoint": server.endpoint("userinfo"),
        "scopes": [{"name": name, "required": True} for name in ("openid", "email", "offline_access")],
        "authorization_params": {"prompt": "consent"},
        **changes,
    }


def service_definition(server: OIDCServer, **changes: Any) -> dict[str, Any]:
    """The body that makes the server a custom provider for programs."""
    return {
        "name": "Certified service",
        "grant_types": ["client_credentials"],
        "token_endpoint": server.endpoint("token"),
        "revocation_endpoint": server.endpoint("revocation"),
        "scopes": [{"name": "notes:read", "required": True}],
        **changes,
    }


def set_up(workspace: Workspace, definition: dict[str, Any], client: tuple[str, str]) -> Setup:
    """Make the provider and save its client, as a program does."""
    api = ApiClient(make_key(workspace))
    made = api.post("/providers", definition)
    assert made.status_code == 201, made.content
    provider_id, grant_type = made.json()["provider_id"], definition["grant_types"][0]
    saved = api.put(f"/integrations/{provider_id}/{grant_type}", {"client_id": client[0], "client_secret": client[1]})
    assert saved.status_code == 200, saved.content
    assert saved.json()["status"] == "configured"
    return Setup(api, Integration.objects.get(provider_id=provider_id, grant_type=grant_type))


@pytest.fixture
def delegated(workspace: Workspace, oidc: OIDCServer) -> Setup:
    """The server, set up for people."""
    return set_up(workspace, provider_definition(oidc), npm_oidc.CODE_CLIENT)


@pytest.fixture
def service(workspace: Workspace, oidc: OIDCServer, oidc_options: dict[str, Any]) -> Setup:
    """The server, set up for programs with the client authentication that it asks for."""
    method = oidc_options.get("authMethod", "client_secret_basic")
    changes = {"token_endpoint_auth_method": method}
    setup = set_up(workspace, service_definition(oidc, **changes), npm_oidc.SERVICE_CLIENT)
    assert setup.integration.grant_type == GrantType.CLIENT_CREDENTIALS
    return setup
