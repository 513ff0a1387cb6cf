"""The reference page in a real browser: light and dark, wide and narrow."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.conftest import Watched, chromium

__all__ = ["chromium"]  # a fixture, shared with the kit's tests

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_clean_and_its_examples_can_be_copied(
    width: int, scheme: Any, chromium: Browser, live_server: Any
) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(10_000)
    watched = Watched(context.new_page(), live_server.url)
    page = watched.open("/api/v1/docs")
    watched.check()

    call = page.locator("#read_token")
    call.get_by_role("button", name="Copy").click()
    expect(call.get_by_role("button")).to_contain_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith('curl "http://localhost:8000/api/v1/integrations/github/authorization_code/token"')

    for summary in call.locator("summary").all():
        summary.click()
    expect(call.get_by_text("temporarily_unavailable")).to_be_visible()
    page.get_by_role("link", name="Problems").click()
    expect(page.get_by_role("heading", name="Problems")).to_be_in_viewport()
    watched.check()
    context.close()
