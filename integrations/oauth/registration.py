"""Dynamic client registration (RFC 7591).

The answer decides how the client authenticates from now on, so that it is read strictly: what cannot be used is
refused here, not at the first token request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from integrations.oauth.client import ClientAuthMethod
from integrations.oauth.errors import OAuthError, Redirected, RegistrationRefused
from integrations.oauth.refusals import class_of
from integrations.oauth.sanitise import sanitised_text
from integrations.oauth.session import refusing_as_oauth_errors
from integrations.oauth.token_response import parse_fields, parse_retry_after_header, refuse_by_status

MAX_CLIENT_ID = 512
MAX_SECRET = 4096
MAX_URL = 2000
LATEST_YEAR = 9999
REGISTRATION_CODES = frozenset(
    {
        # RFC 7591 §3.2.2
        "invalid_redirect_uri",
        "invalid_client_metadata",
        "invalid_software_statement",
        "unapproved_software_statement",
    }
)
_TOKEN_CODES = frozenset({"invalid_token", "insufficient_scope", "access_denied"})


@dataclass(frozen=True, slots=True)
class ClientMetadata:
    """What the client asks to be registered with (RFC 7591 §2); empty values are not sent.

    `jwks_uri` goes with private_key_jwt.
    """

    client_name: str
    token_endpoint_auth_method: str
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    jwks_uri: str = ""

    def as_json(self) -> dict[str, Any]:
        """The body of the request (RFC 7591 §3.1)."""
        fields = {
            "client_name": self.client_name,
            "token_endpoint_auth_method": self.token_endpoint_auth_method,
            "grant_types": list(self.grant_types),
            "redirect_uris": list(self.redirect_uris),
            "scope": " ".join(self.scope),
            "jwks_uri": self.jwks_uri,
        }
        # An empty list of response types says something: none (client_credentials). Left out it would mean "code".
        return {name: value for name, value in fields.items() if value} | {"response_types": list(self.response_types)}


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """The client as it was registered (RFC 7591 §3.2.1). Its repr shows no secret.

    `client_secret_expires_at` is None when the secret does not expire. The registration access token and its address
    manage the registration later (RFC 7592).
    """

    client_id: str
    token_endpoint_auth_method: ClientAuthMethod
    client_secret: str = field(default="", repr=False)
    client_secret_expires_at: datetime | None = None
    registration_access_token: str = field(default="", repr=False)
    registration_client_uri: str = ""


def register_client(
    http: requests.Session,
    registration_endpoint: str,
    wanted: ClientMetadata,
    *,
    initial_access_token: str = "",
) -> RegisteredClient:
    """Register a client. Raises OAuthError; RegistrationRefused says what the server does not accept."""
    if not registration_endpoint:
        raise RegistrationRefused("registration_not_offered")
    headers = {"Accept": "application/json"}
    if initial_access_token:
        headers["Authorization"] = f"Bearer {initial_access_token}"
    with refusing_as_oauth_errors(initial_access_token):
        answer = http.post(registration_endpoint, json=wanted.as_json(), headers=headers, allow_redirects=False)
        if 300 <= answer.status_code < 400:
            raise Redirected("redirected", status=answer.status_code)
        refuse_by_status(answer.status_code, parse_retry_after_header(answer.headers))
        fields = parse_fields(answer.content)
        # 201 is the RFC's; some servers say 200.
        if answer.status_code not in {200, 201} or fields is None or fields.get("error"):
            raise _refusal(answer.status_code, fields)
        return _registered(fields, wanted, answer.status_code)


def _refusal(status: int, fields: Mapping[str, Any] | None) -> OAuthError:
    error = fields.get("error") if fields else None
    code = error if isinstance(error, str) else ""
    description = fields.get("error_description") if fields else None
    text = description if isinstance(description, str) else ""
    if status in {401, 403} or code in _TOKEN_CODES:
        return RegistrationRefused("registration_token_required", text, status=status)
    if status in {404, 405, 410, 501}:
        return RegistrationRefused("registration_not_offered", text, status=status)
    if not code.strip():
        return RegistrationRefused("registration_malformed", text, status=status)
    code = code.strip()
    if code in REGISTRATION_CODES:
        return RegistrationRefused(code, text, status=status)
    return class_of(code, grant_type="")(code, text, status=status)


def _registered(fields: Mapping[str, Any], wanted: ClientMetadata, status: int) -> RegisteredClient:
    client_id = _text(fields.get("client_id"), MAX_CLIENT_ID)
    if not client_id:
        raise RegistrationRefused("registration_malformed", "“client_id” is missing or unusable.", status=status)
    method = _auth_method(fields, wanted, status)
    secret = _text(fields.get("client_secret"), MAX_SECRET)
    if not secret and method in {ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST}:
        raise RegistrationRefused("registration_without_secret", status=status)
    _check_redirect_uris(fields, wanted, status)
    return RegisteredClient(
        client_id=client_id,
        token_endpoint_auth_method=method,
        client_secret=secret,
        client_secret_expires_at=_expiry(fields.get("client_secret_expires_at")) if secret else None,
        registration_access_token=_text(fields.get("registration_access_token"), MAX_SECRET),
        registration_client_uri=_url(fields.get("registration_client_uri")),
    )


def _auth_method(fields: Mapping[str, Any], wanted: ClientMetadata, status: int) -> ClientAuthMethod:
    """What the server decided, which may be another than was asked for; absent means as asked."""
    decided = fields.get("token_endpoint_auth_method") or wanted.token_endpoint_auth_method
    try:
        method = ClientAuthMethod(decided)
    except ValueError as error:
        name = f"It says: {decided}" if isinstance(decided, str) else ""
        raise RegistrationRefused("registration_unknown_auth_method", name, status=status) from error
    if decided == "private_key_jwt" and not wanted.jwks_uri:
        raise RegistrationRefused(
            "registration_unknown_auth_method", "It wants keys that it was not told.", status=status
        )
    return method


def _check_redirect_uris(fields: Mapping[str, Any], wanted: ClientMetadata, status: int) -> None:
    registered = fields.get("redirect_uris")
    if isinstance(registered, list) and any(uri not in registered for uri in wanted.redirect_uris):
        raise RegistrationRefused("registration_other_redirect_uri", status=status)


def _text(value: object, limit: int) -> str:
    """Printable text that can be stored and sent; anything else counts as absent."""
    if not isinstance(value, str) or len(value) > limit or sanitised_text(value) != value or not value.isprintable():
        return ""
    return value.strip()


def _url(value: object) -> str:
    text = _text(value, MAX_URL)
    try:
        return text if urlsplit(text).scheme in {"https", "http"} else ""
    except ValueError:
        return ""


def _expiry(value: object) -> datetime | None:
    """Seconds since 1970; zero means never (RFC 7591 §3.2.1), and so does what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    try:
        moment = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.year < LATEST_YEAR else None
