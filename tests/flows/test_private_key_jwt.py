"""Clients without a secret at a certified server (RFC 7523 §2.2, OpenID Connect Core §9, RFC 7517)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.connections.authorization import start_authorization
from integrations.connections.batch import refresh_due
from integrations.connections.completion import complete_authorization
from integrations.connections.parties import parties_of
from integrations.connections.revocation import disconnect
from integrations.models import ClientKey, Connection, GrantType, Integration
from integrations.oauth import grants
from integrations.outbound import client as outbound
from integrations.providers.client_keys import create_key, jwks_uri, key_set, rotate_key
from tests.flows.conftest import Setup, provider_definition, service_definition, set_up
from tests.flows.visitor import go_through_consent
from tests.servers.npm_oidc import CODE_CLIENT, SERVICE_CLIENT, OIDCServer, npm_oidc_server
from workspaces.audit import Actor
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.node, pytest.mark.django_db(transaction=True)]

OPERATOR = Actor.operator()
SERVICE = "/integrations/custom_certified_service/client_credentials"
BROWSER = "binding-of-this-browser"
METHOD = "private_key_jwt"

type_Made = tuple[Setup, OIDCServer]
type_Make = Callable[..., type_Made]


@pytest.fixture
def make(workspace: Workspace, live_server: Any, settings: Any) -> Iterator[type_Make]:
    """Starts a server that knows our public keys (given to it, or fetched from us), and sets it up as a provider.

    The key is made first: the server is told at its start, as a person tells it when the app is registered.
    """
    settings.PUBLIC_BASE_URL = live_server.url
    with ExitStack() as running:

        def start(grant_type: GrantType, *, algorithm: str = "RS256", by_uri: bool = True, **changes: Any) -> type_Made:
            delegated = grant_type == GrantType.AUTHORIZATION_CODE
            provider_id = "custom_certified" if delegated else "custom_certified_service"
            integration = Integration.objects.create(
                workspace=workspace, provider_id=provider_id, grant_type=grant_type
            )
            create_key(integration, actor=OPERATOR, algorithm=algorithm)
            published = key_set(integration.pk, now=timezone.now())
            keys = {"jwksUri": jwks_uri(integration)} if by_uri else {"jwks": published}
            callback = f"{live_server.url}/oauth/callback"
            server = running.enter_context(npm_oidc_server(authMethod=METHOD, redirectUri=callback, **keys))
            settings.OUTBOUND_ALLOWED_HOSTS = [server.host]
            define = provider_definition if delegated else service_definition
            endpoints = {"introspection_endpoint": server.endpoint("introspection")}
            changes = {name: value.replace("ISSUER", server.issuer) for name, value in changes.items()}
            definition = define(server, token_endpoint_auth_method=METHOD, **{**endpoints, **changes})
            client_id = (CODE_CLIENT if delegated else SERVICE_CLIENT)[0]
            return set_up(workspace, definition, (client_id, "")), server

        yield start


def connect(setup: Setup, alice: User, live_server: Any) -> Connection:
    started = start_authorization(setup.integration, binding=BROWSER, user=alice, actor=Actor.member(alice))
    answer = go_through_consent(started.url, stop_before=f"{live_server.url}/oauth/callback")
    outcome = complete_authorization(answer, binding=BROWSER, user=alice)
    assert outcome.ok, (outcome.code, outcome.message, outcome.provider_text)
    return Connection.objects.select_related("token", "schedule", "integration").get(pk=outcome.connection_id)


def is_active(connection: Connection, token: str) -> bool:
    """Introspection authenticates the same way."""
    parties = parties_of(connection.integration, connection)
    return grants.introspect(outbound.session(outbound.TOKEN), parties.server, parties.client, token=token).active


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("by_uri", [True, False], ids=["jwks_uri", "jwks"])
def test_exchange_refresh_introspection_and_revocation_are_all_signed(
    algorithm: str, by_uri: bool, make: type_Make, alice: User, live_server: Any
) -> None:
    setup, server = make(GrantType.AUTHORIZATION_CODE, algorithm=algorithm, by_uri=by_uri)
    connection = connect(setup, alice, live_server)
    assert connection.account == {"id": "robin", "label": "robin@example.com"}

    assert refresh_due(now=connection.token.issued_at + timedelta(seconds=60)).renewed == 1
    access_token = Connection.objects.get(pk=connection.pk).token.open().access_token
    assert access_token != connection.token.open().access_token
    assert is_active(connection, access_token)

    assert disconnect(Connection.objects.get(pk=connection.pk), actor=OPERATOR).result == "revoked"
    assert not is_active(connection, access_token)
    asked = [(one["grant_type"], one["client_authentication"], one["status"]) for one in server.token_requests()]
    assert asked == [("authorization_code", METHOD, 200), ("refresh_token", METHOD, 200)]


def test_a_service_account_fetches_and_renews(make: type_Make) -> None:
    setup, server = make(GrantType.CLIENT_CREDENTIALS)
    tested = setup.api.post(f"{SERVICE}/test", {}).json()
    assert tested["ok"], tested
    connection = Connection.objects.select_related("token").get()
    assert refresh_due(now=connection.token.issued_at + timedelta(seconds=60)).renewed == 1
    asked = [(one["grant_type"], one["client_authentication"], one["status"]) for one in server.token_requests()]
    assert asked == [("client_credentials", METHOD, 200)] * 2


@pytest.mark.parametrize(
    ("issuer", "ok"),
    [
        ("ISSUER", True),
        ("ISSUER/another-tenant", False),  # on the same host, so only the server can tell
    ],
)
def test_the_server_judges_the_audience(issuer: str, ok: bool, make: type_Make) -> None:
    setup, _ = make(GrantType.CLIENT_CREDENTIALS, issuer=issuer, assertion_audience="issuer")
    tested = setup.api.post(f"{SERVICE}/test", {}).json()
    assert tested["ok"] is ok, tested
    assert tested["code"] == ("ok" if ok else "invalid_client")
    assert setup.api.get(SERVICE).json()["status"] == ("connected" if ok else "misconfigured")


def test_a_rotation_is_not_noticed_by_a_server_that_keeps_the_key_set(make: type_Make) -> None:
    setup, _ = make(GrantType.CLIENT_CREDENTIALS)
    test = f"{SERVICE}/test"
    assert setup.api.post(test, {}).json()["ok"]
    rotated = rotate_key(setup.integration, actor=OPERATOR)
    assert setup.api.post(test, {}).json()["ok"]

    # Why the new key waits: this server asks again after max-age only, and refuses what it has not seen.
    ClientKey.objects.filter(pk=rotated.pk).update(signs_from=timezone.now())
    assert setup.api.post(test, {}).json()["code"] == "invalid_client"


def test_a_key_that_the_server_does_not_know_is_refused_until_it_is_registered(make: type_Make) -> None:
    setup, _ = make(GrantType.CLIENT_CREDENTIALS, by_uri=False)
    assert setup.api.post(f"{SERVICE}/test", {}).json()["ok"]
    rotated = rotate_key(setup.integration, actor=OPERATOR)
    ClientKey.objects.exclude(pk=rotated.pk).delete()
    assert setup.api.post(f"{SERVICE}/test", {}).json()["code"] == "invalid_client"
    assert setup.api.get(SERVICE).json()["status"] == "misconfigured"
