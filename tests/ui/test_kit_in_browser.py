"""The kit in a real browser, under the real Content-Security-Policy: each part does what it says."""

from __future__ import annotations

import gzip
import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

GUIDE = "/w/acme/integrations/"
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.mark.parametrize(
    "guide",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {**PHONE, "color_scheme": "light"},
        {**PHONE, "color_scheme": "dark"},
    ],
    indirect=True,
    ids=["light", "dark", "phone-light", "phone-dark"],
)
def test_every_component_is_clean(guide: Watched) -> None:
    """Axe, the console, the CSP and the width of the window find nothing; errors shown or not."""
    page = guide.open(GUIDE)
    guide.check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".is-invalid").first).to_be_visible()
    guide.check()


def test_the_first_load_is_light(guide: Watched) -> None:
    """No page over 300 KB compressed, icons, marks and both fonts included."""
    bodies: dict[str, bytes] = {}
    guide.page.on("response", lambda response: bodies.update({response.url: response.body()}))
    guide.open(GUIDE)
    sizes = {url: min(len(gzip.compress(body)), len(body)) for url, body in bodies.items()}
    assert len(sizes) > 10
    assert sum(sizes.values()) < 300_000, sizes


def test_the_theme_follows_the_system_until_one_is_chosen(guide: Watched) -> None:
    """And the choice is kept, and set before the first paint."""
    page = guide.open(GUIDE)
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.locator(".g-person summary").click()
    page.get_by_role("button", name="Light", exact=True).click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    guide.open(GUIDE)
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.locator(".g-person summary").click()
    expect(page.get_by_role("button", name="Light", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="System", exact=True).click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    guide.check()


def test_a_menu_works_with_the_keyboard(guide: Watched) -> None:
    """Enter opens, arrows move, Escape closes and gives the focus back, and so does a click outside."""
    page = guide.open(GUIDE)
    summary = page.locator("summary[aria-label=More]")
    menu = page.locator("details.g-menu", has=summary)
    summary.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="OAuth provider")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="Disconnect")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="OAuth provider")).to_be_focused()
    guide.check()
    page.keyboard.press("Escape")
    expect(summary).to_be_focused()
    expect(menu).not_to_have_attribute("open", "")
    summary.click()
    expect(menu).to_have_attribute("open", "")
    page.locator("h1").click()
    expect(menu).not_to_have_attribute("open", "")


def test_slash_goes_to_the_search(guide: Watched) -> None:
    """But stays a slash where one is typing."""
    page = guide.open(GUIDE)
    page.keyboard.press("/")
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    page.keyboard.type("a/b")
    expect(search).to_have_value("a/b")


def test_the_skip_link_is_the_first_stop(guide: Watched) -> None:
    """And leads to the content."""
    page = guide.open(GUIDE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_copying_is_spoken(guide: Watched) -> None:
    """The clipboard holds the value; "Copied" is shown and announced."""
    page = guide.open(GUIDE)
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#live")).to_have_text("Copied")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "https://grantry.example/oauth/callback"
    page.get_by_role("button", name="Copy the expression").click()
    expect(page.locator("#live")).to_have_text("Copied")
    page.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('${{'))")


def scopes_sent(page: Page) -> str:
    return page.locator("textarea[name=additional_scopes]").input_value()


def test_tags_are_typed_pasted_and_removed(guide: Watched) -> None:
    """With the keyboard alone; each change is spoken."""
    page = guide.open(GUIDE)
    field = page.get_by_label("Additional scopes", exact=False).and_(page.locator("input"))
    field.fill("read:org")
    field.press("Enter")
    expect(page.locator("#live")).to_have_text("Added read:org")
    field.press_sequentially("gist ")
    assert scopes_sent(page) == "repo\nread:org\ngist"
    page.evaluate("navigator.clipboard.writeText('a:b, c:d\\nrepo')")
    field.press("ControlOrMeta+v")
    expect(page.get_by_role("button", name="Remove c:d")).to_be_visible()
    assert scopes_sent(page) == "repo\nread:org\ngist\na:b\nc:d"  # repo was there already
    page.get_by_role("button", name="Remove gist").press("Enter")
    expect(field).to_be_focused()
    field.press("Backspace")
    expect(page.locator("#live")).to_have_text("Removed c:d")
    assert scopes_sent(page) == "repo\nread:org\na:b"
    guide.check()


def fill_in(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("Northwind")
    page.get_by_label("Client id").fill("abc")
    page.get_by_label("Delegated user", exact=True).first.check()
    page.get_by_label("Publish at once").check()


def test_text_left_in_the_tag_input_counts_on_submit(guide: Watched) -> None:
    """No Enter needed."""
    page = guide.open(GUIDE)
    fill_in(page)
    page.locator("#id_additional_scopes-entry").press_sequentially("half:typed")
    page.get_by_label("Name", exact=True).press("Enter")
    expect(page.locator(".g-toast").first).to_contain_text("Saved: repo half:typed")
    guide.check()


def test_a_refused_tag_is_marked_on_its_chip(guide: Watched) -> None:
    """Nothing that was typed is lost."""
    page = guide.open(GUIDE)
    fill_in(page)
    page.locator("#id_additional_scopes-entry").fill("admin:org")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".g-tag.is-invalid")).to_contain_text("admin:org")
    expect(page.locator("#id_additional_scopes_error")).to_contain_text("admin:org is not allowed here.")
    assert scopes_sent(page) == "repo\nadmin:org"
    guide.check()


@pytest.mark.parametrize("guide", [{"java_script_enabled": False}], indirect=True)
def test_the_form_the_menus_and_the_dialogs_page_work_without_javascript(guide: Watched) -> None:
    """Tags are a text area, menus open, the dangerous step is a page, controls that need a script are gone."""
    page = guide.open(GUIDE)
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_hidden()
    expect(page.locator("[data-theme-toggle]")).to_be_hidden()
    fill_in(page)
    page.locator("textarea[name=additional_scopes]").fill("repo\nread:org")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved: repo read:org")).to_be_visible()
    page.locator("summary[aria-label=More]").click()
    page.get_by_role("link", name="Disconnect").click()
    expect(page).to_have_url(re.compile(r"/confirm/$"))
    assert guide.complaints == []


def test_a_dangerous_step_asks_for_the_name(guide: Watched) -> None:
    """The dialog takes the focus, keeps its button shut until the name is right, and Escape leaves."""
    page = guide.open(GUIDE)
    page.locator("summary[aria-label=More]").click()
    page.get_by_role("link", name="Disconnect").click()
    dialog = page.get_by_role("dialog", name="Disconnect Google Drive?")
    expect(dialog).to_be_visible()
    button = dialog.get_by_role("button", name="Disconnect")
    expect(button).to_be_disabled()
    guide.check()
    word = dialog.get_by_label("Type google_drive to confirm")
    word.fill("google")
    expect(button).to_be_disabled()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.locator("summary[aria-label=More]").click()
    page.get_by_role("link", name="Disconnect").click()
    dialog.get_by_role("link", name="Cancel").click()
    expect(dialog).to_be_hidden()
    page.locator("summary[aria-label=More]").click()
    page.get_by_role("link", name="Disconnect").click()
    word.fill("google_drive")
    button.click()
    expect(page.locator(".g-toast").first).to_contain_text("Disconnected google_drive")


def test_unsaved_changes_are_noticed(guide: Watched) -> None:
    """A note while there are some; the browser asks before leaving; Cancel and saving do not ask."""
    page = guide.open(GUIDE)
    asked: list[str] = []

    def dismiss(dialog: object) -> None:
        asked.append(dialog.type)  # type: ignore[attr-defined]
        dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", dismiss)
    note = page.get_by_text("Unsaved changes")
    expect(note).to_be_hidden()
    page.get_by_label("Name", exact=True).fill("Northwind")
    expect(note).to_be_visible()
    page.get_by_role("link", name="Members").click()
    page.wait_for_timeout(200)
    assert asked == ["beforeunload"]
    expect(page).to_have_url(re.compile(GUIDE))
    page.get_by_label("Name", exact=True).fill("")
    expect(note).to_be_hidden()
    page.get_by_label("Name", exact=True).fill("Northwind")
    page.locator("form[data-unsaved]").get_by_role("link", name="Cancel").click()
    page.wait_for_load_state()
    assert asked == ["beforeunload"]


def test_a_secret_can_be_looked_at_while_it_is_typed(guide: Watched) -> None:
    """Show and Hide."""
    page = guide.open(GUIDE)
    secret = page.locator("#id_client_secret")
    secret.fill("s3cret")
    expect(secret).to_have_attribute("type", "password")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(secret).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide", exact=True).click()
    expect(secret).to_have_attribute("type", "password")


def test_a_failed_request_of_htmx_is_said(guide: Watched) -> None:
    """Nothing is swallowed; the toast stays until it is dismissed."""
    page = guide.open(GUIDE)
    page.get_by_role("button", name="Ask a broken view").click()
    toast = page.locator(".g-toast")
    expect(toast).to_contain_text("the server answered 500")
    toast.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)
    # The failure itself is what was asked for; nothing else may have been complained about.
    assert all("500" in complaint or "Response Status" in complaint for complaint in guide.complaints)


@pytest.mark.parametrize("guide", [PHONE, {**PHONE, "java_script_enabled": False}], indirect=True, ids=["js", "no-js"])
def test_the_drawer_of_a_phone_opens_with_and_without_javascript(guide: Watched) -> None:
    """The same navigation as beside a wide page."""
    page = guide.open(GUIDE)
    expect(page.get_by_role("link", name="Audit log")).to_be_hidden()
    page.locator(".g-drawer summary").click()
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()
    expect(page.get_by_role("link", name="Integrations", exact=True).first).to_be_visible()
    assert guide.complaints == []


@pytest.mark.parametrize("guide", [{"timezone_id": "Asia/Tokyo"}], indirect=True)
def test_times_are_said_in_the_readers_zone(guide: Watched) -> None:
    """The server writes UTC; the browser knows better. Words stay as they were."""
    page = guide.open(GUIDE)
    moment = page.locator("time[data-local=time]").first
    utc = moment.get_attribute("datetime") or ""
    shown = moment.inner_text()
    expected = page.evaluate(
        "moment => new Date(moment).toLocaleTimeString('en-GB', {timeStyle: 'short', timeZone: 'Asia/Tokyo'})", utc
    )
    assert shown == expected
    expect(page.locator("td time[data-relative]")).to_have_text("3 days ago")


@pytest.mark.parametrize("guide", [{"color_scheme": "light"}, {**PHONE, "color_scheme": "dark"}], indirect=True)
@pytest.mark.parametrize(
    "path",
    [
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/2fa/",
        "/accounts/sessions/",
        "/accounts/logout/",
        "/accounts/reauthenticate/",
        "/accounts/password/reset/",
        "/accounts/password/reset/done/",
        "/accounts/password/reset/key/done/",
        "/accounts/inactive/",
        "/accounts/confirm-email/",
    ],
)
def test_the_account_pages_are_clean(guide: Watched, path: str) -> None:
    """No inline style or script of allauth's is left, and one heading leads each page."""
    page = guide.open(path)
    expect(page.locator("h1")).to_have_count(1)
    guide.check()
