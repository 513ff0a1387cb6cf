"""The grants: authorization URL, code exchange, client credentials, refresh (RFC 6749 §4.1, §4.4, §6; RFC 7636).

`now` is the time just before the call; expiry counts from it, so that a slow answer never makes a token look
younger than it is. Every function that calls the provider raises OAuthError and nothing else.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import requests

from integrations.oauth.client import (
    AuthorizationServer,
    ClientAuthentication,
    OAuthClient,
    client_authentication,
)
from integrations.oauth.errors import ConfigurationRefused
from integrations.oauth.introspection import Introspection, introspect, userinfo
from integrations.oauth.revocation import Revocation, revoke
from integrations.oauth.scopes import join_scopes
from integrations.oauth.session import CodeClient, ServiceClient, refusing_as_oauth_errors
from integrations.oauth.token_request import post_token_request
from integrations.oauth.token_response import TokenResponse, parse_token_response

__all__ = [
    "Introspection",
    "Revocation",
    "authorization_url",
    "code_challenge",
    "exchange_code",
    "fetch_token",
    "introspect",
    "new_code_verifier",
    "new_state",
    "refresh_token",
    "revoke",
    "userinfo",
]

FORM_HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
}
RESERVED_IN_AUTHORIZATION = frozenset(
    {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "request",
        "request_uri",
    }
)
RESERVED_IN_TOKEN_REQUEST = frozenset(
    {
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    }
)


def new_state() -> str:
    """Make a state of 256 random bits (RFC 6749 §10.12)."""
    return secrets.token_urlsafe(32)


def new_code_verifier() -> str:
    """Make a code verifier of 256 random bits in 43 characters (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(32)


def code_challenge(code_verifier: str) -> str:
    """Derive the S256 code challenge (RFC 7636 §4.2)."""
    digest = sha256(code_verifier.encode("ascii")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def authorization_url(
    server: AuthorizationServer,
    client_id: str,
    *,
    redirect_uri: str,
    scopes: Sequence[str],
    state: str,
    code_verifier: str | None,
) -> str:
    """Build the URL that the browser is sent to (RFC 6749 §4.1.1).

    The endpoint's own query is kept. Without a code verifier, or with `pkce` off, there is no PKCE.
    Raises ConfigurationRefused when the endpoint is missing, or when its query or the extra parameters hold one
    that OAuth itself sets.
    """
    endpoint = _with_own_parameters(server)
    scope = join_scopes(scopes, server.scope_separator)
    optional = {server.scope_parameter: scope}
    if code_verifier is not None and server.pkce != "off":
        optional["code_challenge"] = code_challenge(code_verifier)
        optional["code_challenge_method"] = "S256"
    url: str = CodeClient(client_id).prepare_request_uri(
        endpoint,
        redirect_uri=redirect_uri,
        scope=optional.pop("scope", None),
        state=state,
        **optional,
    )
    base, _, query = url.partition("?")
    return f"{base}?{urlencode(_as_the_provider_says(server, query), quote_via=quote)}"


def _as_the_provider_says(server: AuthorizationServer, query: str) -> list[tuple[str, str]]:
    """The pairs of an authorization URL under the names that this provider knows."""
    names = {"client_id": server.client_id_parameter, "response_type": server.response_type and "response_type"}
    pairs = [(names.get(name, name), value) for name, value in parse_qsl(query, keep_blank_values=True)]
    return [(name, value) for name, value in pairs if name]


def _with_own_parameters(server: AuthorizationServer) -> str:
    endpoint = _required(server.authorization_endpoint)
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise ConfigurationRefused("invalid_endpoint") from error
    own = [*parse_qsl(parts.query, keep_blank_values=True), *server.authorization_params.items()]
    _refuse_reserved([name for name, _ in own], RESERVED_IN_AUTHORIZATION | {server.client_id_parameter})
    return urlunsplit(parts._replace(query=urlencode(own), fragment=""))


def exchange_code(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    *,
    code: str,
    redirect_uri: str,
    code_verifier: str | None,
    now: datetime,
) -> TokenResponse:
    """Exchange an authorization code for a token (RFC 6749 §4.1.3). Raises OAuthError."""
    authentication = client_authentication(server, client, now=now)
    with refusing_as_oauth_errors(code, code_verifier or "", *authentication.secrets):
        endpoint = _required(server.token_endpoint)
        optional = {} if code_verifier is None or server.pkce == "off" else {"code_verifier": code_verifier}
        body = CodeClient(client.client_id).prepare_request_body(
            code=code,
            redirect_uri=redirect_uri,
            body=_extra_body(server, authentication),
            include_client_id=False,  # stands in the body already where it belongs there
            **optional,
        )
        return _ask(http, server, authentication, endpoint, body, now, "authorization_code")


def fetch_token(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    *,
    scopes: Sequence[str],
    now: datetime,
) -> TokenResponse:
    """Fetch a token with the client credentials grant (RFC 6749 §4.4.2). Raises OAuthError."""
    authentication = client_authentication(server, client, now=now)
    with refusing_as_oauth_errors(*authentication.secrets):
        endpoint = _required(server.token_endpoint)
        body = ServiceClient(client.client_id).prepare_request_body(
            body=_extra_body(server, authentication),
            scope=join_scopes(scopes, server.scope_separator) or None,
            include_client_id=False,  # as above
        )
        return _ask(http, server, authentication, endpoint, body, now, "client_credentials")


def refresh_token(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    *,
    refresh_token: str,
    now: datetime,
    scopes: Sequence[str] | None = None,
) -> TokenResponse:
    """Renew a token (RFC 6749 §6). Without scopes the provider keeps those granted. Raises OAuthError.

    The answer's refresh token is the one to store: the new one, or the old one when none came.
    """
    authentication = client_authentication(server, client, now=now)
    with refusing_as_oauth_errors(refresh_token, *authentication.secrets):
        endpoint = server.refresh_endpoint or _required(server.token_endpoint)
        body = CodeClient(client.client_id).prepare_refresh_body(
            body=_extra_body(server, authentication, server.refresh_params),
            refresh_token=refresh_token,
            scope=join_scopes(scopes, server.scope_separator) if scopes else None,
        )
        answer = _ask(http, server, authentication, endpoint, body, now, "refresh_token")
        return answer.keeping_refresh_token(refresh_token)


def _ask(
    http: requests.Session,
    server: AuthorizationServer,
    authentication: ClientAuthentication,
    endpoint: str,
    body: str,
    now: datetime,
    grant_type: str,
) -> TokenResponse:
    """Post a grant and read the answer."""
    answer = post_token_request(
        http,
        endpoint,
        body,
        headers={**server.token_headers, **FORM_HEADERS},
        auth=authentication.auth,
        as_json=server.token_request_format == "json",  # noqa: S105  # a format
    )
    return parse_token_response(
        answer.status_code,
        answer.headers,
        answer.content,
        rules=server.rules,
        requested_at=now,
        grant_type=grant_type,
    )


def _extra_body(
    server: AuthorizationServer, authentication: ClientAuthentication, more: Mapping[str, str] | None = None
) -> str:
    """What a token request carries besides the grant itself: the provider's extras and the client's authentication."""
    extra = {**server.token_params, **(more or {})}
    reserved = RESERVED_IN_TOKEN_REQUEST | {server.client_id_parameter, server.client_secret_parameter}
    _refuse_reserved(extra, reserved)
    return urlencode({**extra, **authentication.body})


def _refuse_reserved(names: Sequence[str] | Mapping[str, str], reserved: frozenset[str]) -> None:
    taken = sorted(reserved.intersection(names))
    if taken:
        raise ConfigurationRefused("reserved_parameter", f"Reserved: {', '.join(taken)}")


def _required(endpoint: str) -> str:
    if not endpoint:
        raise ConfigurationRefused("missing_endpoint")
    return endpoint
