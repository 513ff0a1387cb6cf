from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client

from integrations.models import GrantType, Integration
from tests.factories import make_connection, make_integration
from tests.pages.conftest import CANARY, url
from workspaces.models import Workspace
from workspaces.roles import Role

GITHUB = "/w/acme/integrations/github/authorization_code/configuration/"
JAMF = "/w/acme/integrations/jamf/client_credentials/configuration/"


def github(**fields: str) -> dict[str, str]:
    return {
        "client_id": "app-1",
        "client_secret": CANARY,
        "token_endpoint_auth_method": "client_secret_basic",
        **fields,
    }


def test_the_redirect_uri_is_shown_before_anything_is_saved(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.get(GITHUB).content.decode()
    assert 'value="http://localhost:8000/oauth/callback"' in page
    assert not workspace.integrations.exists()


def test_a_service_account_has_no_redirect_uri(as_alice: Client, workspace: Workspace) -> None:
    assert "oauth/callback" not in as_alice.get(JAMF).content.decode()


def test_saving_leads_on_to_the_scopes(as_alice: Client, workspace: Workspace) -> None:
    saved = as_alice.post(GITHUB, github())
    assert saved.status_code == 302
    assert saved["Location"].endswith("/scopes/")
    integration = workspace.integrations.get()
    assert (integration.client_id, integration.client_secret) == ("app-1", CANARY)


def test_a_stored_secret_is_never_shown_and_blank_keeps_it(as_alice: Client, delegated: Integration) -> None:
    page = as_alice.get(url("configuration", delegated)).content.decode()
    assert CANARY not in page
    assert "ends in <code>…6789</code>" in page
    as_alice.post(url("configuration", delegated), github(client_secret="", client_id="client-1"))
    delegated.refresh_from_db()
    assert delegated.client_secret == CANARY


def test_a_short_secret_gives_nothing_of_itself_away(as_alice: Client, workspace: Workspace) -> None:
    make_integration(workspace, "github", client_secret="tiny-one")
    assert "-one" not in as_alice.get(GITHUB).content.decode()


def test_clearing_the_secret_is_explicit(as_alice: Client, delegated: Integration) -> None:
    form = github(client_id="client-1", client_secret="", clear_client_secret="on")
    as_alice.post(url("configuration", delegated), form)
    delegated.refresh_from_db()
    assert not delegated.has_client_secret


def test_errors_keep_what_was_typed_but_not_the_secret(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.post(JAMF, {"client_id": "typed-id", "client_secret": CANARY, "param_instance": "not a host"})
    assert page.status_code == 422
    text = page.content.decode()
    assert 'value="typed-id"' in text
    assert CANARY not in text
    assert not workspace.integrations.exists()


def test_the_client_id_pasted_twice_is_recognised(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.post(GITHUB, github(client_secret="app-1"))
    assert "This is the client ID once more" in page.content.decode()


def test_microsofts_secret_id_is_recognised(as_alice: Client, workspace: Workspace) -> None:
    address = "/w/acme/integrations/microsoft_graph/authorization_code/configuration/"
    page = as_alice.post(address, github(client_secret="6f1d2a90-3c7e-4b1f-9a55-0e8b7c21d4aa"))
    assert "Paste the column “Value”" in page.content.decode()


def test_a_public_client_needs_no_secret(as_alice: Client, workspace: Workspace, northwind: str) -> None:
    address = f"/w/acme/integrations/{northwind}/authorization_code/configuration/"
    assert as_alice.post(address, github(client_secret="")).status_code == 422
    assert as_alice.post(address, github(client_secret="", token_endpoint_auth_method="none")).status_code == 302


def test_another_client_id_says_what_it_breaks_and_waits_for_a_yes(as_alice: Client, delegated: Integration) -> None:
    make_connection(delegated)
    make_connection(delegated, "finance")
    address = url("configuration", delegated)
    refused = as_alice.post(address, github(client_id="app-2"))
    assert refused.status_code == 422
    assert "breaks the 2 connections" in refused.content.decode()
    delegated.refresh_from_db()
    assert delegated.client_id == "client-1"
    assert as_alice.post(address, github(client_id="app-2", confirm_client_id="on")).status_code == 302
    delegated.refresh_from_db()
    assert delegated.client_id == "app-2"


def test_a_refused_client_is_told_on_the_configuration(as_alice: Client, workspace: Workspace) -> None:
    integration = make_integration(workspace, "github", client_error_code="invalid_client")
    make_connection(integration)
    assert "GitHub refuses this client" in as_alice.get(GITHUB).content.decode()


def test_a_secret_that_no_key_opens_is_told_and_kept(as_alice: Client, delegated: Integration, settings: Any) -> None:
    with database.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM integrations_integration")
        before = bytes(cursor.fetchone()[0])
    settings.FERNET_KEYS = ["b3RoZXItdGVzdC1rZXktdGhpcnR5LXR3by1ieXRlcyE="]
    page = as_alice.get(url("configuration", delegated))
    assert page.status_code == 200
    assert "cannot be opened" in page.content.decode()
    with database.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM integrations_integration")
        assert bytes(cursor.fetchone()[0]) == before


def test_the_other_grant_type_is_hinted_at(as_alice: Client, delegated: Integration) -> None:
    page = as_alice.get(url("configuration", delegated)).content.decode()
    assert "also works as a service account" in page
    assert f"/{delegated.provider_id}/client_credentials/configuration/" in page


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.EDITOR, 403), (Role.ADMIN, 302)])
def test_only_admins_save(sign_in: Callable[[Role], Client], delegated: Integration, role: Role, status: int) -> None:
    browser = sign_in(role)
    page = browser.get(url("configuration", delegated)).content.decode()
    assert ('name="client_secret"' in page) == (role == Role.ADMIN)
    form = github(client_id="client-1", client_secret="replaced-secret-value")
    assert browser.post(url("configuration", delegated), form).status_code == status
    assert browser.post(url("scopes", delegated), {"additional_scopes": "mail"}).status_code == status
    delegated.refresh_from_db()
    assert (delegated.client_secret == CANARY) == (role != Role.ADMIN)


def test_text_left_in_the_scope_input_counts(as_alice: Client, delegated: Integration) -> None:
    as_alice.post(url("scopes", delegated), {"additional_scopes": "mail\r\ncalendar contacts"})
    delegated.refresh_from_db()
    assert delegated.additional_scopes == ["mail", "calendar", "contacts"]


def test_base_scopes_are_locked_and_stay_when_a_crafted_form_leaves_them_out(
    as_alice: Client, delegated: Integration
) -> None:
    as_alice.post(url("scopes", delegated), {"additional_scopes": "", "base_scopes": ""})
    page = as_alice.get(url("scopes", delegated)).content.decode()
    assert "g-locked" in page
    assert "openid" in page


def test_a_refused_scope_is_told_under_the_field_and_what_was_typed_stays(
    as_alice: Client, workspace: Workspace
) -> None:
    integration = make_integration(workspace, "jira")
    page = as_alice.post(url("scopes", integration), {"additional_scopes": "nonsense-scope"})
    text = page.content.decode()
    assert page.status_code == 422
    assert "nonsense-scope" in text[text.index("<textarea") : text.index("</textarea>")]
    assert 'class="g-error" id="id_additional_scopes_error"' in text
    assert "data-tags-invalid" in text
    integration.refresh_from_db()
    assert integration.additional_scopes == []


def test_scopes_wait_for_the_credentials(as_alice: Client, workspace: Workspace) -> None:
    address = "/w/acme/integrations/github/authorization_code/scopes/"
    answer = as_alice.post(address, {"additional_scopes": "repo"})
    assert answer["Location"].endswith("/configuration/")
    assert not workspace.integrations.exists()


def test_saving_scopes_keeps_the_credentials(as_alice: Client, delegated: Integration) -> None:
    as_alice.post(url("scopes", delegated), {"additional_scopes": "mail"})
    delegated.refresh_from_db()
    assert (delegated.client_id, delegated.client_secret) == ("client-1", CANARY)


def test_a_dropdown_parameter_takes_nothing_outside_its_list(as_alice: Client, workspace: Workspace) -> None:
    from integrations.providers.custom import create_custom_provider
    from workspaces.audit import Actor

    create_custom_provider(
        workspace,
        {
            "name": "Regional",
            "grant_types": ["client_credentials"],
            "token_endpoint": "https://{{region}}.api.example.com/token",
            "parameters": [{"key": "region", "label": "Region", "type": "dropdown", "options": ["eu", "us"]}],
        },
        actor=Actor.operator(),
    )
    address = "/w/acme/integrations/custom_regional/client_credentials/configuration/"
    refused = as_alice.post(address, github(param_region="evil.example"))
    assert refused.status_code == 422
    assert as_alice.post(address, github(param_region="eu")).status_code == 302
    assert workspace.integrations.get(grant_type=GrantType.CLIENT_CREDENTIALS).parameters == {"region": "eu"}


def test_scopes_that_are_chosen_already_are_not_suggested(as_alice: Client, workspace: Workspace) -> None:
    integration = make_integration(workspace, "github")
    scopes = GITHUB.replace("configuration", "scopes")
    assert "read:org" in as_alice.get(scopes).context["form"].tags.suggestions
    integration.additional_scopes = ["read:org"]
    integration.save()
    assert "read:org" not in as_alice.get(scopes).context["form"].tags.suggestions
