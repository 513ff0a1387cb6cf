"""Discover in the form of a provider: what an issuer publishes goes into the fields, on one's own terms."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from integrations.models import CustomProvider, Integration
from tests.api.test_discovery import FOREIGN, publish
from tests.pages.conftest import PROVIDER_ID, url
from tests.pages.html_form import Form
from tests.pages.test_custom_provider import SCOPES, rows
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace

EMPTY: dict[str, Any] = {"step": "1", "name": "Mine", "grant_types": ["authorization_code"]}


@pytest.fixture
def wizard(workspace: Workspace) -> str:
    return url("custom_new")


def discover(browser: Client, wizard: str, issuer: str, **more: Any) -> Any:
    return browser.post(wizard, {**EMPTY, **more, "issuer": issuer, "go": "discover"})


def test_what_an_issuer_publishes_fills_the_fields(
    as_alice: Client, wizard: str, provider_server: ScriptedServer
) -> None:
    suggested = rows("suggested_scopes", {"name": "read", "description": "My words"})
    page = discover(as_alice, wizard, publish(provider_server), token_endpoint="https://old.example/token", **suggested)
    assert page.status_code == 200
    text = page.content.decode()
    assert "2 endpoints found" in text
    assert f"{provider_server.url}/.well-known/oauth-authorization-server" in text
    assert "client_secret_post" in text
    data = Form.of(text).data
    assert data["name"] == "Mine"
    assert data["token_endpoint"] == f"{provider_server.url}/token"
    assert data["grant_types"] == ["authorization_code", "client_credentials"]
    assert data["token_endpoint_auth_method"] == "client_secret_post"
    names = [data[f"suggested_scopes-{n}-name"] for n in range(int(data["suggested_scopes-count"]))]
    assert names == ["read", "write"]
    assert data["suggested_scopes-0-description"] == "My words"
    # Editable like anything else, and nothing is saved before the end.
    assert not CustomProvider.objects.exists()
    done = as_alice.post(
        wizard, {**data, **SCOPES, "revocation_endpoint": f"{provider_server.url}/revoke", "go": "create"}
    )
    assert done.status_code == 302
    definition = CustomProvider.objects.get().versions.get().definition
    assert definition["issuer"] == provider_server.url
    assert definition["revocation_endpoint"] == f"{provider_server.url}/revoke"


def test_what_was_tried_is_shown_when_nothing_is_found(
    as_alice: Client, wizard: str, provider_server: ScriptedServer
) -> None:
    page = discover(as_alice, wizard, provider_server.url, token_endpoint="https://mine.example/token")
    assert page.status_code == 422
    text = page.content.decode()
    assert "Nothing was found" in text
    assert "/.well-known/openid-configuration" in text
    assert "addresses asked" in text
    assert Form.of(text).data["token_endpoint"] == "https://mine.example/token"


@pytest.mark.parametrize("issuer", ["", "nonsense", "http://internal.example", "https://10.0.0.1"])
def test_an_address_that_must_not_be_asked_is_told(as_alice: Client, wizard: str, issuer: str) -> None:
    page = discover(as_alice, wizard, issuer)
    assert page.status_code == 422
    assert "Nothing was found" in page.content.decode()


def test_a_foreign_endpoint_is_taken_once_it_is_confirmed(
    as_alice: Client, wizard: str, provider_server: ScriptedServer
) -> None:
    page = discover(as_alice, wizard, publish(provider_server, **FOREIGN)).content.decode()
    assert "On another host than the issuer" in page
    data = Form.of(page).data
    refused = as_alice.post(wizard, {**data, "go": "next"})
    assert refused.status_code == 422
    text = refused.content.decode()
    assert 'id="id_token_endpoint_error"' in text
    assert 'id="id_userinfo_endpoint_error"' in text
    one = as_alice.post(wizard, {**data, "confirmed_foreign": ["token_endpoint"], "go": "next"}).content.decode()
    assert 'id="id_token_endpoint_error"' not in one
    assert 'id="id_userinfo_endpoint_error"' in one
    both = as_alice.post(wizard, {**data, "confirmed_foreign": list(FOREIGN), "go": "next"})
    assert both.status_code == 200
    # The next step remembers what was confirmed in this one.
    assert as_alice.post(wizard, {**Form.of(both.content.decode()).data, **SCOPES, "go": "create"}).status_code == 302


def test_what_was_typed_instead_of_a_foreign_endpoint_needs_no_confirmation(
    as_alice: Client, wizard: str, provider_server: ScriptedServer
) -> None:
    data = Form.of(discover(as_alice, wizard, publish(provider_server, **FOREIGN)).content.decode()).data
    own = {"token_endpoint": "https://typed.example/token", "userinfo_endpoint": ""}
    assert as_alice.post(wizard, {**data, **own, "go": "next"}).status_code == 200


def test_a_forged_result_is_no_result(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, {**EMPTY, "discovered": "forged:text", "go": "next"})
    assert page.status_code == 422
    assert 'id="discovery"' not in page.content.decode()


def test_the_edit_page_discovers_too(as_alice: Client, delegated: Integration, provider_server: ScriptedServer) -> None:
    address = url("custom_edit", provider_id=PROVIDER_ID)
    data = Form.of(as_alice.get(address).content.decode()).data
    issuer = publish(provider_server, introspection_endpoint=f"{provider_server.url}/introspect")
    page = as_alice.post(address, {**data, "issuer": issuer, "go": "discover"})
    found = Form.of(page.content.decode()).data
    assert found["introspection_endpoint"] == f"{provider_server.url}/introspect"
    assert found["name"] == "Northwind"
    assert CustomProvider.objects.get().versions.count() == 1
