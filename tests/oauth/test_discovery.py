"""Discovery over the wire (RFC 8414, OpenID Connect Discovery, RFC 9728), from honest servers and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from integrations.oauth import discovery
from integrations.oauth.discovery import (
    Discovery,
    discover_resource,
    discover_server,
    issuer_of,
    resource_metadata_urls,
    server_metadata_urls,
)
from integrations.oauth.errors import DiscoveryFailed, MetadataRefused
from integrations.outbound.addresses import AllowedHosts
from integrations.outbound.client import DISCOVERY, OutboundSession
from tests.outbound.servers import dribbles, raw_server, says_nothing
from tests.servers.npm_oidc import npm_oidc_server, why_missing
from tests.servers.scripted import Answer, Received, ScriptedServer, scripted_server

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
PROTECTED = "/.well-known/oauth-protected-resource"


@pytest.fixture
def http(wire: ScriptedServer) -> Iterator[requests.Session]:
    """The door for discovery, opened for the scripted server."""
    with OutboundSession(DISCOVERY, allowed_hosts=AllowedHosts([wire.host])) as session:
        yield session


def document(wire: ScriptedServer, issuer: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "issuer": issuer or wire.url,
        "authorization_endpoint": f"{wire.url}/authorize",
        "token_endpoint": f"{wire.url}/token",
        **changes,
    }


def discover(http: requests.Session, wire: ScriptedServer, path: str = "") -> Discovery:
    return discover_server(http, f"{wire.url}{path}", allowed_hosts=[wire.host])


def refused(http: requests.Session, wire: ScriptedServer, path: str = "") -> DiscoveryFailed:
    with pytest.raises(DiscoveryFailed) as caught:
        discover(http, wire, path)
    return caught.value


def refused_by_raw(port: int) -> DiscoveryFailed:
    host = f"127.0.0.1:{port}"
    with (
        OutboundSession(DISCOVERY, allowed_hosts=AllowedHosts([host])) as http,
        pytest.raises(DiscoveryFailed) as caught,
    ):
        discover_server(http, f"http://{host}", allowed_hosts=[host])
    return caught.value


def paths(wire: ScriptedServer) -> list[str]:
    return [request.path for request in wire.requests]


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        ("https://a.example", [f"https://a.example{OAUTH}", f"https://a.example{OPENID}"]),
        ("https://a.example/", [f"https://a.example{OAUTH}", f"https://a.example{OPENID}"]),
        (
            "https://a.example/t/1",
            [f"https://a.example{OAUTH}/t/1", f"https://a.example/t/1{OPENID}", f"https://a.example{OPENID}/t/1"],
        ),
    ],
)
def test_the_addresses_of_rfc_8414_section_3_1_and_openid_connect(issuer: str, urls: list[str]) -> None:
    assert [url for _, url in server_metadata_urls(issuer)] == urls


def test_the_addresses_of_rfc_9728_section_3_1() -> None:
    assert resource_metadata_urls("https://a.example/mcp/") == (
        f"https://a.example{PROTECTED}/mcp",
        f"https://a.example{PROTECTED}",
    )
    assert resource_metadata_urls("https://a.example") == (f"https://a.example{PROTECTED}",)


@pytest.mark.parametrize(
    ("entered", "issuer"),
    [
        (" https://a.example ", "https://a.example"),
        (f"https://a.example{OPENID}", "https://a.example"),
        (f"https://a.example/t{OPENID}", "https://a.example/t"),
        (f"https://a.example{OAUTH}/t", "https://a.example/t"),
        (f"https://a.example{OPENID}x", f"https://a.example{OPENID}x"),
    ],
)
def test_a_pasted_well_known_address_stands_for_its_issuer(entered: str, issuer: str) -> None:
    assert issuer_of(entered) == issuer


@pytest.mark.parametrize("path", [f"{OAUTH}/t/1", f"/t/1{OPENID}", f"{OPENID}/t/1"])
def test_each_form_is_found_and_every_address_is_reported(
    path: str, http: requests.Session, wire: ScriptedServer
) -> None:
    wire.answer(path, json=document(wire, f"{wire.url}/t/1"))
    found = discover(http, wire, "/t/1")
    assert found.metadata.token_endpoint == f"{wire.url}/token"
    assert [attempt.url for attempt in found.tried] == [f"{wire.url}{asked}" for asked in paths(wire)]
    assert [attempt.ok for attempt in found.tried] == [False] * (len(found.tried) - 1) + [True]
    assert [attempt.status for attempt in found.tried] == [404] * (len(found.tried) - 1) + [200]
    assert found.tried[-1].code == "found"


def test_durations_are_told(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(OAUTH, json=document(wire))
    clock = iter([10.0, 10.25])
    found = discover_server(http, wire.url, allowed_hosts=[wire.host], monotonic=lambda: next(clock))
    assert [attempt.duration_ms for attempt in found.tried] == [250]


def test_nothing_but_a_plain_get_is_sent(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(OAUTH, json=document(wire))
    discover(http, wire)
    (request,) = wire.requests
    assert (request.method, request.query, request.body) == ("GET", "", b"")
    assert request.headers["accept"] == "application/json"
    assert not {"authorization", "cookie"} & set(request.headers)


def test_another_issuers_document_is_refused_and_the_next_address_is_asked(
    http: requests.Session, wire: ScriptedServer
) -> None:
    wire.answer(OAUTH, json=document(wire, "https://victim.example"))
    wire.answer(OPENID, json=document(wire, token_endpoint=f"{wire.url}/other"))
    assert discover(http, wire).metadata.token_endpoint == f"{wire.url}/other"
    wire.forget()
    wire.answer(OAUTH, json=document(wire, "https://victim.example"))
    error = refused(http, wire)
    assert isinstance(error, MetadataRefused)
    assert error.code == "metadata_issuer_mismatch"
    assert "https://victim.example" in error.description
    assert [attempt.code for attempt in error.tried] == ["metadata_issuer_mismatch", "metadata_not_found"]


@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (404, b"", {}, "metadata_not_found"),
        (200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"}, "metadata_not_json"),
        (200, b"", {}, "metadata_not_json"),
        (200, b"[]", {}, "metadata_not_json"),
        (200, b'"text"', {}, "metadata_not_json"),
        (200, b"{" * 100_000, {}, "metadata_not_json"),
        (200, b'{"issuer": ' + b"[" * 50_000, {}, "metadata_not_json"),
        (200, b"{}", {}, "metadata_no_issuer"),
        (204, b"", {}, "metadata_not_found"),
        (401, b"", {}, "metadata_not_found"),
        (302, b"", {"Location": "/elsewhere"}, "metadata_redirected"),
        (308, b"", {"Location": "http://169.254.169.254/latest"}, "metadata_redirected"),
        (429, b"", {"Retry-After": "7"}, "throttled"),
        (503, b"", {}, "outage"),
        (200, b'{"issuer": "' + b"x" * 2_000_000 + b'"}', {}, "metadata_too_large"),
    ],
)
def test_odd_answers_have_a_code_and_words(
    status: int,
    body: bytes,
    headers: dict[str, str],
    code: str,
    http: requests.Session,
    wire: ScriptedServer,
) -> None:
    for path in (OAUTH, OPENID):
        wire.answer(path, status=status, body=body, headers=headers)
    error = refused(http, wire)
    assert error.code == code
    assert paths(wire) == [OAUTH, OPENID]  # a redirect is not followed
    assert {attempt.code for attempt in error.tried} == {code}
    assert all(attempt.message and attempt.url for attempt in error.tried)


def test_an_array_without_an_end_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'{"scopes_supported": ["a"'
    with raw_server(dribbles(head, b',"a"' * 25_000, every=0)) as port:
        error = refused_by_raw(port)
    assert error.code == "metadata_too_large"


def test_a_whole_search_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "TOTAL_SECONDS", 0.3)
    with raw_server(says_nothing) as port:
        error = refused_by_raw(port)
    assert error.code == "timeout"
    (attempt,) = error.tried  # the same host is not asked a second time
    assert attempt.duration_ms < 5000  # the door alone would have waited for ten seconds


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "id.example.com",
        "ftp://id.example.com",
        "http://id.example.com",
        "https://10.0.0.1",
        "https://localhost",
        "https://[::ffff:127.0.0.1]",
        "https://id.example.com?tenant=1",
        "https://id.example.com#x",
        "https://user@id.example.com",
        "https://id.example.com\\@evil.example",
    ],
)
def test_what_cannot_be_an_issuer_is_not_asked(issuer: str, http: requests.Session) -> None:
    with pytest.raises(DiscoveryFailed) as caught:
        discover_server(http, issuer)
    assert caught.value.code == "issuer_refused"
    assert caught.value.description
    assert caught.value.tried == ()
    with pytest.raises(DiscoveryFailed):
        discover_resource(http, issuer)


def test_a_host_that_is_not_there_is_asked_once(http: requests.Session) -> None:
    with pytest.raises(DiscoveryFailed) as caught:
        discover_server(http, "https://nowhere.example/t")
    assert caught.value.code == "host_unresolvable"
    assert [attempt.status for attempt in caught.value.tried] == [None]


# --- from a protected resource ----------------------------------------------------------------------------


def resource_document(wire: ScriptedServer, *servers: str, path: str = "/mcp") -> dict[str, Any]:
    return {"resource": f"{wire.url}{path}", "authorization_servers": list(servers or [wire.url])}


def discover_mcp(http: requests.Session, wire: ScriptedServer) -> Discovery:
    return discover_resource(http, f"{wire.url}/mcp", allowed_hosts=[wire.host])


def challenge(url: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer error="invalid_token", resource_metadata="{url}", scope="x"'}


def test_the_challenge_of_a_resource_leads_to_its_server(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/mcp", status=401, headers=challenge(f"{wire.url}/described"))
    wire.answer("/described", json=resource_document(wire, f"{wire.url}/as"))
    wire.answer(f"{OAUTH}/as", json=document(wire, f"{wire.url}/as"))
    found = discover_mcp(http, wire)
    assert paths(wire) == ["/mcp", "/described", f"{OAUTH}/as"]
    assert found.metadata.issuer == f"{wire.url}/as"
    assert found.resource is not None
    assert found.resource.resource == f"{wire.url}/mcp"
    assert [attempt.code for attempt in found.tried] == ["names_metadata", "found", "found"]


@pytest.mark.parametrize("path", [f"{PROTECTED}/mcp", PROTECTED])
@pytest.mark.parametrize("status", [200, 401, 405, 500])
def test_without_a_challenge_the_well_known_addresses_are_asked(
    path: str, status: int, http: requests.Session, wire: ScriptedServer
) -> None:
    wire.answer("/mcp", status=status)
    wire.answer(path, json=resource_document(wire, path="/mcp" if path.endswith("mcp") else ""))
    wire.answer(OAUTH, json=document(wire))
    found = discover_mcp(http, wire)
    assert found.resource is not None
    assert found.tried[0].code == "names_none"
    assert not found.tried[0].ok


def test_how_the_resource_itself_answers_is_not_what_failed(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/mcp", body=b"x" * 2_000_000)
    with pytest.raises(DiscoveryFailed) as caught:
        discover_mcp(http, wire)
    assert caught.value.code == "metadata_not_found"
    assert caught.value.tried[0].code == "metadata_too_large"


def test_the_second_server_counts_when_the_first_is_away(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(PROTECTED, json=resource_document(wire, "https://nowhere.example", wire.url))
    wire.answer(OAUTH, json=document(wire))
    assert discover_mcp(http, wire).metadata.issuer == wire.url


def test_of_a_long_list_of_servers_three_are_asked(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(PROTECTED, json=resource_document(wire, *(f"https://as{n}.example" for n in range(150))))
    with pytest.raises(DiscoveryFailed) as caught:
        discover_mcp(http, wire)
    assert sum("as" in attempt.url.partition("//")[2][:2] for attempt in caught.value.tried) == 3


def test_a_resource_that_publishes_nothing_is_its_own_server(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(OAUTH, json=document(wire))
    found = discover_mcp(http, wire)
    assert (found.metadata.issuer, found.resource) == (wire.url, None)


def test_a_resource_that_speaks_for_another_is_refused(http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer(PROTECTED, json={**resource_document(wire), "resource": "https://victim.example"})
    wire.answer(OAUTH, json=document(wire))
    with pytest.raises(MetadataRefused) as caught:
        discover_mcp(http, wire)
    assert caught.value.code == "metadata_resource_mismatch"
    assert wire.to(OAUTH) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/described",
        "https://[::1]/described",
        "http://localhost:1/described",
        "file:///etc/passwd",
        "https://2130706433/",
    ],
)
def test_a_challenge_leads_to_no_private_address(url: str, http: requests.Session, wire: ScriptedServer) -> None:
    wire.answer("/mcp", status=401, headers=challenge(url))
    with pytest.raises(DiscoveryFailed) as caught:
        discover_mcp(http, wire)
    hop = caught.value.tried[1]
    assert (hop.url, hop.ok, hop.code, hop.status) == (url, False, "address_refused", None)


def test_a_named_server_on_a_private_address_is_not_asked(http: requests.Session, wire: ScriptedServer) -> None:
    with scripted_server() as inside:
        wire.answer(PROTECTED, json=resource_document(wire, inside.url, "https://10.0.0.1"))
        with pytest.raises(MetadataRefused) as caught:
            discover_mcp(http, wire)
        assert inside.requests == []
    assert caught.value.code == "metadata_no_authorization_server"


def test_a_resource_that_streams_without_an_end_does_not_stop_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(discovery, "TOTAL_SECONDS", 2.0)
    with scripted_server() as wire, raw_server(dribbles(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        stream = f"127.0.0.1:{port}"
        hosts = AllowedHosts([wire.host, stream])
        with OutboundSession(DISCOVERY, allowed_hosts=hosts) as http, pytest.raises(DiscoveryFailed) as caught:
            discover_resource(http, f"http://{stream}/sse", allowed_hosts=hosts)
    assert [attempt.code for attempt in caught.value.tried][:2] == ["timeout", "timeout"]
    assert caught.value.tried[1].url.endswith(f"{PROTECTED}/sse")
    assert caught.value.tried[0].duration_ms < 1500


# --- independent implementations --------------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))
def test_npm_oidc_provider_is_discovered() -> None:
    with (
        npm_oidc_server(registration=True) as server,
        OutboundSession(DISCOVERY, allowed_hosts=AllowedHosts([server.host])) as http,
    ):
        found = discover_server(http, server.issuer, allowed_hosts=[server.host])
    metadata = found.metadata
    assert metadata.issuer == server.issuer
    assert metadata.token_endpoint == server.endpoint("token")
    assert metadata.authorization_endpoint == server.endpoint("authorization")
    assert metadata.userinfo_endpoint == server.endpoint("userinfo")
    assert metadata.revocation_endpoint == server.endpoint("revocation")
    assert metadata.introspection_endpoint == server.endpoint("introspection")
    assert metadata.registration_endpoint == f"{server.issuer}/reg"
    assert "S256" in metadata.code_challenge_methods_supported
    assert {"openid", "notes:read"} <= set(metadata.scopes_supported)
    assert metadata.authorization_response_iss_parameter_supported
    assert metadata.foreign_endpoints == ()
    assert metadata.notes == ()


def test_a_document_is_json_whatever_its_media_type(http: requests.Session, wire: ScriptedServer) -> None:
    """Many servers say text/plain; the content decides."""

    def answer(_: Received) -> Answer:
        return Answer(200, json.dumps(document(wire)).encode(), {"Content-Type": "text/plain"})

    wire.respond(OAUTH, answer)
    assert discover(http, wire).metadata.issuer == wire.url
