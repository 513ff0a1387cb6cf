"""A redirect host: a host name of a workspace's own for its redirect URI and connect pages ("white label").

Judged without the network: browsers are sent to it, we never call it. That its DNS leads here shows when it is used.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q

from workspaces.models import Workspace

MAX_LENGTH = 255
_TOO_LONG = f"Use at most {MAX_LENGTH} characters."
CANNOT_BE_USED = "This host cannot be used. Choose another one."  # whose it is, is nobody's business
_DEFAULT_PORTS = {"https": 443, "http": 80}
_EXAMPLE = "https://connect.example.com"
# What a browser would read otherwise than urlsplit does: backslashes, control characters, spaces.
_UNSAFE = re.compile(r"[\\\s\x00-\x20\x7f-\x9f]")
# A host whose last label is a number is an IPv4 address to a browser, however it is spelled.
_NUMERIC = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|\d+)")
_HOST_HEADER = re.compile(r"[a-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9a-f:.]{2,45}\](?::\d{1,5})?")


def clean_redirect_host(text: str) -> str:
    """The origin in its one spelling: scheme, ASCII host in lower case, the port only where it is another one.

    Raises ValidationError with what is wrong and what to do. Whether another workspace has it is `is_taken`'s to say.
    """
    text = text.strip()
    if not text:
        raise ValidationError(f"Enter a host, such as {_EXAMPLE}.")
    if len(text) > MAX_LENGTH:
        raise ValidationError(_TOO_LONG)
    parts, port = _split(text)
    host = _ascii_host(parts.hostname or "")
    _check_scheme_and_name(parts.scheme, host, port)
    _check_is_free_for_workspaces(host)
    bracketed = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{bracketed}" + (f":{port}" if port != _DEFAULT_PORTS[parts.scheme] else "")
    if len(origin) > MAX_LENGTH:  # ASCII may be longer than what it spells
        raise ValidationError(_TOO_LONG)
    return origin


def is_taken(origin: str, *, by_others_than: Workspace) -> bool:
    """Whether another workspace has this host. Ports make no difference: cookies know none."""
    name = host_name(origin)
    same = Q()
    for scheme in _DEFAULT_PORTS:
        same |= Q(redirect_host=f"{scheme}://{name}") | Q(redirect_host__startswith=f"{scheme}://{name}:")
    return Workspace.objects.filter(same).exclude(pk=by_others_than.pk).exists()


def find_by_host(header: str) -> Workspace | None:
    """The workspace whose redirect host a request's Host header names, letter for letter but for case."""
    host = header.lower()
    if not _HOST_HEADER.fullmatch(host) or host == urlsplit(settings.PUBLIC_BASE_URL).netloc.lower():
        return None
    origins = [f"{scheme}://{host.removesuffix(f':{port}')}" for scheme, port in _DEFAULT_PORTS.items()]
    return Workspace.objects.filter(redirect_host__in=origins).first()


def host_name(origin: str) -> str:
    """The name alone, as it stands in a URL: without scheme and port."""
    name = urlsplit(origin).hostname or ""
    return f"[{name}]" if ":" in name else name


def _split(text: str) -> tuple[SplitResult, int]:
    if _UNSAFE.search(text):
        raise ValidationError("Remove spaces, backslashes and control characters.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"This is no host. Write it like {_EXAMPLE}.") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise ValidationError(f"Begin with https:// and a host name, such as {_EXAMPLE}.")
    if "@" in parts.netloc:
        raise ValidationError("Remove the user name and password.")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValidationError("Leave out everything after the host name.")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValidationError("Correct the port, or leave it out.")
    return parts, port or _DEFAULT_PORTS[parts.scheme]


def _ascii_host(host: str) -> str:
    """The name as DNS and browsers spell it (IDNA)."""
    if ":" in host and "%" not in host:
        return host  # IPv6: urlsplit has checked it
    if "*" in host:
        raise ValidationError("Write the host name in full; wildcards are not taken.")
    try:
        ascii_host = idna.encode(host, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValidationError("This is no valid host name. Check its spelling.") from error
    if ascii_host.endswith("."):
        raise ValidationError("Remove the dot at the end.")
    return ascii_host


def _check_scheme_and_name(scheme: str, host: str, port: int) -> None:
    """https and a name, but for hosts that the operator opened and for this machine in development."""
    public = urlsplit(settings.PUBLIC_BASE_URL)
    is_opened = _is_opened_by_operator(host, port)
    is_local = _is_this_machine(host)
    in_development = _is_this_machine(public.hostname or "")
    if scheme == "http" and (public.scheme == "https" or not (is_opened or (is_local and in_development))):
        raise ValidationError("Begin with https://: codes travel through it.")
    if is_opened or (is_local and in_development):
        return
    if is_local:
        raise ValidationError("This names the machine of whoever opens it. Use a public host name.")
    if ":" in host or _NUMERIC.fullmatch(host):
        raise ValidationError("Use a host name instead of an IP address.")


def _check_is_free_for_workspaces(host: str) -> None:
    """PUBLIC_BASE_URL's own host and the operator's other names would stop serving the product."""
    public = (urlsplit(settings.PUBLIC_BASE_URL).hostname or "").lower()
    if host == public:
        raise ValidationError("This is the host that is used already. Choose one of your own.")
    names = {name.strip("[]").lower() for name in settings.ALLOWED_HOSTS}
    if host in names and not _is_this_machine(host):
        raise ValidationError(CANNOT_BE_USED)


def _is_opened_by_operator(host: str, port: int) -> bool:
    """OUTBOUND_ALLOWED_HOSTS names hosts as `host[:port]`; without a port it means 80 and 443."""
    name = f"[{host}]" if ":" in host else host
    entries = {entry.strip().lower() for entry in settings.OUTBOUND_ALLOWED_HOSTS}
    return f"{name}:{port}" in entries or (port in _DEFAULT_PORTS.values() and name in entries)


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
