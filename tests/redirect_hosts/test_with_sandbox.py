"""The whole way with a real client, on two host names of a real server, to an authorization server that compares."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from integrations.connections.connect_links import create_connect_link
from integrations.models import Connection, Integration
from tests.factories import make_integration
from tests.flows.visitor import hidden, link_by_id
from tests.redirect_hosts.conftest import OPERATOR
from tests.servers.sandbox import SandboxServer, sandbox_server
from workspaces.models import Workspace
from workspaces.workspaces import change_redirect_host

__all__ = ["sandbox_server"]  # a fixture

TIMEOUT_SECONDS = 20


@pytest.fixture
def public(live_server: Any, sandbox_server: SandboxServer, settings: Any) -> str:
    """PUBLIC_BASE_URL: http://localhost:PORT. The same server is at http://127.0.0.1:PORT, another host to cookies."""
    settings.SANDBOX_BASE_URL = sandbox_server.base_url
    settings.OUTBOUND_ALLOWED_HOSTS = [sandbox_server.host_port]
    settings.PUBLIC_BASE_URL = f"http://localhost:{urlsplit(live_server.url).port}"
    return str(settings.PUBLIC_BASE_URL)


@pytest.fixture
def own(public: str, workspace: Workspace) -> str:
    """Acme's redirect host."""
    own = public.replace("localhost", "127.0.0.1")
    change_redirect_host(workspace, own, actor=OPERATOR)
    workspace.refresh_from_db()
    return own


@pytest.fixture
def delegated(workspace: Workspace, own: str, sandbox_server: SandboxServer) -> Integration:
    client = {"client_id": sandbox_server.client_id, "client_secret": sandbox_server.client_secret}
    return make_integration(workspace, "sandbox", **client)


def begin(browser: requests.Session, link: str, sandbox: SandboxServer) -> str:
    """Open the link and post its form; returns the authorization URL."""
    page = browser.get(link, timeout=TIMEOUT_SECONDS)
    assert page.status_code == 200, page.text[:500]
    form = {"csrfmiddlewaretoken": hidden(page.text, "csrfmiddlewaretoken")}
    page = browser.post(link, data=form, timeout=TIMEOUT_SECONDS)
    assert page.status_code == 200, page.text[:500]
    url = link_by_id(page.text, "continue")
    assert url.startswith(f"{sandbox.authorization_endpoint}?")
    return url


def test_a_link_on_the_own_host_connects(
    public: str, own: str, delegated: Integration, sandbox_server: SandboxServer
) -> None:
    link, _ = create_connect_link(delegated, actor=OPERATOR)
    assert link.startswith(f"{own}/connect/")
    with requests.Session() as browser:
        location = sandbox_server.send_back(begin(browser, link, sandbox_server))
        assert location.startswith(f"{own}/oauth/callback?code=")
        forwarded = browser.get(location, allow_redirects=False, timeout=TIMEOUT_SECONDS)
        assert forwarded.status_code == 308
        assert forwarded.headers["Location"] == public + location.removeprefix(own)
        page = browser.get(location, timeout=TIMEOUT_SECONDS)
    assert page.url.startswith(f"{public}/oauth/callback/result/")
    assert "is connected" in page.text
    connection = Connection.objects.get()
    assert connection.account["label"] == sandbox_server.email
    # The sandbox compares the redirect_uri of the exchange with the one of the consent: this token proves them equal.
    assert sandbox_server.is_active(connection.token.open().access_token)


def test_the_consent_of_a_link_that_a_stranger_began_connects_nobody(
    own: str, delegated: Integration, sandbox_server: SandboxServer
) -> None:
    link, _ = create_connect_link(delegated, actor=OPERATOR)
    with requests.Session() as attacker, requests.Session() as victim:
        location = sandbox_server.send_back(begin(attacker, link, sandbox_server))
        page = victim.get(location, timeout=TIMEOUT_SECONDS)
    assert location.startswith(f"{own}/oauth/callback?code=")
    assert "Nothing was connected" in page.text
    assert not Connection.objects.exists()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("query", [b"code=a%2fb%20c+d&state=1&state=1&=&x", b"code=\xff\xc3\xa9|<>^`{}\"'\\"])
def test_the_bytes_on_the_wire_are_forwarded_as_they_came(public: str, query: bytes) -> None:
    address = ("127.0.0.1", urlsplit(public).port or 0)
    with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as wire:
        host = f"{address[0]}:{address[1]}".encode()
        wire.sendall(b"GET /oauth/callback?" + query + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        answer = wire.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nLocation: " + public.encode() + b"/oauth/callback?" + query + b"\r\n" in answer
