"""Test connection, Fetch token, Try now; disconnect, delete, rename, default."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.models import Connection, ConnectionState, CustomProvider, GrantType, Integration, Token
from tests.factories import make_connection, make_integration
from tests.pages.conftest import CANARY, token_answer, url
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import ActorKind, User
from workspaces.roles import Role

HTMX = {"HX-Request": "true"}


def read_by_a_key(connection: Connection) -> None:
    record(
        connection.workspace,
        AuditAction.TOKEN_READ,
        Actor(ActorKind.API_KEY, "1", "nightly-export (gr_abc…)"),
        target=connection,
    )


# --- checks ---------------------------------------------------------------------------------------------


def test_a_passed_test_shows_its_steps_and_stores_the_token(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer(refresh_token=None))
    page = as_alice.post(url("test", service))
    text = page.content.decode()
    assert page.status_code == 200
    assert "issued a token" in text
    assert text.count('aria-label="Passed"') >= 4
    assert "The token is good for" in text
    assert "issued-access-token" not in text
    assert CANARY not in text
    assert Connection.objects.get().name == "default"


def test_a_failed_test_shows_where_it_stopped_and_keeps_the_token(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(service, refresh_token=None)
    version = connection.token.version
    provider_server.answer("/token", status=401, json={"error": "invalid_client"})
    text = as_alice.post(url("test", service)).content.decode()
    assert text.count("Northwind refused the client ID or the client secret.</h2>") == 1
    assert "The token is kept, and renewal resumes by itself" in text
    assert text.count("btn-primary") == 1
    assert "Check configuration" in text
    assert "<code>invalid_client</code>" in text
    assert Token.objects.get().version == version


def test_a_test_without_any_token_says_what_to_do_first(as_alice: Client, delegated: Integration) -> None:
    text = as_alice.post(url("test", delegated)).content.decode()
    assert "There is no token yet." in text
    assert "Connect first." in text


def test_with_htmx_the_result_takes_the_place_of_the_tab_and_brings_the_header(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer(refresh_token=None))
    text = as_alice.post(url("test", service), headers=HTMX).content.decode()
    assert "<html" not in text
    assert 'id="status" hx-swap-oob="true"' in text
    assert 'id="actions" hx-swap-oob="true"' in text
    assert "data-announce" in text


def test_an_authorization_code_connection_is_tested_with_its_token(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(delegated)
    provider_server.answer("/userinfo", json={"sub": "7", "email": "person@example.com"})
    text = as_alice.post(url("test", delegated)).content.decode()
    assert "person@example.com" in text
    assert provider_server.to("/userinfo")[0].headers["authorization"] == "Bearer access-token-1"


def test_fetch_token_lands_on_the_connection(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer(refresh_token=None))
    answer = as_alice.post(url("fetch_token", service))
    assert answer["Location"] == url("connection", service, connection_id=Connection.objects.get().pk)
    assert "A token was fetched and stored." in as_alice.get(answer["Location"]).content.decode()


def test_a_refused_fetch_says_what_happened_and_what_to_do(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", status=401, json={"error": "invalid_client"})
    text = as_alice.post(url("fetch_token", service), follow=True).content.decode()
    assert "Northwind refused the client ID or the client secret" in text
    assert "Misconfigured" in text
    assert "Check configuration" in text


def test_an_unreachable_host_is_told_and_leaves_the_connection_alone(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(service, refresh_token=None)
    provider_server.close()
    text = as_alice.post(url("test", service)).content.decode()
    assert 'aria-label="Failed"' in text
    connection.refresh_from_db()
    assert connection.state == ConnectionState.CONNECTED


def test_try_now_renews_at_once(as_alice: Client, delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(
        delegated,
        state=ConnectionState.DEGRADED,
        last_error_code="outage",
        issued_at=timezone.now() - timedelta(minutes=50),
    )
    provider_server.answer("/token", json=token_answer())
    text = as_alice.post(url("refresh", delegated, connection_id=connection.pk), follow=True).content.decode()
    assert "The token was renewed." in text
    connection.refresh_from_db()
    assert connection.state == ConnectionState.CONNECTED


def test_try_now_says_when_it_did_not_work(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/token", status=503)
    text = as_alice.post(url("refresh", delegated, connection_id=connection.pk), follow=True).content.decode()
    assert "Northwind has a failure on its side" in text


@pytest.mark.parametrize("name", ["test", "fetch_token"])
def test_an_integration_without_credentials_leads_to_its_configuration(
    as_alice: Client, northwind: str, name: str
) -> None:
    answer = as_alice.post(
        f"/w/acme/integrations/{northwind}/client_credentials/{name.replace('_', '-')}/", headers=HTMX
    )
    assert answer["HX-Redirect"].endswith("/configuration/")


@pytest.mark.parametrize("name", ["test", "fetch_token", "connect"])
def test_checks_are_posts_of_editors(sign_in: Callable[[Role], Client], service: Integration, name: str) -> None:
    assert sign_in(Role.VIEWER).post(url(name, service)).status_code == 403
    assert sign_in(Role.EDITOR).get(url(name, service)).status_code == 405


def test_tests_are_limited(
    as_alice: Client, service: Integration, provider_server: ScriptedServer, settings: Any
) -> None:
    settings.RATE_LIMIT_SCALE = 0.04
    provider_server.answer("/token", json=token_answer(refresh_token=None))
    assert as_alice.post(url("test", service)).status_code == 200
    assert as_alice.post(url("test", service)).status_code == 429


def test_a_service_account_gets_another_connection_with_its_first_token(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(service, refresh_token=None)
    provider_server.answer("/token", json=token_answer(refresh_token=None))
    as_alice.post(url("connection_new", service), {"name": "finance"})
    assert Connection.objects.get(name="finance").state == ConnectionState.CONNECTED


def test_a_refused_first_token_brings_the_form_back(
    as_alice: Client, service: Integration, provider_server: ScriptedServer
) -> None:
    make_connection(service, refresh_token=None)
    provider_server.answer("/token", status=503)
    page = as_alice.post(url("connection_new", service), {"name": "finance"})
    assert page.status_code == 422
    assert 'value="finance"' in page.content.decode()
    assert Connection.objects.count() == 1


# --- removal --------------------------------------------------------------------------------------------


def test_disconnect_asks_for_nothing_when_nothing_depends_on_it(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/revoke")
    page = as_alice.get(url("disconnect", delegated, connection_id=connection.pk)).content.decode()
    assert "Nothing has read a token of it" in page
    assert 'name="confirm"' not in page
    done = as_alice.post(url("disconnect", delegated, connection_id=connection.pk), follow=True).content.decode()
    assert "“default” is disconnected." in done
    assert [request.form["token"] for request in provider_server.to("/revoke")] == ["refresh-token-1", "access-token-1"]
    connection.refresh_from_db()
    assert connection.state == ConnectionState.CONFIGURED
    assert not Token.objects.exists()


def test_disconnect_names_what_stops_working_and_asks_for_the_name(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated)
    read_by_a_key(connection)
    provider_server.answer("/revoke")
    address = url("disconnect", delegated, connection_id=connection.pk)
    assert "nightly-export" in as_alice.get(address).content.decode()
    for typed in ("", "wrong", "CUSTOM_NORTHWIND"):
        refused = as_alice.post(address, {"confirm": typed})
        assert refused.status_code == 422
        assert "Nothing was changed" in refused.content.decode()
    assert Token.objects.exists()
    assert as_alice.post(address, {"confirm": "custom_northwind"}).status_code == 302
    assert not Token.objects.exists()


def test_the_dialog_on_the_overview_is_the_pages_form(as_alice: Client, delegated: Integration) -> None:
    connection = make_connection(delegated)
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert '<dialog class="g-dialog" id="disconnect-dialog"' in page
    assert f'action="{url("disconnect", delegated, connection_id=connection.pk)}"' in page


def test_a_failed_revocation_is_told(as_alice: Client, delegated: Integration, provider_server: ScriptedServer) -> None:
    connection = make_connection(delegated)
    provider_server.answer("/revoke", status=500)
    page = as_alice.post(url("disconnect", delegated, connection_id=connection.pk), follow=True).content.decode()
    assert "g-tone-waiting" in page[page.index('id="toasts"') :]
    assert not Token.objects.exists()


def test_a_connection_is_deleted_and_the_others_stay(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/revoke")
    connection = make_connection(delegated)
    make_connection(delegated, "finance")
    as_alice.post(url("connection_delete", delegated, connection_id=connection.pk))
    assert list(Connection.objects.values_list("name", flat=True)) == ["finance"]


def test_an_integration_with_connections_is_deleted_by_name(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/revoke")
    make_connection(delegated)
    address = url("integration_delete", delegated)
    assert as_alice.post(address).status_code == 422
    assert as_alice.post(address, {"confirm": "custom_northwind"}).status_code == 302
    assert not Integration.objects.exists()
    assert provider_server.to("/revoke")


def test_a_custom_provider_is_deleted_with_its_integrations(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/revoke")
    make_connection(delegated)
    address = url("provider_delete", provider_id=delegated.provider_id)
    assert "connection" in as_alice.get(address).content.decode()
    assert as_alice.post(address).status_code == 422
    assert as_alice.post(address, {"confirm": delegated.provider_id}).status_code == 302
    assert not CustomProvider.objects.exists()
    assert not Integration.objects.exists()


@pytest.mark.parametrize(("connections", "named", "rest"), [(11, 11, ""), (30, 10, "and 20 more connections")])
def test_a_removal_names_some_connections_and_counts_the_others(
    as_alice: Client, delegated: Integration, connections: int, named: int, rest: str
) -> None:
    for number in range(connections):
        make_connection(delegated, f"customer-{number:02}")
    page = as_alice.get(url("integration_delete", delegated)).content.decode()
    assert page.count("customer-") == named
    assert rest in page
    assert ("more connection" in page) == bool(rest)


def test_a_built_in_provider_cannot_be_deleted(as_alice: Client, delegated: Integration) -> None:
    assert as_alice.post(url("provider_delete", provider_id="github")).status_code == 404


@pytest.mark.parametrize("name", ["integration_delete", "provider_delete", "custom_edit"])
def test_editors_may_not_delete_what_admins_made(
    sign_in: Callable[[Role], Client], delegated: Integration, name: str
) -> None:
    address = url(name, delegated) if name == "integration_delete" else url(name, provider_id=delegated.provider_id)
    assert sign_in(Role.EDITOR).post(address).status_code == 403
    assert Integration.objects.exists()


@pytest.mark.parametrize("name", ["connection", "disconnect", "connection_delete"])
def test_another_integrations_connection_is_404(as_alice: Client, delegated: Integration, name: str) -> None:
    foreign = make_connection(make_integration(delegated.workspace, "github"))
    assert as_alice.get(url(name, delegated, connection_id=foreign.pk)).status_code == 404


def test_outsiders_get_404_and_change_nothing(charlie: User, client: Client, delegated: Integration) -> None:
    connection = make_connection(delegated)
    client.force_login(charlie)
    for name in ("disconnect", "connection_delete", "connection_change", "refresh"):
        assert client.post(url(name, delegated, connection_id=connection.pk)).status_code == 404
    assert client.post(url("integration_delete", delegated)).status_code == 404
    assert Token.objects.exists()


# --- small changes --------------------------------------------------------------------------------------


def test_another_connection_becomes_the_default(as_alice: Client, delegated: Integration) -> None:
    first, second = make_connection(delegated), make_connection(delegated, "finance")
    as_alice.post(url("connection_change", delegated, connection_id=second.pk), {"make_default": "1"})
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.is_default, second.is_default) == (False, True)


def test_a_connection_is_renamed(as_alice: Client, delegated: Integration) -> None:
    connection = make_connection(delegated, "finance")
    page = as_alice.get(url("connections", delegated), {"rename": str(connection.pk)}).content.decode()
    assert "Rename “finance”" in page
    as_alice.post(url("connection_change", delegated, connection_id=connection.pk), {"name": "payroll"})
    connection.refresh_from_db()
    assert connection.name == "payroll"


@pytest.mark.parametrize("name", ["", "default", "x" * 101])
def test_a_name_that_cannot_be_used_comes_back_with_its_error(
    as_alice: Client, delegated: Integration, name: str
) -> None:
    make_connection(delegated)
    connection = make_connection(delegated, "finance")
    page = as_alice.post(url("connection_change", delegated, connection_id=connection.pk), {"name": name})
    assert page.status_code == 422
    assert 'id="id_name_error"' in page.content.decode()
    connection.refresh_from_db()
    assert connection.name == "finance"


def test_a_service_account_is_never_offered_consent(as_alice: Client, service: Integration) -> None:
    make_connection(service, refresh_token=None)
    page = as_alice.get(url("detail", service)).content.decode()
    assert service.grant_type == GrantType.CLIENT_CREDENTIALS
    assert "Fetch token" in page
    assert "with OAuth" not in page
