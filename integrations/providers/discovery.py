"""From an issuer, or from a protected resource, to a provider definition that somebody can look at and save."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from integrations.models import GrantType
from integrations.oauth.discovery import Attempt, Discovery, discover_resource, discover_server, issuer_of
from integrations.oauth.errors import DiscoveryFailed, MetadataRefused
from integrations.oauth.metadata import ForeignEndpoint, ServerMetadata
from integrations.outbound import client as outbound
from integrations.outbound.addresses import AllowedHosts
from integrations.providers.base import ClientAuth
from integrations.providers.definition import InvalidDefinition

__all__ = [
    "Attempt",
    "Discovered",
    "DiscoveryFailed",
    "complete",
    "definition_from",
    "discover",
    "discover_issuer",
    "discover_protected_resource",
    "foreign_errors",
]

# The safest that needs no set-up of its own comes first; none is for clients that can keep no secret, and we can.
PREFERRED_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
DISCOVERED_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
)
MAX_NAME = 100
# What keeps an address from being asked at all: it is no better as a resource.
_HOPELESS = frozenset({"issuer_refused", "address_refused", "host_unresolvable", "unreachable", "tls_failed"})


@dataclass(frozen=True, slots=True)
class Discovered:
    """What an address led to. `definition` has the API's provider shape and is not saved anywhere.

    `resource` is the protected resource that led there, as it calls itself, or empty.
    """

    definition: Mapping[str, Any]
    metadata: ServerMetadata
    tried: tuple[Attempt, ...]
    notes: tuple[str, ...]
    resource: str = ""

    @property
    def foreign(self) -> tuple[ForeignEndpoint, ...]:
        """The endpoints that are not the issuer's own: somebody has to confirm them before secrets go there."""
        return self.metadata.foreign_endpoints

    @property
    def duration_ms(self) -> int:
        """How long all the addresses took together."""
        return sum(attempt.duration_ms for attempt in self.tried)


def discover(address: str) -> Discovered:
    """Find what an issuer publishes, or the server of a protected resource, whichever the address is.

    Nothing is saved, and no database is asked: the caller gives its connection back before. Raises DiscoveryFailed,
    whose `tried` lists every address.
    """
    try:
        return discover_issuer(address)
    except DiscoveryFailed as failed:
        if failed.code in _HOPELESS:
            raise
        return _as_resource(address.strip(), failed)


def discover_issuer(address: str) -> Discovered:
    """Find what an issuer publishes; one of its well-known addresses stands for it. Raises DiscoveryFailed."""
    http = outbound.session(outbound.DISCOVERY)
    return _discovered(discover_server(http, issuer_of(address), allowed_hosts=_allowed_hosts()))


def discover_protected_resource(resource: str) -> Discovered:
    """Find the authorization server of a protected resource (RFC 9728). Raises DiscoveryFailed."""
    http = outbound.session(outbound.DISCOVERY)
    return _discovered(discover_resource(http, resource, allowed_hosts=_allowed_hosts()))


def complete(definition: Mapping[str, Any], *, confirm_foreign: bool = False) -> dict[str, Any]:
    """A definition that has an issuer, with what the issuer publishes filled in; what it states itself stays.

    Raises DiscoveryFailed, and InvalidDefinition that names each foreign endpoint unless they are confirmed.
    """
    stated = {field: value for field, value in definition.items() if value is not None}
    if not stated.get("token_endpoint"):
        stated.pop("token_endpoint", None)
    found = discover_issuer(str(stated.pop("issuer", "")))
    if not confirm_foreign and (errors := foreign_errors(found, stated)):
        raise InvalidDefinition(errors)
    return {**found.definition, **stated}


def foreign_errors(
    found: Discovered, stated: Collection[str] = (), *, fields: Collection[str] = DISCOVERED_ENDPOINTS
) -> dict[str, list[str]]:
    """What is wrong with each foreign endpoint among `fields`, by field; those `stated` would not be taken over."""
    host = urlsplit(found.metadata.issuer).netloc
    return {
        endpoint.field: [
            f"{endpoint.url} is on {endpoint.host}, which is neither {host} nor below it. Look it up in the "
            "provider's documentation, then confirm the foreign endpoints (confirm_foreign_endpoints)."
        ]
        for endpoint in found.foreign
        if endpoint.field in fields and endpoint.field not in stated
    }


def definition_from(metadata: ServerMetadata) -> dict[str, Any]:
    """The definition that the metadata suggests, in the API's provider shape.

    Scopes become suggested ones: which of them a connection cannot do without, no document says.
    """
    method = _auth_method(metadata)
    endpoints = {field: getattr(metadata, field) for field in DISCOVERED_ENDPOINTS}
    return {
        "name": (urlsplit(metadata.issuer).hostname or "")[:MAX_NAME],
        "issuer": metadata.issuer,
        **{field: url for field, url in endpoints.items() if url},
        "grant_types": [grant_type.value for grant_type in _grant_types(metadata, method)],
        "suggested_scopes": [{"name": scope} for scope in metadata.scopes_supported],
        "pkce": "off" if _knows_plain_only(metadata) else "S256",
        "token_endpoint_auth_method": method.value,
    }


def _as_resource(address: str, failed: DiscoveryFailed) -> Discovered:
    try:
        found = discover_protected_resource(address)
    except DiscoveryFailed as error:
        telling = error if isinstance(error, MetadataRefused) and not isinstance(failed, MetadataRefused) else failed
        telling.tried = (*failed.tried, *error.tried)
        raise telling from error
    return Discovered(found.definition, found.metadata, (*failed.tried, *found.tried), found.notes, found.resource)


def _discovered(found: Discovery) -> Discovered:
    definition = definition_from(found.metadata)
    notes = (*found.metadata.notes, *_doubts(found.metadata))
    resource = found.resource
    if resource is None:
        return Discovered(definition, found.metadata, found.tried, notes)
    if resource.scopes_supported:
        definition["suggested_scopes"] = [{"name": scope} for scope in resource.scopes_supported]
    # The token is asked for this resource and no other (RFC 8707 §2).
    definition["authorization_params"] = definition["token_params"] = {"resource": resource.resource}
    return Discovered(definition, found.metadata, found.tried, (*resource.notes, *notes), resource.resource)


def _doubts(metadata: ServerMetadata) -> list[str]:
    doubts = []
    if not set(metadata.token_endpoint_auth_methods_supported) & set(ClientAuth):
        named = ", ".join(metadata.token_endpoint_auth_methods_supported)
        doubts.append(f"The server names only client authentications that are not supported here: {named}.")
    if _knows_plain_only(metadata):
        doubts.append("The server names PKCE methods, and S256 is not among them: PKCE is off.")
    return doubts


def _auth_method(metadata: ServerMetadata) -> ClientAuth:
    named = set(metadata.token_endpoint_auth_methods_supported) & set(ClientAuth)
    return ClientAuth(next((method for method in PREFERRED_AUTH_METHODS if method in named), "client_secret_basic"))


def _grant_types(metadata: ServerMetadata, method: ClientAuth) -> list[GrantType]:
    """Those of ours that the server names and can work; one at least, so that there is something to correct."""
    possible = []
    if metadata.authorization_endpoint and GrantType.AUTHORIZATION_CODE in metadata.grant_types_supported:
        possible.append(GrantType.AUTHORIZATION_CODE)
    # RFC 6749 §4.4: for clients that authenticate.
    if GrantType.CLIENT_CREDENTIALS in metadata.grant_types_supported and method is not ClientAuth.NONE:
        possible.append(GrantType.CLIENT_CREDENTIALS)
    fallback = GrantType.AUTHORIZATION_CODE if metadata.authorization_endpoint else GrantType.CLIENT_CREDENTIALS
    return possible or [fallback]


def _knows_plain_only(metadata: ServerMetadata) -> bool:
    """An absent list says nothing: a server that knows no PKCE ignores its parameters (RFC 6749 §3.1)."""
    return bool(metadata.code_challenge_methods_supported) and "S256" not in metadata.code_challenge_methods_supported


def _allowed_hosts() -> AllowedHosts:
    return AllowedHosts(settings.OUTBOUND_ALLOWED_HOSTS)
