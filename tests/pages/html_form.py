"""What a browser would send of a page's form: every control that is not disabled, the hidden parts too."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class Form(HTMLParser):
    """Reads the form with the id `provider-form` (or the first one that posts)."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id, self.inside = form_id, False
        self.data: dict[str, Any] = {}
        self.buttons: list[tuple[str, str]] = []
        self._textarea: str | None = None
        self._select: str | None = None

    @classmethod
    def of(cls, html: str, form_id: str = "provider-form") -> Form:
        """The form of a page."""
        form = cls(form_id)
        form.feed(html)
        return form

    def _add(self, name: str, value: str) -> None:
        if name not in self.data:
            self.data[name] = value
        elif isinstance(self.data[name], list):
            self.data[name].append(value)
        else:
            self.data[name] = [self.data[name], value]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = given.get("id") == self.form_id
        if not self.inside or "disabled" in given:
            return
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio"):
                if "checked" in given:
                    self._add(name, value or "on")
            elif value or kind != "password":
                self._add(name, value)
        elif tag == "button" and name:
            self.buttons.append((name, value))
        elif tag == "textarea":
            self._textarea = name
            self._add(name, "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and (self._select not in self.data or "selected" in given):
            self.data[self._select] = value

    def handle_data(self, data: str) -> None:
        if self.inside and self._textarea:
            self.data[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        elif tag == "textarea" and self._textarea:
            self.data[self._textarea] = self.data[self._textarea].removeprefix("\n").removeprefix("\r\n")
            self._textarea = None
        elif tag == "select":
            self._select = None
