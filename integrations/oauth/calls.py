"""Requests that no RFC describes, for providers that deviate: same session, same reading of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import requests

from integrations.oauth.client import no_authorization
from integrations.oauth.session import CodeClient, ProtocolSession
from integrations.oauth.token_response import (
    header,
    parse_fields,
    parse_retry_after_header,
    refuse_by_code,
    refuse_by_status,
    unusable_answer,
)

if TYPE_CHECKING:
    from requests import PreparedRequest


@dataclass(frozen=True)
class BearerAuth:
    """A token in the Authorization header (RFC 6750 §2.1); an auth object for requests."""

    token: str = field(repr=False)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the header on a request."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def call(
    http: requests.Session,
    method: Literal["GET", "POST", "DELETE"],
    url: str,
    *,
    auth: Any = no_authorization,
    json: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Send one request and return what its answer says; an empty answer says {}.

    Raises OAuthError for a refusal: by status, by an error code at any status, by `ok: false`. Call it within
    `refusing_as_oauth_errors`, which knows the secrets that an answer might echo.
    """
    session = ProtocolSession(http, CodeClient(""), json_body=json is not None)
    answer = session.request(
        method,
        url,
        data=dict(json) if json is not None else (dict(form) if form is not None else None),
        headers={"Accept": "application/json", **(headers or {})},
        auth=auth,
    )
    retry_after = parse_retry_after_header(answer.headers)
    refuse_by_status(answer.status_code, retry_after)
    fields = parse_fields(answer.content)
    if fields is not None:
        refuse_by_code(fields, answer.status_code, retry_after, grant_type="")
    if not 200 <= answer.status_code < 300:
        raise unusable_answer(answer.status_code, header(answer.headers, "content-type") or "", answer.content, fields)
    return fields or {}
