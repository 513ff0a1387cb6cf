"""Bounded HTTP sessions: the only door to the network.

A session judges the URL, resolves the host, refuses addresses that are not public, connects to the very address
that it checked, follows no redirect, keeps no cookie, takes nothing from the environment, and ends by the clock and
by a number of bytes. Profiles differ in sizes and times, never in address rules.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn

import certifi
import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from integrations.outbound.addresses import AllowedHosts, IPAddress, Origin, check_url
from integrations.outbound.deadline import DeadlineSocket, DeadlineSSLSocket, at_most, deadline, remaining
from integrations.outbound.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectionBroken,
    DeadlineExceeded,
    OutboundError,
    ResponseTooLarge,
    TLSFailed,
)
from integrations.outbound.quiet import silence_talkative_loggers
from integrations.outbound.resolver import resolve_public

silence_talkative_loggers()

USER_AGENT = "Grantry"
# How long a checked address is connected to before the name is resolved and checked again.
PIN_SECONDS = 30.0
CHUNK_BYTES = 64 * 1024
MOST_POOLS = 10  # as many as urllib3 keeps open: what is remembered was looked up since, so it is not closed
VERIFIED = "Certificates are always verified; give the session a TLS context instead."
NO_URL = "The address must begin with https:// and name a host."


@dataclass(frozen=True)
class Profile:
    """How long and how much a kind of call may take; times in seconds, size in decoded bytes."""

    name: str
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 20.0
    max_bytes: int = 1_000_000
    cuts_answer: bool = False  # a longer answer is cut instead of refused: its status is what counts


TOKEN = Profile("token")
DISCOVERY = Profile("discovery")
WEBHOOK = Profile("webhook", read_seconds=15.0, total_seconds=15.0, max_bytes=16 * 1024, cuts_answer=True)


class _Connection(HTTPConnection):
    def _new_conn(self) -> DeadlineSocket:
        self.timeout = at_most(self.timeout if isinstance(self.timeout, int | float) else TOKEN.connect_seconds)
        return DeadlineSocket.adopt(super()._new_conn())


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> DeadlineSocket:
        self.timeout = at_most(self.timeout if isinstance(self.timeout, int | float) else TOKEN.connect_seconds)
        return DeadlineSocket.adopt(super()._new_conn())


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def new_tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Make a TLS context that trusts certifi's authorities, or those in a PEM file, and obeys deadlines."""
    context = create_urllib3_context()
    context.load_verify_locations(ca_file or certifi.where())
    context.sslsocket_class = DeadlineSSLSocket
    return context


@lru_cache(maxsize=1)
def _shared_tls_context() -> ssl.SSLContext:
    # Reading the authorities takes ten milliseconds or more: once per process, not once per connection.
    return new_tls_context()


class DoorAdapter(IPFilterAdapter):  # type: ignore[misc]  # the library has no types
    """requests-hardened's adapter, given addresses that our own rules have checked.

    The parent pins the first address that a name resolves to and refuses private ones. Here every address of the
    name must be public, the lookup obeys the deadline, and the operator's allowed hosts are let through.
    """

    def __init__(self, *, is_https_proto: bool, allowed_hosts: AllowedHosts, tls: ssl.SSLContext) -> None:
        self._allowed_hosts = allowed_hosts
        self._tls = tls
        self._pins: dict[Origin, tuple[tuple[IPAddress, ...], float]] = {}
        self._address: IPAddress | None = None
        self._pools: dict[tuple[Origin, IPAddress | None], Any] = {}
        super().__init__(is_https_proto=is_https_proto)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools, with sockets that obey the deadline."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send to the first of the host's checked addresses that accepts a connection."""
        origin = check_url(request.url or "", allowed_hosts=self._allowed_hosts)
        if origin in self._allowed_hosts:
            return self._send_to(None, request, *args, **kwargs)
        *others, last = self._addresses(origin)
        for address in others:
            try:
                return self._send_to(address, request, *args, **kwargs)
            except requests.ConnectionError as error:
                if not _never_connected(error):
                    raise
        return self._send_to(last, request, *args, **kwargs)

    def _send_to(
        self, address: IPAddress | None, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        self._address = address
        response: requests.Response = super().send(request, *args, **kwargs)
        return response

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the parent pin the checked address; certificate and Host header stay those of the name."""
        origin = check_url(request.url or "", allowed_hosts=self._allowed_hosts)
        host: Any
        pool: Any
        if self._address is None:
            host, pool = HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert)
        else:
            pinned = requests.PreparedRequest()
            pinned.headers = request.headers
            pinned.url = Origin(origin.scheme, str(self._address), origin.port).base_url
            host, pool = super().build_connection_pool_key_attributes(pinned, verify, cert)
            request.headers["Host"] = origin.host_header
            pool["assert_hostname"] = pool["server_hostname"] = origin.host.rstrip(".")
        if origin.scheme == "https":
            pool["ssl_context"] = self._tls
        return host, pool

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The pool of a checked address; found once, because looking it up costs a tenth of the whole call."""
        if verify is not True or cert:
            raise ValueError(VERIFIED)
        origin = check_url(request.url or "", allowed_hosts=self._allowed_hosts)
        key = (origin, self._address)
        if (pool := self._pools.get(key)) is None:
            if len(self._pools) >= MOST_POOLS:
                self._pools.clear()
            pool = self._pools[key] = super().get_connection_with_tls_context(request, verify, proxies, cert)
        elif self._address is not None:
            request.headers["Host"] = origin.host_header
        return pool

    def close(self) -> None:
        """Close the pools."""
        self._pools.clear()
        super().close()

    def request_url(self, request: requests.PreparedRequest, _proxies: Any) -> str:
        """Path and query: there is never a proxy."""
        return request.path_url

    def build_response(self, request: requests.PreparedRequest, raw: Any) -> requests.Response:
        """As the parent does, without cookies: nobody keeps one."""
        response = requests.Response()
        response.status_code = raw.status
        response.headers = CaseInsensitiveDict(raw.headers)
        response.raw = raw
        response.reason = raw.reason
        response.url = request.url or ""
        response.request = request
        response.encoding = get_encoding_from_headers(response.headers)
        return response

    def cert_verify(self, conn: Any, _url: str, verify: Any, cert: Any) -> None:
        """Always verify, by the session's own context; nobody may switch it off."""
        if verify is not True or cert:
            raise ValueError(VERIFIED)
        conn.cert_reqs = "CERT_REQUIRED"

    def _addresses(self, origin: Origin) -> tuple[IPAddress, ...]:
        addresses, until = self._pins.get(origin, ((), 0.0))
        if time.monotonic() >= until:
            addresses = resolve_public(origin)
            if len(self._pins) > 256:
                self._pins.clear()
            self._pins[origin] = (addresses, time.monotonic() + PIN_SECONDS)
        return addresses


class OutboundSession(HTTPSession):  # type: ignore[misc]  # the library has no types
    """A requests session bounded by a profile. Raises OutboundError instead of requests' own exceptions.

    A 3xx is returned as it is. One thread at a time.
    """

    def __init__(self, profile: Profile, *, allowed_hosts: AllowedHosts, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(
            Config(
                ip_filter_enable=False,  # our own subclass of its adapter is mounted below
                ip_filter_allow_loopback_ips=False,
                never_redirect=True,
                default_timeout=(profile.connect_seconds, profile.read_seconds),
                user_agent_override=USER_AGENT,
            )
        )
        self.profile = profile
        self.trust_env = False
        self.headers["User-Agent"] = USER_AGENT
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https", "http"):
            adapter = DoorAdapter(
                is_https_proto=scheme == "https",
                allowed_hosts=allowed_hosts,
                tls=tls or _shared_tls_context(),
            )
            self.mount(f"{scheme}://", adapter)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request. Raises AddressRefused when its URL is none."""
        try:
            prepared: requests.PreparedRequest = super().prepare_request(request)
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL) as error:
            raise AddressRefused(NO_URL) from error
        return prepared

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and read the whole answer within the profile's bounds. Raises OutboundError."""
        with deadline(self.profile.total_seconds), _as_outbound_errors(request):
            # Past the parents' `send`: its hooks, cookies and redirects are what nobody gets here.
            adapter: HTTPAdapter = self.get_adapter(request.url or "")
            response = adapter.send(
                request,
                stream=True,
                timeout=(self.profile.connect_seconds, self.profile.read_seconds),
                verify=kwargs.get("verify", True),
                cert=kwargs.get("cert"),
                proxies={},
            )
            _read_capped(response, self.profile)
        return response

    def get_redirect_target(self, resp: requests.Response) -> None:
        """There is never a next request, so that the parent prepares none."""


def session(profile: Profile, *, allowed_hosts: AllowedHosts | None = None) -> OutboundSession:
    """Return this thread's session for a profile; connections are kept and reused.

    `allowed_hosts` are those of the setting OUTBOUND_ALLOWED_HOSTS unless given.
    """
    hosts = AllowedHosts(settings.OUTBOUND_ALLOWED_HOSTS) if allowed_hosts is None else allowed_hosts
    sessions: dict[tuple[Profile, AllowedHosts], OutboundSession] = _local.__dict__.setdefault("sessions", {})
    found = sessions.get((profile, hosts))
    if found is None:
        found = sessions[profile, hosts] = OutboundSession(profile, allowed_hosts=hosts)
    return found


_local = threading.local()
# A forked child must not write into its parent's connections.
os.register_at_fork(after_in_child=lambda: _local.__dict__.clear())


def _read_capped(response: requests.Response, profile: Profile) -> None:
    """Read the decoded body into the response, up to the cap, so that nothing is left to stream."""
    body, max_bytes = bytearray(), profile.max_bytes
    try:
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=True):
            body += chunk
            remaining()
            if len(body) > max_bytes and profile.cuts_answer:
                del body[max_bytes:]
                response.raw.close()  # the rest is still in the socket
                break
            if len(body) > max_bytes:
                raise ResponseTooLarge(f"The answer of {_host(response.request)} is larger than {max_bytes:,} bytes.")
    except BaseException:
        # The rest of the answer is still in the socket: the connection cannot be used again.
        response.raw.close()
        raise
    # Where requests itself keeps a body that it has read.
    response._content = bytes(body)
    response._content_consumed = True  # type: ignore[attr-defined]  # the types leave it out
    response.raw.release_conn()


def _host(request: requests.PreparedRequest) -> str:
    """Name the host for a message: never the URL, whose query may hold a secret."""
    try:
        return urllib3.util.parse_url(request.url or "").host or "The host"
    except urllib3.exceptions.LocationParseError:
        return "The host"


def _never_connected(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError)


@contextmanager
def _as_outbound_errors(request: requests.PreparedRequest) -> Iterator[None]:
    try:
        yield
    except OutboundError:
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        _raise_outbound(error, _host(request))


def _raise_outbound(error: Exception, host: str) -> NoReturn:
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        raise AddressRefused(NO_URL) from error
    if isinstance(error, InvalidIPAddress):
        raise AddressRefused(f"{host} leads to an address that is not on the public internet.") from error
    if isinstance(error, requests.exceptions.SSLError | urllib3.exceptions.SSLError | ssl.SSLError):
        raise TLSFailed(f"No secure connection to {host}: its certificate was not accepted.") from error
    if isinstance(error, requests.ConnectTimeout):
        raise ConnectFailed(f"{host} did not accept a connection in time.") from error
    if isinstance(error, requests.ConnectionError) and _never_connected(error):
        raise ConnectFailed(f"{host} did not accept a connection.") from error
    if _timed_out(error):
        raise DeadlineExceeded(f"{host} did not answer in time.") from error
    raise ConnectionBroken(f"{host} broke off before its answer was complete, or sent no HTTP.") from error


def _timed_out(error: Exception) -> bool:
    try:
        remaining()
    except TimeoutError:
        return True
    return isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
