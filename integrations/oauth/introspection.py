"""Asking the provider about a token: introspection (RFC 7662) and userinfo (OpenID Connect Core §5.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.oauth.client import AuthorizationServer, OAuthClient, client_authentication, no_authorization
from integrations.oauth.errors import AccessTokenRefused, ConfigurationRefused, MalformedAnswer
from integrations.oauth.refusals import class_at_resource
from integrations.oauth.sanitise import sanitised_fields
from integrations.oauth.session import CodeClient, ProtocolSession, refusing_as_oauth_errors
from integrations.oauth.token_response import (
    parse_fields,
    parse_retry_after_header,
    refuse_by_code,
    refuse_by_status,
    unusable_answer,
)

_JSON = {"Accept": "application/json"}
# error="…" in WWW-Authenticate, RFC 6750 §3
_CHALLENGE_ERROR = re.compile(r'\berror="([\x20\x21\x23-\x5b\x5d-\x7e]{1,100})"')


@dataclass(frozen=True)
class Introspection:
    """What the provider says about a token; its claims are for display only, never trusted for access."""

    active: bool
    claims: dict[str, Any] = field(default_factory=dict, repr=False)


def introspect(
    http: requests.Session,
    server: AuthorizationServer,
    client: OAuthClient,
    *,
    token: str,
    token_type_hint: str = "access_token",  # noqa: S107  # a name, not a token
    now: datetime | None = None,
) -> Introspection:
    """Ask whether a token is active (RFC 7662 §2). Raises OAuthError. `now` is the system's time unless given."""
    if not server.introspection_endpoint:
        raise ConfigurationRefused("missing_endpoint")
    authentication = client_authentication(server, client, now=now or datetime.now(UTC))
    with refusing_as_oauth_errors(token, *authentication.secrets):
        session = ProtocolSession(http, CodeClient(client.client_id))
        answer = session.post(
            server.introspection_endpoint,
            data={"token": token, "token_type_hint": token_type_hint, **authentication.body},
            headers=dict(_JSON),
            auth=authentication.auth or no_authorization,
        )
        claims = _object_in(answer)
        active = claims.pop("active", None)
        if not isinstance(active, bool):
            raise MalformedAnswer("not_json", status=answer.status_code)
        return Introspection(active, claims)


def userinfo(http: requests.Session, server: AuthorizationServer, access_token: str) -> dict[str, Any]:
    """Fetch who the token belongs to, for display. Raises OAuthError; AccessTokenRefused for a bad token."""
    with refusing_as_oauth_errors(access_token):
        if not server.userinfo_endpoint:
            raise ConfigurationRefused("missing_endpoint")
        token = {"access_token": access_token, "token_type": "Bearer"}
        session = ProtocolSession(http, CodeClient(""), token=token)
        headers = {**_JSON, **server.userinfo_headers}
        if server.userinfo_method == "POST":
            headers["Content-Type"] = "application/json"
        answer = session.request(
            server.userinfo_method,
            server.userinfo_endpoint,
            data=server.userinfo_body.encode() or None,
            headers=headers,
        )
        refuse_by_status(answer.status_code, parse_retry_after_header(answer.headers))
        _refuse_by_challenge(answer)
        return _object_in(answer)


def _refuse_by_challenge(answer: requests.Response) -> None:
    """Raise by the Bearer challenge (RFC 6750 §3); a plain 401 means the same as invalid_token."""
    if answer.status_code not in {400, 401, 403}:
        return
    found = _CHALLENGE_ERROR.search(answer.headers.get("WWW-Authenticate", ""))
    if found:
        raise class_at_resource(found[1])(found[1], status=answer.status_code)
    if answer.status_code == 401:
        raise AccessTokenRefused("invalid_token", status=401)


def _object_in(answer: requests.Response) -> dict[str, Any]:
    headers: Mapping[str, str] = answer.headers
    retry_after = parse_retry_after_header(headers)
    refuse_by_status(answer.status_code, retry_after)
    fields = parse_fields(answer.content)
    if fields is not None:
        refuse_by_code(fields, answer.status_code, retry_after, grant_type="")
    if fields is None or not 200 <= answer.status_code < 300:
        raise unusable_answer(answer.status_code, headers.get("Content-Type", ""), answer.content, fields)
    return sanitised_fields(fields)
