"""Metadata documents: what is taken from them, what is left out and why, and whose endpoints they name."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.oauth.errors import MetadataRefused
from integrations.oauth.metadata import (
    MAX_ITEMS,
    ServerMetadata,
    belongs_to,
    parse_resource_metadata,
    parse_server_metadata,
)

ISSUER = "https://id.example.com"
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://id.example.com/authorize",
    "token_endpoint": "https://id.example.com/token",
}


def read(**changes: Any) -> ServerMetadata:
    return parse_server_metadata({**DOCUMENT, **changes}, issuer=ISSUER)


def test_a_whole_document_is_read() -> None:
    metadata = read(
        revocation_endpoint="https://id.example.com/revoke",
        introspection_endpoint="https://id.example.com/introspect",
        userinfo_endpoint="https://id.example.com/me",
        registration_endpoint="https://id.example.com/register",
        jwks_uri="https://id.example.com/jwks",
        scopes_supported=["openid", "email", "openid"],
        response_types_supported=["code", "code id_token"],
        grant_types_supported=["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        token_endpoint_auth_methods_supported=["client_secret_post", "private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported=["ES256"],
        code_challenge_methods_supported=["S256"],
        authorization_response_iss_parameter_supported=True,
        something_else={"deep": [1, 2, 3]},
    )
    assert metadata == ServerMetadata(
        issuer=ISSUER,
        authorization_endpoint="https://id.example.com/authorize",
        token_endpoint="https://id.example.com/token",
        revocation_endpoint="https://id.example.com/revoke",
        introspection_endpoint="https://id.example.com/introspect",
        userinfo_endpoint="https://id.example.com/me",
        registration_endpoint="https://id.example.com/register",
        jwks_uri="https://id.example.com/jwks",
        scopes_supported=("openid", "email"),
        response_types_supported=("code", "code id_token"),
        grant_types_supported=("authorization_code", "urn:ietf:params:oauth:grant-type:device_code"),
        token_endpoint_auth_methods_supported=("client_secret_post", "private_key_jwt"),
        token_endpoint_auth_signing_alg_values_supported=("ES256",),
        code_challenge_methods_supported=("S256",),
        authorization_response_iss_parameter_supported=True,
        notes=(),
    )
    assert metadata.foreign_endpoints == ()


def test_absent_lists_mean_what_rfc_8414_section_2_says() -> None:
    metadata = read()
    assert metadata.grant_types_supported == ("authorization_code", "implicit")
    assert metadata.token_endpoint_auth_methods_supported == ("client_secret_basic",)
    assert metadata.code_challenge_methods_supported == ()
    assert not metadata.authorization_response_iss_parameter_supported


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ("https://evil.example.com", "metadata_issuer_mismatch"),
        ("https://id.example.com.evil.example", "metadata_issuer_mismatch"),
        ("https://ID.example.com", "metadata_issuer_mismatch"),  # compared by character, RFC 8414 §4
        ("http://id.example.com", "metadata_issuer_mismatch"),
        ("https://id.example.com/tenant", "metadata_issuer_mismatch"),
        ("https://id.example.com//", "metadata_issuer_mismatch"),
        ("https://id.example.com:443", "metadata_issuer_mismatch"),
        ("", "metadata_no_issuer"),
        (None, "metadata_no_issuer"),
        (["https://id.example.com"], "metadata_no_issuer"),
        (True, "metadata_no_issuer"),
    ],
)
def test_another_issuers_document_is_refused(stated: Any, code: str) -> None:
    with pytest.raises(MetadataRefused) as caught:
        read(issuer=stated)
    assert caught.value.code == code
    assert not code.endswith("mismatch") or str(stated) in caught.value.description


def test_an_issuer_that_no_column_holds_is_refused() -> None:
    issuer = f"{ISSUER}/{'x' * 500}"
    with pytest.raises(MetadataRefused) as caught:
        parse_server_metadata({**DOCUMENT, "issuer": issuer}, issuer=issuer)
    assert caught.value.code == "issuer_refused"


def test_the_document_decides_how_its_issuer_is_spelled() -> None:
    """Both spellings lead to one document (RFC 8414 §3.1), and `iss` will be compared with the document's."""
    assert read(issuer=f"{ISSUER}/").issuer == f"{ISSUER}/"
    assert parse_server_metadata(DOCUMENT, issuer=f"{ISSUER}/").issuer == ISSUER


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ("http://id.example.com/token", "https://"),
        ("https://10.0.0.1/token", "not on the public internet"),
        ("https://[::1]/token", "not on the public internet"),
        ("https://169.254.169.254/latest", "not on the public internet"),
        ("https://localhost/token", "this machine"),
        ("https://2130706433/token", "unusual spelling"),
        ("https://user:pass@id.example.com/token", "user name"),
        ("https://id.example.com/token#fragment", "fragment"),
        ("javascript:alert(1)", "https://"),
        ("//id.example.com/token", "https://"),
        ("https://id.example.com/\ntoken", "control characters"),
        ("https://{{client_id}}.example.com/token", "braces"),
        ("https://id.example.com/" + "x" * 3000, "longer than"),
        (17, "no text"),
        ([], "no text"),
        ({"url": "https://id.example.com/token"}, "no text"),
        (True, "no text"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_left_out_with_a_note(value: Any, note: str) -> None:
    metadata = read(revocation_endpoint=value)
    assert metadata.revocation_endpoint == ""
    assert len(metadata.notes) == 1
    assert "revocation_endpoint" in metadata.notes[0]
    assert note in metadata.notes[0]
    with pytest.raises(MetadataRefused) as caught:
        read(token_endpoint=value)
    assert caught.value.code == "metadata_no_token_endpoint"
    assert note in caught.value.description


def test_a_host_that_the_operator_opened_may_be_private() -> None:
    document = {**DOCUMENT, "token_endpoint": "http://10.0.0.1:8080/token"}
    metadata = parse_server_metadata(document, issuer=ISSUER, allowed_hosts=["10.0.0.1:8080"])
    assert metadata.token_endpoint == "http://10.0.0.1:8080/token"


@pytest.mark.parametrize(
    ("value", "kept", "noted"),
    [
        (["openid", 3, None, {}, [], "two words", 'quo"te', "x" * 501, "email"], ("openid", "email"), True),
        ([f"s{number}" for number in range(50_000)], tuple(f"s{number}" for number in range(MAX_ITEMS)), True),
        ([[[[[]]]]] * 5, (), True),
        ("openid email", (), True),
        ({"openid": True}, (), True),
        (None, (), False),
        ([], (), False),
    ],
)
def test_odd_lists_are_cut_to_what_is_fit(value: Any, kept: tuple[str, ...], noted: bool) -> None:
    metadata = read(scopes_supported=value)
    assert metadata.scopes_supported == kept
    assert [("scopes_supported" in note) for note in metadata.notes] == ([True] if noted else [])


@pytest.mark.parametrize("value", ["true", 1, "yes", None, []])
def test_only_true_is_a_promise(value: Any) -> None:
    assert not read(authorization_response_iss_parameter_supported=value).authorization_response_iss_parameter_supported


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://id.example.com/token", True),
        ("https://id.example.com:443/token", True),
        ("https://eu.id.example.com/token", True),
        ("https://a.b.id.example.com/token", True),
        ("https://ID.Example.com/token", True),
        ("https://example.com/token", False),  # a parent may be another's: github.io
        ("https://api.example.com/token", False),  # so may a sibling
        ("https://evilid.example.com/token", False),
        ("https://id.example.com.evil.example/token", False),
        ("https://id.example.com:8443/token", False),
        ("http://id.example.com/token", False),
        ("https://evil.example/id.example.com", False),
    ],
)
def test_an_endpoint_belongs_to_the_issuer_on_its_host_or_below(url: str, own: bool) -> None:
    assert belongs_to(url, "https://id.example.com/tenant") is own


def test_foreign_endpoints_are_named() -> None:
    metadata = read(token_endpoint="https://oauth.example.net/token", jwks_uri="https://keys.example.net/jwks")
    assert [(one.field, one.host) for one in metadata.foreign_endpoints] == [
        ("token_endpoint", "oauth.example.net"),
        ("jwks_uri", "keys.example.net"),
    ]


RESOURCE = "https://mcp.example.com/v1/mcp"


@pytest.mark.parametrize("stated", [RESOURCE, f"{RESOURCE}/", "https://mcp.example.com/v1", "https://mcp.example.com"])
def test_a_resource_or_what_is_above_it_speaks_for_it(stated: str) -> None:
    document = {"resource": stated, "authorization_servers": [ISSUER, 3], "scopes_supported": ["read"]}
    found = parse_resource_metadata(document, resource=RESOURCE)
    assert (found.resource, found.authorization_servers, found.scopes_supported) == (stated, (ISSUER,), ("read",))
    assert "authorization_servers" in found.notes[0]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"resource": "https://other.example.com"}, "metadata_resource_mismatch"),
        ({"resource": "https://mcp.example.com/v"}, "metadata_resource_mismatch"),
        ({"resource": "https://mcp.example.com/v1/mcp/inner"}, "metadata_resource_mismatch"),
        ({"resource": "http://mcp.example.com/v1/mcp"}, "metadata_resource_mismatch"),
        ({"resource": "https://mcp.example.com:8443"}, "metadata_resource_mismatch"),
        ({"resource": "https://[mcp.example.com"}, "metadata_resource_mismatch"),
        ({"resource": 5}, "metadata_resource_mismatch"),
        ({}, "metadata_resource_mismatch"),
        ({"resource": RESOURCE}, "metadata_no_authorization_server"),
        ({"resource": RESOURCE, "authorization_servers": []}, "metadata_no_authorization_server"),
        ({"resource": RESOURCE, "authorization_servers": ISSUER}, "metadata_no_authorization_server"),
        ({"resource": RESOURCE, "authorization_servers": ["http://10.0.0.1"]}, "metadata_no_authorization_server"),
        ({"resource": RESOURCE, "authorization_servers": [f"{ISSUER}?a=b"]}, "metadata_no_authorization_server"),
    ],
)
def test_a_document_that_speaks_for_another_resource_is_refused(document: dict[str, Any], code: str) -> None:
    with pytest.raises(MetadataRefused) as caught:
        parse_resource_metadata(document, resource=RESOURCE)
    assert caught.value.code == code
