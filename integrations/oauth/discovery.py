"""Finding an authorization server's metadata from its issuer, or from a protected resource.

RFC 8414 §3 and OpenID Connect Discovery §4 say where a server publishes it, RFC 9728 §3 and §5 where a resource says
which server that is. Every address that was asked is reported with what came of it, failed or not. Redirects are not
followed, and each hop goes through the door's own checks: the session is the caller's, of the profile `discovery`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

import requests

from integrations.oauth.errors import DiscoveryFailed, MetadataRefused, OAuthError, clean_provider_text, describe
from integrations.oauth.metadata import (
    ResourceMetadata,
    ServerMetadata,
    parse_resource_metadata,
    parse_server_metadata,
)
from integrations.oauth.session import refusing_as_oauth_errors
from integrations.oauth.token_response import parse_fields, parse_retry_after_header, refuse_by_status
from integrations.outbound.addresses import AllowedHosts, check_url
from integrations.outbound.deadline import deadline
from integrations.outbound.errors import AddressRefused

SERVER_SUFFIX = ".well-known/oauth-authorization-server"
OPENID_SUFFIX = ".well-known/openid-configuration"
RESOURCE_SUFFIX = ".well-known/oauth-protected-resource"
MAX_SERVERS = 3  # of those that a resource names
TOTAL_SECONDS = 30.0  # for all that one discovery asks
PROBE_SECONDS = 8.0  # a resource may answer with an endless stream
_JSON: Mapping[str, str] = {"Accept": "application/json"}
# resource_metadata="…" in WWW-Authenticate, RFC 9728 §5.1
_CHALLENGE = re.compile(r'\bresource_metadata\s*=\s*"([^"\\\s]{1,2000})"')
# After one of these the other addresses of the same host need not be asked.
_UNREACHABLE = frozenset({"address_refused", "host_unresolvable", "unreachable", "tls_failed", "invalid_endpoint"})
_HOST_IS_AWAY = _UNREACHABLE | {"timeout"}
_NOTHING_THERE = frozenset({"metadata_not_found", "metadata_not_json"})
_WORDS = {
    "found": "Found.",
    "names_metadata": "Asks for a token, and says where its metadata is.",
    "names_none": "Does not say where its metadata is.",
    # Of one address; the errors' own words are about the whole search.
    "metadata_not_found": "Nothing is published here.",
    "metadata_not_json": "What is here is no metadata document.",
}

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address that was asked; `status` is the HTTP status if there was an answer."""

    url: str
    looked_for: str
    ok: bool
    code: str
    message: str
    status: int | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, and on which way; `resource` is there when a protected resource led to the server."""

    metadata: ServerMetadata
    tried: tuple[Attempt, ...]
    resource: ResourceMetadata | None = None


def issuer_of(address: str) -> str:
    """The issuer that a person means who enters this: a well-known address stands for its issuer."""
    address = address.strip()
    for suffix in (OPENID_SUFFIX, SERVER_SUFFIX):
        before, found, after = address.partition(f"/{suffix}")
        if found and (not after or after.startswith("/")):
            return f"{before}{after}"
    return address


def server_metadata_urls(issuer: str) -> tuple[tuple[str, str], ...]:
    """The well-known addresses of an issuer as (kind, URL), in the order in which they are asked.

    Inserted between host and path (RFC 8414 §3.1, also for OpenID Connect: §5), and appended to the path (OpenID
    Connect Discovery §4).
    """
    appended = f"{issuer.removesuffix('/')}/{OPENID_SUFFIX}"
    urls = {
        _inserted(issuer, SERVER_SUFFIX): "Authorization server metadata",
        appended: "OpenID Connect configuration",
    }
    urls.setdefault(_inserted(issuer, OPENID_SUFFIX), "OpenID Connect configuration")
    return tuple((kind, url) for url, kind in urls.items())


def resource_metadata_urls(resource: str) -> tuple[str, ...]:
    """The well-known addresses of a protected resource: its own, then its host's (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    return tuple(dict.fromkeys([_inserted(resource, RESOURCE_SUFFIX), _inserted(_root(parts), RESOURCE_SUFFIX)]))


def discover_server(
    http: requests.Session,
    issuer: str,
    *,
    allowed_hosts: AllowedHosts | Iterable[str] = (),
    monotonic: Callable[[], float] = time.perf_counter,
) -> Discovery:
    """Find the metadata of an issuer. Raises DiscoveryFailed, whose `tried` says what was asked."""
    search = _Search(http, allowed_hosts, monotonic)
    with _reporting(search):
        _check_identifier(issuer, search.allowed_hosts)
        metadata = search.server(issuer)
        if metadata is None:
            raise search.failure()
        return Discovery(metadata, tuple(search.tried))


def discover_resource(
    http: requests.Session,
    resource: str,
    *,
    allowed_hosts: AllowedHosts | Iterable[str] = (),
    monotonic: Callable[[], float] = time.perf_counter,
) -> Discovery:
    """Find the authorization server of a protected resource, and its metadata. Raises DiscoveryFailed.

    A resource that publishes nothing is taken for its own authorization server, as MCP servers were before RFC 9728.
    """
    search = _Search(http, allowed_hosts, monotonic)
    with _reporting(search):
        _check_identifier(resource, search.allowed_hosts)
        described = search.resource(resource)
        issuers = described.authorization_servers if described else ()
        if described is None and not search.host_is_away and not search.found_refused:
            issuers = (_root(urlsplit(resource)),)
        for issuer in issuers[:MAX_SERVERS]:
            if (metadata := search.server(issuer)) is not None:
                return Discovery(metadata, tuple(search.tried), described)
        raise search.failure()


def _check_identifier(url: str, allowed_hosts: AllowedHosts) -> None:
    """Raise DiscoveryFailed for what is no https URL without query and fragment (RFC 8414 §2), before it is asked."""
    try:
        check_url(url, allowed_hosts=allowed_hosts)
    except AddressRefused as error:
        raise DiscoveryFailed("issuer_refused", error.message) from error
    if "?" in url:
        raise DiscoveryFailed("issuer_refused", "The address contains a query (?…). Remove it.")


class _Search:
    """Asks one address after the other and keeps what came of each."""

    def __init__(
        self, http: requests.Session, allowed_hosts: AllowedHosts | Iterable[str], monotonic: Callable[[], float]
    ) -> None:
        self.allowed_hosts = allowed_hosts if isinstance(allowed_hosts, AllowedHosts) else AllowedHosts(allowed_hosts)
        self.tried: list[Attempt] = []
        self._errors: list[OAuthError] = []
        self._http = http
        self._monotonic = monotonic

    @property
    def host_is_away(self) -> bool:
        """Whether the last address could not be asked at all."""
        return bool(self._errors) and self._errors[-1].code in _HOST_IS_AWAY

    @property
    def host_is_unreachable(self) -> bool:
        """Whether it is so for good: a host that took too long may do better at another address."""
        return bool(self._errors) and self._errors[-1].code in _UNREACHABLE

    @property
    def found_refused(self) -> bool:
        """Whether a document was there that cannot be used: what it says must not be worked around."""
        return any(isinstance(error, MetadataRefused) for error in self._errors)

    def server(self, issuer: str) -> ServerMetadata | None:
        """The first usable document of an issuer."""
        for kind, url in server_metadata_urls(issuer):
            found = self._ask(
                url,
                kind,
                lambda answer: parse_server_metadata(
                    _document(answer), issuer=issuer, allowed_hosts=self.allowed_hosts
                ),
            )
            if found is not None or self.host_is_away:
                return found
        return None

    def resource(self, resource: str) -> ResourceMetadata | None:
        """What a resource says about itself: where its challenge leads, else under its well-known addresses."""
        challenged = self._challenge(resource)
        if self.host_is_unreachable:
            return None
        for url in dict.fromkeys([*challenged, *resource_metadata_urls(resource)]):
            found = self._ask(
                url,
                "Protected resource metadata",
                lambda answer: parse_resource_metadata(
                    _document(answer), resource=resource, allowed_hosts=self.allowed_hosts
                ),
            )
            if found is not None or (self.host_is_away and url not in challenged):
                return found
        return None

    def failure(self) -> DiscoveryFailed:
        """The most telling of the errors: a document that cannot be used, then no answer, then nothing there."""
        if not self._errors:
            return DiscoveryFailed("metadata_not_found")
        error = max(self._errors, key=_weight)
        if isinstance(error, DiscoveryFailed):
            return error
        return DiscoveryFailed(error.code, error.description, status=error.status, retry_after=error.retry_after)

    def _challenge(self, resource: str) -> list[str]:
        """Where a request without a token is told to look (RFC 9728 §5)."""
        with deadline(PROBE_SECONDS):
            found = self._ask(resource, "Challenge of the resource", _resource_metadata_in)
        if found is None and not self.host_is_unreachable:
            self._errors.pop()  # a resource that answers oddly, or without an end, may publish all the same
        if found is not None and not found:
            self.tried[-1] = replace(self.tried[-1], ok=False, code="names_none", message=_WORDS["names_none"])
        elif found:
            self.tried[-1] = replace(self.tried[-1], code="names_metadata", message=_WORDS["names_metadata"])
        return found or []

    def _ask(self, url: str, looked_for: str, read: Callable[[requests.Response], Read]) -> Read | None:
        started, status, error = self._monotonic(), None, None
        found: Read | None = None
        try:
            with refusing_as_oauth_errors():
                answer = self._http.get(url, headers=dict(_JSON), allow_redirects=False)
                status = answer.status_code
                found = read(answer)
        except OAuthError as caught:
            error = _in_our_words(caught)
            self._errors.append(error)
        self.tried.append(
            Attempt(
                url=clean_provider_text(url),
                looked_for=looked_for,
                ok=error is None,
                code=error.code if error else "found",
                message=_sentence(error) if error else _WORDS["found"],
                status=status,
                duration_ms=round((self._monotonic() - started) * 1000),
            )
        )
        return found


@contextmanager
def _reporting(search: _Search) -> Iterator[None]:
    """End the search by the clock, and let its failure carry what was tried."""
    with deadline(TOTAL_SECONDS):
        try:
            yield
        except DiscoveryFailed as error:
            error.tried = tuple(search.tried)
            raise


def _document(answer: requests.Response) -> Mapping[str, Any]:
    """The JSON object of an answer with 200 (RFC 8414 §3.2). Raises OAuthError."""
    status = answer.status_code
    if 300 <= status < 400:
        raise DiscoveryFailed("metadata_redirected", status=status)
    refuse_by_status(status, parse_retry_after_header(answer.headers))
    if status != 200:
        raise DiscoveryFailed("metadata_not_found", status=status)
    fields = parse_fields(answer.content)
    if fields is None:
        raise DiscoveryFailed("metadata_not_json", status=status)
    return fields


def _resource_metadata_in(answer: requests.Response) -> list[str]:
    """The address in a 401's challenge, none if there is none."""
    if answer.status_code != 401:
        return []
    return _CHALLENGE.findall(answer.headers.get("WWW-Authenticate", ""))[:1]


def _in_our_words(error: OAuthError) -> OAuthError:
    # The door's words are about token responses.
    if error.code == "too_large":
        return DiscoveryFailed("metadata_too_large", status=error.status)
    return error


def _sentence(error: OAuthError) -> str:
    happened = _WORDS.get(error.code) or describe(error.code).happened
    return f"{happened} {error.description}".strip()


def _weight(error: OAuthError) -> int:
    if isinstance(error, MetadataRefused):
        return 2
    return 0 if error.code in _NOTHING_THERE else 1


def _root(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def _inserted(identifier: str, suffix: str) -> str:
    """The identifier with a well-known suffix between host and path, and without a terminating slash."""
    parts = urlsplit(identifier)
    return urlunsplit((parts.scheme, parts.netloc, f"/{suffix}{parts.path.removesuffix('/')}", "", ""))
