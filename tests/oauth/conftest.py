"""An authorization server on the wire, and the door that leads to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from integrations.oauth.client import AuthorizationServer
from integrations.outbound.addresses import AllowedHosts
from integrations.outbound.client import TOKEN, OutboundSession
from tests.servers.scripted import ScriptedServer, scripted_server


@pytest.fixture(autouse=True)
def _names_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a real name server."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if not host.startswith("127."):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def wire() -> Iterator[ScriptedServer]:
    """A server that answers as told."""
    with scripted_server() as server:
        yield server


@pytest.fixture
def http(wire: ScriptedServer) -> Iterator[requests.Session]:
    """The door, opened for that server."""
    with OutboundSession(TOKEN, allowed_hosts=AllowedHosts([wire.host])) as session:
        yield session


@pytest.fixture
def server(wire: ScriptedServer) -> AuthorizationServer:
    """That server's definition."""
    return AuthorizationServer(
        authorization_endpoint=f"{wire.url}/authorize",
        token_endpoint=f"{wire.url}/token",
        revocation_endpoint=f"{wire.url}/revoke",
        introspection_endpoint=f"{wire.url}/introspect",
        userinfo_endpoint=f"{wire.url}/userinfo",
    )


def changed(server: AuthorizationServer, **fields: Any) -> AuthorizationServer:
    return replace(server, **fields)
