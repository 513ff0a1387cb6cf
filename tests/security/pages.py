"""Walks pages as a person would: which forms they hold, and with what in their fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit


@dataclass
class Form:
    """One form of a page. `fields` has what it would send if it were sent untouched."""

    page: str
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.action}"


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.forms: list[Form] = []
        self.by_id: dict[str, Form] = {}
        self.links: list[str] = []
        self._form: Form | None = None
        self._select: str = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = urljoin(self.page, given.get("action", "")) or self.page
            self._form = Form(self.page, action, given.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "a" and given.get("href"):
            self.links.append(urljoin(self.page, given["href"]))
        elif tag in ("input", "textarea", "button", "select") and given.get("name") and self._form is not None:
            self._select = given["name"] if tag == "select" else ""
            if given.get("type") in ("checkbox", "radio") and given["name"] in self._form.fields:
                return
            self._form.fields.setdefault(given["name"], given.get("value", ""))
        elif tag == "option" and self._select and self._form is not None:
            chosen = "selected" in given or not self._form.fields[self._select]
            self._form.fields[self._select] = given.get("value", "") if chosen else self._form.fields[self._select]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


def forms_of(page: str, html: str) -> list[Form]:
    """Every form of a page."""
    reader = _Reader(page)
    reader.feed(html)
    return reader.forms


def links_of(page: str, html: str) -> list[str]:
    """Paths of ours that a page leads to, queries included: one spelling for filters chosen in whatever order."""
    reader = _Reader(page)
    reader.feed(html)
    paths = []
    for link in reader.links:
        parts = urlsplit(link)
        if not parts.netloc and parts.path.startswith("/"):
            query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
            paths.append(parts.path + (f"?{query}" if query else ""))
    return paths
