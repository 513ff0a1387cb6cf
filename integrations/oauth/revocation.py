"""Revoking a token at the provider (RFC 7009)."""

from __future__ import annotations

from collections.abc import Callable
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
    refuse_by_own_code,
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


NO_LONGER_VALID = "The token was no longer valid at the provider."
REVOKED = Revocation("revoked", "revoked", "The provider has revoked the token.")


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

    def post() -> None:
        authentication = client_authentication(server, client, now=now or datetime.now(UTC))
        with refusing_as_oauth_errors(*authentication.secrets):
            _post_revocation(http, server, client, authentication, token, token_type_hint)

    return result_of(post, secrets=(token,))


def result_of(post: Callable[[], object], *, secrets: tuple[str, ...], gone: int | None = None) -> Revocation:
    """Make the request that revokes a token and tell what came of it.

    `secrets` are those that it carries. `gone` is the status that means that there is no such token any more.
    """
    try:
        with refusing_as_oauth_errors(*secrets):
            post()
    except OAuthError as error:
        if gone is not None and error.status == gone:
            return Revocation("revoked", error.code, NO_LONGER_VALID)
        return _result_of(error)
    return REVOKED


def not_this_kind(code: str = "unsupported_token_type") -> Revocation:
    """The result for a kind of token that the provider cannot revoke."""
    return Revocation("unsupported", code, "The provider cannot revoke this kind of token.")


def _post_revocation(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    authentication: ClientAuthentication,
    token: str,
    hint: TokenTypeHint,
) -> None:
    session = ProtocolSession(http, CodeClient(client.client_id), json_body=server.revocation_request_format == "json")
    answer = session.post(
        server.revocation_endpoint,
        data={"token": token, "token_type_hint": hint, **authentication.body},
        headers={"Accept": "application/json"},
        auth=authentication.auth or no_authorization,
    )
    retry_after = parse_retry_after_header(answer.headers)
    refuse_by_status(answer.status_code, retry_after)
    fields = parse_fields(answer.content)
    if fields is not None:
        refuse_by_own_code(fields, server.rules, answer.status_code, retry_after, grant_type="")
        refuse_by_code(fields, answer.status_code, retry_after, grant_type="")
    if not 200 <= answer.status_code < 300:
        raise unusable_answer(answer.status_code, "", answer.content, fields)


def _result_of(error: OAuthError) -> Revocation:
    if error.code in _ALREADY_INVALID:
        return Revocation("revoked", error.code, NO_LONGER_VALID)
    if error.code == "unsupported_token_type":
        return not_this_kind(error.code)
    return Revocation("failed", error.code, describe(error.code).happened)
