"""A provider's definition as the protocol needs it, one class per grant type.

Where a provider deviates in ways that no field of `ProviderSpec` can say, subclass and register:

    @register("acme")
    class AcmeProvider(AuthorizationCodeOAuthProvider): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, cast

from django.utils import timezone

from integrations.models import GrantType, Integration
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.scopes import ordered_union
from integrations.oauth.token_response import TokenResponseRules
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.parameters import endpoint_template, with_config_values
from integrations.providers.rendering import render_endpoint, render_text

MAX_ACCOUNT_TEXT = 200


class OAuthProvider:
    """Turns a definition and parameter values into an AuthorizationServer and an OAuthClient."""

    grant_type: ClassVar[GrantType]
    asks_people: ClassVar[bool] = True

    def __init__(self, spec: ProviderSpec) -> None:
        self.spec = spec

    def server(self, parameters: Mapping[str, str]) -> AuthorizationServer:
        """The authorization server with its endpoints rendered. Raises ParameterRefused.

        `parameters` comes from `parameters.parameter_values`.
        """
        spec = self.spec
        return AuthorizationServer(
            token_endpoint=self._endpoint("token_endpoint", parameters),
            # None is called without a person, so that no parameter is asked for its sake.
            authorization_endpoint=self._endpoint("authorization_endpoint", parameters) if self.asks_people else "",
            revocation_endpoint=self._endpoint("revocation_endpoint", parameters),
            introspection_endpoint=self._endpoint("introspection_endpoint", parameters),
            userinfo_endpoint=self._endpoint("userinfo_endpoint", parameters),
            issuer=self._endpoint("issuer", parameters),
            scope_separator=spec.scope_separator,
            scope_parameter=spec.scope_parameter,
            token_request_format=cast(Literal["form", "json"], spec.token_request_format),
            userinfo_headers=spec.userinfo_headers,
            authorization_params=self._extra(spec.authorization_params, parameters),
            token_params=self._extra(spec.token_params, parameters),
            assertion_audience=cast(Literal["token_endpoint", "issuer"], spec.assertion_audience),
            pkce=cast(Literal["S256", "off"], spec.pkce),
            basic_auth_encoding=cast(Literal["form", "raw"], spec.basic_auth_encoding),
            rules=TokenResponseRules(**cast(dict[str, Any], dict(spec.token_response))),
        )

    def api_base_url(self, parameters: Mapping[str, str]) -> str:
        """Where the provider's API is, rendered. Raises ParameterRefused."""
        return self._endpoint("api_base_url", parameters)

    def client(self, integration: Integration) -> OAuthClient:
        """The app that the integration's credentials belong to. Raises crypto.SealError for an unreadable secret.

        A secret is left out that the client authentication does not use, and so is a key.
        """
        method = self.spec.client_auth(integration.token_endpoint_auth_method)
        if method is ClientAuth.PRIVATE_KEY_JWT:
            key = integration.signing_client_key(timezone.now())
            return OAuthClient(integration.client_id, "", method, key.signing_key() if key is not None else None)
        return OAuthClient(integration.client_id, integration.client_secret or "", method)

    def effective_scopes(
        self, *, integration_additional: Iterable[str], connection_additional: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """What is requested: required scopes, the definition's others, the integration's, the connection's own."""
        defined = self.spec.default_scopes(self.grant_type)
        return ordered_union(defined, integration_additional, connection_additional)

    def account_from(self, userinfo: Mapping[str, Any]) -> dict[str, str]:
        """Whose account a userinfo (or token) answer names: `{"id", "label"}`, for display only, never for access."""
        label = next((text for name in self.spec.account_fields if (text := _text_at(userinfo, name))), "")
        identifier = _text_at(userinfo, self.spec.account_id_field) or _text_at(userinfo, "id")
        if not label and not identifier:
            return {}
        return {"id": identifier, "label": label or identifier}

    def _endpoint(self, field: str, parameters: Mapping[str, str]) -> str:
        return render_endpoint(endpoint_template(self.spec, field), parameters, self.spec.parameters)

    def _extra(self, extra: Mapping[str, str], parameters: Mapping[str, str]) -> dict[str, str]:
        return {
            name: render_text(with_config_values(self.spec, value), parameters, self.spec.parameters)
            for name, value in extra.items()
        }


class AuthorizationCodeOAuthProvider(OAuthProvider):
    """Delegated user: a person consents (RFC 6749 §4.1)."""

    grant_type = GrantType.AUTHORIZATION_CODE


class ClientCredentialsOAuthProvider(OAuthProvider):
    """Service account: no person takes part (RFC 6749 §4.4)."""

    grant_type = GrantType.CLIENT_CREDENTIALS
    asks_people = False


_STANDARD: dict[GrantType, type[OAuthProvider]] = {
    GrantType.AUTHORIZATION_CODE: AuthorizationCodeOAuthProvider,
    GrantType.CLIENT_CREDENTIALS: ClientCredentialsOAuthProvider,
}
_deviating: dict[tuple[str, GrantType], type[OAuthProvider]] = {}

type_Provider = TypeVar("type_Provider", bound=type[OAuthProvider])


def register(provider_id: str) -> Callable[[type_Provider], type_Provider]:
    """Class decorator: use this subclass for a built-in provider, under the grant type it stands for.

    Raises ValueError when another class is registered for the same provider and grant type.
    """

    def decorate(provider_class: type_Provider) -> type_Provider:
        key = (provider_id, provider_class.grant_type)
        if _deviating.setdefault(key, provider_class) is not provider_class:
            raise ValueError(f"{provider_id} ({key[1]}) is registered already, by {_deviating[key].__name__}.")
        return provider_class

    return decorate


def provider_for(spec: ProviderSpec, grant_type: str) -> OAuthProvider:
    """The provider for a grant type, by its own class where one is registered. Raises ValueError for other grants."""
    grant = GrantType(grant_type)
    if not spec.supports(grant):
        raise ValueError(f"{spec.name} does not support the grant type {grant.value}.")
    # Only built-in ids are looked up: a workspace's provider can never run code written for another one.
    deviating = None if spec.custom else _deviating.get((spec.provider_id, grant))
    return (deviating or _STANDARD[grant])(spec)


def _text_at(answer: Mapping[str, Any], path: str) -> str:
    """The text at a dotted path; numbers count as text (GitHub's ids), anything else as absent."""
    found: Any = answer
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return ""
        found = found.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return "".join(character for character in str(found)[:MAX_ACCOUNT_TEXT] if character.isprintable()).strip()
