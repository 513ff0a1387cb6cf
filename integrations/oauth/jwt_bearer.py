"""A signed assertion as the grant itself (RFC 7523 §2.1, §4): no client secret, no refresh token, no person."""

from __future__ import annotations

from datetime import datetime

import requests

from integrations.oauth.client import AuthorizationServer, no_authorization
from integrations.oauth.errors import ConfigurationRefused
from integrations.oauth.session import CodeClient, ProtocolSession, refusing_as_oauth_errors
from integrations.oauth.token_response import TokenResponse, parse_token_response

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def exchange_assertion(
    http: requests.Session, server: AuthorizationServer, *, assertion: str, now: datetime
) -> TokenResponse:
    """Exchange an assertion for a token (RFC 7523 §2.1). Raises OAuthError.

    Refusals are read as those of client_credentials: there is no person who could consent again.
    """
    with refusing_as_oauth_errors(assertion):
        if not server.token_endpoint:
            raise ConfigurationRefused("missing_endpoint")
        session = ProtocolSession(http, CodeClient(""), json_body=server.token_request_format == "json")  # noqa: S105 # a format
        answer = session.post(
            server.token_endpoint,
            data={**server.token_params, "grant_type": JWT_BEARER, "assertion": assertion},
            headers={**server.token_headers, "Accept": "application/json"},
            auth=no_authorization,
        )
        return parse_token_response(
            answer.status_code,
            answer.headers,
            answer.content,
            rules=server.rules,
            requested_at=now,
            grant_type="client_credentials",
        )
