"""Who talks to whom for a connection: its provider's definition, the authorization server and the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID

from integrations.crypto import SealError
from integrations.models import Connection, Integration
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import ConfigurationRefused
from integrations.providers.base import ProviderSpec
from integrations.providers.oauth_provider import OAuthProvider, provider_for
from integrations.providers.parameters import parameter_values
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.providers.rendering import ParameterRefused, TemplateRefused

type_Specs = dict[tuple[UUID, str, int | None], ProviderSpec]


@dataclass(frozen=True, slots=True)
class Parties:
    """Everything a call needs, with parameters filled in; no database behind it."""

    spec: ProviderSpec
    provider: OAuthProvider
    server: AuthorizationServer = field(repr=False)  # parameters may be passwords
    client: OAuthClient

    @property
    def host(self) -> str:
        """Where the token endpoint is."""
        return urlsplit(self.server.token_endpoint).netloc.lower()

    @property
    def pause_key(self) -> str:
        """What a Retry-After binds: the token endpoint and the client."""
        return pause_key(self.server.token_endpoint, self.client.client_id)

    @property
    def margin(self) -> timedelta | None:
        """The provider's own refresh margin, if its definition has one."""
        seconds = self.spec.refresh_margin_seconds
        return None if seconds is None else timedelta(seconds=seconds)


def pause_key(token_endpoint: str, client_id: str) -> str:
    """The primary key of a ProviderPause."""
    return sha256(f"{token_endpoint}\x00{client_id}".encode()).hexdigest()


def parties_of(
    integration: Integration,
    connection: Connection | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    specs: type_Specs | None = None,
) -> Parties:
    """Put the parties of a connection together, or of one that is about to be made with `parameters`.

    `specs` keeps definitions that were looked up, for callers that go through many connections at once.
    Raises ConfigurationRefused when the definition is gone, a parameter is unfit or the secret is unreadable.
    """
    version = connection.provider_version if connection is not None else None
    try:
        values = parameters if parameters is not None else parameters_of(connection)
        key = (integration.workspace_id, integration.provider_id, version)
        spec = specs.get(key) if specs is not None else None
        if spec is None:
            spec = find_spec(integration.workspace, integration.provider_id, version=version)
        if specs is not None:
            specs[key] = spec
        if not spec.supports(integration.grant_type):
            raise ConfigurationRefused("wrong_grant_type")
        provider = provider_for(spec, integration.grant_type)
        server = provider.server(parameter_values(spec, integration.parameters, values))
        return Parties(spec, provider, server, provider.client(integration))
    except ProviderNotFound as error:
        raise ConfigurationRefused("provider_missing") from error
    except (ParameterRefused, TemplateRefused) as error:
        raise ConfigurationRefused("parameter_refused", str(error)) from error
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error


def parameters_of(connection: Connection | None) -> dict[str, object]:
    """A connection's own values, none without one. Raises ConfigurationRefused when no key opens them."""
    try:
        return connection.parameters if connection is not None else {}
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error


def scopes_to_request(parties: Parties, integration: Integration, additional: list[str]) -> tuple[str, ...]:
    """What is asked for today: the definition's, the integration's and the connection's own scopes."""
    return parties.provider.effective_scopes(
        integration_additional=integration.additional_scopes, connection_additional=additional
    )
