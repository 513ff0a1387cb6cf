"""A page of a real browser that tolerates nothing: see `Watched`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.servers.chromium import axe_violations, shared_chromium, why_missing


@dataclass
class Watched:
    """A page, and everything it did that a page must not do."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("response", self._look_at)

    def _look_at(self, response: Response) -> None:
        if urlsplit(response.url).netloc != urlsplit(self.base_url).netloc and not response.url.startswith("data:"):
            self.complaints.append(f"foreign: {response.url}")
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def open(self, path: str) -> Page:
        """Go to a path of the server and wait until everything has arrived."""
        self.page.goto(self.base_url + path)
        self.page.wait_for_load_state("networkidle")
        return self.page

    def check(self) -> None:
        """Fail on anything axe or the browser found, and on a page wider than its window."""
        for violation in axe_violations(self.page):
            nodes = [node["html"][:200] for node in violation["nodes"]]
            self.complaints.append(f"axe {violation['id']}: {nodes}")
        if self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            self.complaints.append("the page scrolls sideways")
        assert self.complaints == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skipped with a line where it is missing."""
    if reason := why_missing():
        pytest.skip(reason)
    with shared_chromium() as browser:
        yield browser


@pytest.fixture
def guide(
    chromium: Browser, live_server: Any, settings: Any, request: pytest.FixtureRequest, client: Any
) -> Iterator[Watched]:
    """The style guide in a browser where Alice is signed in. Parametrize with context options."""
    settings.ROOT_URLCONF = "tests.ui.style_guide"
    alice = request.getfixturevalue("alice")
    request.getfixturevalue("workspace")
    client.force_login(alice)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    options = {"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})}
    context: BrowserContext = chromium.new_context(
        reduced_motion="reduce", locale="en-GB", permissions=["clipboard-read", "clipboard-write"], **options
    )
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    context.set_default_timeout(10_000)
    yield Watched(context.new_page(), live_server.url)
    context.close()
