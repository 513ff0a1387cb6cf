"""Revoking a token at the provider (RFC 7009)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import requests

from integrations.oauth.client import (
    AuthorizationServer,
    ClientAuthentication,
    OAuthClient,
    client_authentication,
    no_authorization,
)
from integrations.oauth.errors import OAuthError, describe
from integrations.oauth.session import CodeClient, ProtocolSession, refusing_as_oauth_errors
from integrations.oauth.token_response import (
    parse_fields,
    parse_retry_after_header,
    refuse_by_code,
    refuse_by_status,
    unusable_answer,
)

TokenTypeHint = Literal["refresh_token", "access_token"]
# The token is already worthless, which is what was wanted. The RFC asks for 200 here; some refuse instead.
_ALREADY_INVALID = frozenset({"invalid_token", "invalid_grant", "token_revoked", "token_expired"})


@dataclass(frozen=True)
class Revocation:
    """What came of a revocation; `message` is a plain sentence."""

    result: Literal["revoked", "unsupported", "failed"]
    code: str
    message: str


def revoke(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    *,
    token: str,
    token_type_hint: TokenTypeHint,
    now: datetime | None = None,
) -> Revocation:
    """Revoke a token (RFC 7009 §2.1). Never raises for what the provider does: the result says it.

    `now` is the system's time unless given.
    """
    if not server.revocation_endpoint:
        return Revocation("unsupported", "unsupported", "The provider offers no way to revoke tokens.")
    try:
        authentication = client_authentication(server, client, now=now or datetime.now(UTC))
        with refusing_as_oauth_errors(token, *authentication.secrets):
            _post_revocation(http, server, client, authentication, token, token_type_hint)
    except OAuthError as error:
        return _result_of(error)
    return Revocation("revoked", "revoked", "The provider has revoked the token.")


def _post_revocation(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    authentication: ClientAuthentication,
    token: str,
    hint: TokenTypeHint,
) -> None:
    protocol = CodeClient(client.client_id)
    url, headers, body = protocol.prepare_token_revocation_request(
        server.revocation_endpoint, token, token_type_hint=hint, **authentication.body
    )
    session = ProtocolSession(http, protocol)
    answer = session.post(url, data=body, headers=headers, auth=authentication.auth or no_authorization)
    retry_after = parse_retry_after_header(answer.headers)
    refuse_by_status(answer.status_code, retry_after)
    fields = parse_fields(answer.content)
    if fields is not None:
        refuse_by_code(fields, answer.status_code, retry_after, grant_type="")
    if not 200 <= answer.status_code < 300:
        raise unusable_answer(answer.status_code, "", answer.content, fields)


def _result_of(error: OAuthError) -> Revocation:
    if error.code in _ALREADY_INVALID:
        return Revocation("revoked", error.code, "The token was no longer valid at the provider.")
    if error.code == "unsupported_token_type":
        return Revocation("unsupported", error.code, "The provider cannot revoke this kind of token.")
    return Revocation("failed", error.code, describe(error.code).happened)
