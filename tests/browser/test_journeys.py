"""What people come for, in a real browser against the product as it is started: connect, renew, test, disconnect.

Each journey has a workspace of its own. Any console message, script error, foreign request, unexpected 4xx or 5xx, or
axe finding fails it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import SandboxClients, Team
from tests.browser.person import Person, own_host_url, sandbox_url
from tests.servers.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.processes]

ONE = "integrations/sandbox/authorization_code/"
SERVICE = "integrations/sandbox/client_credentials/"
CLIENT_SECRET = re.compile("^Client secret")
RENEWAL_MS = 60_000  # tokens live 20 s; beat looks every 10 s


def is_active(product: Product, clients: SandboxClients, token: str) -> bool:
    """What the sandbox's introspection says (RFC 7662)."""
    url = f"{sandbox_url(product)}/o/introspect/"
    answer = requests.post(url, data={"token": token}, auth=clients.authorization_code, timeout=10)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def connect(person: Person, team: Team, path: str = ONE) -> None:
    """Connect with OAuth, and consent."""
    person.open(team.at(path)).get_by_role("button", name="Connect with OAuth").first.click()
    person.consent()
    person.status("Connected")


def test_a_custom_provider_from_nothing_to_disconnected(
    visitor: Callable[..., Person], team: Team, product: Product, sandbox_clients: SandboxClients
) -> None:
    """Sign in → Add custom OAuth provider → Connect → consent → renews by itself → Disconnect."""
    person = visitor()
    person.sign_in(team.email, team.password)
    page = person.page
    page.get_by_text("Add integration").click()
    page.get_by_role("link", name="Add custom OAuth provider").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add custom OAuth provider")

    base = sandbox_url(product)
    page.locator("#provider-form").get_by_label("Name", exact=True).fill("Own Server")
    page.get_by_label("Authorization endpoint").fill("not an address")
    with person.expecting(422):
        page.get_by_role("button", name="Continue").last.click()
        expect(page.locator("#id_authorization_endpoint")).to_have_class(re.compile("is-invalid"))
        person.look()
    page.get_by_label("Authorization endpoint").fill(f"{base}/o/authorize/")
    page.get_by_label("Token endpoint").fill(f"{base}/o/token/")
    page.get_by_label("Revocation endpoint").fill(f"{base}/o/revoke_token/")
    page.get_by_label("User info endpoint").fill(f"{base}/api/me/")
    expect(page.locator("#preview")).to_contain_text("Own Server")
    page.get_by_role("button", name="Continue").last.click()

    client_id, client_secret = sandbox_clients.authorization_code
    expect(page.get_by_label("Redirect URI")).to_have_value(f"{product.url}/oauth/callback")
    page.locator("#id_client_id").fill(client_id)
    page.locator("#id_client_secret").fill(client_secret)
    person.look()
    page.get_by_role("button", name="Continue").last.click()
    expect(page.get_by_role("button", name="Add scope")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#id_client_id")).to_have_value(client_id)
    assert client_secret not in page.content()
    page.get_by_role("button", name="Continue").last.click()
    page.get_by_role("button", name="Add scope").click()
    page.locator("#id_scopes-0-name").fill("profile")
    page.locator("#id_scopes-0-required").check()
    page.get_by_role("button", name="Add scope").click()
    page.locator("#id_scopes-1-name").fill("notes:read")
    person.look()
    page.get_by_role("button", name="Add provider").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Own Server")
    person.status("Configured")
    person.look()
    page.get_by_role("button", name="Connect with OAuth").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Sandbox")
    person.look()
    person.consent()
    person.status("Connected")
    person.toast("Everything requested was granted")
    assert "code=" not in page.url
    expect(page.get_by_text("alex@sandbox.example").first).to_be_visible()
    person.look()

    path = "/integrations/custom_own_server/authorization_code/token"
    first = team.program.call("GET", path)["access_token"]
    assert is_active(product, sandbox_clients, first)
    page.evaluate("window.sameDocument = true")
    renewals = page.get_by_role("region", name="Renewals")
    expect(renewals).to_contain_text("None yet")
    expect(renewals).to_contain_text("Last renewed", timeout=RENEWAL_MS)
    assert page.evaluate("window.sameDocument") is True, "the page was reloaded"
    person.status("Connected")
    second = team.program.call("GET", path)["access_token"]
    assert second != first

    person.open(page.url)  # somebody has read the token meanwhile: now a word is asked for
    person.disconnect(word="custom_own_server")
    person.toast("is disconnected")
    person.status("Configured")
    person.look()
    assert not is_active(product, sandbox_clients, second)
    assert team.program.ask("GET", path).json()["code"] == "not_connected"


def test_a_refused_consent_changes_nothing_and_can_be_tried_again(member: Person, team: Team, product: Product) -> None:
    page = member.open(team.at(ONE))
    page.get_by_role("button", name="Connect with OAuth").first.click()
    with member.expecting(400):
        member.consent(allow=False)
        expect(page.get_by_role("heading", level=1)).to_have_text("Sandbox was not connected")
        expect(page.get_by_text("Nothing has changed")).to_be_visible()
        expect(page.get_by_text("access_denied")).to_be_visible()
        assert "error=" not in page.url
        member.look()
    page.get_by_role("button", name="Try again").click()
    member.consent()
    member.status("Connected")
    before = team.program.call("GET", "/integrations/sandbox/authorization_code/connections")["items"]

    page.get_by_role("button", name="Reconnect with OAuth").first.click()
    with member.expecting(400):
        member.consent(allow=False)
        expect(page.get_by_text("a connection you had keeps working")).to_be_visible()
    page.get_by_role("link", name="Back to Sandbox").click()
    member.status("Connected")
    after = team.program.call("GET", "/integrations/sandbox/authorization_code/connections")["items"]
    steady = ("id", "status", "granted_scopes", "account", "last_error")
    assert [{key: one[key] for key in steady} for one in after] == [{key: one[key] for key in steady} for one in before]
    assert team.program.call("GET", "/integrations/sandbox/authorization_code/token")["access_token"]


def test_a_service_account_fetches_and_tests_its_token(member: Person, team: Team) -> None:
    page = member.open(team.at(SERVICE))
    member.status("Configured")
    page.get_by_role("button", name="Fetch token").first.click()
    member.toast("A token was fetched")
    member.status("Connected")
    member.look()

    page.get_by_role("button", name="Test connection").click()
    result = page.locator("#panel")
    expect(result.get_by_role("heading", name="Sandbox issued a token")).to_be_visible()
    for step in ("Find the host", "Reach the token endpoint", "Be recognised", "Receive a token"):
        expect(result.get_by_text(step)).to_be_visible()
    expect(result.get_by_text("The token is good for")).to_be_visible()
    member.look()

    team.program.call("PUT", "/integrations/sandbox/client_credentials", {"client_secret": "not-the-secret"})
    page.get_by_role("button", name="Test connection").click()
    expect(result.get_by_text("invalid_client").first).to_be_attached()
    expect(result.locator("summary", has_text="Details")).to_be_visible()
    member.look()
    member.open(team.at(SERVICE))
    member.status("Misconfigured")
    page.get_by_role("link", name="Check configuration").first.click()
    expect(page.get_by_text("Sandbox refuses this client")).to_be_visible()
    member.look()


def test_scopes_are_typed_refused_in_words_and_granted_by_reconnecting(member: Person, team: Team) -> None:
    connect(member, team)
    page = member.open(team.at(f"{ONE}scopes/"))
    page.get_by_role("combobox", name="Additional scopes").focus()
    page.keyboard.type("notes:read repo ")
    with member.expecting(422):
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("profile, notes:read or notes:write").first).to_be_visible()
        expect(page.locator(".g-tag.is-invalid")).to_contain_text("repo")
        member.look()
    page.get_by_role("button", name="Remove repo").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".g-tag", has_text="repo")).to_have_count(0)
    page.get_by_role("button", name="Save").click()
    page.wait_for_load_state("networkidle")

    page = member.open(team.at(f"{ONE}scopes/"))
    page.get_by_role("button", name="Reconnect to grant").first.click()
    member.consent()
    member.status("Connected")
    [connection] = team.program.call("GET", "/integrations/sandbox/authorization_code/connections")["items"]
    assert set(connection["granted_scopes"]) == {"profile", "notes:read"}
    assert connection["missing_scopes"] == []


def test_the_keyboard_alone_is_enough_to_connect(visitor: Callable[..., Person], team: Team) -> None:
    person = visitor()
    page = person.open("/accounts/login/")
    page.get_by_label("Email", exact=True).focus()
    page.keyboard.type(team.email)
    page.keyboard.press("Tab")
    page.keyboard.type(team.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Integrations")

    page.wait_for_load_state("networkidle")  # its scripts have run
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("sandbox")
    expect(page.locator("#results [data-announce]")).to_contain_text("found")
    expect(page.get_by_role("link", name="GitHub")).to_have_count(0)
    tab_to(person, "href", team.at(ONE))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sandbox")

    tab_to(person, "textContent", "Connect with OAuth")
    assert has_focus_ring(person)
    page.keyboard.press("Enter")
    expect(page.locator("#username")).to_be_visible()
    page.keyboard.press("Tab")
    page.locator("#password").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#consent")).to_be_visible()
    tab_to(person, "textContent", "Allow")
    page.keyboard.press("Enter")
    person.status("Connected")


def tab_to(person: Person, what: str, wanted: str) -> None:
    """Press Tab until the focus is there, as somebody without a mouse does."""
    for _ in range(60):
        person.page.keyboard.press("Tab")
        if wanted in (person.page.evaluate(f"(document.activeElement.{what} ?? '').toString().trim()") or ""):
            return
    raise AssertionError(f"Tab does not lead to {wanted}.")


def has_focus_ring(person: Person) -> bool:
    """Whether one can see where the focus is."""
    return bool(
        person.page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== 'none' })()"
        )
    )


def test_without_javascript_everything_that_matters_works(visitor: Callable[..., Person], team: Team) -> None:
    person = visitor(java_script_enabled=False)
    person.sign_in(team.email, team.password)
    page = person.open(team.at(ONE))
    page.get_by_role("button", name="Connect with OAuth").first.click()
    page.locator("#continue").click()
    person.consent()
    person.status("Connected")

    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("heading", name="Sandbox accepts the access token")).to_be_visible()

    page = person.open(team.at(ONE))
    page.get_by_label("More actions").click()
    page.get_by_role("link", name="Disconnect").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Disconnect")
    page.get_by_role("button", name="Disconnect").click()
    person.status("Configured")

    page = person.open(team.at(f"{ONE}scopes/"))
    page.get_by_label("Additional scopes").fill("notes:read")
    page.get_by_role("button", name="Save").click()
    shown = team.program.call("GET", "/integrations/sandbox/authorization_code")
    assert shown["additional_scopes"] == ["notes:read"]


def test_someone_outside_connects_their_account_through_a_link(
    member: Person, visitor: Callable[..., Person], team: Team, product: Product
) -> None:
    page = member.open(team.at(f"{ONE}connections/"))
    page.get_by_text("Ask someone outside with a connect link").click()
    form = page.locator("form", has=page.get_by_role("button", name="Create connect link"))
    form.get_by_label("Name").fill("Dana")
    page.get_by_role("button", name="Create connect link").click()
    link = page.get_by_role("textbox", name="Connect link").input_value()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_text("Copied").first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == link
    member.look()

    dana = visitor()
    page = dana.open(link)
    expect(page.get_by_role("heading", level=1)).to_contain_text("asks to connect your Sandbox account")
    dana.look()
    page.get_by_role("button", name="Connect with OAuth").click()
    dana.consent()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sandbox is connected")
    dana.look()
    with dana.expecting(410):
        dana.open(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("This link cannot be used")
        dana.look()

    page = member.open(team.at(f"{ONE}connections/"))
    expect(page.get_by_role("row", name=re.compile("Dana.*alex@sandbox.example"))).to_be_visible()


def test_a_link_in_another_browser_is_refused_and_a_refusal_does_not_use_it_up(
    visitor: Callable[..., Person], team: Team, product: Product
) -> None:
    product_page = f"{product.url}/healthz"
    product.manage("shell", "-c", RETURN_URLS.format(slug=team.slug, url=product.url))
    body = {"connection": "Eve", "return_url": f"{product_page}?from=grantry"}
    link = team.program.call("POST", "/integrations/sandbox/authorization_code/connect-links", body)["url"]

    eve = visitor()
    eve.open(link).get_by_role("button", name="Connect with OAuth").click()
    expect(eve.page.locator("#username")).to_be_visible()
    mallory = visitor()
    mallory.open(link)
    with mallory.expecting(410):
        mallory.page.get_by_role("button", name="Connect with OAuth").click()
        expect(mallory.page.get_by_text("This link cannot be used").first).to_be_visible()

    eve.consent(allow=False)
    assert eve.page.url == f"{product_page}?from=grantry&status=failed"
    eve.open(link).get_by_role("button", name="Connect with OAuth").click()
    eve.consent()
    assert re.fullmatch(
        re.escape(f"{product_page}?from=grantry&status=connected&connection_id=") + "[0-9a-f-]{36}", eve.page.url
    )


RETURN_URLS = """
from workspaces.models import Workspace
Workspace.objects.filter(slug="{slug}").update(return_urls=["{url}/healthz"])
"""


def test_a_key_is_shown_once_and_stops_when_it_is_revoked(member: Person, team: Team, product: Product) -> None:
    page = member.open(team.at("api-keys/"))
    page.get_by_role("link", name="Create API key").click()
    page.get_by_label("Name").fill("reports")
    page.get_by_label("integrations:read").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Copy your key now")
    page.get_by_role("button", name="Copy").click()
    key = page.evaluate("navigator.clipboard.readText()")
    assert key.startswith("gr_")
    member.look()

    headers = {"Authorization": f"Bearer {key}"}
    read = requests.get(f"{product.url}/api/v1/integrations", headers=headers, timeout=10)
    assert read.status_code == 200
    assert {one["provider_id"] for one in read.json()["items"]} == {"sandbox"}
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("reports").first).to_be_visible()
    assert key not in page.content()

    page.get_by_role("link", name=re.compile("^Revoke.*reports")).click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("API keys")
    assert requests.get(f"{product.url}/api/v1/integrations", headers=headers, timeout=10).status_code == 401
    member.look()


def test_an_invited_person_joins_sees_both_workspaces_and_nothing_they_may_not(
    member: Person, visitor: Callable[..., Person], team: Team, product: Product
) -> None:
    page = member.open(team.at("members/"))
    address = f"new-{team.slug}@acme.example"
    page.get_by_label("E-mail address").fill(address)
    page.locator("select[name=role]").first.select_option("viewer")
    page.get_by_role("button", name="Send invitation").click()
    member.toast("Invitation sent")
    expect(page.get_by_role("cell", name=re.compile(address)).or_(page.get_by_text(address)).first).to_be_visible()

    invited = visitor()
    page = invited.open(invitation_link(product, address))
    invited.look()
    page.get_by_label("Your name").fill("Nora New")
    page.get_by_label("Choose a password").fill("a passphrase of Nora's own")
    page.locator("main form button[type=submit], main form button:not([type])").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Integrations")
    invited.open(team.at(ONE))
    expect(page.get_by_role("button", name="Connect with OAuth")).to_have_count(0)
    invited.look()
    with invited.expecting(403):
        invited.open(team.at("api-keys/new/"))
        invited.look()
    with invited.expecting(404):
        invited.open("/w/demo/integrations/")

    product.manage("create_workspace", "Second", "--slug", f"{team.slug}-2", "--owner", address)
    page = invited.open(team.at("integrations/"))
    page.get_by_label("Workspace: Team").click()
    page.get_by_role("link", name="Second").click()
    expect(page).to_have_url(re.compile(f"/w/{team.slug}-2/"))
    invited.look()


def invitation_link(product: Product, address: str) -> str:
    """From the e-mail, which the console backend prints."""
    mail = "\n".join(line.partition("| ")[2] for line in product.log)
    body = mail[mail.rindex(f"To: {address}") :]
    found = re.search(r"https?://\S+/invitations/\S+/", body)
    assert found, body[:2000]
    return found[0]


def test_the_audit_log_tells_what_happened_and_filters(member: Person, team: Team) -> None:
    connect(member, team)
    page = member.open(team.at("audit/"))
    expect(page.locator("table").get_by_text("Integration: configured").first).to_be_visible()
    page.get_by_label("Action").select_option(label="Connection: connected")
    expect(page).to_have_url(re.compile("action="))
    expect(page.locator("table").get_by_text("Integration: configured")).to_have_count(0)
    expect(page.locator("table").get_by_text("Connection: connected").first).to_be_visible()
    member.look()


def test_a_blank_secret_is_kept_and_never_shown(
    member: Person, team: Team, sandbox_clients: SandboxClients, product: Product
) -> None:
    connect(member, team)
    client_id, client_secret = sandbox_clients.authorization_code
    page = member.open(team.at(f"{ONE}configuration/"))
    assert client_secret not in page.content()
    expect(page.get_by_text(f"…{client_secret[-4:]}")).to_be_visible()
    expect(page.get_by_label(CLIENT_SECRET)).to_have_value("")
    page.get_by_role("button", name="Save").click()
    page.wait_for_load_state("networkidle")
    member.open(team.at(ONE)).get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("heading", name="Sandbox accepts the access token")).to_be_visible()

    page = member.open(team.at(f"{ONE}configuration/"))
    page.get_by_label("Client ID").fill("another-client")
    with member.expecting(422):
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Another client ID breaks")).to_be_visible()
        member.look()
    page.get_by_role("link", name="Cancel").click()
    member.status("Connected")
    shown: dict[str, Any] = team.program.call("GET", "/integrations/sandbox/authorization_code")
    assert shown["client_id"] == client_id


def test_the_theme_is_switched_and_kept(member: Person, team: Team) -> None:
    page = member.open(team.at("integrations/"))
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.get_by_label("Switch between light and dark").click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    member.open(team.at("members/"))
    expect(root).to_have_attribute("data-bs-theme", "dark")
    member.look()


def test_operators_see_everything_but_secrets(
    member: Person, team: Team, sandbox_clients: SandboxClients, product: Product
) -> None:
    """Django admin under our Content-Security-Policy: every list, and the first row of each."""
    connect(member, team)
    token = team.program.call("GET", "/integrations/sandbox/authorization_code/token")["access_token"]
    secrets = [token, team.program.key, team.password, sandbox_clients.authorization_code[1]]
    product.manage("shell", "-c", OPERATOR.format(email=team.email))
    page = member.open("/admin/")
    lists = [link.get_attribute("href") or "" for link in page.locator("#content-main .module th a").all()]
    assert {"/admin/workspaces/workspace/", "/admin/integrations/connection/"} <= {*lists}

    for path in lists:
        page = member.open(path)
        seen = [page.content()]
        first = page.locator("#result_list tbody th a").first
        if first.count():
            seen.append(member.open(first.get_attribute("href") or "").content())
        assert not [secret for secret in secrets for html in seen if secret in html], path


OPERATOR = """
from workspaces.models import User
User.objects.filter(email="{email}").update(is_staff=True, is_superuser=True)
"""


def test_the_reference_is_served_by_us_alone(visitor: Callable[..., Person]) -> None:
    somebody = visitor()
    page = somebody.open("/api/v1/docs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#read_token")).to_contain_text("/api/v1/integrations/")
    somebody.look()


def test_a_redirect_host_from_choosing_it_to_a_stranger_who_connects_there(
    visitor: Callable[..., Person], member: Person, team: Team, product: Product
) -> None:
    """Settings → what changes → use it; a stranger declines there, tries again and is connected; stop using it."""
    own = own_host_url(product)
    page = member.open(team.at("settings/"))
    page.get_by_label("Redirect host").fill("http://connect.example.com")
    with member.expecting(422):
        page.get_by_role("button", name="See what changes").click()
        expect(page.locator("#id_redirect_host")).to_have_class(re.compile("is-invalid"))
        member.look()
    page.get_by_label("Redirect host").fill(own)
    page.get_by_role("button", name="See what changes").click()
    expect(page.get_by_label("Redirect URI to register")).to_have_value(f"{own}/oauth/callback")
    expect(page.get_by_text("1 integration needs it registered")).to_be_visible()
    member.look()
    page.get_by_role("button", name="Use this host").click()
    member.toast("The redirect host is")
    member.look()

    page = member.open(team.at(f"{ONE}configuration/"))
    expect(page.get_by_label("Redirect URI")).to_have_value(f"{own}/oauth/callback")
    expect(page.get_by_text("uses a redirect host of its own")).to_be_visible()
    connect(member, team)  # a member comes back through it, too

    link = team.program.call("POST", f"/{ONE}connect-links", {"connection": "customer"})["url"]
    assert link.startswith(f"{own}/connect/")
    stranger = visitor()
    page = stranger.open(link)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Team asks to connect")
    stranger.look()
    page.get_by_role("button", name="Connect with OAuth").click()
    stranger.consent(allow=False)
    expect(page.get_by_role("heading", level=1)).to_contain_text("was not connected")
    stranger.look()
    page.get_by_role("link", name="Try again").click()
    expect(page).to_have_url(link)
    page.get_by_role("button", name="Connect with OAuth").click()
    stranger.consent()
    expect(page.get_by_role("heading", level=1)).to_contain_text("is connected")
    stranger.look()

    page = member.open(team.at("settings/"))
    page.get_by_role("link", name="Stop using it").click()
    expect(page.get_by_label("Redirect URI to register")).to_have_value(f"{product.url}/oauth/callback")
    member.look()
    page.get_by_role("button", name="Stop using it").click()
    member.toast("no redirect host of its own any more")


def test_without_javascript_a_stranger_connects_on_a_redirect_host(
    visitor: Callable[..., Person], team: Team, product: Product
) -> None:
    own = own_host_url(product)
    use = f'change_redirect_host(Workspace.objects.get(slug="{team.slug}"), "{own}", actor=Actor.operator())'
    imports = (
        "from workspaces.audit import Actor",
        "from workspaces.models import Workspace",
        "from workspaces.workspaces import change_redirect_host",
    )
    product.manage("shell", "-c", "; ".join((*imports, use)))
    link = team.program.call("POST", f"/{ONE}connect-links", {"connection": "customer"})["url"]
    stranger = visitor(java_script_enabled=False)
    page = stranger.open(link)
    page.get_by_role("button", name="Connect with OAuth").click()
    expect(page.locator("#continue")).to_have_attribute("href", re.compile(f"^{re.escape(sandbox_url(product))}/"))
    page.locator("#continue").click()
    stranger.consent()
    expect(page.get_by_role("heading", level=1)).to_contain_text("is connected")
    product.manage("shell", "-c", "; ".join((*imports, use.replace(f'"{own}"', '""'))))
