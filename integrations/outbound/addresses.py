"""Which URLs and which addresses may be reached. Pure: nothing is resolved here.

A URL is judged twice. When it is saved: by scheme, userinfo, fragment and address literals. When we connect: the
same again, and every address that the name resolves to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

import idna  # what requests itself encodes host names with

from integrations.outbound.errors import AddressRefused

IPAddress = IPv4Address | IPv6Address
DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_URL_LENGTH = 2000

# What `is_global` of the standard library lets pass, in some release at least, and is not the public internet.
_NOT_PUBLIC: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, also cloud metadata
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relay anycast
        "198.18.0.0/15",  # benchmarking
        "240.0.0.0/4",  # reserved
        "::/96",  # IPv4-compatible, deprecated, still routed to IPv4 by some stacks
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # local NAT64, RFC 8215
        "100::/64",  # discard
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2002::/16",  # 6to4
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local, deprecated
    )
)
# Numbers in any base that inet_aton, and so many resolvers, read as an IPv4 address.
_LOOKS_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|\d+)(\.(0[xX][0-9a-fA-F]*|\d+))*\.?", re.ASCII)
_HOST_NAME = re.compile(
    r"(?=.{1,253}\.?$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?",
    re.ASCII,
)


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port that a URL leads to; the host in lower case, in ASCII, without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def host_header(self) -> str:
        """The Host header: without the port where it is the scheme's own (RFC 9110 §7.2)."""
        own = self.port == DEFAULT_PORTS.get(self.scheme)
        return self.host_port.rpartition(":")[0] if own else self.host_port

    @property
    def base_url(self) -> str:
        """The URL of the origin's root."""
        return f"{self.scheme}://{self.host_port}/"

    @property
    def host_port(self) -> str:
        """The form in which OUTBOUND_ALLOWED_HOSTS names hosts: `host:port`, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class AllowedHosts:
    """Hosts that the operator has opened: they may be private, and plain http.

    Entries are `host:port`, or `host` for its ports 80 and 443. Hashable, so that sessions can be kept by it.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._entries = frozenset(entry.strip().lower() for entry in entries if entry.strip())

    def __contains__(self, origin: Origin) -> bool:
        bare = origin.host_port.rpartition(":")[0]
        default_port = origin.port in DEFAULT_PORTS.values()
        return origin.host_port in self._entries or (default_port and bare in self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowedHosts) and other._entries == self._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        return f"AllowedHosts({sorted(self._entries)})"


def check_url(url: str, *, allowed_hosts: AllowedHosts | Iterable[str] = ()) -> Origin:
    """Judge a URL by scheme, userinfo, fragment and address literals, and return where it leads.

    Raises AddressRefused with a sentence about what is wrong and what to do.
    """
    parts = _split(url)
    origin = _origin(parts)
    allowed = allowed_hosts if isinstance(allowed_hosts, AllowedHosts) else AllowedHosts(allowed_hosts)
    if origin in allowed:
        return origin
    if origin.scheme != "https":
        raise AddressRefused(
            f"The address of {origin.host} begins with http://. Use https://, or ask the operator to add "
            f"{origin.host_port} to OUTBOUND_ALLOWED_HOSTS."
        )
    literal = _literal(origin.host)
    if literal is not None:
        check_address(literal, origin)
    elif _is_local_name(origin.host):
        raise AddressRefused(
            f"{origin.host} is a name for this machine. Use the provider's public host name, or ask the "
            f"operator to add {origin.host_port} to OUTBOUND_ALLOWED_HOSTS."
        )
    return origin


def check_address(address: IPAddress, origin: Origin) -> None:
    """Raise AddressRefused unless the address is on the public internet."""
    if not is_public_address(address):
        raise AddressRefused(
            f"{origin.host} leads to {address}, which is not on the public internet. Use a public host, or ask "
            f"the operator to add {origin.host_port} to OUTBOUND_ALLOWED_HOSTS."
        )


def is_public_address(address: IPAddress) -> bool:
    """Tell whether this is an ordinary unicast address of the public internet.

    An IPv4-mapped address is judged by the address it maps. Other addresses that carry an IPv4 address
    (NAT64, 6to4, Teredo) lead through gateways that we know nothing about and are never public.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        mapped = address.ipv4_mapped
        if mapped is not None:
            return is_public_address(mapped)
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise AddressRefused(f"The address is longer than {MAX_URL_LENGTH} characters.")
    # The standard library drops tabs and line breaks silently, and other parsers read a backslash as a slash.
    if any(character <= " " or character in "\\\x7f" for character in url) or not url.isprintable():
        raise AddressRefused("The address contains spaces, backslashes or control characters. Remove them.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("The address is not a valid URL. Check host and port.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        raise AddressRefused("The address must begin with https:// and name a host.")
    if "@" in parts.netloc:
        raise AddressRefused("The address contains a user name or password before the host. Remove it.")
    if "#" in url:
        raise AddressRefused("The address contains a fragment (#…). Remove it.")
    if port == 0 or parts.netloc.endswith(":"):
        raise AddressRefused("The address names no usable port. Correct it or leave it out.")
    return parts


def _origin(parts: SplitResult) -> Origin:
    host = _ascii_host(parts.hostname or "")
    return Origin(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme])


def _ascii_host(host: str) -> str:
    if ":" in host:
        if "%" in host:
            raise AddressRefused("The address contains a network interface (%…). Use a public host.")
        return host
    if not host.isascii():
        host = _punycode(host)
    if not _HOST_NAME.fullmatch(host):
        raise AddressRefused("The address names no valid host. Check its spelling.")
    return host


def _punycode(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressRefused("The host name contains characters that no host name has.") from error


def _literal(host: str) -> IPAddress | None:
    """Read a host as an address. Raises AddressRefused for the spellings that only inet_aton accepts."""
    bare = host.rstrip(".")
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    last = bare.rpartition(".")[2]
    if _LOOKS_NUMERIC.fullmatch(bare) or _LOOKS_NUMERIC.fullmatch(last):
        raise AddressRefused(f"{host} is an unusual spelling of an IP address. Use the provider's host name.")
    return None


def _is_local_name(host: str) -> bool:
    bare = host.rstrip(".")
    return bare == "localhost" or bare.endswith(".localhost")
