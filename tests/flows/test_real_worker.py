"""The product as a person starts it, and a certified server: beat and worker renew a token that nobody reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.flows.conftest import provider_definition
from tests.flows.visitor import connect_by_link
from tests.servers.npm_oidc import CODE_CLIENT, OIDCServer, npm_oidc_server
from tests.servers.product import Product, free_port_pair, running_product
from tests.servers.program import Program

pytestmark = [pytest.mark.node, pytest.mark.processes]

INTEGRATION = "/integrations/custom_certified/authorization_code"
TOKEN_SECONDS = 22  # renewed after about 17, at the next beat
SCOPES = ("integrations:read", "integrations:write", "connections:read", "connections:write", "tokens:read")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Product, OIDCServer]]:
    """Both, each knowing the other's address."""
    port = free_port_pair()
    callback = f"http://localhost:{port}/oauth/callback"
    with (
        npm_oidc_server(redirectUri=callback, tokenSeconds=TOKEN_SECONDS) as server,
        running_product("--no-sandbox", port=port, OUTBOUND_ALLOWED_HOSTS=server.host) as product,
    ):
        yield product, server


def test_a_token_that_nobody_reads_is_renewed_again_and_again(running: tuple[Product, OIDCServer]) -> None:
    """A provider and its client by API, consent through a connect link, then nothing but waiting; then Disconnect."""
    product, server = running
    program = Program(product.url, make_key(product))
    program.call("POST", "/providers", provider_definition(server))
    program.call("PUT", INTEGRATION, {"client_id": CODE_CLIENT[0], "client_secret": CODE_CLIENT[1]})
    link = program.call("POST", f"{INTEGRATION}/connect-links", {})["url"]
    with requests.Session() as browser:
        page = connect_by_link(browser, link, callback=f"{product.url}/oauth/callback")
        assert page.status_code == 200, page.text
        assert "is connected" in page.text
        assert page.url.startswith(f"{product.url}/oauth/callback/result/")
        assert "code=" not in page.url
        assert browser.get(link, timeout=20).status_code == 410, "a link works once"
    connection = program.call("GET", f"{INTEGRATION}/connections")["items"][0]

    renewed = wait_for_renewals(server, 2, seconds=90)

    assert [asked["status"] for asked in renewed] == [200] * len(renewed)
    spent = [asked["refresh_token"] for asked in renewed]
    assert len(set(spent)) == len(spent), "a refresh token was spent twice"
    after = program.call("GET", f"/connections/{connection['id']}")
    assert after["status"] == "connected"
    assert after["last_refreshed_at"] is not None
    token = program.call("GET", f"/connections/{connection['id']}/token")["access_token"]
    assert introspect(server, token)["active"]
    gone = program.call("POST", f"/connections/{connection['id']}/disconnect")
    assert gone["revocation"] == "revoked"
    assert introspect(server, token) == {"active": False}


def make_key(product: Product) -> str:
    """An operator's key for the demo workspace."""
    scopes = [argument for scope in SCOPES for argument in ("--scope", scope)]
    made = json.loads(product.manage("create_api_key", "demo", "--name", "flows", *scopes))
    return str(made["key"])


def wait_for_renewals(server: OIDCServer, count: int, *, seconds: float) -> list[dict[str, Any]]:
    """What the server was asked once it has renewed so often. Real time is what is tested here."""
    end = time.monotonic() + seconds
    while True:
        renewed = [asked for asked in server.token_requests() if asked["grant_type"] == "refresh_token"]
        if len(renewed) >= count:
            return renewed
        assert time.monotonic() < end, f"{len(renewed)} renewals in {seconds} s"
        time.sleep(0.5)


def introspect(server: OIDCServer, token: str) -> dict[str, Any]:
    answer = requests.post(server.endpoint("introspection"), data={"token": token}, auth=CODE_CLIENT, timeout=10)
    return dict(answer.json())
