"""RFC 7009: what each answer to a revocation means."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.revocation import revoke
from tests.oauth.conftest import changed
from tests.servers.scripted import ScriptedServer

CLIENT = OAuthClient("id", "secret-1")


@pytest.mark.parametrize(
    ("status", "body", "result", "code"),
    [
        (200, b"", "revoked", "revoked"),
        (200, b"<html>", "revoked", "revoked"),  # the body has no meaning
        (204, b"", "revoked", "revoked"),
        (200, b'{"ok": true, "revoked": true}', "revoked", "revoked"),  # Slack
        (200, b'{"ok": false, "error": "token_revoked"}', "revoked", "token_revoked"),
        (200, b'{"ok": false, "error": "not_authed"}', "failed", "not_authed"),
        (400, b'{"error": "invalid_token"}', "revoked", "invalid_token"),  # Google: already gone
        (400, b'{"error": "unsupported_token_type"}', "unsupported", "unsupported_token_type"),
        (401, b'{"error": "invalid_client"}', "failed", "invalid_client"),
        (404, b"", "failed", "wrong_endpoint"),
        (302, b"", "failed", "redirected"),
        (429, b"", "failed", "throttled"),
        (503, b"", "failed", "outage"),
        (400, b"no", "failed", "http_400"),
    ],
)
def test_answers(
    status: int,
    body: bytes,
    result: str,
    code: str,
    wire: ScriptedServer,
    http: requests.Session,
    server: AuthorizationServer,
) -> None:
    wire.answer("/revoke", status=status, body=body)
    found = revoke(http, server, CLIENT, token="rt-secret", token_type_hint="refresh_token")
    assert (found.result, found.code) == (result, code)
    assert found.message.endswith(".")
    assert "rt-secret" not in repr(found)


@pytest.mark.parametrize("auth_method", ["client_secret_basic", "client_secret_post", "none"])
def test_the_client_authenticates_as_at_the_token_endpoint(
    auth_method: Any, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/revoke")
    client = OAuthClient("id", "" if auth_method == "none" else "secret-1", auth_method)
    revoke(http, server, client, token="rt-1", token_type_hint="refresh_token")
    (request,) = wire.requests
    expected = {"token": "rt-1", "token_type_hint": "refresh_token"}
    if auth_method != "client_secret_basic":
        expected["client_id"] = "id"
    if auth_method == "client_secret_post":
        expected["client_secret"] = "secret-1"
    assert request.form == expected
    assert ("authorization" in request.headers) == (auth_method == "client_secret_basic")


def test_a_provider_without_the_endpoint_cannot_revoke(http: requests.Session, server: AuthorizationServer) -> None:
    found = revoke(http, changed(server, revocation_endpoint=""), CLIENT, token="t", token_type_hint="access_token")
    assert found.result == "unsupported"


def test_an_unreachable_provider_is_a_failure_and_no_exception(
    http: requests.Session, server: AuthorizationServer
) -> None:
    found = revoke(
        http,
        changed(server, revocation_endpoint="https://no-such-host.invalid/"),
        CLIENT,
        token="t",
        token_type_hint="access_token",
    )
    assert (found.result, found.code) == ("failed", "host_unresolvable")
