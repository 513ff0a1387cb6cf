"""npm `oidc-provider`, a certified authorization server, as a process on a port of its own."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "oidc_provider"
CODE_CLIENT = ("code-client", "code-client-secret-0123456789-abcdefghij")
SERVICE_CLIENT = ("service-client", "service:client%secret+0123456789/abcdef=&ghij")


@dataclass(frozen=True)
class OIDCServer:
    """Where it listens."""

    issuer: str

    @property
    def host(self) -> str:
        return self.issuer.removeprefix("http://")

    def endpoint(self, name: str) -> str:
        """The URL of one of its endpoints, by oidc-provider's default routes."""
        routes = {
            "authorization": "/auth",
            "token": "/token",
            "revocation": "/token/revocation",
            "introspection": "/token/introspection",
            "userinfo": "/me",
        }
        return self.issuer + routes[name]

    def token_requests(self) -> list[dict[str, Any]]:
        """What its token endpoint was asked so far; refresh tokens as digests."""
        with urllib.request.urlopen(f"{self.issuer}/test/token-requests", timeout=5) as answer:  # noqa: S310 (loopback)
            return list(json.load(answer))


def why_missing() -> str | None:
    """Why the server cannot run here, or None. Installs its packages once, from the lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node.js is not installed: the npm authorization server is not run"
    with open(Path(tempfile.gettempdir()) / "grantry-npm-ci.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test workers install once
        if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True)
            if done.returncode != 0:
                return "npm could not install the authorization server (is the registry reachable?)"
    return None


@contextmanager
def npm_oidc_server(**options: Any) -> Iterator[OIDCServer]:
    """A running server.

    Options: redirectUri, tokenSeconds, refuse, authMethod, jwks, jwksUri, registration, initialAccessToken, resource.
    """
    process = subprocess.Popen(
        ["node", "server.mjs", json.dumps(options)],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"The authorization server did not start (exit {process.wait(5)}).")
        yield OIDCServer(json.loads(line)["issuer"])
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
