"""What authorization servers and protected resources publish about themselves, read strictly.

RFC 8414 §2 and OpenID Connect Discovery §3 for servers, RFC 9728 §2 for resources. A document decides where secrets
go, so that it is judged like hostile input: the wrong owner refuses it, a value of the wrong kind is left out with a
note, lists and texts are cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from integrations.oauth.errors import MetadataRefused
from integrations.oauth.scopes import is_well_formed, ordered_union
from integrations.outbound.addresses import DEFAULT_PORTS, AllowedHosts, check_url
from integrations.outbound.errors import AddressRefused

MAX_ITEMS = 200
MAX_ISSUER = 500  # what a definition and a flow under way can hold
ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "registration_endpoint",
    "jwks_uri",
)
_NAME = re.compile(r"[\x20-\x7e]{1,500}")
# What an absent list means (RFC 8414 §2).
DEFAULT_GRANT_TYPES = ("authorization_code", "implicit")
DEFAULT_AUTH_METHODS = ("client_secret_basic",)


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """An authorization server's metadata; endpoints that it does not name are empty.

    Where the RFC states a default for an absent list, the default stands here. `notes` are sentences about what was
    left out of the document and why.
    """

    issuer: str
    token_endpoint: str
    authorization_endpoint: str = ""
    revocation_endpoint: str = ""
    introspection_endpoint: str = ""
    userinfo_endpoint: str = ""
    registration_endpoint: str = ""
    jwks_uri: str = ""
    scopes_supported: tuple[str, ...] = ()
    response_types_supported: tuple[str, ...] = ()
    grant_types_supported: tuple[str, ...] = DEFAULT_GRANT_TYPES
    token_endpoint_auth_methods_supported: tuple[str, ...] = DEFAULT_AUTH_METHODS
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False
    notes: tuple[str, ...] = ()

    @property
    def foreign_endpoints(self) -> tuple[ForeignEndpoint, ...]:
        """The endpoints that do not belong to the issuer (`belongs_to`); somebody has to confirm them."""
        urls = ((name, str(getattr(self, name))) for name in ENDPOINTS)
        return tuple(ForeignEndpoint(name, url) for name, url in urls if url and not belongs_to(url, self.issuer))


@dataclass(frozen=True, slots=True)
class ForeignEndpoint:
    """An endpoint on a host that is not the issuer's."""

    field: str
    url: str

    @property
    def host(self) -> str:
        """Where it is."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """A protected resource's metadata: which authorization servers issue tokens for it."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def belongs_to(url: str, issuer: str) -> bool:
    """Whether an endpoint is the issuer's own: same scheme and port, and its host or a subdomain of its host.

    Whoever runs a host also hands out the names below it. Nothing else follows from names: a parent or a sibling
    (`api.example.com` for `login.example.com`) may be another party's under a shared suffix such as `github.io`, and
    no list of such suffixes is ever complete. Those are for a person to confirm.
    """
    *ours, issuer_host = _origin(issuer)
    *theirs, host = _origin(url)
    # A name that ends like an IP address is none: the door refuses it.
    return ours == theirs and (host == issuer_host or host.endswith(f".{issuer_host}"))


def same_issuer(stated: str, asked: str) -> bool:
    """Whether a document's issuer is the one that was asked, character by character (RFC 8414 §3.3).

    A terminating slash makes no difference: it is dropped to find the document (§3.1), so that both spellings lead to
    this one and it cannot match both.
    """
    return stated.removesuffix("/") == asked.removesuffix("/")


def parse_server_metadata(
    document: Mapping[str, Any], *, issuer: str, allowed_hosts: AllowedHosts | Iterable[str] = ()
) -> ServerMetadata:
    """Read the document that was found under an issuer's well-known address. Raises MetadataRefused.

    The issuer in the answer is spelled as the document does: `iss` is going to be compared with it (RFC 9207).
    """
    stated = document.get("issuer")
    if not isinstance(stated, str) or not stated:
        raise MetadataRefused("metadata_no_issuer")
    if not same_issuer(stated, issuer):
        raise MetadataRefused("metadata_issuer_mismatch", f"The document says: {stated}")
    if len(stated) > MAX_ISSUER:
        raise MetadataRefused("issuer_refused", f"It is longer than {MAX_ISSUER} characters.")
    read = _Reader(document, allowed_hosts)
    endpoints = {name: read.url(name) for name in ENDPOINTS}
    if not endpoints["token_endpoint"]:
        raise MetadataRefused("metadata_no_token_endpoint", read.note_about("token_endpoint"))
    return ServerMetadata(
        issuer=stated,
        **endpoints,
        scopes_supported=read.scopes("scopes_supported"),
        response_types_supported=read.names("response_types_supported"),
        grant_types_supported=read.names("grant_types_supported", DEFAULT_GRANT_TYPES),
        token_endpoint_auth_methods_supported=read.names("token_endpoint_auth_methods_supported", DEFAULT_AUTH_METHODS),
        token_endpoint_auth_signing_alg_values_supported=read.names("token_endpoint_auth_signing_alg_values_supported"),
        code_challenge_methods_supported=read.names("code_challenge_methods_supported"),
        authorization_response_iss_parameter_supported=read.flag("authorization_response_iss_parameter_supported"),
        notes=tuple(read.notes.values()),
    )


def parse_resource_metadata(
    document: Mapping[str, Any], *, resource: str, allowed_hosts: AllowedHosts | Iterable[str] = ()
) -> ResourceMetadata:
    """Read the document that a protected resource or its well-known address led to. Raises MetadataRefused.

    It must name the resource that was asked, or a parent of it on the same origin: servers describe one resource for
    all that is below it (RFC 9728 §3.3 wants no more than that nobody can speak for another's).
    """
    stated = document.get("resource")
    if not isinstance(stated, str) or not _covers(stated, resource):
        description = f"The document says: {stated}" if isinstance(stated, str) else ""
        raise MetadataRefused("metadata_resource_mismatch", description)
    read = _Reader(document, allowed_hosts)
    # An issuer has no query (RFC 8414 §2).
    servers = tuple(url for url in read.urls("authorization_servers") if "?" not in url)
    if not servers:
        raise MetadataRefused("metadata_no_authorization_server", read.note_about("authorization_servers"))
    scopes = read.scopes("scopes_supported")
    return ResourceMetadata(stated, servers, scopes, tuple(read.notes.values()))


def _covers(stated: str, resource: str) -> bool:
    if stated == resource:
        return True
    try:
        theirs, ours = urlsplit(stated), urlsplit(resource)
    except ValueError:
        return False
    same_origin = (theirs.scheme, theirs.netloc.lower()) == (ours.scheme, ours.netloc.lower())
    above = f"{ours.path}/".startswith(f"{theirs.path.removesuffix('/')}/")
    return same_origin and above and not theirs.query and not theirs.fragment


class _Reader:
    """Takes values out of a document and notes, by field, what it left there."""

    def __init__(self, document: Mapping[str, Any], allowed_hosts: AllowedHosts | Iterable[str]) -> None:
        self.notes: dict[str, str] = {}
        self._document = document
        self._hosts = allowed_hosts if isinstance(allowed_hosts, AllowedHosts) else AllowedHosts(allowed_hosts)

    def url(self, name: str) -> str:
        value = self._document.get(name)
        return "" if value is None or value == "" else self._checked_url(name, value)

    def urls(self, name: str) -> tuple[str, ...]:
        return ordered_union(filter(None, (self._checked_url(name, value) for value in self._items(name))))

    def names(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        return self._texts(name, lambda text: _NAME.fullmatch(text) is not None) or default

    def scopes(self, name: str) -> tuple[str, ...]:
        return self._texts(name, is_well_formed)

    def flag(self, name: str) -> bool:
        return self._document.get(name) is True

    def note_about(self, name: str) -> str:
        return self.notes.get(name, "")

    def _checked_url(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            self.notes[name] = f"“{name}” is no text; it was left out."
            return ""
        if "{" in value or "}" in value:
            # In a definition they would be placeholders.
            self.notes[name] = f"“{name}” contains braces; it was left out."
            return ""
        try:
            check_url(value, allowed_hosts=self._hosts)
        except AddressRefused as error:
            self.notes[name] = f"“{name}” was left out. {error.message}"
            return ""
        return value

    def _texts(self, name: str, is_fit: Callable[[str], bool]) -> tuple[str, ...]:
        items = self._items(name)
        fit = [item for item in items if isinstance(item, str) and is_fit(item)]
        if len(fit) < len(items):
            self.notes[name] = f"{len(items) - len(fit)} of the entries of “{name}” were left out: they are no names."
        return ordered_union(fit)

    def _items(self, name: str) -> list[Any]:
        value = self._document.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.notes[name] = f"“{name}” is no list; it was left out."
            return []
        if len(value) > MAX_ITEMS:
            self.notes[name] = f"Of the {len(value)} entries of “{name}” the first {MAX_ITEMS} were read."
        return value[:MAX_ITEMS]


def _origin(url: str) -> tuple[str, int, str]:
    """Scheme, port and host of a URL that was checked."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    return parts.scheme, port, (parts.hostname or "").rstrip(".")
