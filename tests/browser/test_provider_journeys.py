"""A workspace's own provider in a real browser: the wizard by mouse, by keyboard and without JavaScript; draft and
publish; export and import; the inspector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SandboxClients, Team
from tests.browser.person import Person, sandbox_url
from tests.servers.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.processes]

SECRET = "canary-config-value-0123456789"
NEW = "integrations/custom/new/"
EDIT = "integrations/custom/custom_northwind/edit/"
DEFINITION = {
    "name": "Northwind",
    "grant_types": ["authorization_code"],
    "authorization_endpoint": "https://id.northwind.example/authorize",
    "token_endpoint": "https://id.northwind.example/token",
    "scopes": [{"name": "openid", "required": True}],
}


def press(page: Page, name: str) -> None:
    """A button of the form, and wait for what comes."""
    page.locator("#provider-form").get_by_role("button", name=name, exact=True).last.click()
    page.wait_for_load_state("networkidle")


def fill_wizard(page: Page, base: str, clients: SandboxClients) -> None:
    """Every kind of field: endpoints with a parameter, the client, a dropdown, a secret, a helper, scopes."""
    form = page.locator("#provider-form")
    form.get_by_label("Name", exact=True).fill("Northwind")
    form.get_by_label("Authorization endpoint").fill(f"{base}/o/{{{{verb}}}}/")
    form.get_by_label("Token endpoint").fill(f"{base}/o/token/")
    form.get_by_label("User info endpoint").fill(f"{base}/api/me/")
    press(page, "Continue")

    expect(page.locator("#id_parameters-0-key")).to_have_value("verb")
    page.locator("#id_parameters-0-label").fill("Verb")
    page.locator("#id_parameters-0-type").select_option("dropdown")
    page.locator("#id_parameters-0-options").fill("authorize\nconsent")
    page.locator("#id_parameters-0-default").fill("authorize")
    page.locator("#id_client_id").fill(clients.authorization_code[0])
    page.locator("#id_client_secret").fill(clients.authorization_code[1])
    press(page, "Add config value")
    page.locator("#id_config_values-0-label").fill("Tenant key")
    page.locator("#id_config_values-0-key").fill("tenant_key")
    page.locator("#id_config_values-0-type").select_option("password")
    page.locator("#id_config_values-0-value").fill(SECRET)
    page.locator("#id_token_params").fill("tenant={{tenant_key}}")


def finish_wizard(page: Page) -> None:
    press(page, "Add scope")
    page.locator("#id_scopes-0-name").fill("profile")
    page.locator("#id_scopes-0-required").check()
    press(page, "Add scope")
    page.locator("#id_scopes-1-name").fill("notes:read")
    page.get_by_label("Allow users to customize scopes").check()


def test_the_wizard_with_the_mouse_ends_with_a_connection(
    member: Person, team: Team, product: Product, sandbox_clients: SandboxClients
) -> None:
    page = member.open(team.at(NEW))
    member.look()
    fill_wizard(page, sandbox_url(product), sandbox_clients)
    expect(page.locator("#preview")).to_contain_text("Tenant key")
    expect(page.locator("#preview")).to_contain_text("tenant=••••")
    member.look()

    press(page, "Add parameter")  # the focus goes where the new row is
    expect(page.locator("#id_parameters-1-label")).to_be_focused()
    page.locator("#id_parameters-1-label").fill("Second")
    page.locator("#id_parameters-1-key").fill("second")
    page.get_by_role("button", name="Move parameter 2 up").click()
    expect(page.locator("#id_parameters-0-key")).to_have_value("second")
    page.get_by_role("button", name="Remove parameter 1").click()
    expect(page.locator("#id_parameters-0-key")).to_have_value("verb")
    expect(page.locator("#id_parameters-1-key")).to_have_count(0)
    assert SECRET not in page.content()

    press(page, "Continue")
    finish_wizard(page)
    member.look()
    press(page, "Back")
    expect(page.locator("#id_parameters-0-options")).to_have_value("authorize\nconsent")
    press(page, "Continue")
    expect(page.locator("#id_scopes-1-name")).to_have_value("notes:read")
    press(page, "Add allowed pattern")
    page.locator("#id_allowed_scope_patterns-0-pattern").fill("(a+)+")
    with member.expecting(422):
        press(page, "Add provider")
        expect(page.locator("#id_allowed_scope_patterns-0-pattern_error")).to_contain_text("repetition")
        member.look()
    page.locator("#id_allowed_scope_patterns-0-pattern").fill("notes:(read|write)")
    press(page, "Add provider")

    member.toast("Northwind was added as custom_northwind.")
    page.get_by_role("button", name="Connect with OAuth").first.click()
    member.consent()
    member.status("Connected")


def test_the_keyboard_alone_is_enough_for_the_wizard(visitor: Callable[..., Person], team: Team) -> None:
    person = visitor()
    person.sign_in(team.email, team.password)
    page = person.open(team.at(NEW))
    keys = page.keyboard

    def to(element_id: str) -> None:
        for _ in range(120):
            if page.evaluate("document.activeElement.id") == element_id:
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not lead to {element_id}")

    def write(element_id: str, text: str) -> None:
        to(element_id)
        keys.press("Control+A")
        keys.type(text)

    write("id_name", "Keyboard")
    write("id_authorization_endpoint", "https://id.northwind.example/{{tenant}}/authorize")
    write("id_token_endpoint", "https://id.northwind.example/{{tenant}}/token")
    keys.press("Enter")  # Continue
    expect(page.locator("#id_parameters-0-key")).to_have_value("tenant")
    to("add-config_values")
    keys.press("Enter")
    expect(page.locator("#id_config_values-0-label")).to_be_focused()
    keys.type("Plan")
    write("id_config_values-0-key", "plan")
    write("id_config_values-0-value", "free")
    keys.press("Enter")  # Continue
    expect(page.locator("#part-3")).to_be_visible()
    to("add-scopes")
    keys.press("Enter")
    expect(page.locator("#id_scopes-0-name")).to_be_focused()
    keys.type("openid")
    to("id_scopes-0-required")
    keys.press("Space")
    to("add-scopes")
    keys.press("Enter")
    expect(page.locator("#id_scopes-1-name")).to_be_focused()
    keys.press("Shift+Tab")  # back to the second row's own buttons
    expect(page.get_by_role("button", name="Remove scope 2")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#id_scopes-1-name")).to_have_count(0)
    to("id_scopes-0-name")
    keys.press("Enter")  # Add provider
    person.toast("Keyboard was added as custom_keyboard.")


def test_without_javascript_rows_steps_and_drafts_work(visitor: Callable[..., Person], team: Team) -> None:
    person = visitor(java_script_enabled=False)
    person.sign_in(team.email, team.password)
    page = person.open(team.at(NEW))
    form = page.locator("#provider-form")
    form.get_by_label("Name", exact=True).fill("Plain")
    form.get_by_label("Authorization endpoint").fill("https://id.northwind.example/authorize")
    form.get_by_label("Token endpoint").fill("https://id.northwind.example/token")
    press(page, "Continue")
    press(page, "Add parameter")
    page.locator("#id_parameters-0-label").fill("Region")
    page.locator("#id_parameters-0-key").fill("region")
    press(page, "Add parameter")
    expect(page.locator("#id_parameters-0-key")).to_have_value("region")
    page.get_by_role("button", name="Remove parameter 2").click()
    press(page, "Continue")
    press(page, "Add scope")
    page.locator("#id_scopes-0-name").fill("openid")
    press(page, "Save as draft")
    page = person.open(team.at("integrations/custom/custom_plain/edit/"))
    expect(page.get_by_text("Not published yet")).to_be_visible()
    expect(page.locator("#id_parameters-0-key")).to_have_value("region")


def test_an_edit_becomes_a_draft_and_is_published(member: Person, team: Team) -> None:
    team.program.call("POST", "/providers", DEFINITION)
    team.program.call(
        "PUT", "/integrations/custom_northwind/authorization_code", {"client_id": "a", "client_secret": "b"}
    )
    page = member.open(team.at(EDIT))
    member.look()
    page.locator("#id_token_endpoint").fill("https://elsewhere.example/token")
    press(page, "Save as draft")
    expect(page.get_by_text("Version 2 is not published: connections are on version 1.")).to_be_visible()
    member.look()

    page.get_by_role("link", name="Publish version 2").click()
    expect(page.get_by_text("1 client secret is cleared")).to_be_visible()
    expect(page.locator("ins")).to_contain_text("https://elsewhere.example/token")
    member.look()
    page.get_by_role("button", name="Publish and clear").click()
    expect(page.locator("#versions")).to_contain_text("counts now")
    shown = team.program.call("GET", "/providers/custom_northwind")
    assert (shown["version"], shown["draft"]) == (2, False)


def test_an_export_is_imported_as_a_new_version(member: Person, team: Team, tmp_path: Path) -> None:
    team.program.call("POST", "/providers", DEFINITION)
    page = member.open(team.at(EDIT))
    with page.expect_download() as download:
        page.get_by_role("link", name="Export YAML").click()
    file = tmp_path / "northwind.yaml"
    download.value.save_as(file)
    file.write_text(file.read_text().replace("name: Northwind", "name: Northwind 2"))

    member.open(team.at("integrations/"))
    page.get_by_text("Add integration").click()
    page.get_by_role("link", name="Import a provider").click()
    page.get_by_label("Or a file").set_input_files(file)
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_text("This makes a new version of custom_northwind")).to_be_visible()
    expect(page.locator("ins").first).to_contain_text("Northwind 2")
    member.look()
    page.get_by_label("Definition").fill("grantry_provider: 1\nname: [")
    with member.expecting(422):
        page.get_by_role("button", name="Look again").click()
        expect(page.get_by_text("This cannot be imported yet")).to_be_visible()
        member.look()
    page.get_by_label("Definition").fill(file.read_text())
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("button", name="Publish now").click()
    member.toast("Version 2 of custom_northwind is published.")


def test_a_built_in_provider_is_copied(member: Person, team: Team) -> None:
    page = member.open(team.at("integrations/github/authorization_code/"))
    page.get_by_label("More actions").click()
    page.get_by_role("link", name="Copy as custom provider").click()
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_text("This adds GitHub as custom_github")).to_be_visible()


def test_the_inspector_reads_an_answer_and_forgets_it(member: Person, team: Team) -> None:
    page = member.open(team.at("integrations/github/authorization_code/"))
    page.get_by_label("More actions").click()
    page.get_by_role("link", name="Inspect requests and answers").click()
    member.look()
    page.get_by_label("Paste a token answer").fill('{"access_token": "gho_0123456789abcdefwxyz", "scope": "repo"}')
    page.get_by_role("button", name="Inspect").click()
    expect(page.get_by_role("heading", name="This is a token")).to_be_visible()
    expect(page.locator("#reading")).to_contain_text("…wxyz")
    member.look()
    page.get_by_label("Answer to").select_option("refresh_token")
    page.get_by_label("HTTP status").fill("400")
    page.get_by_label("Paste a token answer").fill('{"error": "bad_refresh_token"}')
    page.get_by_role("button", name="Inspect").click()
    expect(page.locator("#reading")).to_contain_text("It is not tried again by itself.")
    member.look()
