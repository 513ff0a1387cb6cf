"""The catalogue's sandbox entry against the sandbox itself: both grants, account, renewal, revocation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.models import GrantType, Integration
from integrations.oauth.errors import DeadGrant
from integrations.oauth.grants import (
    authorization_url,
    exchange_code,
    fetch_token,
    new_code_verifier,
    refresh_token,
)
from integrations.oauth.introspection import introspect, userinfo
from integrations.oauth.revocation import revoke
from integrations.outbound.client import TOKEN, session
from integrations.providers.oauth_provider import OAuthProvider, provider_for
from integrations.providers.registry import find_spec
from integrations.providers.setup import save_integration
from tests.servers.sandbox import SandboxServer, running_sandbox
from workspaces.audit import Actor
from workspaces.models import Workspace

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with running_sandbox() as server:
        yield server


@pytest.fixture(autouse=True)
def _configured(settings: Any, sandbox: SandboxServer) -> None:
    settings.SANDBOX_BASE_URL = sandbox.base_url
    settings.OUTBOUND_ALLOWED_HOSTS = [sandbox.host_port]


def set_up(workspace: Workspace, sandbox: SandboxServer, grant_type: GrantType) -> tuple[OAuthProvider, Integration]:
    service = grant_type == GrantType.CLIENT_CREDENTIALS
    spec = find_spec(workspace, "sandbox")
    integration = save_integration(
        workspace,
        spec,
        grant_type,
        client_id=sandbox.service_client_id if service else sandbox.client_id,
        client_secret=sandbox.service_client_secret if service else sandbox.client_secret,
        additional_scopes=["notes:read"],
        actor=Actor.operator(),
    )
    return provider_for(spec, grant_type), Integration.objects.get(pk=integration.pk)


def test_a_person_connects_and_the_token_renews(workspace: Workspace, sandbox: SandboxServer) -> None:
    provider, integration = set_up(workspace, sandbox, GrantType.AUTHORIZATION_CODE)
    server, client, http = provider.server({}), provider.client(integration), session(TOKEN)
    scopes = provider.effective_scopes(integration_additional=integration.additional_scopes)
    verifier = new_code_verifier()
    redirect_uri = sandbox.redirect_uri
    url = authorization_url(
        server, client.client_id, redirect_uri=redirect_uri, scopes=scopes, state="s", code_verifier=verifier
    )
    answer = sandbox.decide(url)
    assert answer["iss"] == server.issuer
    first = exchange_code(
        http,
        server,
        client,
        code=answer["code"],
        redirect_uri=redirect_uri,
        code_verifier=verifier,
        now=datetime.now(UTC),
    )
    assert set(first.scope or ()) == {"profile", "notes:read"}
    account = provider.account_from(userinfo(http, server, first.access_token))
    assert account["label"] == sandbox.email

    assert first.refresh_token
    second = refresh_token(http, server, client, refresh_token=first.refresh_token, now=datetime.now(UTC))
    assert second.refresh_token not in (None, first.refresh_token)
    assert introspect(http, server, client, token=second.access_token).active
    revoke(http, server, client, token=second.refresh_token or "", token_type_hint="refresh_token")
    with pytest.raises(DeadGrant):
        refresh_token(http, server, client, refresh_token=second.refresh_token or "", now=datetime.now(UTC))


def test_a_service_account_fetches_a_token(workspace: Workspace, sandbox: SandboxServer) -> None:
    provider, integration = set_up(workspace, sandbox, GrantType.CLIENT_CREDENTIALS)
    server, client = provider.server({}), provider.client(integration)
    assert server.authorization_endpoint == ""
    scopes = provider.effective_scopes(integration_additional=integration.additional_scopes)
    token = fetch_token(session(TOKEN), server, client, scopes=scopes, now=datetime.now(UTC))
    assert token.refresh_token is None
    assert introspect(session(TOKEN), server, client, token=token.access_token).active
