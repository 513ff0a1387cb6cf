"""Introspection (RFC 7662) and userinfo."""

from __future__ import annotations

import pytest
import requests

from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import (
    AccessTokenRefused,
    ClientRefused,
    ConfigurationRefused,
    MalformedAnswer,
    OAuthError,
    Outage,
    Redirected,
    Throttled,
)
from integrations.oauth.introspection import introspect, userinfo
from tests.oauth.conftest import changed
from tests.servers.scripted import ScriptedServer

CLIENT = OAuthClient("id", "secret-1")


@pytest.mark.parametrize("active", [True, False])
def test_introspection_tells_whether_a_token_is_active(
    active: bool, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/introspect", json={"active": active, "sub": "u1"})
    found = introspect(http, server, CLIENT, token="at-1")
    assert (found.active, found.claims) == (active, {"sub": "u1"})
    assert wire.requests[0].form == {"token": "at-1", "token_type_hint": "access_token"}
    assert wire.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"active": "yes"}', MalformedAnswer),
        (200, b"{}", MalformedAnswer),
        (200, b"<html>", MalformedAnswer),
        (401, b'{"error": "invalid_client"}', ClientRefused),
        (404, b"", MalformedAnswer),
        (302, b"", Redirected),
        (429, b"", Throttled),
        (500, b'{"active": true}', Outage),
    ],
)
def test_odd_introspection_answers(
    status: int,
    body: bytes,
    expected: type[OAuthError],
    wire: ScriptedServer,
    http: requests.Session,
    server: AuthorizationServer,
) -> None:
    wire.answer("/introspect", status=status, body=body)
    with pytest.raises(expected):
        introspect(http, server, CLIENT, token="at-1")


def test_userinfo_sends_the_token_as_a_header_only(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/userinfo", json={"sub": "u1", "name": "Ann\x00"})
    found = userinfo(http, changed(server, userinfo_headers={"Notion-Version": "2022-06-28"}), "at-1")
    assert found == {"sub": "u1", "name": "Ann"}
    (request,) = wire.requests
    assert (request.method, request.query, request.body) == ("GET", "", b"")
    assert request.headers["authorization"] == "Bearer at-1"
    assert request.headers["notion-version"] == "2022-06-28"


@pytest.mark.parametrize(
    ("status", "challenge", "body", "expected", "code"),
    [
        (401, 'Bearer realm="x", error="invalid_token"', b"", AccessTokenRefused, "invalid_token"),
        (401, "", b"<html>", AccessTokenRefused, "invalid_token"),
        (401, "", b'{"error": "whatever"}', AccessTokenRefused, "invalid_token"),
        (403, 'Bearer error="insufficient_scope"', b"", AccessTokenRefused, "insufficient_scope"),
        (403, "", b"", MalformedAnswer, "http_403"),
        (404, "", b"", MalformedAnswer, "wrong_endpoint"),
        (200, "", b"eyJhbGciOi", MalformedAnswer, "not_json"),  # a signed answer
        (200, "", b"[]", MalformedAnswer, "not_json"),
        (307, "", b"", Redirected, "redirected"),
        (503, "", b"", Outage, "outage"),
    ],
)
def test_odd_userinfo_answers(
    status: int,
    challenge: str,
    body: bytes,
    expected: type[OAuthError],
    code: str,
    wire: ScriptedServer,
    http: requests.Session,
    server: AuthorizationServer,
) -> None:
    wire.answer("/userinfo", status=status, body=body, headers={"WWW-Authenticate": challenge} if challenge else {})
    with pytest.raises(expected) as caught:
        userinfo(http, server, "at-1")
    assert caught.value.code == code


def test_missing_endpoints_are_named(http: requests.Session) -> None:
    bare = AuthorizationServer("https://as.example/t")
    with pytest.raises(ConfigurationRefused):
        userinfo(http, bare, "at-1")
    with pytest.raises(ConfigurationRefused):
        introspect(http, bare, CLIENT, token="at-1")
