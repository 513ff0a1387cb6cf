"""A custom provider whose endpoints are a scripted server, and one integration per grant type."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integrations.models import Connection, CustomProvider, CustomProviderVersion, GrantType, Integration
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace

# Whole seconds, so that arithmetic in tests is exact on every database.
NOW = datetime(2030, 1, 2, 12, 0, 0, tzinfo=UTC)
TOKEN, REVOKE, USERINFO, INTROSPECT = "/token", "/revoke", "/userinfo", "/introspect"


def define_provider(workspace: Workspace, server: ScriptedServer, **changes: Any) -> CustomProvider:
    """Publish a definition as provider `custom_acme`; `changes` replace its fields."""
    definition = {
        "name": "Acme",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}{TOKEN}",
        "revocation_endpoint": f"{server.url}{REVOKE}",
        "userinfo_endpoint": "",
        "scopes": [{"name": "read", "required": True}, {"name": "write", "required": False}],
        **changes,
    }
    provider, _ = CustomProvider.objects.get_or_create(workspace=workspace, provider_id="custom_acme")
    number = provider.versions.count() + 1
    CustomProviderVersion.objects.create(provider=provider, number=number, definition=definition)
    return provider


@pytest.fixture
def define(workspace: Workspace, provider_server: ScriptedServer) -> Callable[..., CustomProvider]:
    """Publish a changed definition."""

    def _define(**changes: Any) -> CustomProvider:
        return define_provider(workspace, provider_server, **changes)

    return _define


@pytest.fixture
def acme(define: Callable[..., CustomProvider]) -> CustomProvider:
    return define()


@pytest.fixture
def delegated(workspace: Workspace, acme: CustomProvider) -> Integration:
    """authorization_code."""
    return make_integration(workspace, "custom_acme")


@pytest.fixture
def service(workspace: Workspace, acme: CustomProvider) -> Integration:
    """client_credentials."""
    return make_integration(workspace, "custom_acme", GrantType.CLIENT_CREDENTIALS)


@pytest.fixture(autouse=True)
def _own_var(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Kept answers of one test are not another's."""
    settings.VAR_DIR = tmp_path
    yield
    shutil.rmtree(tmp_path / "spool", ignore_errors=True)


def token_answer(access_token: str = "access-2", refresh_token: str | None = "refresh-2", **more: Any) -> Any:
    """What a token endpoint answers."""
    answer: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600}
    if refresh_token is not None:
        answer["refresh_token"] = refresh_token
    return {**answer, **more}


def due_connection(integration: Integration, name: str = "default", **more: Any) -> Connection:
    """A connection whose token lives ten more minutes and is due."""
    return make_connection(
        integration,
        name,
        **{"issued_at": NOW - timedelta(minutes=50), "due_at": NOW - timedelta(seconds=1), **more},
    )
