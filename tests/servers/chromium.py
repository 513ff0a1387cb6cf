"""Debian's Chromium, once per process: Playwright's loop cannot run twice in one thread.

Fixtures in several folders ask for it with `shared_chromium()`; the first starts it, the last one to leave ends it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

# The first one is Chromium without a window of its own: half the work for the same pages.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_AXE = Axe().axe_script
_running: list[tuple[Playwright, Browser]] = []
_users: list[object] = []


def chromium_path() -> str | None:
    """Where a Chromium of this machine is."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def why_missing() -> str | None:
    """Why browser tests cannot run here, or None."""
    return None if chromium_path() else f"needs a browser: none of {', '.join(NAMES)} is installed"


@contextmanager
def shared_chromium() -> Iterator[Browser]:
    """The process's one browser."""
    if not _users:
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright keeps an event loop in this thread
        playwright = sync_playwright().start()
        _running.append((playwright, playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)))
    user = object()
    _users.append(user)
    try:
        yield _running[0][1]
    finally:
        _users.remove(user)
        if not _users:
            playwright, browser = _running.pop()
            browser.close()
            playwright.stop()


def axe_violations(page: Page) -> list[dict[str, Any]]:
    """What axe finds wrong with the page as it is now, by every rule; what passes is not written down."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    return list(page.evaluate("() => axe.run({resultTypes: ['violations']})")["violations"])
