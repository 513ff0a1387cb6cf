"""The wizard for a workspace's own provider: steps, preview, nothing lost, no secret kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from integrations.crypto import seal
from integrations.models import Connection, CustomProvider, Integration
from integrations.providers.parameters import ENDPOINT_FIELDS
from integrations.providers.provider_forms import STEPS, ProviderForm
from tests.factories import make_connection
from tests.pages.conftest import CANARY, url
from tests.pages.html_form import Form
from tests.servers.scripted import ScriptedServer
from workspaces.models import User, Workspace
from workspaces.roles import Role

STEP_1: dict[str, Any] = {
    "step": "1",
    "go": "next",
    "name": "Northwind ID",
    "grant_types": ["authorization_code"],
    "authorization_endpoint": "https://id.northwind.example/authorize",
    "token_endpoint": "https://id.northwind.example/token",
}
STEP_2 = {
    **STEP_1,
    "step": "2",
    "client_id": "app-1",
    "client_secret": CANARY,
    "token_endpoint_auth_method": "client_secret_post",
    "pkce": "S256",
}


def rows(name: str, *entries: dict[str, str]) -> dict[str, str]:
    """A list of the form as a browser sends it."""
    sent = {f"{name}-{n}-{field}": value for n, entry in enumerate(entries) for field, value in entry.items()}
    return {f"{name}-count": str(len(entries)), **sent}


SCOPES = rows("scopes", {"name": "openid", "required": "on"}, {"name": "files"}, {"name": "mail"})
STEP_3 = {**STEP_2, "step": "3", "go": "create", **SCOPES}


def sent_by(page: Any) -> dict[str, Any]:
    """What the page's form would send, whichever part of it is shown; buttons aside."""
    return Form.of(page.content.decode()).data


@pytest.fixture
def wizard(workspace: Workspace) -> str:
    return url("custom_new")


def test_it_opens_on_the_first_step(as_alice: Client, wizard: str) -> None:
    text = as_alice.get(wizard).content.decode()
    assert 'name="authorization_endpoint"' in text
    assert "Appears as soon as the endpoints are entered." in text
    assert "Nothing is saved yet" in text


def test_an_incomplete_step_stays_with_its_errors_and_what_was_typed(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, {**STEP_1, "token_endpoint": ""})
    text = page.content.decode()
    assert page.status_code == 422
    assert "Enter the token endpoint." in text
    assert 'value="Northwind ID"' in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_endpoint", "ftp://id.northwind.example/token"),
        ("token_endpoint", "http://id.northwind.example/token"),
        ("authorization_endpoint", "https://user:pass@id.northwind.example/authorize"),
        ("token_endpoint", "https://127.0.0.1/token"),
    ],
)
def test_what_the_rules_refuse_is_told_beside_its_field(as_alice: Client, wizard: str, field: str, value: str) -> None:
    page = as_alice.post(wizard, {**STEP_1, field: value})
    assert page.status_code == 422
    assert f'id="id_{field}_error"' in page.content.decode()


def test_a_built_in_id_gets_its_prefix(as_alice: Client, wizard: str) -> None:
    done = as_alice.post(wizard, {**STEP_3, "provider_id": "github"})
    assert "/custom_github/" in done["Location"]


def test_a_new_step_does_not_begin_with_complaints(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, STEP_1)
    assert page.status_code == 200
    text = page.content.decode()
    assert 'name="client_secret"' in text
    assert "g-error" not in text


def test_going_back_loses_nothing(as_alice: Client, wizard: str) -> None:
    second = as_alice.post(wizard, STEP_2)
    third = {**sent_by(second), "step": "3", "go": "back", **SCOPES, "allow_scope_customization": "on"}
    back = as_alice.post(wizard, third)
    assert '<div id="part-3" class="card-body g-wizard-fields" hidden>' in back.content.decode()
    carried = sent_by(back)
    assert carried["client_id"] == "app-1"
    assert carried["name"] == "Northwind ID"
    assert [carried[f"scopes-{n}-name"] for n in range(3)] == ["openid", "files", "mail"]
    assert carried["scopes-0-required"] == "on"
    assert "scopes-1-required" not in carried
    assert carried["allow_scope_customization"] == "on"
    assert carried["sealed_client_secret"]


def test_the_secret_travels_sealed_and_is_kept_nowhere(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, STEP_2)
    assert CANARY not in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    for session in Session.objects.all():
        assert CANARY not in str(session.get_decoded())
    third = {**sent_by(page), **SCOPES, "step": "3", "go": "create"}
    assert "client_secret" not in third
    as_alice.post(wizard, third)
    assert Integration.objects.get().client_secret == CANARY


def test_a_secret_sealed_for_someone_else_is_worth_nothing(as_alice: Client, wizard: str) -> None:
    foreign = seal(CANARY, "provider-wizard:other:other").decode()
    as_alice.post(wizard, {**STEP_3, "client_secret": "", "sealed_client_secret": foreign})
    assert not Integration.objects.filter(client_secret__isnull=False).exists()


def test_it_ends_where_the_next_step_is(as_alice: Client, wizard: str, workspace: Workspace) -> None:
    done = as_alice.post(wizard, STEP_3)
    assert done["Location"] == "/w/acme/integrations/custom_northwind_id/authorization_code/"
    version = CustomProvider.objects.get().versions.get()
    assert not version.draft
    scopes = [(scope["name"], scope["required"]) for scope in version.definition["scopes"]]
    assert scopes == [("openid", True), ("files", False), ("mail", False)]
    assert workspace.integrations.get().client_id == "app-1"
    page = as_alice.get(done["Location"]).content.decode()
    assert "Connect with OAuth" in page


def test_without_a_client_it_ends_on_the_configuration(as_alice: Client, wizard: str) -> None:
    done = as_alice.post(wizard, {**STEP_3, "client_id": "", "client_secret": ""})
    assert done["Location"].endswith("/custom_northwind_id/authorization_code/configuration/")


def test_both_grant_types_are_set_up_side_by_side(as_alice: Client, wizard: str, workspace: Workspace) -> None:
    as_alice.post(wizard, {**STEP_3, "grant_types": ["authorization_code", "client_credentials"]})
    assert sorted(workspace.integrations.values_list("grant_type", flat=True)) == [
        "authorization_code",
        "client_credentials",
    ]


def test_a_service_account_needs_no_authorization_endpoint(as_alice: Client, wizard: str) -> None:
    form = {**STEP_3, "grant_types": ["client_credentials"], "authorization_endpoint": ""}
    assert as_alice.post(wizard, form).status_code == 302


def test_an_error_of_an_earlier_step_leads_back_to_it(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, {**STEP_3, "token_endpoint": "nonsense"})
    assert page.status_code == 422
    assert 'id="id_token_endpoint_error"' in page.content.decode()
    assert not CustomProvider.objects.exists()


def test_the_preview_shows_the_requests_as_they_will_be_sent_with_secrets_blotted_out(
    as_alice: Client, wizard: str
) -> None:
    answer = as_alice.post(wizard, {**STEP_3, "go": "preview"}, headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert "<html" not in text
    assert "<b>GET</b> https://id.northwind.example/authorize" in text
    assert "<i>client_id</i>=app-1" in text
    assert "<i>scope</i>=openid files mail" in text
    assert "<i>state</i>=••••" in text
    assert "<b>POST</b> https://id.northwind.example/token" in text
    assert "<i>client_secret</i>=••••" in text
    assert "Authorization</i>: Basic" not in text
    assert "CUSTOM_NORTHWIND_ID_USER_TOKEN" in text
    assert CANARY not in text


def test_the_preview_follows_the_client_authentication(as_alice: Client, wizard: str) -> None:
    form = {**STEP_3, "go": "preview", "token_endpoint_auth_method": "client_secret_basic", "pkce": "off"}
    text = as_alice.post(wizard, form, headers={"HX-Request": "true"}).content.decode()
    assert "<i>Authorization</i>: Basic ••••" in text
    assert "client_secret" not in text
    assert "code_challenge" not in text


def test_the_preview_of_a_signed_client_blots_the_assertion_out(as_alice: Client, wizard: str) -> None:
    form = {**STEP_3, "go": "preview", "token_endpoint_auth_method": "private_key_jwt"}
    text = as_alice.post(wizard, form, headers={"HX-Request": "true"}).content.decode()
    assert "<i>client_assertion</i>=••••" in text
    assert "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" in text
    assert "client_secret" not in text
    assert "eyJ" not in text  # how every JWT begins


def test_the_wizard_makes_a_key_and_ends_where_it_is_shown(as_alice: Client, wizard: str) -> None:
    form = {**STEP_3, "client_secret": "", "token_endpoint_auth_method": "private_key_jwt"}
    answer = as_alice.post(wizard, form)
    integration = Integration.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, url("configuration", integration))
    assert integration.client_key is not None
    assert integration.client_key.kid in as_alice.get(answer["Location"]).content.decode()


@pytest.mark.parametrize("noise", ["", "not a url", "https://", "https://[", "{{x}}", "https://{{x}}/token", "\x00"])
def test_the_preview_survives_half_typed_input(as_alice: Client, wizard: str, noise: str) -> None:
    form = {**STEP_1, "go": "preview", "name": noise, **dict.fromkeys(ENDPOINT_FIELDS, noise)}
    assert as_alice.post(wizard, form, headers={"HX-Request": "true"}).status_code == 200


def test_one_field_is_checked_alone(as_alice: Client, wizard: str) -> None:
    form = {**STEP_1, "go": "check", "field": "token_endpoint", "token_endpoint": "ftp://x"}
    text = as_alice.post(wizard, form, headers={"HX-Request": "true"}).content.decode()
    assert text.strip().startswith("<div")
    assert 'id="id_token_endpoint_error"' in text
    assert 'value="ftp://x"' in text


def test_a_secret_that_was_typed_does_not_come_back_to_be_checked(as_alice: Client, wizard: str) -> None:
    answer = as_alice.post(wizard, {**STEP_2, "go": "check", "field": "client_secret"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("field", ["sealed_client_secret", "nonsense", "", "scopes-7-name"])
def test_a_field_that_cannot_be_checked_is_404(as_alice: Client, wizard: str, field: str) -> None:
    assert as_alice.post(wizard, {**STEP_2, "go": "check", "field": field}).status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_only_admins_add_providers(sign_in: Callable[[Role], Client], wizard: str, role: Role) -> None:
    browser = sign_in(role)
    assert browser.get(wizard).status_code == 403
    assert browser.post(wizard, STEP_3).status_code == 403
    assert not CustomProvider.objects.exists()


def test_an_outsider_gets_404(charlie: User, client: Client, wizard: str) -> None:
    client.force_login(charlie)
    assert client.post(wizard, STEP_3).status_code == 404


# --- edit -----------------------------------------------------------------------------------------------


def edited(provider_server: ScriptedServer, **fields: Any) -> dict[str, Any]:
    return {
        "name": "Northwind",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": f"{provider_server.url}/authorize",
        "token_endpoint": f"{provider_server.url}/token",
        "revocation_endpoint": f"{provider_server.url}/revoke",
        "userinfo_endpoint": f"{provider_server.url}/userinfo",
        "token_endpoint_auth_method": "client_secret_basic",
        **rows("scopes", {"name": "openid", "required": "on"}, {"name": "files"}),
        **fields,
    }


def test_the_edit_page_shows_the_definition(as_alice: Client, delegated: Integration) -> None:
    make_connection(delegated)
    text = as_alice.get(url("custom_edit", provider_id=delegated.provider_id)).content.decode()
    assert "/token" in text
    assert "Another host means starting again" not in text
    assert CANARY not in text


def test_a_new_name_keeps_everything_else(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated)
    address = url("custom_edit", provider_id=delegated.provider_id)
    assert as_alice.post(address, edited(provider_server, name="Northwind 2")).status_code == 302
    delegated.refresh_from_db()
    assert delegated.client_secret == CANARY
    assert Connection.objects.get().state == "connected"


def test_another_origin_clears_the_secret_and_asks_for_consent(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated)
    address = url("custom_edit", provider_id=delegated.provider_id)
    moved = edited(provider_server, token_endpoint="https://elsewhere.example/token")
    warned = as_alice.post(address, moved)
    assert "1 client secret is cleared, and 1 connection must be connected again" in warned.content.decode()
    delegated.refresh_from_db()
    assert delegated.has_client_secret  # nothing was saved
    assert as_alice.post(address, {**sent_by(warned), "go": "publish"}).status_code == 302
    delegated.refresh_from_db()
    assert not delegated.has_client_secret
    connection = Connection.objects.get()
    assert (connection.state, connection.last_error_code) == ("reconnect_required", "endpoint_changed")


def test_an_edit_with_errors_changes_nothing(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    address = url("custom_edit", provider_id=delegated.provider_id)
    page = as_alice.post(address, edited(provider_server, token_endpoint="ftp://x"))
    assert page.status_code == 422
    assert 'value="ftp://x"' in page.content.decode()
    assert CustomProvider.objects.get().versions.count() == 1


def test_built_in_providers_have_no_edit_page(as_alice: Client, workspace: Workspace) -> None:
    assert as_alice.get(url("custom_edit", provider_id="github")).status_code == 404


def test_every_field_and_list_of_the_form_stands_on_the_page(as_alice: Client, delegated: Integration) -> None:
    page = as_alice.get(url("custom_edit", provider_id=delegated.provider_id)).content.decode()
    form = ProviderForm(seal_context="test")
    travelling = {"discovered", "confirmed_foreign"}  # only once something was discovered
    assert [name for name in form.fields if f'name="{name}"' not in page and name not in travelling] == []
    assert [name for name in form.rows if f'name="{name}-count"' not in page] == []
    assert [name for name in {*form.fields, *form.rows} - travelling if not in_a_step(name)] == []


def in_a_step(name: str) -> bool:
    return name.startswith(("answer_", "comparison_")) or any(name in names for _, names in STEPS)
