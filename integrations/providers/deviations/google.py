"""Google's service accounts. No field of a definition can say this: instead of a client secret there is a JSON key,
which signs an assertion that is the grant itself (RFC 7523 §2.1, §4), on behalf of a person where a subject is named.

The assertion's audience is the definition's token endpoint, whatever the key file says: a key that was tampered with
must not send assertions anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from integrations.models import Integration
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.client_assertion import sign_jwt
from integrations.oauth.errors import ClientRefused, ConfigurationRefused
from integrations.oauth.jwt_bearer import exchange_assertion
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse
from integrations.providers.base import ClientAuth
from integrations.providers.oauth_provider import ClientCredentialsOAuthProvider, register
from integrations.providers.service_account_key import KeyRefused, ServiceAccountKey

ASSERTION_LIFETIME = timedelta(hours=1)  # the longest that Google takes
SUBJECT = "subject"
# What Google says when the account may not act for the subject, or there is no such person; a refused key says neither.
_SUBJECT_REFUSED = frozenset({"unauthorized_client", "access_denied"})
_NO_SUCH_SUBJECT = "invalid email or user id"


@register("google", "google_docs", "google_sheets")
class GoogleServiceAccountProvider(ClientCredentialsOAuthProvider):
    """A service account with its JSON key, itself or acting as a person (domain-wide delegation)."""

    def client(self, integration: Integration, values: Mapping[str, str] | None = None) -> OAuthClient:
        """The service account; its key is in the secret's place and never sent."""
        del values
        return OAuthClient(integration.client_id, integration.client_secret or "", ClientAuth.NONE)

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
        """Sign an assertion for the scopes and exchange it."""
        subject = values.get(SUBJECT, "")
        key = _key_of(client)
        assertion = _assertion(key, server.token_endpoint, scopes, subject, now)
        try:
            return exchange_assertion(http, server, assertion=assertion, now=now)
        except ClientRefused as error:
            if not subject or not _is_about_the_subject(error):
                raise
            raise ClientRefused("subject_refused", error.description, status=error.status) from error


def _key_of(client: OAuthClient) -> ServiceAccountKey:
    try:
        return ServiceAccountKey.from_json(client.client_secret)
    except KeyRefused:
        # Not chained: it may quote what it could not read.
        raise ConfigurationRefused("unusable_service_account_key") from None


def _assertion(key: ServiceAccountKey, audience: str, scopes: Sequence[str], subject: str, now: datetime) -> str:
    issued_at = int(now.timestamp())
    claims = {
        "iss": key.client_email,
        "scope": " ".join(scopes),
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + int(ASSERTION_LIFETIME.total_seconds()),
    }
    try:
        return sign_jwt(key.signing_key, {**claims, "sub": subject} if subject else claims)
    except ConfigurationRefused as error:
        raise ConfigurationRefused("unusable_service_account_key") from error


def _is_about_the_subject(error: ClientRefused) -> bool:
    return error.code in _SUBJECT_REFUSED or (
        error.code == "invalid_grant" and _NO_SUCH_SUBJECT in error.description.casefold()
    )
