"""Endpoints and a client for providers that are protected resources: MCP servers (RFC 9728, RFC 8414, RFC 7591).

Their definition names the resource only. Which authorization server issues tokens for it is asked for each workspace
when it is set up, and a client is registered there: the workspace's own, with its own redirect URI.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone

from integrations.models import GrantType, Integration
from integrations.oauth.errors import OAuthError, RegistrationRefused
from integrations.oauth.metadata import DEFAULT_GRANT_TYPES, ServerMetadata
from integrations.oauth.registration import ClientMetadata, RegisteredClient, register_client
from integrations.outbound import client as outbound
from integrations.providers.base import ProviderSpec
from integrations.providers.discovery import (
    DISCOVERED_ENDPOINTS,
    Attempt,
    Discovered,
    discover_protected_resource,
    foreign_errors,
)
from integrations.providers.endpoint_change import forget_tokens, moves_secrets
from integrations.providers.oauth_provider import provider_for
from integrations.providers.setup import InvalidSetup, redirect_uri, save_integration
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult, Workspace

CLIENT_NAME = "Grantry"
# What a client can be registered for without keys of its own.
REGISTRABLE_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
_NOT_A_RESOURCE = "This provider states its endpoints: there is nothing to discover."


class ForeignEndpointsFound(InvalidSetup):
    """The server names endpoints elsewhere than on its issuer's host; nothing was saved or registered."""

    def __init__(self, found: Discovered) -> None:
        self.found = found
        super().__init__(foreign_errors(found, fields=(*DISCOVERED_ENDPOINTS, "registration_endpoint")))


@dataclass(frozen=True, slots=True)
class Registration:
    """How it went. Without a client, `error` says why; `saved` whether anything changed all the same."""

    found: Discovered
    steps: tuple[Attempt, ...]
    client: RegisteredClient | None
    error: OAuthError | None
    saved: bool

    @property
    def duration_ms(self) -> int:
        """How long all steps took together."""
        return sum(step.duration_ms for step in self.steps)


def discover_and_register(
    workspace: Workspace,
    spec: ProviderSpec,
    grant_type: str,
    *,
    additional_scopes: Sequence[str] = (),
    actor: Actor,
    confirm_foreign: bool = False,
) -> Registration:
    """Find the authorization server of the provider's resource, register a client there, and save both.

    `additional_scopes` are the integration's. Where no client could be registered, endpoints that were not known yet
    are saved all the same, so that a client made by hand can be entered; known ones stay as they are. No database is
    asked before the provider has answered: the caller gives its connection back. Raises InvalidSetup, its subclass
    ForeignEndpointsFound unless they are confirmed, and DiscoveryFailed.
    """
    if not spec.resource:
        raise InvalidSetup({"provider_id": [_NOT_A_RESOURCE]})
    if not spec.supports(grant_type):
        raise InvalidSetup({"grant_type": [f"{spec.name} does not support this grant type."]})
    found = discover_protected_resource(spec.resource)
    if not confirm_foreign and (unconfirmed := ForeignEndpointsFound(found)).errors:
        raise unconfirmed
    scopes = provider_for(spec, grant_type).effective_scopes(integration_additional=additional_scopes)
    client, error, step = _register(found.metadata, GrantType(grant_type), scopes, redirect_uri(workspace))
    saved = _save(workspace, spec, grant_type, found, client, error, actor)
    return Registration(found, (*found.tried, step), client, error, saved)


def with_discovered(spec: ProviderSpec, integration: Integration | None) -> ProviderSpec:
    """The definition with the endpoints that were discovered for a workspace; what it states itself stays.

    Authorization and token requests name the resource, refreshes too (RFC 8707 §2).
    """
    if not spec.resource or integration is None or integration.discovered is None:
        return spec
    endpoints = integration.discovered["endpoints"]
    missing = {field: url for field, url in endpoints.items() if field in _OVERLAID and not getattr(spec, field)}
    resource = {"resource": integration.discovered["resource"] or spec.resource}
    return replace(
        spec,
        **missing,
        authorization_params={**resource, **spec.authorization_params},
        token_params={**resource, **spec.token_params},
    )


_OVERLAID = frozenset({*DISCOVERED_ENDPOINTS, "issuer"})


def promises_iss(integration: Integration) -> bool:
    """Whether the server says that its authorization responses carry `iss`: one without it is refused (RFC 9207)."""
    return bool(integration.discovered and integration.discovered.get("promises_iss"))


def registered_client(integration: Integration | None) -> Mapping[str, Any] | None:
    """What is known of the registration of the client in use; None for a client that was entered by hand.

    `at`, `client_secret_expires_at` (or None) and the `redirect_uri` that it was registered with.
    """
    if integration is None or not integration.discovered:
        return None
    client: Mapping[str, Any] | None = integration.discovered.get("client")
    return client if client is not None and client["client_id"] == integration.client_id else None


def _register(
    metadata: ServerMetadata, grant_type: GrantType, scopes: Sequence[str], callback: str
) -> tuple[RegisteredClient | None, OAuthError | None, Attempt]:
    started = time.perf_counter()
    client, error = None, None
    try:
        wanted = _wanted(metadata, grant_type, scopes, callback)
        client = register_client(outbound.session(outbound.DISCOVERY), metadata.registration_endpoint, wanted)
    except OAuthError as caught:
        error = caught
    step = Attempt(
        url=metadata.registration_endpoint,
        looked_for="Client registration",
        ok=error is None,
        code=error.code if error else "registered",
        message=f"{error.happened} {error.description}".strip() if error else "A client was registered.",
        status=error.status if error else None,
        duration_ms=round((time.perf_counter() - started) * 1000),
    )
    return client, error, step


def _wanted(metadata: ServerMetadata, grant_type: GrantType, scopes: Sequence[str], callback: str) -> ClientMetadata:
    """The client that fits the server and the grant. Raises RegistrationRefused when there is none."""
    named = metadata.token_endpoint_auth_methods_supported
    needs_secret = grant_type == GrantType.CLIENT_CREDENTIALS
    fit = [one for one in REGISTRABLE_AUTH_METHODS if one in named and not (needs_secret and one == "none")]
    if not fit:
        raise RegistrationRefused("registration_unknown_auth_method", f"It names: {', '.join(named)}")
    if needs_secret:
        return ClientMetadata(CLIENT_NAME, fit[0], (grant_type.value,), scope=tuple(scopes))
    grant_types = [grant_type.value]
    if metadata.grant_types_supported == DEFAULT_GRANT_TYPES or "refresh_token" in metadata.grant_types_supported:
        grant_types.append("refresh_token")
    return ClientMetadata(
        CLIENT_NAME,
        fit[0],
        tuple(grant_types),
        redirect_uris=(callback,),
        response_types=("code",),
        scope=tuple(scopes),
    )


def _save(
    workspace: Workspace,
    spec: ProviderSpec,
    grant_type: str,
    found: Discovered,
    client: RegisteredClient | None,
    error: OAuthError | None,
    actor: Actor,
) -> bool:
    """Save what was found in one transaction; returns whether anything changed."""
    mine = {"provider_id": spec.provider_id, "grant_type": grant_type}
    with transaction.atomic():
        before = workspace.integrations.select_for_update().filter(**mine).first()
        known = with_discovered(spec, before) if before is not None and before.discovered else None
        saves = client is not None or known is None
        if client is not None:
            integration = save_integration(
                workspace,
                spec,
                grant_type,
                client_id=client.client_id,
                client_secret=client.client_secret or None,
                clear_client_secret=not client.client_secret,
                additional_scopes=before.additional_scopes if before else (),
                token_endpoint_auth_method=client.token_endpoint_auth_method.value,
                actor=actor,
            )
        else:
            integration = before or workspace.integrations.create(**mine)
        if saves:
            _store(integration, found, client)
            if known is not None and moves_secrets(known, with_discovered(spec, integration)):
                forget_tokens(workspace.connections.filter(integration=integration))
        _record(workspace, integration, found, client, error, actor)
    return saves


def _store(integration: Integration, found: Discovered, client: RegisteredClient | None) -> None:
    now = timezone.now().isoformat()
    metadata = found.metadata
    integration.discovered = {
        "endpoints": {field: url for field in sorted(_OVERLAID) if (url := getattr(metadata, field))},
        "resource": found.resource,
        "promises_iss": metadata.authorization_response_iss_parameter_supported,
        "at": now,
        "client": _client_facts(client, now) | {"redirect_uri": redirect_uri(integration.workspace)}
        if client
        else None,
    }
    token = client.registration_access_token if client else ""
    integration.registration_access_token = token or None  # type: ignore[assignment] # text in, sealed when saved
    integration.save(update_fields=["discovered", "registration_access_token", "updated_at"])


def _client_facts(client: RegisteredClient, now: str) -> dict[str, Any]:
    ends = client.client_secret_expires_at
    return {
        "client_id": client.client_id,
        "at": now,
        "client_secret_expires_at": ends.isoformat() if ends else None,
        "registration_client_uri": client.registration_client_uri,
    }


def _record(
    workspace: Workspace,
    integration: Integration,
    found: Discovered,
    client: RegisteredClient | None,
    error: OAuthError | None,
    actor: Actor,
) -> None:
    record(
        workspace,
        AuditAction.INTEGRATION_DISCOVERED,
        actor,
        target=integration,
        result=AuditResult.OK if error is None else AuditResult.FAILED,
        detail={
            "issuer": found.metadata.issuer,
            "registered": client is not None,
            "code": error.code if error else "ok",
            "foreign": sorted({urlsplit(endpoint.url).netloc for endpoint in found.foreign}),
        },
    )
