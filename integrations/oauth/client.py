"""Who talks to whom: the authorization server, the client, and how the client authenticates (RFC 6749 §2.3)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote_plus

from integrations.oauth.client_assertion import ASSERTION_TYPE, SigningKey, client_assertion
from integrations.oauth.errors import ConfigurationRefused
from integrations.oauth.token_response import TokenResponseRules

if TYPE_CHECKING:
    from requests import PreparedRequest


class ClientAuthMethod(StrEnum):
    """The names of RFC 7591 §2 for token_endpoint_auth_method."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105  # names of methods
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105 (a name, not a secret)
    NONE = "none"
    PRIVATE_KEY_JWT = "private_key_jwt"  # OpenID Connect Core §9


@dataclass(frozen=True)
class AuthorizationServer:
    """An authorization server as the protocol needs to know it; endpoints that it lacks are empty.

    `basic_auth_encoding`: "form" encodes client id and secret before Basic as RFC 6749 §2.3.1 wants; "raw" is
    for providers that do not decode them. `scope_parameter` names the scopes in the authorization URL;
    `client_id_parameter` and `client_secret_parameter` are what a provider calls these two on the wire. An empty
    `response_type` leaves it out. `token_request_format` and `revocation_request_format`: "json" posts the request as
    JSON. `refresh_endpoint` is where refresh tokens are renewed, empty for the token endpoint; `refresh_params` go only
    there. `userinfo_body` is the JSON text of a userinfo asked by POST. `assertion_audience` names whom a client
    assertion is addressed to.
    """

    token_endpoint: str
    authorization_endpoint: str = ""
    refresh_endpoint: str = ""
    revocation_endpoint: str = ""
    introspection_endpoint: str = ""
    userinfo_endpoint: str = ""
    issuer: str = ""
    scope_separator: str = " "
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    token_params: Mapping[str, str] = field(default_factory=dict)
    pkce: Literal["S256", "off"] = "S256"
    basic_auth_encoding: Literal["form", "raw"] = "form"
    scope_parameter: str = "scope"
    assertion_audience: Literal["token_endpoint", "issuer"] = "token_endpoint"
    client_id_parameter: str = "client_id"
    client_secret_parameter: str = "client_secret"  # noqa: S105  # a name
    response_type: Literal["code", ""] = "code"
    token_request_format: Literal["form", "json"] = "form"  # noqa: S105  # a format
    revocation_request_format: Literal["form", "json"] = "form"
    refresh_params: Mapping[str, str] = field(default_factory=dict)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    userinfo_method: Literal["GET", "POST"] = "GET"
    userinfo_body: str = ""
    userinfo_headers: Mapping[str, str] = field(default_factory=dict)
    rules: TokenResponseRules = field(default_factory=TokenResponseRules)


@dataclass(frozen=True)
class OAuthClient:
    """The app registered at the authorization server. Its repr shows no secret. Only private_key_jwt needs a key."""

    client_id: str
    client_secret: str = field(default="", repr=False)
    auth_method: ClientAuthMethod = ClientAuthMethod.CLIENT_SECRET_BASIC
    signing_key: SigningKey | None = None

    def __post_init__(self) -> None:
        # Accepts the plain string, as it stands in YAML files and columns.
        object.__setattr__(self, "auth_method", ClientAuthMethod(self.auth_method))


@dataclass(frozen=True)
class BasicAuth:
    """Client authentication by the Authorization header; an auth object for requests."""

    header: str = field(repr=False)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the header on a request."""
        request.headers["Authorization"] = self.header
        return request


def no_authorization(request: PreparedRequest) -> PreparedRequest:
    """Send the request without an Authorization header; an auth object for requests."""
    request.headers.pop("Authorization", None)
    return request


@dataclass(frozen=True)
class ClientAuthentication:
    """What a request carries so that the authorization server knows the client.

    `secrets` are those among it that an answer must not be shown with.
    """

    auth: BasicAuth | None
    body: Mapping[str, Any] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def client_authentication(server: AuthorizationServer, client: OAuthClient, *, now: datetime) -> ClientAuthentication:
    """Prepare header or body parameters for the client's authentication method, for one request.

    Raises ConfigurationRefused when the method needs a secret or key and there is none.
    """
    named = {server.client_id_parameter: client.client_id}
    if client.auth_method is ClientAuthMethod.NONE:
        return ClientAuthentication(None, named)
    if client.auth_method is ClientAuthMethod.PRIVATE_KEY_JWT:
        assertion = _assertion(server, client, now)
        body = {**named, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return ClientAuthentication(None, body, (assertion,))
    if not client.client_secret:
        raise ConfigurationRefused("missing_client_secret")
    secrets = (client.client_secret,)
    if client.auth_method is ClientAuthMethod.CLIENT_SECRET_POST:
        return ClientAuthentication(None, {**named, server.client_secret_parameter: client.client_secret}, secrets)
    return ClientAuthentication(BasicAuth(basic_header(server, client)), {}, secrets)


def _assertion(server: AuthorizationServer, client: OAuthClient, now: datetime) -> str:
    """The same audience at every endpoint: it names the server, not the address that is called."""
    if client.signing_key is None:
        raise ConfigurationRefused("missing_signing_key")
    to_issuer = server.assertion_audience == "issuer"
    audience = server.issuer if to_issuer else server.token_endpoint
    if not audience:
        raise ConfigurationRefused("missing_audience" if to_issuer else "missing_endpoint")
    return client_assertion(client.signing_key, client_id=client.client_id, audience=audience, now=now)


def basic_header(server: AuthorizationServer, client: OAuthClient) -> str:
    """Return the value of the Authorization header for client_secret_basic (RFC 6749 §2.3.1)."""
    pair = (client.client_id, client.client_secret)
    if server.basic_auth_encoding == "form":
        pair = (quote_plus(client.client_id), quote_plus(client.client_secret))
    return "Basic " + b64encode(":".join(pair).encode()).decode("ascii")
