"""A person with a real browser that tolerates nothing, and what they do with a mouse and a keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

from tests.servers.chromium import axe_violations
from tests.servers.product import Product

TIMEOUT_MS = 15_000
WIDE = {"width": 1280, "height": 900}


def sandbox_url(product: Product) -> str:
    """The sandbox listens beside the product."""
    parts = urlsplit(product.url)
    return f"{parts.scheme}://{parts.hostname}:{(parts.port or 0) + 1}"


def own_host_url(product: Product) -> str:
    """The product under a name that a workspace may have as its redirect host."""
    return product.url.replace("//localhost:", "//127.0.0.1:")


@dataclass
class Person:
    """One browser context. Whatever a page must not do is a complaint; `check()` fails on any."""

    context: BrowserContext
    product: Product
    page: Page = field(init=False)
    complaints: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(TIMEOUT_MS)
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda error: self.complaints.append(f"script: {error.error}"))
        self.context.on("request", self._follow)
        self.context.on("response", self._look_at)
        self.page = self.context.new_page()

    @property
    def ours(self) -> set[str]:
        """The two servers that a page may talk to, and the product's other name."""
        addresses = (self.product.url, own_host_url(self.product), sandbox_url(self.product))
        return {urlsplit(address).netloc for address in addresses}

    def _hear(self, message: ConsoleMessage) -> None:
        # The same as the response, which `_look_at` judges; this comes at a time of its own.
        if not message.text.startswith("Failed to load resource: the server responded with a status of"):
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _follow(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc not in self.ours:
            self.complaints.append(f"foreign: {request.url}")

    def _look_at(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.complaints.append(f"{response.status}: {response.url}")

    @contextmanager
    def expecting(self, *statuses: int) -> Iterator[None]:
        """Answers with these statuses are what the test is about."""
        self.expected = set(statuses)
        yield
        self.page.wait_for_load_state("networkidle")
        self.expected = set()

    def open(self, path: str) -> Page:
        """Go to a path of the product and wait until everything has arrived."""
        self.page.goto(path if "://" in path else self.product.url + path)
        self.page.wait_for_load_state("networkidle")
        return self.page

    def look(self) -> None:
        """Let axe and the layout judge the page as it is now."""
        self.page.wait_for_load_state("networkidle")
        where = urlsplit(self.page.url).path
        for violation in axe_violations(self.page):
            nodes = [node["html"][:300] for node in violation["nodes"][:4]]
            self.complaints.append(f"axe {violation['id']} on {where}: {nodes}")
        if too_wide := self.page.evaluate(_TOO_WIDE):
            self.complaints.append(f"{where} scrolls sideways: {too_wide}")

    def check(self) -> None:
        """Fail on anything that was noticed so far."""
        assert not self.complaints, "\n".join(self.complaints)

    # --- what people do -----------------------------------------------------------------------------------
    def sign_in(self, email: str = "", password: str = "") -> None:
        """By the form, with the printed address and password unless others are given."""
        page = self.open("/accounts/login/")
        page.get_by_label("Email", exact=True).fill(email or self.product.email)
        page.get_by_label("Password", exact=True).fill(password or self.product.password)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in to Grantry")

    def toast(self, words: str) -> None:
        """A toast that says so."""
        expect(self.page.locator(".toast, .g-toast").filter(has_text=words).first).to_be_visible()

    def status(self, words: str) -> None:
        """The badge of the integration's header."""
        expect(self.page.locator("#status")).to_contain_text(words)

    def disconnect(self, word: str = "") -> None:
        """Through the menu and its dialog, typing the word where one is asked for."""
        self.page.get_by_label("More actions").click()
        self.page.get_by_role("link", name="Disconnect").click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        if word:
            expect(dialog.get_by_role("button", name="Disconnect")).to_be_disabled()
            dialog.get_by_label("to confirm").fill(word)
        dialog.get_by_role("button", name="Disconnect").click()

    def consent(self, *, allow: bool = True) -> None:
        """Sign in at the sandbox if it asks, and decide."""
        expect(self.page.locator("#consent, #username").first).to_be_visible()
        if self.page.locator("#username").count():
            self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", level=1)).to_contain_text("to use your account")
        self.page.get_by_role("button", name="Allow" if allow else "Deny").click()
        self.page.wait_for_url(f"{self.product.url}/**")


_TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return null;
  const wide = [...document.body.querySelectorAll('*')].filter(
    (element) => element.getBoundingClientRect().right > root.clientWidth + 1);
  return wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 120));
}"""


@contextmanager
def person_in(browser: Browser, product: Product, **options: Any) -> Iterator[Person]:
    """Somebody with a browser of their own; fails at the end on anything they noticed."""
    context = browser.new_context(
        **{
            "viewport": WIDE,
            "reduced_motion": "reduce",
            "locale": "en-GB",
            "permissions": ["clipboard-read", "clipboard-write"],
            **options,
        }
    )
    try:
        person = Person(context, product)
        yield person
        person.check()
    finally:
        context.close()
