"""Dynamic client registration (RFC 7591): what is sent, what is read, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from integrations.oauth.client import ClientAuthMethod
from integrations.oauth.errors import (
    ConfigurationRefused,
    OAuthError,
    Outage,
    Redirected,
    RegistrationRefused,
    Throttled,
    TransientFailure,
)
from integrations.oauth.registration import ClientMetadata, RegisteredClient, register_client
from integrations.outbound.addresses import AllowedHosts
from integrations.outbound.client import DISCOVERY, OutboundSession
from tests.servers.npm_oidc import npm_oidc_server, why_missing
from tests.servers.scripted import ScriptedServer

REDIRECT_URI = "https://grantry.example/oauth/callback"
WANTED = ClientMetadata(
    client_name="Grantry",
    token_endpoint_auth_method="client_secret_basic",
    grant_types=("authorization_code", "refresh_token"),
    redirect_uris=(REDIRECT_URI,),
    response_types=("code",),
    scope=("openid", "email"),
)
CLIENT: dict[str, Any] = {
    "client_id": "c-1",
    "client_secret": "the-client-secret",
    "client_secret_expires_at": 0,
    "token_endpoint_auth_method": "client_secret_basic",
    "redirect_uris": [REDIRECT_URI],
}


def register(http: requests.Session, wire: ScriptedServer, **kwargs: Any) -> RegisteredClient:
    return register_client(http, f"{wire.url}/register", WANTED, **kwargs)


def answered(http: requests.Session, wire: ScriptedServer, **changes: Any) -> RegisteredClient:
    wire.answer("/register", status=201, json={**CLIENT, **changes})
    return register(http, wire)


def test_the_request_is_that_of_section_3_1(http: requests.Session, wire: ScriptedServer) -> None:
    answered(http, wire)
    (request,) = wire.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.json == {
        "client_name": "Grantry",
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [REDIRECT_URI],
        "response_types": ["code"],
        "scope": "openid email",
    }


def test_a_service_account_asks_for_no_response_type(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/register", status=201, json=CLIENT)
    wanted = ClientMetadata("Grantry", "private_key_jwt", ("client_credentials",), jwks_uri="https://g.example/jwks")
    register_client(http, f"{wire.url}/register", wanted)
    assert wire.requests[0].json == {
        "client_name": "Grantry",
        "token_endpoint_auth_method": "private_key_jwt",
        "grant_types": ["client_credentials"],
        "response_types": [],
        "jwks_uri": "https://g.example/jwks",
    }


def test_an_initial_access_token_is_sent_as_a_bearer_token(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/register", status=201, json=CLIENT)
    register(http, wire, initial_access_token="iat-1")
    assert wire.requests[0].headers["authorization"] == "Bearer iat-1"


def test_a_whole_answer_is_read_and_shows_no_secret(http: requests.Session, wire: ScriptedServer) -> None:
    client = answered(
        http,
        wire,
        token_endpoint_auth_method="client_secret_post",
        client_secret_expires_at=1893456000,
        registration_access_token="the-registration-token",
        registration_client_uri="https://id.example.com/register/c-1",
    )
    assert client == RegisteredClient(
        client_id="c-1",
        token_endpoint_auth_method=ClientAuthMethod.CLIENT_SECRET_POST,
        client_secret="the-client-secret",
        client_secret_expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        registration_access_token="the-registration-token",
        registration_client_uri="https://id.example.com/register/c-1",
    )
    assert "the-" not in repr(client)


@pytest.mark.parametrize("value", [0, -1, None, "soon", True, float("nan"), 10**30, [], "1893456000"])
def test_a_secret_without_a_proper_end_does_not_end(value: Any, http: requests.Session, wire: ScriptedServer) -> None:
    assert answered(http, wire, client_secret_expires_at=value).client_secret_expires_at is None


def test_a_public_client_needs_no_secret(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/register", status=200, json={"client_id": "c-1", "token_endpoint_auth_method": "none"})
    client = register(http, wire)
    assert (client.client_secret, client.token_endpoint_auth_method) == ("", ClientAuthMethod.NONE)


def test_an_absent_method_means_as_asked(http: requests.Session, wire: ScriptedServer) -> None:
    assert answered(http, wire, token_endpoint_auth_method=None).token_endpoint_auth_method == "client_secret_basic"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": ""}, "registration_malformed"),
        ({"client_id": None}, "registration_malformed"),
        ({"client_id": 17}, "registration_malformed"),
        ({"client_id": "x" * 513}, "registration_malformed"),
        ({"client_id": "a\x00b"}, "registration_malformed"),
        ({"error": ["x"], "client_id": "c"}, "registration_malformed"),  # a code that is no text
        ({"client_secret": ""}, "registration_without_secret"),
        ({"client_secret": "a\r\nb"}, "registration_without_secret"),
        ({"client_secret": "x" * 5000}, "registration_without_secret"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "registration_unknown_auth_method"),
        ({"token_endpoint_auth_method": ["none"]}, "registration_unknown_auth_method"),
        # It was told no keys.
        ({"token_endpoint_auth_method": "private_key_jwt"}, "registration_unknown_auth_method"),
        ({"redirect_uris": ["https://evil.example/"]}, "registration_other_redirect_uri"),
        ({"redirect_uris": []}, "registration_other_redirect_uri"),
    ],
)
def test_a_client_that_could_not_work_is_refused(
    changes: dict[str, Any], code: str, http: requests.Session, wire: ScriptedServer
) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        answered(http, wire, **changes)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (400, b'{"error": "invalid_redirect_uri"}', RegistrationRefused, "invalid_redirect_uri"),
        (400, b'{"error": "invalid_client_metadata"}', RegistrationRefused, "invalid_client_metadata"),
        (400, b'{"error": "invalid_software_statement"}', RegistrationRefused, "invalid_software_statement"),
        (400, b'{"error": "unapproved_software_statement"}', RegistrationRefused, "unapproved_software_statement"),
        (201, b'{"error": "invalid_redirect_uri"}', RegistrationRefused, "invalid_redirect_uri"),
        (400, b'{"error": "temporarily_unavailable"}', TransientFailure, "temporarily_unavailable"),
        (400, b"", RegistrationRefused, "registration_malformed"),
        (401, b'{"error": "invalid_token"}', RegistrationRefused, "registration_token_required"),
        (401, b"", RegistrationRefused, "registration_token_required"),
        (403, b"<html>", RegistrationRefused, "registration_token_required"),
        (404, b"", RegistrationRefused, "registration_not_offered"),
        (201, b"<html>", RegistrationRefused, "registration_malformed"),
        (200, b"[]", RegistrationRefused, "registration_malformed"),
        (307, b"", Redirected, "redirected"),
        (429, b"", Throttled, "throttled"),
        (500, b"", Outage, "outage"),
    ],
)
def test_refusals_have_their_class_and_words(
    status: int,
    body: bytes,
    expected: type[OAuthError],
    code: str,
    http: requests.Session,
    wire: ScriptedServer,
) -> None:
    wire.answer("/register", status=status, body=body, headers={"Location": f"{wire.url}/other"})
    with pytest.raises(expected) as caught:
        register(http, wire)
    assert caught.value.code == code
    assert len(wire.requests) == 1


def test_an_echoed_initial_access_token_is_blanked(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/register", status=401, json={"error": "invalid_token", "error_description": "iat-secret is unknown"})
    with pytest.raises(RegistrationRefused) as caught:
        register(http, wire, initial_access_token="iat-secret")
    assert caught.value.description == "… is unknown"


def test_a_private_registration_endpoint_gets_nothing(http: requests.Session) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        register_client(http, "https://10.0.0.1/register", WANTED)
    assert caught.value.code == "address_refused"


def test_without_an_endpoint_registration_is_not_offered(http: requests.Session) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        register_client(http, "", WANTED)
    assert caught.value.code == "registration_not_offered"


@pytest.mark.node
@pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))
def test_npm_oidc_provider_registers_a_client_and_says_what_it_does_not_accept() -> None:
    with (
        npm_oidc_server(registration=True, initialAccessToken="initial-token-1") as server,
        OutboundSession(DISCOVERY, allowed_hosts=AllowedHosts([server.host])) as http,
    ):
        endpoint = f"{server.issuer}/reg"
        client = register_client(http, endpoint, WANTED, initial_access_token="initial-token-1")
        with pytest.raises(RegistrationRefused) as without_token:
            register_client(http, endpoint, WANTED)
        bad = ClientMetadata("x", "client_secret_basic", ("authorization_code",), ("no uri",), ("code",))
        with pytest.raises(RegistrationRefused) as bad_uri:
            register_client(http, endpoint, bad, initial_access_token="initial-token-1")
    assert client.client_id
    assert client.client_secret
    assert client.client_secret_expires_at is None
    assert client.registration_access_token
    assert client.registration_client_uri.startswith(endpoint)
    assert without_token.value.code == "registration_token_required"
    assert bad_uri.value.code == "invalid_redirect_uri"
