"""Connections with parameters, chosen scopes and other accounts, in a real browser at the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SandboxClients, Team
from tests.browser.person import Person, sandbox_url
from tests.servers.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.processes]

ONE = "integrations/custom_choosy/authorization_code/"
MANY_TABS = 80


@dataclass(frozen=True)
class Choosy:
    """A custom provider at the sandbox that asks for a tenant, a region and a pin, and lets people choose scopes."""

    team: Team
    definition: dict[str, Any]

    def at(self, path: str = "") -> str:
        return self.team.at(ONE + path)

    def connection(self) -> dict[str, Any]:
        (found,) = self.team.program.call("GET", "/integrations/custom_choosy/authorization_code/connections")["items"]
        return dict(found)


@pytest.fixture
def choosy(team: Team, product: Product, sandbox_clients: SandboxClients) -> Choosy:
    base = sandbox_url(product)
    asked = {"tenant": "{{tenant}}", "region": "{{region}}"}
    definition = {
        "name": "Choosy",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": f"{base}/o/authorize/",
        "token_endpoint": f"{base}/o/token/",
        "userinfo_endpoint": f"{base}/api/me/",
        "authorization_params": asked,
        "token_params": {**asked, "pin": "{{pin}}"},
        "parameters": [
            {"key": "tenant", "label": "Tenant", "help": "As in tenant.choosy.example.", "placeholder": "north"},
            {"key": "region", "label": "Region", "type": "dropdown", "options": ["eu", "us"]},
            {"key": "pin", "label": "Pin", "type": "password"},
        ],
        "config_values": [{"key": "edition", "label": "Edition", "value": "enterprise", "visible": True}],
        "scopes": [
            {"name": "profile", "required": True},
            {"name": "notes:read", "required": False, "description": "Read notes"},
            {"name": "notes:write", "required": False, "description": "Add notes"},
        ],
        "allow_scope_customization": True,
    }
    team.program.call("POST", "/providers", definition)
    team.program.call("PUT", f"/{ONE.rstrip('/')}", sandbox_clients.body("authorization_code"))
    return Choosy(team, definition)


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(MANY_TABS):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"The keyboard does not reach {wanted}.")


def test_a_connection_is_made_by_keyboard_alone(member: Person, choosy: Choosy) -> None:
    page = member.open(choosy.at("connections/new/"))
    keyboard = page.keyboard
    tab_to(page, page.get_by_role("textbox", name="Name", exact=True))
    keyboard.press("Control+A")
    keyboard.type("north")
    tab_to(page, page.get_by_label("Tenant"))
    keyboard.type("a/b")
    tab_to(page, page.get_by_role("button", name="Connect with OAuth").last)
    with member.expecting(422):
        keyboard.press("Enter")
        expect(page.locator("#id_param_tenant")).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_text("Enter a value for Pin.")).to_be_visible()
        expect(page.get_by_text("Enter a value for Region.")).to_be_visible()
        member.look()
    tab_to(page, page.get_by_label("Tenant"))
    keyboard.press("Control+A")
    keyboard.type("north")
    tab_to(page, page.get_by_label("Region"))
    keyboard.type("eu")
    tab_to(page, page.get_by_label("Pin"))
    keyboard.type("4711")
    options = page.get_by_role("group", name="Scopes to request")
    expect(options).to_be_hidden()
    tab_to(page, page.get_by_label("Use default scopes"))
    keyboard.press("ArrowDown")
    expect(options).to_be_visible()
    tab_to(page, page.get_by_label("notes:write"))
    keyboard.press("Space")
    member.look()
    tab_to(page, page.get_by_role("button", name="Connect with OAuth").last)
    keyboard.press("Enter")
    member.consent()
    member.status("Connected")
    made = choosy.connection()
    assert made["name"] == "north"
    assert made["parameters"] == {"tenant": "north", "region": "eu"}
    assert (made["scopes"], made["granted_scopes"]) == (["notes:read"], ["profile", "notes:read"])
    assert "4711" not in page.content()
    member.look()


def test_a_connection_is_made_and_edited_without_javascript(
    visitor: Callable[..., Person], choosy: Choosy, team: Team
) -> None:
    person = visitor(java_script_enabled=False)
    person.sign_in(team.email, team.password)
    page = person.open(choosy.at("connections/new/"))
    page.get_by_label("Tenant").fill("north")
    page.get_by_label("Region").select_option("us")
    page.get_by_label("Pin").fill("4711")
    page.get_by_label("Customize scopes").check()
    page.get_by_label("notes:read").uncheck()
    page.get_by_label("notes:write").uncheck()
    page.get_by_label("Manually add scopes").fill("notes:read")
    page.get_by_role("button", name="Connect with OAuth").last.click()
    page.locator("#continue").click()
    person.consent()
    person.status("Connected")
    assert choosy.connection()["granted_scopes"] == ["profile", "notes:read"]

    page.get_by_role("link", name="Edit connection").click()
    expect(page.get_by_label("Tenant")).to_have_value("north")
    expect(page.get_by_label("Pin")).to_have_value("")
    page.get_by_label("Tenant").fill("south")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#continue").click()
    person.consent()
    person.status("Connected")
    assert choosy.connection()["parameters"] == {"tenant": "south", "region": "us"}


def connect_plainly(member: Person, choosy: Choosy) -> Page:
    page = member.open(choosy.at("connections/new/"))
    page.get_by_label("Tenant").fill("north")
    page.get_by_label("Region").select_option("eu")
    page.get_by_label("Pin").fill("4711")
    page.get_by_label("Customize scopes").check()
    page.get_by_label("notes:write").uncheck()
    page.get_by_role("button", name="Connect with OAuth").last.click()
    member.consent()
    member.status("Connected")
    return page


def test_what_is_newly_needed_is_granted_with_one_click(member: Person, choosy: Choosy) -> None:
    page = connect_plainly(member, choosy)
    expect(page.get_by_role("button", name="Reconnect to grant")).to_have_count(0)
    page.get_by_role("link", name="Edit connection").click()
    page.get_by_label("Use default scopes").check()
    page.get_by_role("button", name="Save", exact=True).click()
    member.toast("reconnect to grant them")
    scopes = page.get_by_role("region", name="Scopes")
    expect(scopes.get_by_role("row", name="notes:write")).to_contain_text("Not requested yet")
    member.look()
    member.open(choosy.team.at("integrations/"))
    expect(page.get_by_text("1 new scope waits for consent")).to_be_visible()
    member.open(choosy.at("scopes/"))
    page.get_by_role("button", name="Reconnect to grant").click()
    member.consent()
    member.status("Connected")
    expect(page.get_by_role("region", name="Scopes")).to_contain_text("3 of 3 granted")
    assert choosy.connection()["scope_drift"] == []


def test_another_account_is_noticed_and_can_be_put_back(member: Person, choosy: Choosy, product: Product) -> None:
    page = connect_plainly(member, choosy)
    sign_in_next_as(member, product, "sam@sandbox.example")
    page.get_by_role("button", name="Reconnect with OAuth").first.click()
    page.locator("#username").fill("sam@sandbox.example")
    member.consent()
    member.toast("This is another account than before: it was alex@sandbox.example")
    note = page.get_by_role("heading", name="belongs to another account than before")
    expect(note).to_be_visible()
    member.look()

    sign_in_next_as(member, product, "alex@sandbox.example")
    page.get_by_role("button", name="Put alex@sandbox.example back").click()
    member.consent()
    expect(page.get_by_text("alex@sandbox.example").first).to_be_visible()
    expect(note).to_have_count(0)

    sign_in_next_as(member, product, "sam@sandbox.example")
    page.get_by_role("button", name="Reconnect with OAuth").first.click()
    page.locator("#username").fill("sam@sandbox.example")
    member.consent()
    page.get_by_role("button", name="Keep sam@sandbox.example").click()
    member.toast("belongs to sam@sandbox.example from now on")
    expect(note).to_have_count(0)


def sign_in_next_as(person: Person, product: Product, _email: str) -> None:
    """Forget who is signed in at the sandbox: its cookies have names of their own."""
    ours = person.context.cookies(product.url)
    for cookie in ours:
        if "sandbox" in str(cookie["name"]):
            person.context.clear_cookies(name=cookie["name"])


def test_an_outsider_is_asked_for_what_a_link_leaves_open(visitor: Callable[..., Person], choosy: Choosy) -> None:
    body = {"connection": "customer", "parameters": {"tenant": "north"}, "scopes": ["notes:read"]}
    link = choosy.team.program.call("POST", "/integrations/custom_choosy/authorization_code/connect-links", body)["url"]
    outsider = visitor()
    page = outsider.open(link)
    expect(page.get_by_text("Read notes")).to_be_visible()
    expect(page.get_by_text("notes:write")).to_have_count(0)
    expect(page.get_by_label("Tenant")).to_have_count(0)
    outsider.look()
    with outsider.expecting(422):
        page.get_by_role("button", name="Connect with OAuth").click()
        expect(page.get_by_text("Enter a value for Pin.")).to_be_visible()
        outsider.look()
    page.get_by_label("Region").select_option("us")
    page.get_by_label("Pin").fill("4711")
    page.get_by_role("button", name="Connect with OAuth").click()
    outsider.consent()
    expect(page.get_by_role("heading", level=1)).to_have_text("Choosy is connected")
    assert choosy.connection()["parameters"] == {"tenant": "north", "region": "us"}
