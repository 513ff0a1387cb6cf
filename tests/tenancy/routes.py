"""Every route that the URL resolver knows, with what its placeholders stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True)
class Route:
    """One route: its template, as in `w/<slug:workspace>/members/`, and the names of its placeholders."""

    template: str
    name: str
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"/{self.template}"


def all_routes(urlconf: str | None = None) -> list[Route]:
    """Every route of the project (or of redirect hosts) but Django admin's and the accounts pages, which know no
    workspace.
    """
    routes = _walk(get_resolver(urlconf), "", "")
    return [route for route in routes if not route.template.startswith(("admin/", "accounts/"))]


def _walk(resolver: URLResolver, prefix: str, namespace: str) -> Iterator[Route]:
    for entry in resolver.url_patterns:
        template = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, template, inner)
        elif isinstance(entry, URLPattern):
            yield Route(template, f"{namespace}{entry.name or ''}", tuple(PLACEHOLDER.findall(template)))
