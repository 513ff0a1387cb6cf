"""The grants on the wire: what is sent, where the secret is, and what comes of each answer."""

from __future__ import annotations

import logging
import socket
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

import pytest
import requests

from integrations.oauth import grants
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import (
    ConfigurationRefused,
    DeadGrant,
    MalformedAnswer,
    NoAnswer,
    OAuthError,
    Redirected,
)
from integrations.outbound.addresses import AllowedHosts
from integrations.outbound.client import TOKEN, OutboundSession
from tests.oauth.conftest import changed
from tests.servers.scripted import Received, ScriptedServer

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
ID, SECRET = "id:with colon", "s3cr3t %+&=ü"
METHODS = ["client_secret_basic", "client_secret_post", "none"]


def client(auth_method: Any = "client_secret_basic") -> OAuthClient:
    return OAuthClient(ID, "" if auth_method == "none" else SECRET, auth_method)


def exchange(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> grants.TokenResponse:
    return grants.exchange_code(
        http, server, who, code="code-1", redirect_uri="https://us.example/cb", code_verifier="v" * 43, now=NOW
    )


def refresh(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> grants.TokenResponse:
    return grants.refresh_token(http, server, who, refresh_token="rt-1", now=NOW)


def fetch(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> grants.TokenResponse:
    return grants.fetch_token(http, server, who, scopes=["a", "b"], now=NOW)


CALLS = [exchange, refresh, fetch]


def assert_authenticated(request: Received, auth_method: str) -> None:
    authorization = request.headers.get("authorization")
    if auth_method == "client_secret_basic":
        assert authorization is not None
        name, _, value = authorization.partition(" ")
        user, _, password = b64decode(value).decode().partition(":")
        # Each part is form-encoded first, RFC 6749 §2.3.1: the colon in the id would end it otherwise.
        assert (name, unquote_plus(user), unquote_plus(password)) == ("Basic", ID, SECRET)
        assert not {"client_id", "client_secret"} & request.form.keys()
        return
    assert authorization is None
    assert request.form["client_id"] == ID
    assert request.form.get("client_secret") == (SECRET if auth_method == "client_secret_post" else None)


@pytest.mark.parametrize("auth_method", METHODS)
@pytest.mark.parametrize("call", CALLS)
def test_each_call_authenticates_the_client_in_one_way_only(
    call: Any, auth_method: str, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    call(http, server, client(auth_method))
    (request,) = wire.to("/token")
    assert_authenticated(request, auth_method)
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert "cookie" not in request.headers


def test_basic_may_be_sent_raw_to_providers_that_do_not_decode(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    refresh(http, changed(server, basic_auth_encoding="raw"), OAuthClient("id", "a%2B+b"))
    assert b64decode(wire.requests[0].headers["authorization"].partition(" ")[2]) == b"id:a%2B+b"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("auth_method", METHODS[:2])
def test_a_missing_secret_is_refused_before_anything_is_sent(
    call: Any, auth_method: Any, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        call(http, server, OAuthClient("id", "", auth_method))
    assert caught.value.code == "missing_client_secret"
    assert wire.requests == []


def test_the_exchange_sends_code_redirect_uri_and_verifier(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1", "refresh_token": "rt-1", "expires_in": 60, "scope": "other"})
    found = exchange(http, changed(server, token_params={"audience": "x y"}), client())
    assert wire.requests[0].form == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": "https://us.example/cb",
        "code_verifier": "v" * 43,
        "audience": "x y",
    }
    # Another scope than requested makes requests-oauthlib raise and drop the token.
    assert (found.access_token, found.refresh_token, found.scope) == ("at-1", "rt-1", ("other",))
    assert found.expires_at == NOW + timedelta(seconds=60)


def test_no_verifier_is_sent_where_pkce_is_off(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    exchange(http, changed(server, pkce="off"), client())
    assert "code_verifier" not in wire.requests[0].form


def test_client_credentials_send_scopes_with_the_providers_separator(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    fetch(http, changed(server, scope_separator=","), client())
    assert wire.requests[0].form == {"grant_type": "client_credentials", "scope": "a,b"}


def test_a_refresh_sends_no_scope_and_keeps_the_old_refresh_token(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-2", "refresh_token": ""})
    wire.answer("/token", json={"access_token": "at-3", "refresh_token": "rt-2", "scope": "fewer"})
    assert refresh(http, server, client()).refresh_token == "rt-1"
    rotated = refresh(http, server, client())
    assert (rotated.refresh_token, rotated.scope) == ("rt-2", ("fewer",))
    assert [request.form for request in wire.requests] == [{"grant_type": "refresh_token", "refresh_token": "rt-1"}] * 2


def test_a_refresh_may_ask_for_scopes(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-2"})
    grants.refresh_token(http, server, client(), refresh_token="rt-1", now=NOW, scopes=["a", "b"])
    assert wire.requests[0].form["scope"] == "a b"


def test_token_requests_can_be_json(wire: ScriptedServer, http: requests.Session, server: AuthorizationServer) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    json_server = changed(server, token_request_format="json")
    exchange(http, json_server, client())
    refresh(http, json_server, client())
    first, second = wire.requests
    assert first.headers["content-type"] == second.headers["content-type"] == "application/json"
    assert first.json["grant_type"] == "authorization_code"
    assert second.json == {"grant_type": "refresh_token", "refresh_token": "rt-1"}
    assert first.headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("name", ["client_secret", "grant_type", "refresh_token", "code", "redirect_uri"])
def test_extra_parameters_cannot_replace_those_of_oauth(
    name: str, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        refresh(http, changed(server, token_params={name: "x"}), client())
    assert caught.value.code == "reserved_parameter"
    assert wire.requests == []


def test_the_token_endpoints_own_query_is_kept(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", json={"access_token": "at-1"})
    refresh(http, changed(server, token_endpoint=f"{wire.url}/token?tenant=a%20b"), client())
    assert wire.requests[0].query == "tenant=a%20b"


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_redirect_is_never_followed_with_credentials(
    call: Any, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", status=307, headers={"Location": f"{wire.url}/elsewhere"})
    with pytest.raises(Redirected):
        call(http, server, client())
    assert wire.to("/elsewhere") == []


def test_a_redirect_to_nonsense_is_a_redirect(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", status=302, headers={"Location": "http://[::1"})
    with pytest.raises(Redirected):
        refresh(http, server, client())


def test_secrets_that_the_provider_echoes_are_blanked_out(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    text = f"Token rt-secret-1 of {SECRET} is stale"
    wire.answer("/token", status=400, json={"error": "invalid_grant", "error_description": text})
    with pytest.raises(DeadGrant) as caught:
        grants.refresh_token(http, server, client(), refresh_token="rt-secret-1", now=NOW)
    assert caught.value.description == "Token … of … is stale"
    assert "rt-secret-1" not in repr(caught.value) + str(caught.value) + caught.value.message


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("endpoint", "expected", "code"),
    [
        ("", ConfigurationRefused, "missing_endpoint"),
        ("http://token.example/t", ConfigurationRefused, "address_refused"),
        ("https://10.0.0.1/t", ConfigurationRefused, "address_refused"),
        ("https://[::1", ConfigurationRefused, "invalid_endpoint"),
        ("https://", ConfigurationRefused, "invalid_endpoint"),
        ("token.example/t", ConfigurationRefused, "invalid_endpoint"),
        ("ftp://token.example/t", ConfigurationRefused, "address_refused"),
        ("https://user:pw@token.example/t", ConfigurationRefused, "address_refused"),
        ("https://no-such-host.invalid/t", NoAnswer, "host_unresolvable"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_bad_endpoint_says_what_is_wrong(
    call: Any, endpoint: str, expected: type[OAuthError], code: str, http: requests.Session, server: AuthorizationServer
) -> None:
    with pytest.raises(expected) as caught:
        call(http, changed(server, token_endpoint=endpoint), client())
    assert caught.value.code == code
    assert caught.value.happened
    assert caught.value.next_step


def test_a_closed_port_is_unreachable(http: requests.Session, server: AuthorizationServer) -> None:
    host = f"127.0.0.1:{closed_port()}"
    with OutboundSession(TOKEN, allowed_hosts=AllowedHosts([host])) as door, pytest.raises(NoAnswer) as caught:
        refresh(door, changed(server, token_endpoint=f"http://{host}/t"), client())
    assert caught.value.code == "unreachable"


def test_a_web_page_at_the_token_endpoint_is_named(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", body="<html>Sign in</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(MalformedAnswer) as caught:
        exchange(http, server, client())
    assert caught.value.code == "html_answer"


def test_an_answer_beyond_the_cap_is_transient(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    wire.answer("/token", body=b"x" * 1_100_000)
    with pytest.raises(NoAnswer) as caught:
        refresh(http, server, client())
    assert caught.value.code == "too_large"


def test_debug_logging_prints_no_secret(
    wire: ScriptedServer, http: requests.Session, server: AuthorizationServer, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer("/token", json={"access_token": "at-canary", "refresh_token": "rt-canary"})
    who = OAuthClient("id", "secret-canary")
    talkative = ["", *logging.root.manager.loggerDict]
    for name in talkative:
        caplog.set_level(logging.DEBUG, logger=name)
    grants.exchange_code(
        http,
        server,
        who,
        code="code-canary",
        redirect_uri="https://us.example/cb",
        code_verifier="canary" * 8,
        now=NOW,
    )
    grants.refresh_token(http, server, who, refresh_token="old-canary", now=NOW)
    assert "canary" not in caplog.text


def test_reprs_show_no_secret() -> None:
    assert SECRET not in repr(client())


# --- the authorization URL -------------------------------------------------------------------------------------------


def url(server: AuthorizationServer, **changes: Any) -> str:
    values: dict[str, Any] = {
        "redirect_uri": "https://us.example/oauth/callback",
        "scopes": ["read all", "w+x"],
        "state": "st-1",
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        **changes,
    }
    return grants.authorization_url(server, ID, **values)


def test_the_authorization_url_carries_each_parameter_once_and_keeps_the_endpoints_own_query() -> None:
    server = AuthorizationServer(
        token_endpoint="",
        authorization_endpoint="https://as.example/authorize?tenant=a%26b&empty=",
        authorization_params={"prompt": "consent now", "access_type": "offline"},
    )
    parts = urlsplit(url(server))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "as.example", "/authorize")
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == {
        "tenant": "a&b",
        "empty": "",
        "prompt": "consent now",
        "access_type": "offline",
        "response_type": "code",
        "client_id": ID,
        "redirect_uri": "https://us.example/oauth/callback",
        "scope": "read all w+x",
        "state": "st-1",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636 appendix B
        "code_challenge_method": "S256",
    }
    assert all(len(values) == 1 for values in parse_qs(parts.query).values())
    assert "+" not in parts.query
    assert "%20" in parts.query


@pytest.mark.parametrize("changes", [{"code_verifier": None}, {"pkce": "off"}])
def test_without_pkce_there_is_no_challenge(changes: dict[str, Any]) -> None:
    server = AuthorizationServer("", "https://as.example/a", pkce=changes.pop("pkce", "S256"))
    assert "code_challenge" not in url(server, **changes)


def test_without_scopes_there_is_no_scope_parameter() -> None:
    assert "scope" not in url(AuthorizationServer("", "https://as.example/a"), scopes=[])


def test_scopes_go_by_the_providers_separator_and_parameter() -> None:
    server = AuthorizationServer("", "https://as.example/a", scope_separator=",", scope_parameter="user_scope")
    query = dict(parse_qsl(urlsplit(url(server, scopes=["a", "b"])).query))
    assert query["user_scope"] == "a,b"
    assert "scope" not in query


@pytest.mark.parametrize(
    "server",
    [
        AuthorizationServer("", "https://as.example/a?state=mine"),
        AuthorizationServer("", "https://as.example/a", authorization_params={"redirect_uri": "https://evil.example"}),
        AuthorizationServer("", "https://as.example/a", authorization_params={"code_challenge_method": "plain"}),
    ],
)
def test_parameters_of_oauth_itself_are_reserved(server: AuthorizationServer) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        url(server)
    assert caught.value.code == "reserved_parameter"


@pytest.mark.parametrize(("endpoint", "code"), [("", "missing_endpoint"), ("https://[::1", "invalid_endpoint")])
def test_a_bad_authorization_endpoint_is_refused(endpoint: str, code: str) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        url(AuthorizationServer("", endpoint))
    assert caught.value.code == code


def test_states_and_verifiers_are_long_and_never_alike() -> None:
    made = {grants.new_state() for _ in range(50)} | {grants.new_code_verifier() for _ in range(50)}
    assert len(made) == 100
    assert all(43 <= len(value) <= 128 for value in made)  # RFC 7636 §4.1
