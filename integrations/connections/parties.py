"""Who talks to whom for a connection: its provider's definition, the authorization server and the client."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID

from integrations.crypto import SealError
from integrations.models import Connection, Integration
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import ConfigurationRefused
from integrations.oauth.token_response import TokenResponse
from integrations.providers.base import ProviderSpec
from integrations.providers.metadata import of_answer
from integrations.providers.oauth_provider import OAuthProvider, provider_for
from integrations.providers.parameters import parameter_values
from integrations.providers.registration import with_discovered
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.providers.rendering import ParameterRefused, TemplateRefused
from integrations.providers.setup import knows_endpoints

logger = logging.getLogger(__name__)

SHORTEST_TOKEN = 8  # shorter ones may stand in a name by chance
LONG_PART = 16  # shorter texts may stand in a token by chance


@dataclass(frozen=True, slots=True)
class Parties:
    """Everything a call needs, with parameters filled in; no database behind it."""

    spec: ProviderSpec
    provider: OAuthProvider
    server: AuthorizationServer = field(repr=False)  # parameters may be passwords
    client: OAuthClient
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """Where the token endpoint is."""
        return urlsplit(self.server.token_endpoint).netloc.lower()

    @property
    def pause_key(self) -> str:
        """What a Retry-After binds: the token endpoint and the client."""
        return pause_key(self.server.token_endpoint, self.client.client_id)


@dataclass
class Known:
    """What was looked up and opened already, for callers that go through many connections at once; keep it briefly."""

    specs: dict[tuple[UUID, str, int | None], ProviderSpec] = field(default_factory=dict)
    # Of connections without values of their own, by integration and version: they differ in nothing.
    parties: dict[tuple[UUID, int | None], Parties] = field(default_factory=dict, repr=False)


def pause_key(token_endpoint: str, client_id: str) -> str:
    """The primary key of a ProviderPause."""
    return sha256(f"{token_endpoint}\x00{client_id}".encode()).hexdigest()


def parties_of(
    integration: Integration,
    connection: Connection | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    known: Known | None = None,
) -> Parties:
    """Put the parties of a connection together, or of one that is about to be made with `parameters`.

    Raises ConfigurationRefused when the definition is gone, a parameter is unfit or the secret is unreadable.
    """
    alike = connection is not None and parameters is None and not connection.has_parameters and not connection.metadata
    if known is None or connection is None or not alike:
        return _parties_of(integration, connection, parameters, (known or Known()).specs)
    key = (integration.pk, connection.provider_version)
    if (found := known.parties.get(key)) is None:
        found = known.parties[key] = _parties_of(integration, connection, None, known.specs)
    return found


def _parties_of(
    integration: Integration,
    connection: Connection | None,
    parameters: Mapping[str, object] | None,
    specs: dict[tuple[UUID, str, int | None], ProviderSpec],
) -> Parties:
    version = connection.provider_version if connection is not None else None
    try:
        values = parameters if parameters is not None else parameters_of(connection)
        key = (integration.workspace_id, integration.provider_id, version)
        if (spec := specs.get(key)) is None:
            spec = specs[key] = find_spec(integration.workspace, integration.provider_id, version=version)
        if not spec.supports(integration.grant_type):
            raise ConfigurationRefused("wrong_grant_type")
        spec = spec.under(integration.grant_type)
        metadata = connection.metadata if connection is not None else {}
        return _assemble(spec, integration, parameter_values(spec, integration.parameters, values, metadata))
    except ProviderNotFound as error:
        raise ConfigurationRefused("provider_missing") from error
    except (ParameterRefused, TemplateRefused) as error:
        raise ConfigurationRefused("parameter_refused", str(error)) from error
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error


def with_metadata(parties: Parties, integration: Integration, metadata: Mapping[str, str]) -> Parties:
    """The same parties with what the provider has just told in their endpoints.

    Raises ConfigurationRefused when an endpoint cannot be made of it.
    """
    if not metadata:
        return parties
    try:
        return _assemble(parties.spec, integration, {**parties.values, **metadata})
    except (ParameterRefused, TemplateRefused) as error:
        raise ConfigurationRefused("parameter_refused", str(error)) from error
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error


def after_answer(
    parties: Parties, integration: Integration, told: Mapping[str, str], answer: TokenResponse
) -> tuple[Parties, dict[str, str]]:
    """The parties and what is kept, once a token is here. Never raises: no token is lost for what comes beside it."""
    said = of_answer(parties.spec, answer.extra)
    kept = {**told, **{key: text for key, text in said.items() if not shows_token(text, answer)}}
    try:
        return with_metadata(parties, integration, kept), kept
    except ConfigurationRefused as error:
        logger.warning("%s: what came with a token is not kept: %s", parties.spec.provider_id, error.code)
        return parties, dict(told)


def shows_token(text: str, answer: TokenResponse) -> bool:
    """Whether a text for everybody to see is, contains or is part of a token of this answer."""
    tokens = [token for token in (answer.access_token, answer.refresh_token) if token and len(token) >= SHORTEST_TOKEN]
    return any(token in text or (len(text) >= LONG_PART and text in token) for token in tokens)


def _assemble(spec: ProviderSpec, integration: Integration, values: dict[str, str]) -> Parties:
    if not knows_endpoints(spec, integration):
        raise ConfigurationRefused("not_discovered")
    spec = with_discovered(spec, integration)
    provider = provider_for(spec, integration.grant_type)
    client = provider.client(integration, values)
    return Parties(spec, provider, provider.server(values, client), client, values)


def parameters_of(connection: Connection | None) -> dict[str, object]:
    """A connection's own values, none without one. Raises ConfigurationRefused when no key opens them."""
    try:
        return connection.parameters if connection is not None else {}
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error
