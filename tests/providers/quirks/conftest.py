"""A provider that deviates: a workspace's own with some knob, or one of the catalogue moved to a local server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from integrations.connections.authorization import StartedAuthorization, start_authorization
from integrations.connections.choices import ChosenScopes
from integrations.connections.client_credentials import fetch_token
from integrations.connections.completion import complete_authorization
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.connections.refresh import RefreshOutcome, refresh_connection
from integrations.connections.revocation import Revocation, disconnect
from integrations.models import Connection, GrantType, Integration
from integrations.providers import registry
from integrations.providers.base import ProviderSpec
from integrations.providers.catalogue import catalogue
from integrations.providers.parameters import ENDPOINT_FIELDS
from tests.connections.conftest import define_provider
from tests.factories import make_integration
from tests.servers.scripted import Received, ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

NOW = datetime(2030, 1, 2, 12, 0, 0, tzinfo=UTC)
BROWSER = "browser-secret"


@dataclass
class Flow:
    """A person at a browser, and a worker: the real verbs, one integration."""

    integration: Integration
    user: User
    server: ScriptedServer
    _started: list[StartedAuthorization] = field(default_factory=list)

    @property
    def actor(self) -> Actor:
        return Actor.member(self.user)

    def start(self, *, additional_scopes: Sequence[str] = (), **more: Any) -> dict[str, list[str]]:
        """Leave for the consent page; what the authorization URL says."""
        started = start_authorization(
            self.integration,
            user=self.user,
            binding=BROWSER,
            chosen=ChosenScopes(additional=tuple(additional_scopes)) if additional_scopes else None,
            actor=self.actor,
            now=NOW,
            **more,
        )
        self._started.append(started)
        return parse_qs(urlsplit(started.url).query, keep_blank_values=True)

    def come_back(self, *callback: tuple[str, str]) -> AuthorizationOutcome:
        """Return from the consent page with a code and whatever else the provider says."""
        query = [("code", "the-code"), ("state", self._started[-1].state), *callback]
        return complete_authorization(query, user=self.user, binding=BROWSER, now=NOW)

    def connect(self, *callback: tuple[str, str], **more: Any) -> Connection:
        """The whole way; the provider must have been told what to answer."""
        self.start(**more)
        outcome = self.come_back(*callback)
        assert outcome.ok, (outcome.code, outcome.message, outcome.provider_text)
        return self.again(outcome.connection_id)

    def fetch(self, *, additional_scopes: Sequence[str] = (), **more: Any) -> Connection:
        """client_credentials."""
        chosen = ChosenScopes(additional=tuple(additional_scopes)) if additional_scopes else None
        return fetch_token(self.integration, chosen=chosen, actor=self.actor, now=NOW, **more)

    def refresh(self, connection: Connection, *, now: datetime = NOW) -> RefreshOutcome:
        return refresh_connection(connection.pk, forced=True, actor=self.actor, now=now)

    def disconnect(self, connection: Connection) -> Revocation:
        return disconnect(self.again(connection.pk), actor=self.actor, now=NOW)

    def again(self, pk: Any) -> Connection:
        return Connection.objects.select_related("integration", "workspace", "token", "schedule").get(pk=pk)

    def last(self, path: str) -> Received:
        """The latest request for a path."""
        return self.server.to(path)[-1]


@pytest.fixture
def own(workspace: Workspace, alice: User, provider_server: ScriptedServer) -> Callable[..., Flow]:
    """A workspace's own provider with the given fields, set up for people."""

    def make(*, grant_type: GrantType = GrantType.AUTHORIZATION_CODE, **fields: Any) -> Flow:
        define_provider(workspace, provider_server, **{"token_endpoint_auth_method": "client_secret_post", **fields})
        return Flow(make_integration(workspace, "custom_acme", grant_type), alice, provider_server)

    return make


def moved(spec: ProviderSpec, url: str) -> ProviderSpec:
    """The same definition on a local server: each endpoint's host becomes the first segment of its path."""
    endpoints = {name: getattr(spec, name) for name in ENDPOINT_FIELDS if name != "issuer" and getattr(spec, name)}
    return replace(spec, **{name: f"{url}/{value.removeprefix('https://')}" for name, value in endpoints.items()})


@pytest.fixture
def builtin(
    workspace: Workspace, alice: User, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Flow]:
    """A provider of the catalogue as its file describes it, on a local server; its subclass is found by its id."""

    def make(
        provider_id: str, *, grant_type: GrantType = GrantType.AUTHORIZATION_CODE, parameters: Any = None, **fields: Any
    ) -> Flow:
        specs = {provider_id: moved(catalogue()[provider_id], provider_server.url)}
        monkeypatch.setattr(registry, "catalogue", lambda: specs)
        integration = make_integration(workspace, provider_id, grant_type, **fields)
        if parameters:
            integration.parameters = parameters
            integration.save()
        return Flow(integration, alice, provider_server)

    return make


@pytest.fixture(autouse=True)
def _own_var(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.VAR_DIR = tmp_path
    yield
    shutil.rmtree(tmp_path / "spool", ignore_errors=True)


def answer(access_token: str = "access-2", refresh_token: str | None = "refresh-2", **more: Any) -> dict[str, Any]:
    """What a token endpoint answers."""
    fields: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600, **more}
    return fields if refresh_token is None else {"refresh_token": refresh_token, **fields}
