"""The sandbox authorization server as a live server: its own process, folder and database.

Use the `sandbox_server` fixture (one for the whole run), or `running_sandbox(…)` for one with other settings.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from config.supervisor.ports import pick_free

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
REDIRECT_URI = "http://localhost:8000/oauth/callback"


@dataclass
class SandboxServer:
    """A running sandbox: addresses, both clients, and what a browser would do there."""

    base_url: str
    client_id: str
    client_secret: str
    service_client_id: str
    service_client_secret: str
    redirect_uri: str = REDIRECT_URI
    email: str = "alex@sandbox.example"
    password: str = "sandbox"
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def authorization_endpoint(self) -> str:
        """Where a person consents."""
        return f"{self.base_url}/o/authorize/"

    @property
    def token_endpoint(self) -> str:
        """Where codes and refresh tokens are exchanged."""
        return f"{self.base_url}/o/token/"

    @property
    def revocation_endpoint(self) -> str:
        """RFC 7009."""
        return f"{self.base_url}/o/revoke_token/"

    @property
    def introspection_endpoint(self) -> str:
        """RFC 7662; takes either client's credentials."""
        return f"{self.base_url}/o/introspect/"

    @property
    def host_port(self) -> str:
        """For OUTBOUND_ALLOWED_HOSTS."""
        return urlsplit(self.base_url).netloc

    def authorization_url(self, verifier: str, *, scope: str = "profile notes:read", state: str = "s") -> str:
        """An authorization request with PKCE S256 (RFC 7636 §4.2)."""
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": scope,
            "state": state,
            "code_challenge": digest,
            "code_challenge_method": "S256",
        }
        return f"{self.authorization_endpoint}?{urlencode(query)}"

    def decide(self, authorization_url: str, *, allow: bool = True, email: str = "") -> dict[str, str]:
        """Sign in and answer the consent page as a browser would; returns the parameters sent to the client."""
        return dict(parse_qsl(urlsplit(self.send_back(authorization_url, allow=allow, email=email)).query))

    def send_back(self, authorization_url: str, *, allow: bool = True, email: str = "") -> str:
        """The same; returns the whole address that the browser is sent back to."""
        with requests.Session() as browser:
            page = browser.get(authorization_url, timeout=10)
            if "/login/" in page.url:
                page = self._submit(
                    browser, page, username=email or self.email, password=self.password, next=_next_of(page.text)
                )
            decision = {"allow": "true"} if allow else {}
            page = self._submit(browser, page, follow=False, **_hidden_fields(page.text), **decision)
        assert page.status_code == 302, page.text
        return page.headers["Location"]

    def _submit(
        self, browser: requests.Session, page: requests.Response, *, follow: bool = True, **fields: str
    ) -> requests.Response:
        fields["csrfmiddlewaretoken"] = _hidden_fields(page.text)["csrfmiddlewaretoken"]
        return browser.post(page.url, data=fields, allow_redirects=follow, timeout=10)

    def exchange(self, code: str, verifier: str) -> requests.Response:
        """Exchange a code as the authorization-code client."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        return self.post_as_client(self.token_endpoint, form)

    def refresh(self, refresh_token: str) -> requests.Response:
        """Spend a refresh token."""
        return self.post_as_client(self.token_endpoint, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def post_as_client(self, url: str, form: dict[str, str], *, service: bool = False) -> requests.Response:
        """POST a form with the client's credentials in the Authorization header (client_secret_basic)."""
        service_client = (self.service_client_id, self.service_client_secret)
        return requests.post(
            url, data=form, auth=service_client if service else (self.client_id, self.client_secret), timeout=10
        )

    def new_tokens(self, *, scope: str = "profile notes:read") -> dict[str, Any]:
        """The token answer of a whole consent."""
        verifier = secrets.token_urlsafe(48)
        answer = self.decide(self.authorization_url(verifier, scope=scope))
        response = self.exchange(answer["code"], verifier)
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    def is_active(self, token: str) -> bool:
        """What introspection says of a token."""
        response = self.post_as_client(self.introspection_endpoint, {"token": token})
        assert response.status_code == 200, response.text
        return bool(response.json()["active"])


def _hidden_fields(html: str) -> dict[str, str]:
    from html import unescape

    form = html.partition('id="consent"')[2] or html
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name:
            found.setdefault(unescape(name[1]), unescape(value[1]) if value else "")
    return found


def _next_of(html: str) -> str:
    return _hidden_fields(html)["next"]


@contextmanager
def running_sandbox(*, redirect_uri: str = REDIRECT_URI, token_seconds: int = 120) -> Iterator[SandboxServer]:
    """Start a sandbox and stop it at the end.

    Besides `redirect_uri` it takes the same path on any port of localhost and 127.0.0.1 (live servers of tests).
    """
    with tempfile.TemporaryDirectory(prefix="grantry-sandbox-") as folder:
        port = pick_free()
        server = SandboxServer(
            base_url=f"http://localhost:{port}",
            client_id="sandbox-client",
            client_secret=secrets.token_urlsafe(24),
            service_client_id="sandbox-service",
            service_client_secret=secrets.token_urlsafe(24),
            redirect_uri=redirect_uri,
        )
        server.environment = {
            "PATH": os.environ.get("PATH", ""),
            "VAR_DIR": folder,
            "SANDBOX_BASE_URL": server.base_url,
            "SANDBOX_SECRET_KEY": secrets.token_urlsafe(48),
            "SANDBOX_CLIENT_ID": server.client_id,
            "SANDBOX_CLIENT_SECRET": server.client_secret,
            "SANDBOX_SERVICE_CLIENT_ID": server.service_client_id,
            "SANDBOX_SERVICE_CLIENT_SECRET": server.service_client_secret,
            "SANDBOX_REDIRECT_URIS": f"{redirect_uri},http://127.0.0.1/oauth/callback",
            "SANDBOX_ANY_LOCALHOST_PORT": "1",
            "SANDBOX_TOKEN_SECONDS": str(token_seconds),
        }
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "config.sandbox", "--port", str(port)],
                cwd=ROOT,
                env=server.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_it_answers(server, process, Path(folder) / "log")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(server: SandboxServer, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{server.base_url}/healthz", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise RuntimeError(f"The sandbox did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxServer]:
    """One sandbox for the run (per xdist worker); tests keep apart by their own consents and tokens."""
    with running_sandbox() as server:
        yield server
