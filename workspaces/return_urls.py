"""Where connect links may send people back to: an allow-list per workspace (open redirect, RFC 9700 §4.11).

Pure: no Django models, no network. An entry allows its own path and everything below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError

MAX_LENGTH = 500
MAX_ENTRIES = 50
# What a browser would read otherwise than urlsplit does: backslashes, control characters, spaces.
_UNSAFE = re.compile(r"[\\\s\x00-\x20\x7f-\x9f]")
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|5c)", re.IGNORECASE)
_DEFAULT_PORTS = {"https": 443, "http": 80}


def clean_return_urls(urls: Iterable[str]) -> list[str]:
    """Return the entries without blanks and duplicates, in order. Raises ValidationError naming each bad one."""
    cleaned: list[str] = []
    problems: list[str] = []
    for url in (url.strip() for url in urls):
        problem = _problem_of(url) if url else None
        if problem:
            problems.append(f"{url[:100]}: {problem}")
        elif url and url not in cleaned:
            cleaned.append(url)
    if len(cleaned) > MAX_ENTRIES:
        problems.append(f"At most {MAX_ENTRIES} return URLs can be kept.")
    if problems:
        raise ValidationError(problems)
    return cleaned


def permits(allowed: Sequence[str], url: str) -> bool:
    """Whether `url` is one of the allowed URLs or lies below one. Its own query is free, since it picks no host."""
    target = _split(url)
    return target is not None and any(_covers(entry, target) for entry in map(_split, allowed) if entry is not None)


def _covers(entry: SplitResult, target: SplitResult) -> bool:
    if _origin(entry) != _origin(target):
        return False
    prefix, path = entry.path.rstrip("/"), target.path or "/"
    return path in (prefix, entry.path) or path.startswith(f"{prefix}/")


def _split(url: str) -> SplitResult | None:
    return None if _problem_of(url, query_allowed=True) else urlsplit(url)


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _problem_of(url: str, *, query_allowed: bool = False) -> str | None:
    """Why a URL cannot stand on the list, in words for the person who typed it; None when it can."""
    if len(url) > MAX_LENGTH:
        return f"use at most {MAX_LENGTH} characters."
    if _UNSAFE.search(url):
        return "remove spaces, backslashes and control characters."
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        return "this is not a URL."
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return "begin with https:// and a host name."
    return _problem_of_parts(parts, query_allowed=query_allowed)


def _problem_of_parts(parts: SplitResult, *, query_allowed: bool) -> str | None:
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        return "use https; http is for localhost only."
    if "@" in parts.netloc:
        return "remove the user name and password."
    if "*" in parts.netloc:
        return "write the host name in full; wildcards are not taken."
    if parts.fragment or (parts.query and not query_allowed):
        return "leave out everything from “?” or “#” on."
    if _DOT_SEGMENT.search(parts.path) or _ENCODED_SEPARATOR.search(parts.path):
        return "remove “..”, “.” and encoded slashes from the path."
    return None


def _is_loopback(host: str) -> bool:
    """RFC 8252 §7.3: plain http stays on the machine only for these."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
