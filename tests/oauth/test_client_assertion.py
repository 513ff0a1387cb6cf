"""private_key_jwt on the wire: what the assertion says, who can verify it, and that it is nowhere else (RFC 7523)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, import_key

from integrations.oauth import grants
from integrations.oauth.client import AuthorizationServer, ClientAuthMethod, OAuthClient, client_authentication
from integrations.oauth.client_assertion import (
    ASSERTION_TYPE,
    SigningAlgorithm,
    SigningKey,
    client_assertion,
    generate_signing_key,
    public_jwk,
    public_pem,
    sign_jwt,
)
from integrations.oauth.errors import ClientRefused, ConfigurationRefused
from tests.oauth.conftest import changed
from tests.servers.scripted import Answer, Received, ScriptedServer

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
KEYS = {algorithm: generate_signing_key(algorithm) for algorithm in SigningAlgorithm}
RSA = KEYS[SigningAlgorithm.RS256]
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # RFC 7518 §6.2.2, §6.3.2


def client(key: SigningKey | None = RSA) -> OAuthClient:
    return OAuthClient("client-1", "", ClientAuthMethod.PRIVATE_KEY_JWT, key)


def exchange(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> Any:
    return grants.exchange_code(
        http, server, who, code="code-1", redirect_uri="https://us.example/cb", code_verifier="v" * 43, now=NOW
    )


def refresh(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> Any:
    return grants.refresh_token(http, server, who, refresh_token="rt-1", now=NOW)


def fetch(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> Any:
    return grants.fetch_token(http, server, who, scopes=["a"], now=NOW)


def revoke(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> Any:
    return grants.revoke(http, server, who, token="rt-1", token_type_hint="refresh_token", now=NOW)


def introspect(http: requests.Session, server: AuthorizationServer, who: OAuthClient) -> Any:
    return grants.introspect(http, server, who, token="at-1", now=NOW)


CALLS = [exchange, refresh, fetch, revoke, introspect]
TOKEN_CALLS = CALLS[:3]


@pytest.fixture
def answering(wire: ScriptedServer) -> ScriptedServer:
    wire.answer("/token", json={"access_token": "at-1"})
    wire.answer("/revoke", json={})
    wire.answer("/introspect", json={"active": True})
    return wire


def claims_of(request: Received, key: SigningKey = RSA) -> dict[str, Any]:
    return jwt.decode(request.form["client_assertion"], import_key(public_jwk(key)), [key.algorithm.value]).claims


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
@pytest.mark.parametrize("call", CALLS)
def test_every_call_authenticates_by_an_assertion_and_nothing_else(
    call: Any, key: SigningKey, answering: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    call(http, server, client(key))
    (request,) = answering.requests
    assert request.form["client_assertion_type"] == ASSERTION_TYPE
    assert request.form["client_id"] == "client-1"
    assert "client_secret" not in request.form
    assert "authorization" not in request.headers
    claims = claims_of(request, key)
    # One server, one audience, whichever of its endpoints is called.
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client-1", "client-1", server.token_endpoint)


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
def test_an_assertion_names_its_key_and_lives_for_minutes(key: SigningKey) -> None:
    text = client_assertion(key, client_id="client-1", audience="https://id.example/token", now=NOW)
    found = jwt.decode(text, import_key(public_jwk(key)), [key.algorithm.value])
    assert found.header == {"alg": key.algorithm.value, "kid": key.kid, "typ": "JWT"}
    issued, expires = (datetime.fromtimestamp(found.claims[name], UTC) for name in ("iat", "exp"))
    assert issued == NOW
    assert timedelta(0) < expires - issued <= timedelta(minutes=5)
    assert set(found.claims) == {"iss", "sub", "aud", "jti", "iat", "exp"}


def test_no_two_requests_carry_the_same_assertion(
    answering: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    for _ in range(20):
        refresh(http, server, client())
    ids = [str(claims_of(request)["jti"]) for request in answering.requests]
    assert len(set(ids)) == 20
    assert all(len(one) >= 22 for one in ids)  # 128 bits in base64url


def test_another_key_does_not_verify_it() -> None:
    text = client_assertion(RSA, client_id="client-1", audience="https://id.example/token", now=NOW)
    with pytest.raises(JoseError):
        jwt.decode(text, import_key(public_jwk(generate_signing_key(SigningAlgorithm.RS256))), ["RS256"])


def test_the_audience_may_be_the_issuer(
    answering: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    refresh(http, changed(server, issuer="https://id.example", assertion_audience="issuer"), client())
    assert claims_of(answering.requests[0])["aud"] == "https://id.example"


def test_a_json_token_request_carries_it_too(
    answering: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    for call in TOKEN_CALLS:
        call(http, changed(server, token_request_format="json"), client())
    for request in answering.requests:
        assert request.json["client_assertion_type"] == ASSERTION_TYPE
        assert request.json["client_assertion"].count(".") == 2


MISMATCHED = SigningKey("k", SigningAlgorithm.ES256, RSA.private_key)


@pytest.mark.parametrize(
    ("key", "fields", "code"),
    [
        (None, {}, "missing_signing_key"),
        (RSA, {"assertion_audience": "issuer"}, "missing_audience"),
        (RSA, {"token_endpoint": ""}, "missing_endpoint"),
        (SigningKey("k", SigningAlgorithm.RS256, "no PEM at all"), {}, "unusable_signing_key"),
        (MISMATCHED, {}, "unusable_signing_key"),
    ],
)
@pytest.mark.parametrize("call", TOKEN_CALLS)
def test_what_cannot_be_signed_is_refused_before_anything_is_sent(
    call: Any,
    key: SigningKey | None,
    fields: dict[str, Any],
    code: str,
    wire: ScriptedServer,
    http: requests.Session,
    server: AuthorizationServer,
) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        call(http, changed(server, **fields), client(key))
    assert caught.value.code == code
    assert wire.requests == []


def test_revoking_says_so_instead_of_raising(http: requests.Session, server: AuthorizationServer) -> None:
    assert revoke(http, server, client(None)).code == "missing_signing_key"


@pytest.mark.parametrize("call", CALLS)
def test_an_assertion_that_the_provider_echoes_is_blanked_out(
    call: Any, wire: ScriptedServer, http: requests.Session, server: AuthorizationServer
) -> None:
    sent: list[str] = []

    def echo(asked: Received) -> Answer:
        sent.append(asked.form["client_assertion"])
        text = json.dumps({"error": "invalid_client", "error_description": f"bad: {sent[-1]}"})
        return Answer(401, text.encode(), {"Content-Type": "application/json"})

    for path in ("/token", "/revoke", "/introspect"):
        wire.respond(path, echo)
    try:
        shown = repr(call(http, server, client()))  # revoking never raises
    except ClientRefused as refused:
        shown = repr(refused) + str(refused) + refused.message + refused.description
        assert "bad: …" in shown
    (assertion,) = sent
    assert not any(part in shown for part in assertion.split("."))


def test_nothing_secret_is_in_a_repr(server: AuthorizationServer) -> None:
    authentication = client_authentication(server, client(), now=NOW)
    assertion = authentication.body["client_assertion"]
    shown = repr(authentication) + repr(client()) + repr(RSA)
    assert assertion not in shown
    assert "PRIVATE KEY" not in shown
    assert RSA.private_key[40:80] not in shown
    assert authentication.secrets == (assertion,)


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
def test_the_public_jwk_is_public(key: SigningKey) -> None:
    jwk = public_jwk(key)
    assert not PRIVATE_MEMBERS & set(jwk)
    assert (jwk["kid"], jwk["use"], jwk["alg"]) == (key.kid, "sig", key.algorithm.value)
    assert import_key(jwk).thumbprint() == key.kid  # RFC 7638
    assert "PUBLIC KEY" in public_pem(jwk)
    assert import_key(public_pem(jwk), jwk["kty"]).thumbprint() == key.kid  # type: ignore[arg-type]


def test_any_jwt_can_be_signed_but_its_algorithm_and_key_are_ours() -> None:
    key = KEYS[SigningAlgorithm.ES256]
    text = sign_jwt(key, {"scope": "a b"}, {"x5t": "abc", "alg": "none", "kid": "other"})
    found = jwt.decode(text, ECKey.import_key(public_jwk(key)), ["ES256"])
    assert found.header == {"x5t": "abc", "alg": "ES256", "kid": key.kid, "typ": "JWT"}
    assert found.claims == {"scope": "a b"}


@pytest.mark.parametrize("call", CALLS)
def test_debug_logging_prints_no_assertion(
    call: Any,
    answering: ScriptedServer,
    http: requests.Session,
    server: AuthorizationServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ["", *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name)
    call(http, server, client())
    assert answering.requests[0].form["client_assertion"].split(".")[1] not in caplog.text
