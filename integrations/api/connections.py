"""Connections: list, make, read, change, refresh, disconnect, delete."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from ninja import Router, Status

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.integrations import INTEGRATION, SAVED_ONLY, with_credentials
from integrations.api.openapi import refusals
from integrations.api.paging import DEFAULT_LIMIT, Cursor, Limit, cut_page, decode_cursor, encode_cursor
from integrations.api.parameters import ConnectionId, Force, GrantTypeName, ProviderId
from integrations.api.presenting import connection_out
from integrations.api.problems import Problem
from integrations.api.refusals import RETRY_SECONDS
from integrations.api.schemas.connections import (
    ConnectionChange,
    ConnectionCreate,
    ConnectionOut,
    ConnectionPage,
    DisconnectedOut,
    RevocationResult,
)
from integrations.api.targets import IntegrationTarget, find_connection, find_integration
from integrations.connections.changes import change_scopes, make_default, rename_connection
from integrations.connections.choices import ChosenScopes
from integrations.connections.client_credentials import fetch_token
from integrations.connections.errors import NAME_TAKEN
from integrations.connections.refresh import RefreshOutcome
from integrations.connections.refresh import refresh_connection as refresh_now
from integrations.connections.revocation import delete_connection, disconnect
from integrations.models import Connection, GrantType
from integrations.providers.registry import find_spec, specs_for
from workspaces.models import Workspace
from workspaces.roles import KeyScope

router = Router()
READ, WRITE = KeyScope.CONNECTIONS_READ, KeyScope.CONNECTIONS_WRITE
NOTHING_TO_REFRESH = frozenset({"nothing_to_refresh", "not_connected", "reconnect_required"})


@router.get(
    "/connections",
    auth=ApiKeyAuth(READ),
    response=ConnectionPage,
    operation_id="list_connections",
    summary="List all connections",
)
def list_connections(request: ApiRequest[None], cursor: Cursor = "", limit: Limit = DEFAULT_LIMIT) -> ConnectionPage:
    """Every connection of the workspace, oldest first."""
    return _page(request.auth.workspace, request.auth.workspace.connections.all(), cursor, limit)


@router.get(
    f"{INTEGRATION}/connections",
    auth=ApiKeyAuth(READ, find_integration),
    response=ConnectionPage,
    operation_id="list_integration_connections",
    summary="List an integration's connections",
)
def list_integration_connections(
    request: ApiRequest[IntegrationTarget],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
) -> ConnectionPage:
    """The integration's connections, oldest first."""
    workspace, target = request.auth.workspace, request.auth.target
    found = workspace.connections.filter(
        integration__provider_id=target.spec.provider_id, integration__grant_type=target.grant_type
    )
    return _page(workspace, found, cursor, limit)


@router.post(
    f"{INTEGRATION}/connections",
    auth=ApiKeyAuth(WRITE, find_integration, calls_provider=True),
    response={201: ConnectionOut},
    operation_id="create_connection",
    summary="Create a client_credentials connection",
    openapi_extra=refusals(
        not_configured=SAVED_ONLY,
        name_taken="Test the existing one, or refresh it.",
        wrong_grant_type="Under authorization_code a person connects: make a connect link.",
        misconfigured="The provider refused; `provider_code` is its code.",
        temporarily_unavailable="The provider cannot be asked at the moment.",
    ),
)
def create_connection(
    request: ApiRequest[IntegrationTarget], provider_id: ProviderId, grant_type: GrantTypeName, body: ConnectionCreate
) -> Status[ConnectionOut]:
    """Make a connection and fetch its token. Where the provider refuses, nothing is made."""
    target = request.auth.target
    if target.grant_type != GrantType.CLIENT_CREDENTIALS:
        raise Problem("wrong_grant_type", "A person has to consent under authorization_code. Make a connect link.")
    integration = target.configured()
    if integration.connections.filter(name=body.name).exists():
        raise Problem("name_taken", NAME_TAKEN)
    connection = fetch_token(
        integration,
        name=body.name,
        chosen=ChosenScopes(body.scopes, tuple(body.additional_scopes)),
        parameters=with_credentials(body),
        actor=request.auth.actor,
    )
    return Status(201, connection_out(connection, target.spec, timezone.now()))


@router.get(
    "/connections/{connection_id}",
    auth=ApiKeyAuth(READ, find_connection),
    response=ConnectionOut,
    operation_id="get_connection",
    summary="Read a connection",
)
def get_connection(request: ApiRequest[Connection], connection_id: ConnectionId) -> ConnectionOut:
    """Its status with cause and next step, whose account it is, its scopes and times. Never its token."""
    return _out(request.auth.target)


@router.patch(
    "/connections/{connection_id}",
    auth=ApiKeyAuth(WRITE, find_connection),
    response=ConnectionOut,
    operation_id="change_connection",
    summary="Change a connection",
    openapi_extra=refusals(name_taken="Choose another one."),
)
def change_connection(
    request: ApiRequest[Connection], connection_id: ConnectionId, body: ConnectionChange
) -> ConnectionOut:
    """Change its name, make it the one used where no connection is named, or choose other scopes.

    Scopes count from the next consent or token on: until then `scope_drift` names what is new.
    """
    connection, actor = request.auth.target, request.auth.actor
    with transaction.atomic():
        if {"scopes", "additional_scopes"} & body.model_fields_set:
            scopes = body.scopes if "scopes" in body.model_fields_set else connection.scopes
            additional = connection.additional_scopes if body.additional_scopes is None else body.additional_scopes
            change_scopes(connection, ChosenScopes(scopes, tuple(additional)), actor=actor)
        if body.name is not None:
            rename_connection(connection, body.name, actor=actor)
        if body.is_default:
            make_default(connection, actor=actor)
    return _out(connection)


@router.delete(
    "/connections/{connection_id}",
    auth=ApiKeyAuth(WRITE, find_connection, calls_provider=True),
    response={204: None},
    operation_id="delete_connection",
    summary="Delete a connection",
    openapi_extra=refusals(has_dependants="Something uses it."),
)
def remove_connection(
    request: ApiRequest[Connection], connection_id: ConnectionId, force: Force = False
) -> Status[None]:
    """Revoke its token at the provider, then delete it."""
    delete_connection(request.auth.target, actor=request.auth.actor, force=force)
    return Status(204, None)


@router.post(
    "/connections/{connection_id}/refresh",
    auth=ApiKeyAuth(WRITE, find_connection, calls_provider=True),
    response=ConnectionOut,
    operation_id="refresh_connection",
    summary="Refresh a connection now",
    openapi_extra=refusals(
        nothing_to_refresh="It has no refresh token.",
        not_connected="It has no token.",
        reconnect_required="A person must consent again.",
        temporarily_unavailable="The provider asked for a pause.",
    ),
)
def post_refresh(request: ApiRequest[Connection], connection_id: ConnectionId) -> ConnectionOut:
    """Renew the token, whatever its age. 200 also when the provider refused: `status` and `last_error` say so."""
    before = request.auth.target.last_error_at
    outcome = refresh_now(request.auth.target.pk, forced=True, actor=request.auth.actor)
    asked = outcome.refreshed or outcome.connection.last_error_at != before
    if not asked:
        _refuse_unasked(outcome)
    return _out(outcome.connection)


@router.post(
    "/connections/{connection_id}/disconnect",
    auth=ApiKeyAuth(WRITE, find_connection, calls_provider=True),
    response=DisconnectedOut,
    operation_id="disconnect_connection",
    summary="Disconnect a connection",
)
def post_disconnect(request: ApiRequest[Connection], connection_id: ConnectionId) -> DisconnectedOut:
    """Revoke the refresh token, then the access token (RFC 7009), and forget both; the connection stays."""
    revocation = disconnect(request.auth.target, actor=request.auth.actor)
    return DisconnectedOut(
        **_out(_again(request.auth.target)).model_dump(), revocation=RevocationResult(revocation.result)
    )


def _refuse_unasked(outcome: RefreshOutcome) -> None:
    """The provider was not asked at all: say why, instead of showing an unchanged connection."""
    if outcome.code in NOTHING_TO_REFRESH:
        raise Problem(outcome.code, outcome.message)
    if outcome.code == "undecryptable":
        raise Problem("undecryptable")
    if outcome.code:
        raise Problem("temporarily_unavailable", outcome.message, retry_after=outcome.retry_after or RETRY_SECONDS)


def _page(workspace: Workspace, found: QuerySet[Connection], cursor: str, limit: int) -> ConnectionPage:
    found = found.select_related("integration", "token", "schedule").order_by("created_at", "pk")
    if key := decode_cursor(cursor, str, str):
        at, pk = _position(*key)
        found = found.filter(Q(created_at__gt=at) | Q(created_at=at, pk__gt=pk))
    page, following = cut_page(
        found[: limit + 1], limit, lambda one: encode_cursor(one.created_at.isoformat(), str(one.pk))
    )
    return ConnectionPage(items=_many_out(workspace, page), next=following)


def _position(created_at: str, pk: str) -> tuple[datetime, UUID]:
    try:
        at = datetime.fromisoformat(created_at)
        if at.tzinfo is None:
            raise Problem("invalid_cursor")
        return at.astimezone(UTC), UUID(pk)  # near year 1 or 9999, UTC may have no such moment
    except (ValueError, OverflowError) as error:
        raise Problem("invalid_cursor") from error


def _many_out(workspace: Workspace, connections: Iterable[Connection]) -> list[ConnectionOut]:
    now = timezone.now()
    specs = {spec.provider_id: spec for spec in specs_for(workspace)}
    return [
        connection_out(connection, specs[connection.integration.provider_id], now)
        for connection in connections
        if connection.integration.provider_id in specs
    ]


def _out(connection: Connection) -> ConnectionOut:
    spec = find_spec(connection.workspace, connection.integration.provider_id, version=connection.provider_version)
    return connection_out(connection, spec, timezone.now())


def _again(connection: Connection) -> Connection:
    """The connection as it is now, after a verb changed its token."""
    return find_connection(connection.workspace, {"connection_id": connection.pk})
