"""Integrations: list, set up, read, delete, test, and connect links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Prefetch, Q
from django.utils import timezone
from ninja import Router, Status

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.discovery import attempts_out, before_discovery
from integrations.api.openapi import refusals
from integrations.api.paging import DEFAULT_LIMIT, Cursor, Limit, cut_page, decode_cursor, encode_cursor
from integrations.api.parameters import Force, GrantTypeName, ProviderId
from integrations.api.presenting import client_key_out, integration_out
from integrations.api.problems import Problem
from integrations.api.schemas.connections import (
    ConnectionCreate,
    ConnectLinkIn,
    ConnectLinkOut,
    TestIn,
    TestOut,
    TestStepOut,
)
from integrations.api.schemas.integrations import (
    ClientKeyOut,
    ClientKeyRotation,
    IntegrationOut,
    IntegrationPage,
    IntegrationPut,
    RegistrationIn,
    RegistrationOut,
)
from integrations.api.targets import (
    IntegrationTarget,
    connection_named,
    find_integration,
    find_saved_integration,
)
from integrations.connections.choices import ChosenScopes
from integrations.connections.connect_links import create_connect_link
from integrations.connections.revocation import delete_integration
from integrations.connections.testing import TestResult, test_connection
from integrations.models import Connection, GrantType, Integration
from integrations.oauth.errors import OAuthError
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET
from integrations.providers.client_keys import public_keys, rotate_key
from integrations.providers.discovery import Attempt, DiscoveryFailed
from integrations.providers.registration import discover_and_register
from integrations.providers.registry import specs_for
from integrations.providers.setup import save_integration
from workspaces.models import Workspace
from workspaces.roles import KeyScope

T = TypeVar("T")
router = Router()
INTEGRATION = "/integrations/{provider_id}/{grant_type}"
SAVED_ONLY = "Its client credentials are not saved yet."


@router.get(
    "/integrations",
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_READ),
    response=IntegrationPage,
    operation_id="list_integrations",
    summary="List integrations",
)
def list_integrations(request: ApiRequest[None], cursor: Cursor = "", limit: Limit = DEFAULT_LIMIT) -> IntegrationPage:
    """Those that are saved, by provider and grant type."""
    workspace, now = request.auth.workspace, timezone.now()
    saved = workspace.integrations.order_by("provider_id", "grant_type")
    saved = saved.prefetch_related(_with_connections(workspace), public_keys(workspace))
    if key := decode_cursor(cursor, str, str):
        saved = saved.filter(Q(provider_id__gt=key[0]) | Q(provider_id=key[0], grant_type__gt=key[1]))
    page, following = cut_page(
        saved[: limit + 1], limit, lambda integration: encode_cursor(integration.provider_id, integration.grant_type)
    )
    specs = {spec.provider_id: spec for spec in specs_for(workspace)}
    items = [
        integration_out(
            workspace,
            specs[integration.provider_id],
            GrantType(integration.grant_type),
            integration,
            list(integration.connections.all()),
            now,
        )
        for integration in page
        if integration.provider_id in specs  # a provider that left the catalogue cannot be shown as working
    ]
    return IntegrationPage(items=items, next=following)


@router.get(
    INTEGRATION,
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_READ, find_integration),
    response=IntegrationOut,
    operation_id="get_integration",
    summary="Read an integration",
)
def get_integration(
    request: ApiRequest[IntegrationTarget], provider_id: ProviderId, grant_type: GrantTypeName
) -> IntegrationOut:
    """There for every provider and grant type it supports: `not_configured`, with its redirect_uri, until saved."""
    return _out(request.auth.target, request.auth.target.integration)


@router.put(
    INTEGRATION,
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_WRITE, find_integration),
    response=IntegrationOut,
    operation_id="save_integration",
    summary="Set an integration up",
)
def put_integration(
    request: ApiRequest[IntegrationTarget], provider_id: ProviderId, grant_type: GrantTypeName, body: IntegrationPut
) -> IntegrationOut:
    """Save client credentials and scopes. Correcting them resumes what the provider refused before."""
    target, saved = request.auth.target, request.auth.target.integration
    integration = save_integration(
        target.workspace,
        target.spec,
        target.grant_type,
        client_id=_kept(body.client_id, saved.client_id if saved and not target.spec.asks_credentials else ""),
        client_secret=body.client_secret,
        clear_client_secret="client_secret" in body.model_fields_set and body.client_secret is None,
        additional_scopes=_kept(body.additional_scopes, saved.additional_scopes if saved else []),
        parameters=body.parameters,
        token_endpoint_auth_method=body.token_endpoint_auth_method,
        actor=request.auth.actor,
    )
    return _out(target, integration)


@router.delete(
    INTEGRATION,
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_WRITE, find_saved_integration, calls_provider=True),
    response={204: None},
    operation_id="delete_integration",
    summary="Delete an integration",
    openapi_extra=refusals(has_dependants="It has connections."),
)
def remove_integration(
    request: ApiRequest[Integration],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    force: Force = False,
) -> Status[None]:
    """Revoke its tokens at the provider, then delete it with its connections."""
    delete_integration(request.auth.target, actor=request.auth.actor, force=force)
    return Status(204, None)


@router.post(
    f"{INTEGRATION}/client-key/rotate",
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_WRITE, find_saved_integration),
    response={201: ClientKeyOut},
    operation_id="rotate_client_key",
    summary="Rotate the client key",
    openapi_extra=refusals(conflict="There is no key yet, or too many are published."),
)
def post_client_key_rotation(
    request: ApiRequest[Integration],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    body: ClientKeyRotation | None = None,
) -> Status[ClientKeyOut]:
    """Make a new key for `private_key_jwt`. It is published at once and signs ten minutes later; the old one stays
    published for 24 hours. Where the provider was given the key itself instead of `jwks_uri`, add the new one there
    before it signs.
    """
    algorithm = body.algorithm if body and body.algorithm else ""
    return Status(201, client_key_out(rotate_key(request.auth.target, actor=request.auth.actor, algorithm=algorithm)))


@router.post(
    f"{INTEGRATION}/test",
    auth=ApiKeyAuth(KeyScope.CONNECTIONS_WRITE, find_integration, calls_provider=True),
    response=TestOut,
    operation_id="test_integration",
    summary="Test an integration",
    openapi_extra=refusals(not_configured=SAVED_ONLY),
)
def post_test(
    request: ApiRequest[IntegrationTarget],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    body: TestIn | None = None,
) -> TestOut:
    """Make one real call. client_credentials: fetch a token and store it. authorization_code: use the stored one.

    The answer is 200 also when the test fails: look at `ok`.
    """
    integration = request.auth.target.configured()
    connection = connection_named(integration, body.connection if body else None)
    return _test_out(test_connection(integration, connection, actor=request.auth.actor))


@router.post(
    f"{INTEGRATION}/discover",
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_WRITE, find_integration, calls_provider=True),
    response=RegistrationOut,
    operation_id="discover_integration",
    summary="Discover and register",
    openapi_extra=refusals(conflict="The provider's definition has its endpoints."),
)
def post_registration(
    request: ApiRequest[IntegrationTarget],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    body: RegistrationIn | None = None,
) -> RegistrationOut:
    """Find the authorization server of a provider that is a protected resource (an MCP server), and register a client.

    The client replaces the one that is saved. The answer is 200 also when it fails: look at `ok`.
    """
    target, saved = request.auth.target, request.auth.target.integration
    if not target.spec.resource:
        raise Problem("conflict", "The provider's definition has its endpoints: there is nothing to discover.")
    before_discovery(request.auth)
    try:
        done = discover_and_register(
            target.workspace,
            target.spec,
            target.grant_type,
            additional_scopes=saved.additional_scopes if saved else (),
            actor=request.auth.actor,
            confirm_foreign=body is not None and body.confirm_foreign_endpoints,
        )
    except DiscoveryFailed as error:
        return _registration_out(target, error.tried, error)
    return _registration_out(target, done.steps, done.error)


@router.post(
    f"{INTEGRATION}/connect-links",
    auth=ApiKeyAuth(KeyScope.CONNECTIONS_WRITE, find_integration),
    response={201: ConnectLinkOut},
    operation_id="create_connect_link",
    summary="Create a connect link",
    openapi_extra=refusals(not_configured=SAVED_ONLY, wrong_grant_type="Only authorization_code needs a person."),
)
def post_connect_link(
    request: ApiRequest[IntegrationTarget],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    body: ConnectLinkIn | None = None,
) -> Status[ConnectLinkOut]:
    """Make a one-time link with which someone outside the workspace connects their account.

    It lives 24 hours, is used up by success (not by a refusal) and belongs to the browser that used it first.
    """
    target, wanted = request.auth.target, body or ConnectLinkIn()
    if target.grant_type != GrantType.AUTHORIZATION_CODE:
        raise Problem("wrong_grant_type", "No person consents under client_credentials. Fetch a token instead.")
    url, link = create_connect_link(
        target.configured(),
        connection_name=wanted.connection,
        parameters=with_credentials(wanted),
        chosen=ChosenScopes(wanted.scopes, tuple(wanted.additional_scopes)),
        confirm_account_change=wanted.confirm_account_change,
        return_url=wanted.return_url,
        actor=request.auth.actor,
    )
    return Status(201, ConnectLinkOut(url=url, expires_at=link.expires_at))


def with_credentials(body: ConnectionCreate | ConnectLinkIn) -> dict[str, str]:
    """The parameters, with the connection's own client credentials among them if there are any."""
    own = {CLIENT_ID: body.client_id, CLIENT_SECRET: body.client_secret}
    return body.parameters | {key: value for key, value in own.items() if value}


def _with_connections(workspace: Workspace) -> Prefetch[Any]:
    connections = Connection.objects.filter(workspace=workspace).select_related("token", "schedule", "workspace")
    return Prefetch("connections", connections)


def _out(target: IntegrationTarget, integration: Integration | None) -> IntegrationOut:
    connections: list[Connection] = []
    if integration is not None:
        connections = list(integration.connections.select_related("token", "schedule", "integration", "workspace"))
    return integration_out(target.workspace, target.spec, target.grant_type, integration, connections, timezone.now())


def _registration_out(target: IntegrationTarget, steps: Sequence[Attempt], error: OAuthError | None) -> RegistrationOut:
    found = target.workspace.integrations.filter(
        provider_id=target.spec.provider_id, grant_type=target.grant_type
    ).first()
    return RegistrationOut(
        ok=error is None,
        code=error.code if error else "ok",
        message=error.message if error else "A client was registered.",
        tried=attempts_out(steps),
        duration_ms=sum(step.duration_ms for step in steps),
        integration=_out(target, found),
    )


def _kept(sent: T | None, stored: T) -> T:
    """What was sent, or what is stored when nothing was."""
    return stored if sent is None else sent


def _test_out(result: TestResult) -> TestOut:
    return TestOut(
        ok=result.ok,
        code=result.code,
        message=result.message,
        steps=[
            TestStepOut(name=step.name, label=step.label, ok=step.ok, duration_ms=step.duration_ms, detail=step.detail)
            for step in result.steps
        ],
        duration_ms=result.duration_ms,
        expires_at=result.expires_at,
        reference=result.reference,
    )
