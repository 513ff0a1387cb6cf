"""A provider's definition as the protocol needs it, one class per grant type.

Where a provider deviates in ways that no field of `ProviderSpec` can say, subclass and register (see `deviations`):

    @register("acme")
    class AcmeProvider(AuthorizationCodeOAuthProvider): ...

The flows ask the provider for every call: `exchange_code`, `fetch_token`, `refresh_token`, `revoke`, `userinfo`. The
standard ones are those of `integrations.oauth.grants`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar, cast

from django.utils import timezone

from integrations.models import GrantType, Integration
from integrations.oauth import grants
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.revocation import Revocation, TokenTypeHint
from integrations.oauth.scopes import ordered_union
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse, TokenResponseRules, value_at
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, ClientAuth, Parameter, ProviderSpec
from integrations.providers.parameters import (
    awaits_metadata,
    endpoint_template,
    placeholder_parameters,
    secret_keys,
    static_values,
    with_config_values,
    with_helper_values,
)
from integrations.providers.rendering import (
    PLACEHOLDER,
    ParameterRefused,
    is_header_value,
    placeholders,
    render_endpoint,
    render_text,
)

MAX_ACCOUNT_TEXT = 200
_CLIENT_ID_AS_VALUE = Parameter(CLIENT_ID, "Client ID", pattern=r"[ -~]+", optional=True)


class OAuthProvider:
    """Turns a definition and values into an AuthorizationServer and an OAuthClient, and makes the provider's calls."""

    grant_type: ClassVar[GrantType]
    asks_people: ClassVar[bool] = True

    def __init__(self, spec: ProviderSpec) -> None:
        self.spec = spec

    # --- who talks to whom ------------------------------------------------------------------------------
    def server(self, parameters: Mapping[str, str], client: OAuthClient | None = None) -> AuthorizationServer:
        """The authorization server with its endpoints rendered. Raises ParameterRefused.

        `parameters` comes from `parameters.parameter_values`; helpers read the client's credentials.
        """
        spec = self.spec
        self.check_parameters(parameters)
        named = {CLIENT_ID: client.client_id if client else ""}
        values = with_helper_values(
            spec,
            parameters,
            client_id=client.client_id if client else "",
            client_secret=client.client_secret if client else "",
        )
        return AuthorizationServer(
            token_endpoint=self._endpoint("token_endpoint", values),
            # None is called without a person, so that no parameter is asked for its sake.
            authorization_endpoint=self._endpoint("authorization_endpoint", values) if self.asks_people else "",
            refresh_endpoint=self._endpoint("refresh_endpoint", values),
            revocation_endpoint=self._endpoint("revocation_endpoint", values),
            introspection_endpoint=self._endpoint("introspection_endpoint", values),
            userinfo_endpoint=self._endpoint("userinfo_endpoint", values),
            issuer=self._endpoint("issuer", values),
            scope_separator=spec.scope_separator,
            scope_parameter=spec.scope_parameter,
            client_id_parameter=spec.client_id_parameter,
            client_secret_parameter=spec.client_secret_parameter,
            response_type=cast(Literal["code", ""], spec.response_type),
            token_request_format=cast(Literal["form", "json"], spec.token_request_format),
            revocation_request_format=cast(Literal["form", "json"], spec.revocation_request_format),
            userinfo_method=cast(Literal["GET", "POST"], spec.userinfo_method),
            userinfo_body=spec.userinfo_body,
            token_headers=self._headers(spec.token_headers, {**named, **values}),
            userinfo_headers=self._headers(spec.userinfo_headers, {**named, **values}),
            authorization_params=self._extra(spec.authorization_params, values) if self.asks_people else {},
            token_params=self._extra(spec.token_params, values),
            refresh_params=self._extra(spec.refresh_params, values),
            assertion_audience=cast(Literal["token_endpoint", "issuer"], spec.assertion_audience),
            pkce=cast(Literal["S256", "off"], spec.pkce),
            basic_auth_encoding=cast(Literal["form", "raw"], spec.basic_auth_encoding),
            rules=TokenResponseRules(**cast(dict[str, Any], dict(spec.token_response))),
        )

    def api_base_url(self, parameters: Mapping[str, str]) -> str:
        """Where the provider's API is, rendered; empty while the provider has not told. Raises ParameterRefused."""
        return self._endpoint("api_base_url", with_helper_values(self.spec, parameters))

    def client(self, integration: Integration, values: Mapping[str, str] | None = None) -> OAuthClient:
        """The app that calls: the integration's, or the connection's own where credentials are asked for each.

        `{{key}}` in id and secret are filled in from `values`. Raises crypto.SealError for an unreadable secret or key.
        """
        method = self.spec.client_auth(integration.token_endpoint_auth_method)
        values = values or {}
        own = self.spec.asks_credentials
        # The client id is sent through browsers: what became secret since it was saved is not filled in.
        hidden = secret_keys(self.spec)
        client_id = values.get(CLIENT_ID, "") if own else self._filled_in(integration.client_id, values, but=hidden)
        if method is ClientAuth.PRIVATE_KEY_JWT:
            key = integration.signing_client_key(timezone.now())
            return OAuthClient(client_id, "", method, key.signing_key() if key is not None else None)
        secret = values.get(CLIENT_SECRET, "") if own else self._filled_in(integration.client_secret or "", values)
        return OAuthClient(client_id, secret, method)

    def effective_scopes(
        self,
        *,
        integration_additional: Iterable[str],
        connection_additional: Iterable[str] = (),
        chosen: Iterable[str] | None = None,
    ) -> tuple[str, ...]:
        """What is requested: required scopes, the definition's others, the integration's, the connection's own.

        `chosen` takes the place of the definition's others, where a connection may choose among them.
        """
        defined = self.spec.default_scopes(self.grant_type)
        if chosen is not None:
            wanted = {*self.spec.base_scopes(self.grant_type), *chosen}
            defined = tuple(name for name in defined if name in wanted)
        return ordered_union(defined, integration_additional, connection_additional)

    # --- the calls: values in, values out; no database. Each raises OAuthError -----------------------------
    def exchange_code(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        code: str,
        redirect_uri: str,
        code_verifier: str | None,
        now: datetime,
    ) -> TokenResponse:
        """Exchange an authorization code (RFC 6749 §4.1.3)."""
        return grants.exchange_code(
            http, server, client, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier, now=now
        )

    def fetch_token(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        scopes: Sequence[str],
        values: Mapping[str, str],
        now: datetime,
    ) -> TokenResponse:
        """Fetch a token without a person (RFC 6749 §4.4). `values` are the connection's parameters."""
        del values  # for subclasses
        return grants.fetch_token(http, server, client, scopes=scopes, now=now)

    def refresh_token(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        refresh_token: str,
        now: datetime,
    ) -> TokenResponse:
        """Renew a token (RFC 6749 §6)."""
        return grants.refresh_token(http, server, client, refresh_token=refresh_token, now=now)

    def revoke(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        token: str,
        token_type_hint: TokenTypeHint,
    ) -> Revocation:
        """Revoke a token (RFC 7009). Never raises for what the provider does."""
        return grants.revoke(http, server, client, token=token, token_type_hint=token_type_hint)

    def userinfo(self, http: HTTPClient, server: AuthorizationServer, access_token: str) -> dict[str, Any]:
        """Ask who a token belongs to, for display only."""
        return grants.userinfo(http, server, access_token)

    # --- what is refused before anybody is asked ----------------------------------------------------------
    def check_parameters(self, values: Mapping[str, str]) -> None:
        """Refuse values that fit their patterns and cannot work all the same. Raises ParameterRefused."""

    def additional_scope_problem(self, scopes: Sequence[str]) -> str:
        """A sentence about additional scopes that cannot work under this grant type; "" when they can."""
        del scopes
        return ""

    # --- what answers say --------------------------------------------------------------------------------
    def granted_scopes(self, requested: Sequence[str], answer: TokenResponse) -> tuple[str, ...] | None:
        """The scopes of a token, under the names that were requested. None when the answer names none: as requested."""
        return None if answer.scope is None else self.spec.scope_comparison.granted(requested, answer.scope)

    def account_from(self, userinfo: Mapping[str, Any]) -> dict[str, str]:
        """Whose account a userinfo (or token) answer names: `{"id", "label"}`, for display only, never for access."""
        label = next((text for name in self.spec.account_fields if (text := _text_at(userinfo, name))), "")
        identifier = _text_at(userinfo, self.spec.account_id_field) or _text_at(userinfo, "id")
        if not label and not identifier:
            return {}
        return {"id": identifier, "label": label or identifier}

    def account_from_token(self, extra: Mapping[str, Any]) -> dict[str, str]:
        """The same from a token answer, where userinfo did not tell.

        Only by the definition's own id field: another id than userinfo's would look like another account.
        """
        return self.account_from(extra) if _text_at(extra, self.spec.account_id_field) else {}

    # --- rendering ---------------------------------------------------------------------------------------
    def _endpoint(self, field: str, values: Mapping[str, str]) -> str:
        template = endpoint_template(self.spec, field)
        if awaits_metadata(self.spec, template, values) and field != "token_endpoint":
            return ""
        return render_endpoint(template, values, placeholder_parameters(self.spec))

    def _extra(self, extra: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
        known = placeholder_parameters(self.spec)
        if not any(parameter.key == CLIENT_ID for parameter in known):
            known = (*known, _CLIENT_ID_AS_VALUE)
        rendered = {
            name: render_text(with_config_values(self.spec, value), values, known) for name, value in extra.items()
        }
        # An optional parameter that stayed blank is not sent; what the definition itself leaves blank is.
        return {name: text for name, text in rendered.items() if text or not extra[name]}

    def _headers(self, headers: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
        """As `_extra`; what no header can hold is refused before anybody is asked, not after a token was issued."""
        rendered = self._extra(headers, values)
        for name, text in rendered.items():
            if not is_header_value(text):
                key = next(iter(placeholders(headers[name])), name)
                raise ParameterRefused(key, f"The header {name} takes printable ASCII only, without spaces around it.")
        return rendered

    def _filled_in(self, text: str, values: Mapping[str, str], *, but: Collection[str] = ()) -> str:
        """A credential with the parameters that it names; anything else in braces is part of it."""
        known = {key: value for key, value in {**values, **static_values(self.spec)}.items() if key not in but}
        return PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), text)


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


def register(*provider_ids: str) -> Callable[[type_Provider], type_Provider]:
    """Class decorator: use this subclass for built-in providers, under the grant type it stands for.

    Raises ValueError when another class is registered for the same provider and grant type.
    """

    def decorate(provider_class: type_Provider) -> type_Provider:
        for provider_id in provider_ids:
            key = (provider_id, provider_class.grant_type)
            if _deviating.setdefault(key, provider_class) is not provider_class:
                raise ValueError(f"{provider_id} ({key[1]}) is registered already, by {_deviating[key].__name__}.")
        return provider_class

    return decorate


def registered_classes() -> Mapping[tuple[str, GrantType], type[OAuthProvider]]:
    """The registered subclasses by provider and grant type."""
    return dict(_deviating)


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
    found = value_at(answer, path)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return "".join(character for character in str(found)[:MAX_ACCOUNT_TEXT] if character.isprintable()).strip()
