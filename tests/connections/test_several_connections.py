"""Several connections of one integration: each has its own client, values, scopes, account (product rows 10, 13)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.connections.batch import refresh_due
from integrations.connections.refresh import refresh_connection
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectLink,
    CustomProvider,
    GrantType,
    Integration,
    PendingAuthorization,
    TokenSchedule,
)
from tests.api.client import ApiClient, make_key
from tests.connections.conftest import token_answer
from tests.connections.test_choices import CHOOSING, GIVEN, OWN_CLIENT, PARAMETERS, path_of
from tests.factories import make_connection, make_integration
from tests.pages.conftest import continue_url, query_of, url
from tests.servers.scripted import Answer, Received, ScriptedServer, scripted_server
from workspaces.audit import WORKER
from workspaces.models import AuditEvent, Workspace

HOST_AND_CLIENT = [{"key": "zone", "label": "Zone"}, *OWN_CLIENT]


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return ApiClient(make_key(workspace))


@pytest.fixture
def tenants(
    workspace: Workspace, define: Callable[..., CustomProvider], provider_server: ScriptedServer
) -> Integration:
    """A service whose connections differ in tenant, app and pin."""
    define(
        token_endpoint=f"{provider_server.url}/{{{{tenant}}}}/token",
        parameters=[*PARAMETERS, *OWN_CLIENT],
        token_params={"region": "{{region}}", "pin": "{{pin}}"},
    )
    for tenant in ("north", "south"):
        provider_server.respond(f"/{tenant}/token", answering_as(tenant))
    return make_integration(workspace, "custom_acme", GrantType.CLIENT_CREDENTIALS, client_id="", client_secret=None)


def answering_as(tenant: str) -> Callable[[Received], Answer]:
    """A tenant's own server: it knows one app only."""

    def respond(request: Received) -> Answer:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic" or base64.b64decode(credentials).decode() != f"app-{tenant}:secret-{tenant}":
            return Answer(401, b'{"error": "invalid_client"}', {"Content-Type": "application/json"})
        token = f'{{"access_token": "token-of-{tenant}", "token_type": "Bearer", "expires_in": 3600}}'
        return Answer(200, token.encode(), {"Content-Type": "application/json"})

    return respond


def body_for(tenant: str, **more: Any) -> dict[str, Any]:
    return {
        "name": tenant,
        "parameters": {**GIVEN, "tenant": tenant},
        "client_id": f"app-{tenant}",
        "client_secret": f"secret-{tenant}",
        **more,
    }


def test_two_apps_at_two_tenants_work_side_by_side_and_renew_with_their_own(
    tenants: Integration, api: ApiClient, provider_server: ScriptedServer
) -> None:
    for tenant in ("north", "south"):
        answer = api.post(f"{path_of(tenants)}/connections", body_for(tenant))
        assert answer.status_code == 201, answer.content
        shown = answer.json()
        assert shown["parameters"] == {"tenant": tenant, "region": "eu"}  # neither pin nor credentials
        assert "secret-" not in answer.content.decode()
        assert "4711" not in answer.content.decode()
    for tenant in ("north", "south"):
        connection = Connection.objects.get(name=tenant)
        assert refresh_connection(connection.pk, forced=True, actor=WORKER).refreshed
        assert connection.token.open().access_token == f"token-of-{tenant}"
        assert len(provider_server.to(f"/{tenant}/token")) == 2
        assert provider_server.to(f"/{tenant}/token")[1].form["pin"] == "4711"


def test_a_refused_app_of_one_connection_stops_no_other(
    tenants: Integration, api: ApiClient, provider_server: ScriptedServer
) -> None:
    for tenant in ("north", "south"):
        api.post(f"{path_of(tenants)}/connections", body_for(tenant))
    north, south = (Connection.objects.get(name=name) for name in ("north", "south"))
    provider_server.forget()
    provider_server.answer("/north/token", status=401, json={"error": "invalid_client"})
    provider_server.respond("/south/token", answering_as("south"))
    assert not refresh_connection(north.pk, forced=True, actor=WORKER).refreshed
    north.refresh_from_db()
    tenants.refresh_from_db()
    assert (north.state, north.last_error_code) == (ConnectionState.MISCONFIGURED, "invalid_client")
    assert tenants.client_error_code == ""
    TokenSchedule.objects.filter(pk=south.pk).update(refresh_due_at=timezone.now())
    refresh_due()  # by itself: a sibling is not held back
    assert len(provider_server.to("/south/token")) == 1
    shown = api.get(f"/connections/{north.pk}").json()
    assert shown["status_reason"]["next_step"] == "Check connection"
    assert api.get(f"/connections/{south.pk}").json()["status"] == "connected"


def test_a_first_connect_that_is_refused_stops_no_other_either(tenants: Integration, api: ApiClient) -> None:
    answer = api.post(f"{path_of(tenants)}/connections", body_for("north", client_secret="wrong"))
    assert (answer.status_code, answer.json()["provider_code"]) == (409, "invalid_client")
    tenants.refresh_from_db()
    assert tenants.client_error_code == ""
    assert api.get(path_of(tenants)).json()["status"] == "configured"


def test_an_integration_says_what_each_connection_is_asked_for(tenants: Integration, api: ApiClient) -> None:
    shown = api.get(path_of(tenants)).json()
    assert shown["credentials_per_connection"] is True
    assert [asked["key"] for asked in shown["parameters"]] == ["tenant", "region", "pin", "client_id", "client_secret"]
    assert shown["parameters"][1] == {"key": "region", "label": "Region", "type": "dropdown", "options": ["eu", "us"]}


def test_an_integration_is_saved_without_a_client_where_connections_bring_theirs(
    tenants: Integration, api: ApiClient
) -> None:
    tenants.delete()
    assert api.get(path_of(tenants)).json()["status"] == "not_configured"
    saved = api.put(path_of(tenants), {"parameters": {"region": "us"}})
    assert (saved.status_code, saved.json()["status"]) == (200, "configured")
    assert [asked["key"] for asked in saved.json()["parameters"]] == ["tenant", "pin", "client_id", "client_secret"]
    refused = api.put(path_of(tenants), {"client_id": "shared", "client_secret": "shared"})
    assert refused.status_code == 422
    assert {error["field"] for error in refused.json()["errors"]} == {"client_id", "client_secret"}
    assert "with each connection: leave them out here" in refused.json()["errors"][0]["message"]


def test_the_configuration_page_asks_for_no_client_there(tenants: Integration, as_alice: Client) -> None:
    page = as_alice.get(url("configuration", tenants)).content.decode()
    assert 'name="client_secret"' not in page
    assert "asks for client ID and client secret with each connection" in page
    saved = as_alice.post(url("configuration", tenants), {"param_region": "us"})
    assert saved.status_code == 302
    tenants.refresh_from_db()
    assert tenants.parameters == {"region": "us"}


# --- editing and reconnecting ------------------------------------------------------------------------------


def test_editing_a_parameter_of_a_connected_service_fetches_with_it_and_touches_no_other(
    tenants: Integration, api: ApiClient, as_alice: Client, provider_server: ScriptedServer
) -> None:
    for tenant in ("north", "south"):
        api.post(f"{path_of(tenants)}/connections", body_for(tenant))
    north, south = (Connection.objects.get(name=name) for name in ("north", "south"))
    edit = url("connection_edit", tenants, connection_id=north.pk)
    form = as_alice.get(edit).content.decode()
    assert 'value="north"' in form
    assert "4711" not in form
    assert "secret-north" not in form
    blank_keeps = {"param_tenant": "north", "param_region": "us", "param_pin": "", "param_client_id": "app-north"}
    assert as_alice.post(edit, blank_keeps).status_code == 302
    sent = provider_server.to("/north/token")[-1].form
    assert (sent["region"], sent["pin"]) == ("us", "4711")
    assert Connection.objects.get(pk=north.pk).parameters["region"] == "us"
    assert Connection.objects.get(pk=south.pk).parameters["region"] == "eu"
    assert len(provider_server.to("/south/token")) == 1


def test_an_edit_that_the_provider_refuses_changes_nothing(
    tenants: Integration, api: ApiClient, as_alice: Client
) -> None:
    api.post(f"{path_of(tenants)}/connections", body_for("north"))
    north = Connection.objects.get()
    form = {"param_tenant": "south", "param_region": "eu", "param_client_id": "app-north"}
    answer = as_alice.post(url("connection_edit", tenants, connection_id=north.pk), form)
    assert answer.status_code == 422
    assert Connection.objects.get().parameters["tenant"] == "north"
    assert Connection.objects.get().token.open().access_token == "token-of-north"


def test_other_values_of_a_connected_account_count_only_after_consent(
    workspace: Workspace, define: Callable[..., CustomProvider], as_alice: Client, provider_server: ScriptedServer
) -> None:
    define(
        authorization_endpoint=f"{provider_server.url}/{{{{tenant}}}}/authorize",
        token_endpoint=f"{provider_server.url}/{{{{tenant}}}}/token",
        parameters=PARAMETERS,
    )
    integration = make_integration(workspace, "custom_acme")
    connection = make_connection(integration, parameters=GIVEN)
    edit = url("connection_edit", integration, connection_id=connection.pk)
    page = as_alice.post(edit, {"param_tenant": "south", "param_region": "eu", "param_pin": ""})
    address = continue_url(page)
    assert address.startswith(f"{provider_server.url}/south/authorize?")
    assert Connection.objects.get().parameters == GIVEN
    provider_server.answer("/south/token", json=token_answer())
    as_alice.get("/oauth/callback", {"state": query_of(address)["state"], "code": "c"})
    assert Connection.objects.get().parameters == {**GIVEN, "tenant": "south"}
    assert Connection.objects.get().token.open().access_token == "access-2"


def test_the_values_of_a_connection_without_a_token_are_saved_at_once(
    workspace: Workspace, define: Callable[..., CustomProvider], as_alice: Client, provider_server: ScriptedServer
) -> None:
    define(parameters=PARAMETERS)
    integration = make_integration(workspace, "custom_acme")
    connection = make_connection(integration, parameters=GIVEN, with_token=False)
    edit = url("connection_edit", integration, connection_id=connection.pk)
    assert as_alice.post(edit, {"param_tenant": "south", "param_region": "us", "param_pin": ""}).status_code == 302
    assert Connection.objects.get().parameters == {"tenant": "south", "region": "us", "pin": "4711"}
    assert not provider_server.requests
    event = AuditEvent.objects.get(action="connection:changed", detail__has_key="parameters")
    assert "south" not in str(event.detail)


@pytest.fixture
def other_host() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def zone_endpoints(server: ScriptedServer) -> dict[str, Any]:
    """A template whose whole host is a parameter."""
    port = server.host.partition(":")[2]
    return {
        "authorization_endpoint": f"http://{{{{zone}}}}:{port}/authorize",
        "token_endpoint": f"http://{{{{zone}}}}:{port}/token",
        "revocation_endpoint": "",
        "parameters": HOST_AND_CLIENT,
    }


@pytest.mark.parametrize("way", ["edit", "link"])
def test_a_stored_secret_is_not_sent_to_a_host_that_somebody_else_names(
    workspace: Workspace,
    define: Callable[..., CustomProvider],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    settings: Any,
    way: str,
) -> None:
    """An editor who may change the host would otherwise have another's secret sent to one of their own."""
    port = provider_server.host.partition(":")[2]
    settings.OUTBOUND_ALLOWED_HOSTS = [f"127.0.0.1:{port}", f"localhost:{port}"]
    provider_server.answer("/token", json=token_answer())
    define(**zone_endpoints(provider_server))
    grant = GrantType.CLIENT_CREDENTIALS if way == "edit" else GrantType.AUTHORIZATION_CODE
    integration = make_integration(workspace, "custom_acme", grant, client_id="", client_secret=None)
    own = {"zone": "127.0.0.1", "client_id": "app", "client_secret": "theirs"}
    connection = make_connection(integration, parameters=own)
    if way == "edit":
        edit = url("connection_edit", integration, connection_id=connection.pk)
        moved = {"param_zone": "localhost", "param_client_id": "app", "param_client_secret": ""}
        answer = as_alice.post(edit, moved)
        assert answer.status_code == 422
        assert "Enter a value for Key." in answer.content.decode()
        as_alice.post(edit, {**moved, "param_zone": "127.0.0.1", "param_client_id": "app-2"})
        assert len(provider_server.to("/token")) == 1, "the same host gets it"
    else:
        made = api.post(f"{path_of(integration)}/connect-links", {"parameters": {"zone": "localhost"}})
        visitor = Client()
        page = visitor.post("/connect/" + made.json()["url"].split("/")[-2] + "/")
        assert page.status_code == 422
        assert "Enter a value for Key." in page.content.decode()
    assert all(request.headers["host"] != f"localhost:{port}" for request in provider_server.requests)
    assert Connection.objects.get().parameters["zone"] == "127.0.0.1"


# --- connect links -------------------------------------------------------------------------------------------


@pytest.fixture
def asking(workspace: Workspace, define: Callable[..., CustomProvider], provider_server: ScriptedServer) -> Integration:
    define(
        **CHOOSING,
        authorization_endpoint=f"{provider_server.url}/{{{{tenant}}}}/authorize",
        token_endpoint=f"{provider_server.url}/token",
        userinfo_endpoint=f"{provider_server.url}/userinfo",
        parameters=PARAMETERS,
    )
    provider_server.answer("/token", json=token_answer(scope="read write files:read"))
    provider_server.answer("/userinfo", json={"sub": "7", "email": "b@example.com"})
    return make_integration(workspace, "custom_acme")


def link_path(answer: Any) -> str:
    assert answer.status_code == 201, answer.content
    return "/connect/" + str(answer.json()["url"]).split("/")[-2] + "/"


def test_a_link_shows_its_scopes_and_asks_for_what_it_leaves_open(asking: Integration, api: ApiClient) -> None:
    wanted = {"parameters": {"tenant": "north"}, "scopes": ["write"], "additional_scopes": ["files:read"]}
    path = link_path(api.post(f"{path_of(asking)}/connect-links", {"connection": "customer", **wanted}))
    visitor = Client()
    page = visitor.get(path).content.decode()
    assert "files:read" in page
    assert "delete" not in page
    assert "param_tenant" not in page
    assert page.count("<form") == 1

    missing = visitor.post(path, {"param_region": "mars"})
    assert missing.status_code == 422
    for words in ("Enter a value for Pin.", "Region is one of: eu, us."):
        assert words in missing.content.decode()
    assert not PendingAuthorization.objects.exists()

    # The tenant is the link's: what a visitor posts for it does not count.
    answer = visitor.post(path, {"param_region": "us", "param_pin": "4711", "param_tenant": "evil"})
    address = continue_url(answer)
    assert address.split("?")[0].endswith("/north/authorize")
    assert query_of(address)["scope"] == "read write files:read"
    visitor.get("/oauth/callback", {"state": query_of(address)["state"], "code": "c"})
    made = Connection.objects.get()
    assert made.parameters == {"tenant": "north", "region": "us", "pin": "4711"}
    assert (made.scopes, made.additional_scopes) == (["write"], ["files:read"])


def test_a_visitor_cannot_bring_a_parameter_that_nobody_asked_for(asking: Integration, api: ApiClient) -> None:
    path = link_path(api.post(f"{path_of(asking)}/connect-links", {"parameters": GIVEN}))
    answer = Client().post(path, {"param_other": "x"})
    assert answer.status_code == 422
    assert "Acme has no parameter “other”" in answer.content.decode()


def test_the_form_of_a_link_leaves_parameters_open(asking: Integration, as_alice: Client) -> None:
    form = {"name": "customer", "param_tenant": "north", "param_pin": ""}
    page = as_alice.post(url("connect_link_create", asking), form)
    assert page.status_code == 200, page.content.decode()
    assert ConnectLink.objects.get().parameters == {"tenant": "north"}


# --- whose account it is -------------------------------------------------------------------------------------


def come_back(browser: Client, page: Any) -> Any:
    answer = browser.get("/oauth/callback", {"state": query_of(continue_url(page))["state"], "code": "c"})
    return browser.get(answer["Location"])


@pytest.fixture
def of_a(asking: Integration) -> Connection:
    return make_connection(asking, parameters=GIVEN, account={"id": "1", "label": "a@example.com"})


def test_another_account_is_warned_of_until_somebody_says_it_was_meant(
    asking: Integration, of_a: Connection, as_alice: Client
) -> None:
    page = come_back(as_alice, as_alice.post(url("connect", asking))).content.decode()
    assert "This is another account than before: it was a@example.com." in page
    later = as_alice.get(url("connection", asking, connection_id=of_a.pk)).content.decode()
    assert "belongs to another account than before" in later
    assert "Put a@example.com back" in later
    assert "was a@example.com" in as_alice.get(url("connections", asking)).content.decode()
    event = AuditEvent.objects.get(action="connection:connected")
    assert (event.detail["account"], event.detail["account_before"]) == ("b@example.com", "a@example.com")

    change = url("connection_change", asking, connection_id=of_a.pk)
    assert as_alice.post(change, {"keep_account": "1"}).status_code == 302
    assert "another account" not in as_alice.get(url("connection", asking, connection_id=of_a.pk)).content.decode()
    kept = AuditEvent.objects.get(action="connection:changed")
    assert kept.detail == {"account": "b@example.com", "account_before": "a@example.com"}


def test_the_warning_goes_when_the_first_account_is_back(
    asking: Integration, of_a: Connection, as_alice: Client, provider_server: ScriptedServer
) -> None:
    come_back(as_alice, as_alice.post(url("connect", asking)))
    provider_server.forget()
    provider_server.answer("/token", json=token_answer())
    provider_server.answer("/userinfo", json={"sub": "1", "email": "a@example.com"})
    come_back(as_alice, as_alice.post(url("connect", asking)))
    of_a.refresh_from_db()
    assert (of_a.account["label"], of_a.previous_account) == ("a@example.com", {})


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_link_takes_another_account_only_when_its_maker_agreed(
    asking: Integration, of_a: Connection, api: ApiClient, confirmed: bool
) -> None:
    body = {"connection": "default", "confirm_account_change": confirmed}
    visitor = Client()
    page = visitor.post(link_path(api.post(f"{path_of(asking)}/connect-links", body)))
    result = come_back(visitor, page).content.decode()
    of_a.refresh_from_db()
    if confirmed:
        assert (of_a.account["label"], of_a.previous_account["label"]) == ("b@example.com", "a@example.com")
    else:
        assert "another account than the one this connection belongs to" in result
        assert of_a.account["label"] == "a@example.com"
        assert of_a.token.open().access_token == "access-token-1"


def test_an_account_named_by_the_token_answer_is_shown_without_what_would_disguise_it(
    workspace: Workspace, define: Callable[..., CustomProvider], as_alice: Client, provider_server: ScriptedServer
) -> None:
    define(account_fields=["team"], account_id_field="team_id")
    integration = make_integration(workspace, "custom_acme")
    answer = token_answer(team="<b>North\u202e\u0007</b>", team_id=42, scope="read write")
    provider_server.answer("/token", json=answer)
    page = come_back(as_alice, as_alice.post(url("connect", integration))).content.decode()
    assert Connection.objects.get().account == {"id": "42", "label": "<b>North</b>"}
    assert "&lt;b&gt;North&lt;/b&gt;" in page
    assert "<b>North" not in page


def test_what_the_provider_told_is_shown(
    workspace: Workspace, define: Callable[..., CustomProvider], as_alice: Client, api: ApiClient
) -> None:
    define(
        metadata=[{"key": "instance", "label": "Instance", "source": "token", "field": "instance", "pattern": "[a-z]+"}]
    )
    integration = make_integration(workspace, "custom_acme")
    connection = make_connection(integration, metadata={"instance": "acme"}, issued_at=None)
    for page in ("detail", "connections"):
        text = as_alice.get(url(page, integration)).content.decode()
        assert "Instance" in text
        assert "acme" in text
    assert api.get(f"/connections/{connection.pk}").json()["metadata"] == {"instance": "acme"}


def test_a_disconnected_connection_can_be_connected_after_its_definition_asks_for_more(
    workspace: Workspace, define: Callable[..., CustomProvider], as_alice: Client
) -> None:
    define()
    integration = make_integration(workspace, "custom_acme")
    connection = make_connection(integration, lifetime=timedelta(hours=1))
    define(parameters=PARAMETERS)
    answer = as_alice.post(url("connect", integration))
    assert answer["Location"] == url("connection_edit", integration, connection_id=connection.pk)
