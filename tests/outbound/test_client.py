"""The door against real servers that behave badly."""

from __future__ import annotations

import gzip
import logging
import logging.config
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.outbound.addresses import AllowedHosts
from integrations.outbound.client import TOKEN, OutboundSession, Profile, new_tls_context, session
from integrations.outbound.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectionBroken,
    DeadlineExceeded,
    HostUnresolvable,
    OutboundError,
    ResponseTooLarge,
    TLSFailed,
)
from integrations.outbound.quiet import silence_talkative_loggers
from tests.outbound.servers import Script, dribbles, make_certificate, raw_server, read_request, says_nothing, sends
from tests.servers.scripted import Answer as Scripted
from tests.servers.scripted import Received, ScriptedServer, scripted_server

SHORT = Profile("short", connect_seconds=0.3, read_seconds=0.4, total_seconds=0.6)
PUBLIC = "93.184.215.14"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def door(*hosts: str, profile: Profile = TOKEN, **kwargs: Any) -> OutboundSession:
    return OutboundSession(profile, allowed_hosts=AllowedHosts(hosts), **kwargs)


def resolving(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[list[str]]]) -> list[str]:
    """Make names resolve to these addresses, one list per lookup, the last one repeated; literals stay."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        queue = answers[host]
        found = queue.pop(0) if len(queue) > 1 else queue[0]
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def rerouting(monkeypatch: pytest.MonkeyPatch, routes: dict[str, int]) -> list[str]:
    """Lead connections to public addresses to local ports; returns the addresses that were connected to."""
    real = socket.socket.connect
    connected: list[str] = []

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address[0])
        if address[0] not in routes:
            raise OSError(113, "No route to host")
        real(self, ("127.0.0.1", routes[address[0]]))

    monkeypatch.setattr(socket.socket, "connect", connect)
    return connected


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://localhost/",
        "http://as.example/",
        "ftp://as.example/",
        "nonsense",
    ],
)
def test_a_refused_url_opens_no_socket(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = rerouting(monkeypatch, {})
    with door() as http, pytest.raises(AddressRefused):
        http.get(url)
    assert connected == []


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["10.0.0.7"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.7"],
        ["64:ff9b::a00:7"],
        ["::5db8:d70e"],  # IPv4-compatible
        ["fd00::7"],
        [PUBLIC, "10.0.0.7"],  # one bad address refuses them all
        ["fe80::1%eth0"],
    ],
)
def test_a_name_that_leads_inside_is_refused(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"as.example": [found]})
    connected = rerouting(monkeypatch, {})
    with door() as http, pytest.raises(AddressRefused) as caught:
        http.get("https://as.example/t?secret=canary")
    assert "not on the public internet" in caught.value.message
    assert "canary" not in str(caught.value)
    assert connected == []


def test_a_name_without_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"none.example": [[]]})
    with door() as http, pytest.raises(HostUnresolvable, match=r"none\.example"):
        http.get("https://none.example/")


def test_the_checked_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that changes its address between check and connection gains nothing by it."""
    cert_file, context = make_certificate(tmp_path, "as.example")
    asked = resolving(monkeypatch, {"as.example": [[PUBLIC], ["127.0.0.1"]]})
    seen: list[bytes] = []

    def script(connection: socket.socket, stop: threading.Event) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))

    with raw_server(script, tls=context) as port, door(tls=new_tls_context(str(cert_file))) as http:
        connected = rerouting(monkeypatch, {PUBLIC: port})
        assert http.get("https://as.example/t").text == "ok"
        assert http.get("https://as.example/t").text == "ok"  # a new connection, to the same checked address
    assert connected == [PUBLIC, PUBLIC]
    assert asked == ["as.example"]
    # Certificate and Host header are the name's, not the address's.
    assert len(seen) == 2
    for request in seen:  # the second one by a pool that is remembered
        assert request.startswith(b"GET /t HTTP/1.1\r\n")
        assert b"\r\nHost: as.example\r\n" in request


def test_more_hosts_than_are_kept_open_are_all_reached_again() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(scripted_server()) for _ in range(14)]
        http = stack.enter_context(door(*(server.host for server in servers)))
        for server in servers:
            server.answer("/t", json={"host": server.host})
        for server in [*servers, *reversed(servers), *servers]:
            assert http.get(f"{server.url}/t").json() == {"host": server.host}


def test_a_session_that_was_closed_connects_anew() -> None:
    with scripted_server() as server:
        server.answer("/t", json={})
        http = door(server.host)
        http.get(f"{server.url}/t")
        http.close()
        assert http.get(f"{server.url}/t").status_code == 200
        http.close()


def test_when_the_pin_runs_out_a_rebound_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cert_file, context = make_certificate(tmp_path, "as.example")
    resolving(monkeypatch, {"as.example": [[PUBLIC], ["127.0.0.1"]]})
    monkeypatch.setattr("integrations.outbound.client.PIN_SECONDS", 0.0)
    with raw_server(sends(OK), tls=context) as port, door(tls=new_tls_context(str(cert_file))) as http:
        connected = rerouting(monkeypatch, {PUBLIC: port})
        http.get("https://as.example/t")
        with pytest.raises(AddressRefused):
            http.get("https://as.example/t")
    assert connected == [PUBLIC]


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cert_file, context = make_certificate(tmp_path, "as.example")
    resolving(monkeypatch, {"as.example": [["2606:4700:4700::1111", PUBLIC]]})
    with raw_server(sends(OK), tls=context) as port, door(tls=new_tls_context(str(cert_file))) as http:
        connected = rerouting(monkeypatch, {PUBLIC: port})
        assert http.post("https://as.example/t", data={"a": "b"}).text == "ok"
    assert connected == ["2606:4700:4700::1111", PUBLIC]


def test_a_request_that_was_sent_is_never_sent_to_another_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may have rotated a token: sending it twice would be replay."""
    cert_file, context = make_certificate(tmp_path, "as.example")
    resolving(monkeypatch, {"as.example": [["93.184.215.14", "93.184.215.15"]]})
    with raw_server(sends(b""), tls=context) as port, door(tls=new_tls_context(str(cert_file))) as http:
        connected = rerouting(monkeypatch, {"93.184.215.14": port, "93.184.215.15": port})
        with pytest.raises(ConnectionBroken):
            http.post("https://as.example/t", data={"a": "b"})
    assert connected == ["93.184.215.14"]


def test_a_dead_name_server_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        released.wait(10)
        raise socket.gaierror("late")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    try:
        with door(profile=SHORT) as http, pytest.raises(DeadlineExceeded):
            http.get("https://as.example/")
    finally:
        released.set()
    assert time.monotonic() - started < 3


# --- TLS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "trusted"),
    [
        (("127.0.0.1",), False),  # nobody vouches for it
        (("other.example",), True),  # made out to another name
    ],
)
def test_a_bad_certificate_is_refused(names: tuple[str, ...], trusted: bool, tmp_path: Path) -> None:
    cert_file, context = make_certificate(tmp_path, *names)
    with raw_server(sends(OK), tls=context) as port:
        tls = new_tls_context(str(cert_file)) if trusted else None
        with door(f"127.0.0.1:{port}", tls=tls) as http, pytest.raises(TLSFailed) as caught:
            http.get(f"https://127.0.0.1:{port}/?secret=canary")
    assert "canary" not in str(caught.value)


def test_a_pinned_name_must_match_the_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cert_file, context = make_certificate(tmp_path, "other.example", PUBLIC)
    resolving(monkeypatch, {"as.example": [[PUBLIC]]})
    with raw_server(sends(OK), tls=context) as port, door(tls=new_tls_context(str(cert_file))) as http:
        rerouting(monkeypatch, {PUBLIC: port})
        with pytest.raises(TLSFailed):
            http.get("https://as.example/")


def test_verification_cannot_be_switched_off() -> None:
    with door("127.0.0.1:9") as http, pytest.raises(ValueError, match="always verified"):
        http.get("https://127.0.0.1:9/", verify=False)


# --- redirects, cookies, environment ---------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/elsewhere", "http://169.254.169.254/", "http://[::1", "", "\\\\x", "x" * 9000])
def test_a_redirect_is_returned_and_never_followed(status: int, location: str) -> None:
    with scripted_server() as server, door(server.host) as http:
        server.answer("/t", status=status, body=b"moved", headers={"Location": location})
        found = http.post(f"{server.url}/t", data={"secret": "s"}, allow_redirects=True)
        assert (found.status_code, found.content, found.history) == (status, b"moved", [])
        assert [request.path for request in server.requests] == ["/t"]


def test_no_cookie_is_kept() -> None:
    with scripted_server() as server, door(server.host) as http:
        server.answer("/t", headers={"Set-Cookie": "sid=1; Path=/"})
        http.get(f"{server.url}/t")
        http.get(f"{server.url}/t")
        assert len(http.cookies) == 0
        assert all("cookie" not in request.headers for request in server.requests)


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with scripted_server() as server, door(server.host) as http:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password canary")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        server.answer("/t", body=b"direct")
        assert http.get(f"{server.url}/t", proxies={"http": "http://127.0.0.1:9"}).content == b"direct"
        assert "authorization" not in server.requests[0].headers
        assert server.requests[0].headers["user-agent"] == "Grantry"


# --- time ------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(says_nothing, id="silence"),
        pytest.param(dribbles(b"", b"H"), id="status line"),
        pytest.param(dribbles(HEAD, b"X-A: b\r\n", every=0.04), id="headers"),
        pytest.param(dribbles(HEAD + b"X-A: ", b"b"), id="one header"),
        pytest.param(dribbles(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"), id="body"),
        pytest.param(dribbles(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks"),
        pytest.param(dribbles(HEAD + b"\r\n", b"x"), id="body until close"),
        pytest.param(dribbles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="continue for ever"),
    ],
)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_dribbling_server_does_not_hold_us(script: Script, secure: bool, tmp_path: Path) -> None:
    cert_file, context = make_certificate(tmp_path, "127.0.0.1")
    with raw_server(script, tls=context if secure else None) as port:
        tls = new_tls_context(str(cert_file)) if secure else None
        with door(f"127.0.0.1:{port}", profile=SHORT, tls=tls) as http:
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="did not answer in time"):
                http.post(f"{'https' if secure else 'http'}://127.0.0.1:{port}/t", data={"a": "b"})
    # Half a second of grace for a busy machine; without the deadline these would never end.
    assert time.monotonic() - started < SHORT.total_seconds + 1.5


def test_a_silent_tls_handshake_does_not_hold_us() -> None:
    with raw_server(says_nothing) as port, door(f"127.0.0.1:{port}", profile=SHORT) as http:
        started = time.monotonic()
        with pytest.raises(OutboundError):
            http.get(f"https://127.0.0.1:{port}/")
    assert time.monotonic() - started < SHORT.total_seconds + 1.5


def test_a_connection_is_usable_after_a_deadline_has_passed_elsewhere() -> None:
    with scripted_server() as server, door(server.host, profile=SHORT) as http:
        held = threading.Event()
        server.answer("/slow", wait=held)
        server.answer("/fast", body=b"ok")
        assert http.get(f"{server.url}/fast").content == b"ok"
        with pytest.raises(DeadlineExceeded):
            http.get(f"{server.url}/slow")
        held.set()
        assert http.get(f"{server.url}/fast").content == b"ok"


def test_a_closed_port_is_a_failed_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with door(f"127.0.0.1:{port}") as http, pytest.raises(ConnectFailed, match="did not accept"):
            http.get(f"http://127.0.0.1:{port}/?secret=canary")


# --- size ------------------------------------------------------------------------------------------


def compressed(kind: str, size: int) -> bytes:
    if kind == "gzip":
        return gzip.compress(b"\0" * size)
    return zlib.compress(b"\0" * size) if kind == "deflate" else b"\0" * size


@pytest.mark.parametrize("kind", ["identity", "gzip", "deflate"])
def test_the_cap_counts_decoded_bytes(kind: str) -> None:
    headers = {} if kind == "identity" else {"Content-Encoding": kind}
    with scripted_server() as server, door(server.host) as http:
        server.answer("/fits", body=compressed(kind, TOKEN.max_bytes), headers=headers)
        server.answer("/over", body=compressed(kind, TOKEN.max_bytes + 1), headers=headers)
        assert len(http.get(f"{server.url}/fits").content) == TOKEN.max_bytes
        with pytest.raises(ResponseTooLarge, match="larger than"):
            http.get(f"{server.url}/over")
        assert len(http.get(f"{server.url}/fits").content) == TOKEN.max_bytes  # the session survives it


def test_a_gzip_bomb_costs_little_memory() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000)
    with scripted_server() as server, door(server.host) as http:
        server.answer("/t", body=bomb, headers={"Content-Encoding": "gzip"})
        tracemalloc.start()
        try:
            with pytest.raises(ResponseTooLarge):
                http.get(f"{server.url}/t")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20_000_000


def test_a_nested_bomb_is_refused() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 50_000_000))
    with scripted_server() as server, door(server.host) as http:
        server.answer("/t", body=bomb, headers={"Content-Encoding": "gzip, gzip"})
        with pytest.raises(OutboundError):
            http.get(f"{server.url}/t")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", id="a huge header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", id="many headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", id="less than announced"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad chunk"),
        pytest.param(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", id="bad gzip"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_http_answer_is_a_broken_connection(answer: bytes) -> None:
    broken = pytest.raises(ConnectionBroken)
    with raw_server(sends(answer)) as port, door(f"127.0.0.1:{port}") as http, broken as caught:
        http.get(f"http://127.0.0.1:{port}/t?secret=canary")
    assert "canary" not in caught.value.message


# --- sessions --------------------------------------------------------------------------------------


def client_ports(server: ScriptedServer, calls: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the connections that these calls open."""
    opened: list[Any] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        opened.append(address)
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    calls()
    return len(opened)


def test_one_thread_reuses_its_session_and_its_connection(
    monkeypatch: pytest.MonkeyPatch, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/t", body=b"ok")

    def calls() -> None:
        for _ in range(5):
            session(TOKEN).post(f"{provider_server.url}/t", data={"a": "b"})

    assert client_ports(provider_server, calls, monkeypatch) == 1
    assert session(TOKEN) is session(TOKEN)


def test_threads_and_settings_have_sessions_of_their_own(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1:1"]
    mine, others = session(TOKEN), []
    thread = threading.Thread(target=lambda: others.append(session(TOKEN)))
    thread.start()
    thread.join()
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1:2"]
    assert len({id(found) for found in [mine, *others, session(TOKEN)]}) == 3


def test_a_closed_setting_closes_the_door(settings: Any, provider_server: ScriptedServer) -> None:
    provider_server.answer("/t", body=b"ok")
    assert session(TOKEN).get(f"{provider_server.url}/t").content == b"ok"
    settings.OUTBOUND_ALLOWED_HOSTS = []
    with pytest.raises(AddressRefused):
        session(TOKEN).get(f"{provider_server.url}/t")


def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    closed = threading.Event()

    def answer_and_hang_up(connection: socket.socket, stop: threading.Event) -> None:
        sends(OK)(connection, stop)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with raw_server(answer_and_hang_up) as port, door(f"127.0.0.1:{port}") as http:
        for _ in range(3):
            assert http.get(f"http://127.0.0.1:{port}/").content == b"ok"
            assert closed.wait(5)
            closed.clear()


def test_the_answer_is_an_ordinary_response() -> None:
    with scripted_server() as server, door(server.host) as http:
        server.respond("/t", lambda request: Scripted(201, request.body, {"X-A": "b"}))
        found: requests.Response = http.put(f"{server.url}/t", json={"a": "é"}, stream=True)
        assert (found.status_code, found.json(), found.headers["X-A"]) == (201, {"a": "é"}, "b")
        assert list(found.iter_content(3))
        received: Received = server.requests[0]
        assert received.json == {"a": "é"}


# --- logs ------------------------------------------------------------------------------------------


def test_no_url_reaches_the_logs_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_server() as server, door(server.host) as http:
        for name in ["", *logging.root.manager.loggerDict]:
            caplog.set_level(logging.DEBUG, logger=name)
        server.answer("/t", body=b"ok")
        http.get(f"{server.url}/t?secret=canary")
        with pytest.raises(OutboundError):
            http.get("https://127.0.0.1/?secret=canary")
    assert "canary" not in caplog.text


def test_a_new_logging_configuration_does_not_bring_the_secrets_back(caplog: pytest.LogCaptureFixture) -> None:
    silence_talkative_loggers()
    logger = logging.getLogger("urllib3.connectionpool")
    before = logger.level
    try:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "loggers": {"urllib3.connectionpool": {"level": "DEBUG"}, "urllib3": {"level": "DEBUG"}},
            }
        )
        logger.debug("a canary")
        logger.warning("a canary")
        logger.error("a real error")
    finally:
        logger.setLevel(before)
        logging.getLogger("urllib3").setLevel(logging.NOTSET)
    assert "canary" not in caplog.text
    assert "a real error" in caplog.text


def test_the_shared_context_verifies(tmp_path: Path) -> None:
    context = new_tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
