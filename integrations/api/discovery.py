"""Discovery: what an issuer or a protected resource publishes, as a provider that could be made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ninja import Router

from integrations.api.authentication import ApiKeyAuth, ApiRequest, Caller
from integrations.api.openapi import refusals
from integrations.api.problems import FieldError, Problem
from integrations.api.refusals import discovery_failed
from integrations.api.schemas.providers import (
    AttemptOut,
    DiscoveredOut,
    DiscoverIn,
    ForeignEndpointOut,
    ProposedProvider,
)
from integrations.connections.commits import give_back_connection
from integrations.providers.discovery import (
    Attempt,
    Discovered,
    DiscoveryFailed,
    discover_issuer,
    discover_protected_resource,
)
from workspaces import rate_limits
from workspaces.roles import KeyScope

router = Router()
ISSUER_AWAY = "The issuer does not answer at the moment."
DISCOVERIES_PER_MINUTE = 30  # each asks up to a dozen addresses that somebody else chose


def before_discovery(caller: Caller[Any]) -> None:
    """Count a discovery, and hold no database connection while addresses are asked. Raises RateLimited."""
    rate_limits.hit("api-discovery", str(caller.api_key.pk), limit=DISCOVERIES_PER_MINUTE, seconds=60)
    give_back_connection()


def attempts_out(tried: Iterable[Attempt]) -> list[AttemptOut]:
    """The addresses that were asked, as the API says them."""
    return [AttemptOut.model_validate(asdict(attempt)) for attempt in tried]


@router.post(
    "/providers/discover",
    auth=ApiKeyAuth(KeyScope.INTEGRATIONS_WRITE, calls_provider=True),
    response=DiscoveredOut,
    operation_id="discover_provider",
    summary="Discover a provider's endpoints",
    openapi_extra=refusals(temporarily_unavailable=ISSUER_AWAY),
)
def post_discover(request: ApiRequest[None], body: DiscoverIn) -> DiscoveredOut:
    """Read what an issuer (RFC 8414, OpenID Connect) or a protected resource (RFC 9728) publishes. Saves nothing."""
    if bool(body.issuer) == bool(body.resource):
        raise Problem("invalid_request", errors=[FieldError("issuer", "Send either an issuer or a resource.")])
    before_discovery(request.auth)
    try:
        found = discover_protected_resource(body.resource) if body.resource else discover_issuer(body.issuer or "")
    except DiscoveryFailed as error:
        raise discovery_failed(error, field="resource" if body.resource else "issuer") from error
    return _discovered_out(found)


def _discovered_out(found: Discovered) -> DiscoveredOut:
    return DiscoveredOut(
        definition=ProposedProvider.model_validate(found.definition),
        resource=found.resource,
        registration_endpoint=found.metadata.registration_endpoint,
        foreign_endpoints=[ForeignEndpointOut(field=one.field, url=one.url) for one in found.foreign],
        tried=attempts_out(found.tried),
        notes=list(found.notes),
        duration_ms=found.duration_ms,
    )
