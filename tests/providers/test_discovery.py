"""From an issuer or a resource to a definition that can be saved."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.oauth.metadata import ServerMetadata
from integrations.providers.definition import InvalidDefinition, read_definition
from integrations.providers.discovery import DiscoveryFailed, complete, definition_from, discover
from tests.servers.sandbox import SandboxServer, sandbox_server
from tests.servers.scripted import ScriptedServer

__all__ = ["sandbox_server"]

OAUTH = "/.well-known/oauth-authorization-server"
PROTECTED = "/.well-known/oauth-protected-resource"


def document(server: ScriptedServer, **changes: Any) -> dict[str, Any]:
    return {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        **changes,
    }


def metadata(**fields: Any) -> ServerMetadata:
    known = {
        "issuer": "https://id.example.com",
        "token_endpoint": "https://id.example.com/token",
        "authorization_endpoint": "https://id.example.com/authorize",
    }
    return ServerMetadata(**{**known, **fields})


def test_the_proposed_definition_can_be_saved_as_it_is() -> None:
    proposed = definition_from(
        metadata(
            revocation_endpoint="https://id.example.com/revoke",
            registration_endpoint="https://id.example.com/register",
            scopes_supported=("openid", "email"),
            grant_types_supported=("authorization_code", "client_credentials", "refresh_token"),
            code_challenge_methods_supported=("S256",),
        )
    )
    assert proposed == {
        "name": "id.example.com",
        "issuer": "https://id.example.com",
        "authorization_endpoint": "https://id.example.com/authorize",
        "token_endpoint": "https://id.example.com/token",
        "revocation_endpoint": "https://id.example.com/revoke",
        "grant_types": ["authorization_code", "client_credentials"],
        "suggested_scopes": [{"name": "openid"}, {"name": "email"}],
        "pkce": "S256",
        "token_endpoint_auth_method": "client_secret_basic",
    }
    spec = read_definition(proposed, provider_id="custom_x", allowed_hosts=[])
    assert spec.base_scopes("authorization_code") == ()
    assert [scope.name for scope in spec.suggested_scopes] == ["openid", "email"]


@pytest.mark.parametrize(
    ("supported", "chosen"),
    [
        (("client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (("none", "client_secret_post"), "client_secret_post"),
        (("none",), "none"),
        (("none", "private_key_jwt"), "private_key_jwt"),
        (("tls_client_auth",), "client_secret_basic"),
        ((), "client_secret_basic"),
    ],
)
def test_the_best_client_authentication_is_proposed(supported: tuple[str, ...], chosen: str) -> None:
    assert definition_from(metadata(token_endpoint_auth_methods_supported=supported))["token_endpoint_auth_method"] == (
        chosen
    )


@pytest.mark.parametrize(
    ("fields", "grant_types"),
    [
        ({"grant_types_supported": ("implicit", "password")}, ["authorization_code"]),
        ({"grant_types_supported": ("client_credentials",)}, ["client_credentials"]),
        ({"authorization_endpoint": ""}, ["client_credentials"]),
        (
            # RFC 6749 §4.4: a public client cannot use it
            {
                "grant_types_supported": ("authorization_code", "client_credentials"),
                "token_endpoint_auth_methods_supported": ("none",),
            },
            ["authorization_code"],
        ),
    ],
)
def test_only_grant_types_that_can_work_are_proposed(fields: dict[str, Any], grant_types: list[str]) -> None:
    assert definition_from(metadata(**fields))["grant_types"] == grant_types


@pytest.mark.parametrize(("methods", "pkce"), [((), "S256"), (("plain", "S256"), "S256"), (("plain",), "off")])
def test_pkce_is_off_only_where_s256_would_be_refused(methods: tuple[str, ...], pkce: str) -> None:
    assert definition_from(metadata(code_challenge_methods_supported=methods))["pkce"] == pkce


def test_doubts_are_told(provider_server: ScriptedServer) -> None:
    provider_server.answer(
        OAUTH,
        json=document(
            provider_server,
            token_endpoint_auth_methods_supported=["tls_client_auth"],
            code_challenge_methods_supported=["plain"],
            revocation_endpoint=5,
        ),
    )
    notes = " ".join(discover(provider_server.url).notes)
    for word in ("revocation_endpoint", "tls_client_auth", "PKCE is off"):
        assert word in notes


def test_one_field_takes_an_issuer_or_a_resource(provider_server: ScriptedServer) -> None:
    resource = f"{provider_server.url}/mcp"
    provider_server.answer(
        f"{PROTECTED}/mcp",
        json={
            "resource": resource,
            "authorization_servers": [f"{provider_server.url}/as"],
            "scopes_supported": ["mcp:use"],
        },
    )
    provider_server.answer(
        f"{OAUTH}/as",
        json=document(provider_server, issuer=f"{provider_server.url}/as", scopes_supported=["everything"]),
    )
    found = discover(f" {resource} ")
    assert found.resource == resource
    assert found.definition["suggested_scopes"] == [{"name": "mcp:use"}]
    assert found.definition["authorization_params"] == found.definition["token_params"] == {"resource": resource}
    asked = [attempt.url.removeprefix(provider_server.url) for attempt in found.tried]
    assert asked[0] == f"{OAUTH}/mcp"
    assert asked[-2:] == [f"{PROTECTED}/mcp", f"{OAUTH}/as"]
    assert found.duration_ms >= sum(attempt.duration_ms for attempt in found.tried)


def test_what_is_neither_says_all_that_was_tried(provider_server: ScriptedServer) -> None:
    with pytest.raises(DiscoveryFailed) as caught:
        discover(f"{provider_server.url}/nothing")
    assert caught.value.code == "metadata_not_found"
    assert len(caught.value.tried) == len(provider_server.requests) == 8


def test_a_refused_document_is_more_telling_than_nothing(provider_server: ScriptedServer) -> None:
    provider_server.answer(OAUTH, json=document(provider_server, issuer="https://victim.example"))
    with pytest.raises(DiscoveryFailed) as caught:
        discover(provider_server.url)
    assert caught.value.code == "metadata_issuer_mismatch"


def test_what_a_definition_states_stays(provider_server: ScriptedServer) -> None:
    provider_server.answer(OAUTH, json=document(provider_server, revocation_endpoint=f"{provider_server.url}/revoke"))
    whole = complete(
        {
            "issuer": f"{provider_server.url}{OAUTH}",
            "name": "Own",
            "token_endpoint": "",
            "revocation_endpoint": "",
            "userinfo_endpoint": None,
            "pkce": "off",
        }
    )
    assert whole["issuer"] == provider_server.url
    assert (whole["name"], whole["pkce"]) == ("Own", "off")
    assert whole["token_endpoint"] == f"{provider_server.url}/token"
    assert whole["revocation_endpoint"] == ""


def test_foreign_endpoints_wait_for_a_confirmation(provider_server: ScriptedServer) -> None:
    foreign = {
        "token_endpoint": "https://oauth.example.net/token",
        "userinfo_endpoint": "https://api.example.net/me",
        "jwks_uri": "https://keys.example.net/jwks",
    }
    provider_server.answer(OAUTH, json=document(provider_server, **foreign))
    issuer = {"issuer": provider_server.url}
    with pytest.raises(InvalidDefinition) as caught:
        complete(issuer)
    assert set(caught.value.errors) == {"token_endpoint", "userinfo_endpoint"}
    assert "oauth.example.net" in caught.value.errors["token_endpoint"][0]
    with pytest.raises(InvalidDefinition) as caught:
        complete({**issuer, "userinfo_endpoint": "https://api.example.net/other"})
    assert set(caught.value.errors) == {"token_endpoint"}
    assert complete(issuer, confirm_foreign=True)["token_endpoint"] == foreign["token_endpoint"]


@pytest.mark.processes
def test_the_sandbox_is_discovered(sandbox_server: SandboxServer, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = [sandbox_server.host_port]
    found = discover(sandbox_server.base_url)
    assert found.definition == {
        "name": "localhost",
        "issuer": sandbox_server.base_url,
        "authorization_endpoint": sandbox_server.authorization_endpoint,
        "token_endpoint": sandbox_server.token_endpoint,
        "revocation_endpoint": sandbox_server.revocation_endpoint,
        "introspection_endpoint": sandbox_server.introspection_endpoint,
        "grant_types": ["authorization_code", "client_credentials"],
        "suggested_scopes": [{"name": "notes:read"}, {"name": "notes:write"}, {"name": "profile"}],
        "pkce": "S256",
        "token_endpoint_auth_method": "client_secret_basic",
    }
    assert (found.foreign, found.notes) == ((), ())
    read_definition(found.definition, provider_id="custom_x", allowed_hosts=[sandbox_server.host_port])
