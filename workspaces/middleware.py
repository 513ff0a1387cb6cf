"""What every request gets before anything else: an id, the client's address, and the right host name."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect

from workspaces.redirect_hosts import find_by_host

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Machines call these by whatever name reaches us; a redirect would break them.
NEVER_REDIRECTED = ("/healthz", "/readyz", "/metrics", "/api/", "/oauth/jwks/")


class RequestIdMiddleware:
    """Sets `request.request_id` (also the X-Request-ID of the answer) and `request.client_address`.

    The id is always ours: one taken from the request could be made to collide with another's in the audit trail.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request."""
        request.request_id = uuid.uuid4()  # type: ignore[attr-defined] # WorkspaceRequest names both
        request.client_address = client_address(request)  # type: ignore[attr-defined]
        response = self.get_response(request)
        response.headers["X-Request-ID"] = str(request.request_id)  # type: ignore[attr-defined]
        return response


class RedirectHostMiddleware:
    """Recognises the redirect hosts of workspaces and gives them routes of their own, on which little else exists.

    The table is asked for each request that did not come by PUBLIC_BASE_URL's name: a host that was cleared is gone at
    once, in every process. Only a name that stands there letter for letter passes Django's check of the Host header.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request; `request.redirect_host_workspace` says whose host it came by."""
        workspace = find_by_host(request.META.get("HTTP_HOST", ""))
        request.redirect_host_workspace = workspace  # type: ignore[attr-defined] # see workspaces.http
        if workspace is None:
            return self.get_response(request)
        host = urlsplit(workspace.redirect_host).netloc
        request.get_host = lambda: host  # type: ignore[method-assign] # ALLOWED_HOSTS does not know it
        request.urlconf = settings.REDIRECT_HOST_URLCONF
        response = self.get_response(request)
        if "Strict-Transport-Security" in response.headers:
            # It may be a company's main domain: its other names are not ours to speak for.
            response.headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
        return response


class CanonicalHostMiddleware:
    """Sends people who came by another allowed name (GET, HEAD) to PUBLIC_BASE_URL, where their session is.

    Other methods are answered as they are, and redirect hosts by their own routes. A name outside ALLOWED_HOSTS is a
    400 as ever: get_host() raises.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.base_url = settings.PUBLIC_BASE_URL
        self.host = _without_default_port(urlsplit(self.base_url).netloc, urlsplit(self.base_url).scheme)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request, or send its sender to the right name."""
        is_redirect_host = getattr(request, "redirect_host_workspace", None) is not None
        leaves = request.method in ("GET", "HEAD") and not request.path.startswith(NEVER_REDIRECTED)
        if leaves and not is_redirect_host:
            host = _without_default_port(request.get_host(), request.scheme or "http")
            if host != self.host:
                return HttpResponseRedirect(self.base_url + request.get_full_path())
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """The address of the client: the one that the outermost of TRUSTED_PROXY_COUNT proxies saw.

    Each proxy appends the address it was called from, so counting from the right skips what a client made up.
    With no trusted proxy, or fewer hops than trusted ones, it is the peer of the socket.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    count = settings.TRUSTED_PROXY_COUNT
    if count < 1:
        return peer
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    if len(hops) < count:
        return peer
    return _address_of(hops[-count]) or peer


def _address_of(hop: str) -> str | None:
    """Without port and brackets; None for what is no address (`unknown`, made-up text)."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None


def _without_default_port(host: str, scheme: str) -> str:
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    host = host.lower()
    return host.removesuffix(default) if default else host
