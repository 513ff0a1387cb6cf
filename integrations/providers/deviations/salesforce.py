"""Salesforce. No field of a definition can say this: a token answer has no `expires_in`, since the lifetime of a
session is a setting of the organisation, and introspection tells it (RFC 7662 §2.2). With it the token is renewed in
time; without it, it would be served until somebody's call fails.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.oauth import grants
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import OAuthError
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import HUGE_LIFETIME, TokenResponse, parse_lifetime
from integrations.providers.oauth_provider import (
    AuthorizationCodeOAuthProvider,
    ClientCredentialsOAuthProvider,
    OAuthProvider,
    register,
)

logger = logging.getLogger(__name__)
SALESFORCE_IDS = ("salesforce",)


class _AsksForTheLifetime(OAuthProvider):
    def exchange_code(
        self, http: HTTPClient, server: AuthorizationServer, client: OAuthClient, **kwargs: Any
    ) -> TokenResponse:
        """Exchange a code, then ask how long the token lives."""
        answer = super().exchange_code(http, server, client, **kwargs)
        return _with_lifetime(http, server, client, answer, kwargs["now"])

    def fetch_token(
        self, http: HTTPClient, server: AuthorizationServer, client: OAuthClient, **kwargs: Any
    ) -> TokenResponse:
        """Fetch a token, then ask how long it lives."""
        answer = super().fetch_token(http, server, client, **kwargs)
        return _with_lifetime(http, server, client, answer, kwargs["now"])

    def refresh_token(
        self, http: HTTPClient, server: AuthorizationServer, client: OAuthClient, **kwargs: Any
    ) -> TokenResponse:
        """Renew a token, then ask how long it lives."""
        answer = super().refresh_token(http, server, client, **kwargs)
        return _with_lifetime(http, server, client, answer, kwargs["now"])


@register(*SALESFORCE_IDS)
class SalesforceProvider(_AsksForTheLifetime, AuthorizationCodeOAuthProvider):
    """On behalf of a person."""


@register(*SALESFORCE_IDS)
class SalesforceServiceProvider(_AsksForTheLifetime, ClientCredentialsOAuthProvider):
    """As the user that the connected app names."""


def _with_lifetime(
    http: HTTPClient, server: AuthorizationServer, client: OAuthClient, answer: TokenResponse, now: datetime
) -> TokenResponse:
    """The answer with the lifetime that introspection tells. No token is lost for it: without, it stays unknown."""
    if answer.expires_at is not None or not server.introspection_endpoint:
        return answer
    try:
        told = grants.introspect(http, server, client, token=answer.access_token)
    except OAuthError as error:
        logger.info("How long a token of Salesforce lives could not be asked: %s", error.code)
        return answer
    ends = parse_lifetime(told.claims.get("exp"))
    if not told.active or ends is None or not 0 < ends - now.timestamp() <= HUGE_LIFETIME:
        return answer
    expires_at = datetime.fromtimestamp(ends, UTC)
    return replace(answer, expires_at=expires_at, expires_in=(expires_at - now) / timedelta(seconds=1))
