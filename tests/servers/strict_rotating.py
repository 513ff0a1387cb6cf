"""An authorization server in a process of its own that forgives nothing: each refresh token may be spent once.

A second spend is written down, answered with `invalid_grant`, and ends the family, as RFC 9700 §4.14.2 recommends. It
holds any number of realms, each with its own token endpoint (`/REALM/token`), client, tokens, rules and log of calls.
Tests drive it through `StrictServer` and `Realm`; the process speaks plain HTTP for both sides.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote

import requests

CLIENT_ID = "strict-client"
CLIENT_SECRET = "strict-secret"
BEFORE, AFTER = "before", "after"
# A held call is told so often that there is something to wait for, so that only its whole deadline ends it.
ENCOURAGE_SECONDS = 3.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# --- what the process knows ------------------------------------------------------------------------------
@dataclass
class Rules:
    """How a realm answers. The defaults are an honest, quick server."""

    status: int = 0  # not 0: this instead of an answer, and no token is spent
    error: str = "temporarily_unavailable"
    retry_after: int | None = None  # seconds, with `status`
    retry_after_form: str = "seconds"  # or "date"
    secret: str = CLIENT_SECRET
    expires_in: int = 3600
    latency: float = 0.0  # seconds between spending and answering
    trickle: float = 0.0  # not 0: a byte of the answer each so many seconds
    drop: bool = False  # spend, issue, and close the connection without an answer
    hold: str = ""  # BEFORE or AFTER the token is spent, until `release`
    only: list[str] | None = None  # families that `hold`, `drop`, `trickle` and `latency` are for; None: all
    grace: float = 0.0  # so many seconds a spent token brings its successor again


@dataclass
class Call:
    """One request to the token endpoint; times are seconds of the epoch."""

    at: float
    family: str
    token: str
    outcome: str = "open"
    status: int = 0
    ended_at: float | None = None  # answered, or the client hung up
    hung_up: bool = False


@dataclass
class Issued:
    """A refresh token."""

    family: str
    spent_at: float | None = None
    successor: str = ""


@dataclass
class RealmState:
    """All of a realm."""

    rules: Rules = field(default_factory=Rules)
    calls: list[Call] = field(default_factory=list)
    tokens: dict[str, Issued] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)  # family → refresh token
    revoked: set[str] = field(default_factory=set)
    spent_twice: list[str] = field(default_factory=list)
    held: dict[int, tuple[str, asyncio.Event]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        return {
            "calls": [asdict(call) for call in self.calls],
            "newest": self.newest,
            "revoked": sorted(self.revoked),
            "spent_twice": self.spent_twice,
            "held": [family for family, _ in self.held.values()],
        }

    def register(self, families: Iterable[str]) -> dict[str, str]:
        return {family: self._issue(family) for family in families}

    def _issue(self, family: str) -> str:
        token = f"rt-{family}-{len(self.tokens) + 1}"
        self.tokens[token] = Issued(family)
        self.newest[family] = token
        return token

    def refuse_client(self, authorization: str, form: dict[str, str]) -> bool:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            client, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
        return (unquote(client), unquote(secret)) != (CLIENT_ID, self.rules.secret)

    def spend(self, call: Call) -> str | None:
        """The successor of the token, or None when it is no longer good for anything."""
        issued = self.tokens.get(call.token)
        if issued is None or issued.family in self.revoked:
            call.outcome = "refused"
            return None
        if issued.spent_at is None:
            issued.spent_at = time.time()
            issued.successor = self._issue(issued.family)
            call.outcome = "issued"
            return issued.successor
        if time.time() - issued.spent_at <= self.rules.grace:
            call.outcome = "reissued"
            return issued.successor
        self.spent_twice.append(call.token)
        self.revoked.add(issued.family)
        call.outcome = "spent_twice"
        return None


class Exchange(asyncio.Protocol):
    """One connection, kept alive; a request at a time."""

    def __init__(self, realms: dict[str, RealmState]) -> None:
        self.realms = realms
        self.buffer = b""
        self.call: Call | None = None
        self.gone = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self.gone.set()
        if self.call is not None and self.call.ended_at is None:
            self.call.ended_at, self.call.hung_up = time.time(), True

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        body, self.buffer = rest[:length], rest[length:]
        path = lines[0].split(" ")[1]
        self.task = asyncio.ensure_future(self._serve(path, headers, body))

    async def _serve(self, path: str, headers: dict[str, str], body: bytes) -> None:
        _, name, what = path.split("/", 2)
        realm = self.realms.setdefault(name, RealmState())
        if what == "token":
            await self._token(realm, headers.get("authorization", ""), body.decode())
        else:
            self._answer(200, _control(realm, what, json.loads(body or b"{}")))

    async def _token(self, realm: RealmState, authorization: str, body: str) -> None:
        form = {key: values[-1] for key, values in parse_qs(body).items()}
        token = form.get("refresh_token", "")
        family = realm.tokens[token].family if token in realm.tokens else ""
        call = self.call = Call(time.time(), family, token)
        realm.calls.append(call)
        rules = realm.rules
        concerned = rules.only is None or family in rules.only
        if rules.hold == BEFORE and concerned and not await self._held(realm, family):
            call.outcome = "abandoned"
            return
        rules = realm.rules  # a release may have changed them
        if rules.status:
            self._refuse(call, rules)
        elif realm.refuse_client(authorization, form):
            call.outcome = "invalid_client"
            self._answer(401, {"error": "invalid_client"})
        elif (successor := realm.spend(call)) is None:
            self._answer(400, {"error": "invalid_grant"})
        else:
            await self._hand_out(realm, rules if concerned else Rules(expires_in=rules.expires_in), family, successor)

    async def _hand_out(self, realm: RealmState, rules: Rules, family: str, successor: str) -> None:
        if rules.hold == AFTER and not await self._held(realm, family):
            return
        if rules.latency:
            await self._or_gone(asyncio.sleep(rules.latency))
        if rules.drop:
            self.transport.close()
            return
        answer = {
            "access_token": successor.replace("rt-", "at-", 1),
            "refresh_token": successor,
            "token_type": "Bearer",
            "expires_in": rules.expires_in,
        }
        if rules.trickle:
            await self._trickle(_http(200, answer), rules.trickle)
        else:
            self._answer(200, answer)

    async def _held(self, realm: RealmState, family: str) -> bool:
        """Wait for the release; False when the client is gone by then."""
        key, event = id(self), asyncio.Event()
        realm.held[key] = (family, event)
        try:
            while not (event.is_set() or self.gone.is_set()):
                await self._or_gone(event.wait(), ENCOURAGE_SECONDS)
                if not (event.is_set() or self.gone.is_set()):
                    self.transport.write(CONTINUE)
        finally:
            del realm.held[key]
        return not self.gone.is_set()

    async def _or_gone(self, wanted: Any, seconds: float | None = None) -> None:
        waits = [asyncio.ensure_future(wanted), asyncio.ensure_future(self.gone.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _trickle(self, message: bytes, seconds: float) -> None:
        for position in range(len(message)):
            if self.gone.is_set():
                return
            self.transport.write(message[position : position + 1])
            await self._or_gone(asyncio.sleep(seconds))

    def _refuse(self, call: Call, rules: Rules) -> None:
        call.outcome = str(rules.status)
        headers = ""
        if rules.retry_after is not None:
            dated = rules.retry_after_form == "date"
            value = formatdate(time.time() + rules.retry_after, usegmt=True) if dated else str(rules.retry_after)
            headers = f"Retry-After: {value}\r\n"
        self._answer(rules.status, {"error": rules.error}, headers)

    def _answer(self, status: int, content: Any, headers: str = "") -> None:
        if self.call is not None and self.call.ended_at is None:
            self.call.status, self.call.ended_at = status, time.time()
        self.transport.write(_http(status, content, headers))


def _http(status: int, content: Any, headers: str = "") -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status} .\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _control(realm: RealmState, what: str, wanted: dict[str, Any]) -> Any:
    if what == "register":
        return realm.register(wanted["families"])
    if what == "rules":
        realm.rules = Rules(**wanted)
    if what == "release":
        chosen = wanted["families"]
        for family, event in realm.held.values():
            if chosen is None or family in chosen:
                event.set()
    if what == "forget":
        realm.calls.clear()
    return realm.report() if what == "report" else {}


async def _run() -> None:
    realms: dict[str, RealmState] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(realms), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 (its parent reads it)
    ended = asyncio.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    await ended.wait()


# --- the tests' side -------------------------------------------------------------------------------------
@dataclass
class Report:
    """What a realm has seen."""

    calls: list[Call]
    newest: dict[str, str]
    revoked: list[str]
    spent_twice: list[str]
    held: list[str]

    @property
    def answered(self) -> list[Call]:
        """Calls that brought a token."""
        return [call for call in self.calls if call.outcome in ("issued", "reissued")]

    def by_family(self) -> dict[str, list[Call]]:
        """Calls of each family, in their order."""
        found: dict[str, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.family, []).append(call)
        return found


class Realm:
    """One token endpoint, seen from a test."""

    def __init__(self, server: StrictServer, name: str) -> None:
        self.server, self.name = server, name
        self.token_endpoint = f"{server.url}/{name}/token"

    def register(self, families: Iterable[str]) -> dict[str, str]:
        """Begin families; each one's first refresh token."""
        return dict(self._tell("register", families=list(families)))

    def rules(self, **rules: Any) -> None:
        """Answer by these from now on (`Rules`); what is not named is as at first."""
        self._tell("rules", **asdict(Rules(**rules)))

    def release(self, families: Iterable[str] | None = None) -> None:
        """Let held calls go on: those of these families, or all."""
        self._tell("release", families=None if families is None else list(families))

    def forget_calls(self) -> None:
        """Begin the log anew; what was spent twice stays."""
        self._tell("forget")

    def report(self) -> Report:
        """Everything so far."""
        told = self._tell("report")
        return Report(calls=[Call(**call) for call in told.pop("calls")], **told)

    def _tell(self, what: str, **content: Any) -> Any:
        answer = self.server.http.post(f"{self.server.url}/{self.name}/{what}", json=content, timeout=30)
        answer.raise_for_status()
        return answer.json()


class StrictServer:
    """The running process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self.http = requests.Session()

    def realm(self, name: str = "main") -> Realm:
        """A token endpoint of its own."""
        return Realm(self, name)


@contextmanager
def strict_server() -> Iterator[StrictServer]:
    """Start it; it ends with the block, or with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.strict_rotating"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    server = StrictServer(process, int(process.stdout.readline()))
    try:
        yield server
    finally:
        server.http.close()
        process.stdin.close()
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)


if __name__ == "__main__":
    asyncio.run(_run())
