"""Token reads: the one thing that everything else is for."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Query, Router

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.integrations import INTEGRATION
from integrations.api.openapi import refusals
from integrations.api.parameters import ConnectionId, GrantTypeName, ProviderId
from integrations.api.problems import Problem
from integrations.api.schemas.connections import TokenOut
from integrations.api.targets import IntegrationTarget, connection_named, find_connection, find_integration
from integrations.connections.tokens import DEFAULT_MIN_TTL, UsableToken, usable_token
from integrations.models import Connection
from workspaces.audit import Actor
from workspaces.roles import KeyScope

router = Router()
MAX_MIN_TTL = 86_400

MinTTL = Annotated[
    int,
    Query(
        ge=0,
        le=MAX_MIN_TTL,
        description="Seconds of life the token must still have, at most half its lifetime; else it is renewed first.",
    ),
]
ConnectionFilter = Annotated[str | None, Query(max_length=100, description="Its name; none: the default one.")]
REFUSALS = refusals(
    not_connected="There is no token yet, or it was given up.",
    reconnect_required="A person must consent again.",
    misconfigured="The provider refuses the client itself.",
    temporarily_unavailable="The token has run out and cannot be renewed at the moment.",
)


@router.get(
    "/connections/{connection_id}/token",
    auth=ApiKeyAuth(KeyScope.TOKENS_READ, find_connection),
    response=TokenOut,
    operation_id="read_connection_token",
    summary="Read a connection's token",
    openapi_extra=REFUSALS,
)
def read_connection_token(
    request: ApiRequest[Connection], connection_id: ConnectionId, min_ttl: MinTTL = DEFAULT_MIN_TTL
) -> TokenOut:
    """A token that works now, renewed first where that is due. Recorded in the audit trail."""
    return _token(request.auth.target, min_ttl, request.auth.actor)


@router.get(
    f"{INTEGRATION}/token",
    auth=ApiKeyAuth(KeyScope.TOKENS_READ, find_integration),
    response=TokenOut,
    operation_id="read_token",
    summary="Read an integration's token",
    openapi_extra=REFUSALS,
)
def read_token(
    request: ApiRequest[IntegrationTarget],
    provider_id: ProviderId,
    grant_type: GrantTypeName,
    connection: ConnectionFilter = None,
    min_ttl: MinTTL = DEFAULT_MIN_TTL,
) -> TokenOut:
    """The same, by provider and grant type."""
    integration = request.auth.target.integration
    found = connection_named(integration, connection or None) if integration is not None else None
    if found is None:
        raise Problem("not_connected", f"{request.auth.target.spec.name} is not connected. Connect it first.")
    return _token(found, min_ttl, request.auth.actor)


def token_content(token: UsableToken) -> dict[str, Any]:
    """The answer's members, in the order of `TokenOut`."""
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_at": token.expires_at,
        "scopes": token.scopes,
        "connection_id": token.connection_id,
        "warning": token.warning or None,
    }


def _token(connection: Connection, min_ttl: int, actor: Actor) -> TokenOut:
    return TokenOut(**token_content(usable_token(connection, min_ttl=min_ttl, actor=actor)))
