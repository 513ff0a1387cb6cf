"""Every page, light and dark, wide and narrow: axe, console, width, weight. GRANTRY_SCREENSHOTS keeps pictures."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.browser.person import Person, person_in, sandbox_url
from tests.servers.product import Product
from tests.servers.program import Program

pytestmark = [pytest.mark.browser, pytest.mark.processes]

HEAVIEST_FIRST_LOAD = 300_000  # bytes on the wire
type_Look = tuple[str, Any, dict[str, int]]
# Colours depend on the theme and layout on the width: these two looks see both of each.
LOOKS: tuple[type_Look, ...] = (
    ("light-1280", "light", {"width": 1280, "height": 900}),
    ("dark-390", "dark", {"width": 390, "height": 844}),
)
OTHER_LOOKS: tuple[type_Look, ...] = (
    ("dark-1280", "dark", {"width": 1280, "height": 900}),
    ("light-390", "light", {"width": 390, "height": 844}),
)
IN_EVERY_LOOK = ("list", "overview", "configuration", "health")
SCREENSHOTS = os.environ.get("GRANTRY_SCREENSHOTS", "")

ONE = "/w/demo/integrations/sandbox/authorization_code/"
SERVICE = "/w/demo/integrations/sandbox/client_credentials/"
BROKEN = "/w/demo/integrations/custom_broken/client_credentials/"
DEAD = "/w/demo/integrations/custom_acme_id/authorization_code/"


@dataclass(frozen=True)
class Furniture:
    """What the pages need to have something to show."""

    connection_id: str
    link: str
    key_id: str
    webhook_id: str
    delivery_id: str


@pytest.fixture(scope="module")
def furnished(browser: Browser, product: Product, program: Program, signed_in: Any) -> Furniture:
    """The demo workspace with every status in it."""
    for grant in ("authorization_code", "client_credentials"):
        program.call("PUT", f"/integrations/sandbox/{grant}", {"additional_scopes": ["notes:read"]})
    program.call("POST", "/integrations/sandbox/client_credentials/test", {})
    base = sandbox_url(product)
    endpoints = {"authorization_endpoint": f"{base}/o/authorize/", "token_endpoint": f"{base}/o/token/"}
    both = ["authorization_code", "client_credentials"]
    program.call("POST", "/providers", {"name": "Acme ID", "grant_types": both, **endpoints})
    client = {"client_id": "acme-client", "client_secret": "acme-secret-4f9a"}
    program.call("PUT", "/integrations/custom_acme_id/authorization_code", client)
    service = {"name": "Broken", "grant_types": ["client_credentials"], "token_endpoint": f"{base}/o/token/"}
    program.call("POST", "/providers", service)
    program.call("PUT", "/integrations/custom_broken/client_credentials", client)
    program.call("POST", "/integrations/custom_broken/client_credentials/test", {})
    program.call("PUT", "/integrations/github/authorization_code", client)
    connect_sandbox(browser, product, signed_in)
    key_id = product.manage("shell", "-c", EXPIRED + INVITED + KEY).strip().splitlines()[-1]
    connection = program.call("GET", "/integrations/sandbox/authorization_code/connections")["items"][0]
    program.call("GET", f"/connections/{connection['id']}/token")
    link = program.call("POST", "/integrations/sandbox/authorization_code/connect-links", {"connection": "Dana"})
    webhook = program.call("POST", "/webhooks", {"url": f"{base}/no-receiver/", "description": "Ops"})
    delivery = program.call("POST", f"/webhooks/{webhook['id']}/test")
    link_path = link["url"].removeprefix(product.url)
    return Furniture(connection["id"], link_path, key_id, webhook["id"], delivery["id"])


# What no provider says on demand: a grant that died, and an invitation without its e-mail.
EXPIRED = """
from django.utils import timezone
from integrations.models import Connection, Integration
of = Integration.objects.get(provider_id="custom_acme_id")
Connection.objects.create(workspace=of.workspace, integration=of, name="default", is_default=True,
    state="reconnect_required", last_error_code="invalid_grant", last_error_at=timezone.now(),
    account={"id": "1", "label": "dana@acme.example"}, requested_scopes=["read"], granted_scopes=["read"])
"""
INVITED = """
from workspaces.models import Invitation, Workspace
from datetime import timedelta
from django.utils import timezone
Invitation.objects.create(workspace=Workspace.objects.get(slug="demo"), email="dana@acme.example", role="editor",
    token_hash="0" * 64, expires_at=timezone.now() + timedelta(days=7))
"""
KEY = 'from workspaces.models import ApiKey; print(ApiKey.objects.get(name="nightly-sync").pk)'


def connect_sandbox(browser: Browser, product: Product, signed_in: Any) -> None:
    with person_in(browser, product, storage_state=signed_in) as owner:
        owner.open(ONE).get_by_role("button", name="Connect with OAuth").first.click()
        owner.consent()
        expect(owner.page.locator("#status")).to_contain_text("Connected")


PAGES: dict[str, str] = {
    "health": "/w/demo/health/",
    "notifications": "/w/demo/settings/notifications/",
    "list": "/w/demo/integrations/",
    "list-filtered": "/w/demo/integrations/?status=available",
    "list-nothing-found": "/w/demo/integrations/?q=nothing-like-this",
    "overview": ONE,
    "configuration": f"{ONE}configuration/",
    "scopes": f"{ONE}scopes/",
    "connections": f"{ONE}connections/",
    "connection-new": f"{ONE}connections/new/",
    "activity": f"{ONE}activity/",
    "service-overview": SERVICE,
    "service-configuration": f"{SERVICE}configuration/",
    "misconfigured": BROKEN,
    "reconnect-required": DEAD,
    "not-configured": "/w/demo/integrations/gitlab/authorization_code/",
    "not-configured-setup": "/w/demo/integrations/gitlab/authorization_code/configuration/",
    "parameters-setup": "/w/demo/integrations/salesforce/authorization_code/configuration/",
    "service-account-key": "/w/demo/integrations/google/client_credentials/configuration/",
    "configured": "/w/demo/integrations/github/authorization_code/",
    "configured-scopes": "/w/demo/integrations/github/authorization_code/scopes/",
    "custom-new": "/w/demo/integrations/custom/new/",
    "custom-edit": "/w/demo/integrations/custom/custom_acme_id/edit/",
    "custom-import": "/w/demo/integrations/custom/import/?of=custom_acme_id",
    "custom-inspect": "/w/demo/integrations/custom/custom_acme_id/inspect/",
    "inspect": "/w/demo/integrations/salesforce/authorization_code/inspect/",
    "provider-delete": "/w/demo/integrations/custom/custom_acme_id/delete/",
    "integration-delete": f"{ONE}delete/",
    "disconnect": ONE + "connections/{connection}/disconnect/",
    "connection-delete": ONE + "connections/{connection}/delete/",
    "connection-rename": ONE + "connections/?rename={connection}",
    "connect-link": "{link}",
    "members": "/w/demo/members/",
    "member-leave": "/w/demo/members/leave/",
    "api-keys": "/w/demo/api-keys/",
    "api-key-new": "/w/demo/api-keys/new/",
    "api-key-roll": "/w/demo/api-keys/{key}/roll/",
    "api-key-revoke": "/w/demo/api-keys/{key}/revoke/",
    "webhooks": "/w/demo/webhooks/",
    "webhook-new": "/w/demo/webhooks/new/",
    "webhook": "/w/demo/webhooks/{webhook}/",
    "webhook-delivery": "/w/demo/webhooks/deliveries/{delivery}/",
    "webhook-delete": "/w/demo/webhooks/{webhook}/delete/",
    "audit": "/w/demo/audit/",
    "settings": "/w/demo/settings/",
    "workspaces": "/workspaces/",
    "api-docs": "/api/v1/docs",
    "account-email": "/accounts/email/",
    "account-password": "/accounts/password/change/",
    "account-mfa": "/accounts/2fa/",
    "account-sessions": "/accounts/sessions/",
    "account-logout": "/accounts/logout/",
}
WITH_STATUS: dict[str, tuple[str, int]] = {
    "not-found": ("/w/demo/nothing-here/", 404),
    "callback-without-state": ("/oauth/callback?code=x", 400),
    "callback-unknown": (f"/oauth/callback/result/{uuid.UUID(int=0)}/", 400),
    "connect-link-unknown": ("/connect/no-such-link/", 404),
}
WITHOUT_SIGN_IN: dict[str, str] = {
    "sign-in": "/accounts/login/",
    "password-reset": "/accounts/password/reset/",
    "connect-link-outside": "{link}",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean_in_every_look(name: str, owner: Person, furnished: Furniture) -> None:
    weight = weigh(owner.page)
    owner.open(filled(PAGES[name], furnished))

    assert sum(weight().values()) < HEAVIEST_FIRST_LOAD, weight()
    look_in_every_way(owner, name)


@pytest.mark.parametrize("name", WITH_STATUS)
def test_a_refusal_is_clean_in_every_look(name: str, owner: Person, furnished: Furniture) -> None:
    path, status = WITH_STATUS[name]
    with owner.expecting(status):
        owner.open(path)

    look_in_every_way(owner, name)


@pytest.mark.parametrize("name", WITHOUT_SIGN_IN)
def test_a_page_for_anybody_is_clean_in_every_look(
    name: str, visitor: Callable[..., Person], furnished: Furniture
) -> None:
    somebody = visitor()
    weight = weigh(somebody.page)
    somebody.open(filled(WITHOUT_SIGN_IN[name], furnished))

    assert sum(weight().values()) < HEAVIEST_FIRST_LOAD, weight()
    look_in_every_way(somebody, name)


def test_a_workspace_where_nothing_is_set_up_says_where_to_begin(
    product: Product, visitor: Callable[..., Person]
) -> None:
    email, password = "first@acme.example", "a long enough passphrase"
    product.manage("create_workspace", "First", "--owner", email, "--password-stdin", stdin=password)
    somebody = visitor()
    somebody.sign_in(email, password)
    somebody.page.wait_for_load_state("networkidle")

    look_in_every_way(somebody, "first-run")


def filled(path: str, furnished: Furniture) -> str:
    return path.format(
        connection=furnished.connection_id,
        link=furnished.link,
        key=furnished.key_id,
        webhook=furnished.webhook_id,
        delivery=furnished.delivery_id,
    )


def weigh(page: Page) -> Callable[[], dict[str, int]]:
    """Bytes on the wire from now on by URL, as this empty cache gets them."""
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))  # Playwright marks its handlers

    def sizes() -> dict[str, int]:
        measured = {response.url: response.request.sizes() for response in responses}
        return {url: size["responseBodySize"] + size["responseHeadersSize"] for url, size in measured.items()}

    return sizes


def look_in_every_way(person: Person, name: str) -> None:
    """One load, two looks or four: the theme follows the system, the layout the window."""
    page = person.page
    for look, scheme, viewport in (*LOOKS, *(OTHER_LOOKS if name in IN_EVERY_LOOK or SCREENSHOTS else ())):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", scheme)
        person.look()
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{SCREENSHOTS}/{name}-{look}.png", full_page=True)
    person.check()
