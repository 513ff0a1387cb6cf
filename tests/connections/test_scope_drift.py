"""Scope drift: what is needed now, what was requested then, what was granted (product row B11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.models import Connection, CustomProvider, GrantType, Integration
from tests.api.client import ApiClient, make_key
from tests.connections.conftest import token_answer
from tests.connections.test_choices import CHOOSING
from tests.factories import make_connection, make_integration
from tests.pages.conftest import continue_url, query_of, url
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return ApiClient(make_key(workspace))


@pytest.fixture
def choosing(define: Callable[..., CustomProvider]) -> CustomProvider:
    return define(**CHOOSING)


@pytest.fixture
def delegated(workspace: Workspace, choosing: CustomProvider) -> Integration:
    return make_integration(workspace, "custom_acme")


@pytest.fixture
def service(workspace: Workspace, choosing: CustomProvider) -> Integration:
    return make_integration(workspace, "custom_acme", GrantType.CLIENT_CREDENTIALS)


ALL = ["read", "write", "delete"]

SIDE_BY_SIDE = [
    # requested then, granted, chosen, needed by the integration → missing, drift
    (ALL, ALL, None, [], [], []),
    (ALL, ["delete", "read", "write"], None, [], [], []),  # the order means nothing
    (ALL, ["read", "write"], None, [], ["delete"], []),
    (["read"], ["read"], None, [], [], ["write", "delete"]),
    (["read"], ["read"], ["delete"], [], [], ["delete"]),  # only what this connection chose
    (ALL, ALL, None, ["files:read"], [], ["files:read"]),
    (ALL, ALL, ["write"], [], [], []),  # less than before is no drift
    (["read"], ALL, None, [], [], []),  # granted without being asked: nobody has to consent
]


@pytest.mark.parametrize(("requested", "granted", "chosen", "added", "missing", "drift"), SIDE_BY_SIDE)
def test_needed_requested_and_granted_are_compared_per_connection(
    delegated: Integration,
    as_alice: Client,
    api: ApiClient,
    requested: list[str],
    granted: list[str],
    chosen: list[str] | None,
    added: list[str],
    missing: list[str],
    drift: list[str],
) -> None:
    delegated.additional_scopes = added
    delegated.save()
    connection = make_connection(delegated, requested_scopes=requested, granted_scopes=granted, scopes=chosen)
    shown = api.get(f"/connections/{connection.pk}").json()
    assert (shown["missing_scopes"], shown["scope_drift"], shown["scopes"]) == (missing, drift, chosen)
    for page in ("detail", "scopes"):
        text = as_alice.get(url(page, delegated)).content.decode()
        assert ("Reconnect to grant" in text) is bool(missing or drift)
        assert text.count("Not requested yet") == len(drift)
        assert text.count("Not granted") == len(missing)


def test_without_a_token_there_is_nothing_to_compare(delegated: Integration, api: ApiClient) -> None:
    connection = make_connection(delegated, with_token=False)
    assert api.get(f"/connections/{connection.pk}").json()["scope_drift"] == []


@pytest.mark.parametrize("granted", ["read write delete", "read"])
def test_reconnecting_asks_for_everything_once_and_never_again(
    delegated: Integration, as_alice: Client, api: ApiClient, provider_server: ScriptedServer, granted: str
) -> None:
    connection = make_connection(delegated, requested_scopes=["read"], granted_scopes=["read"])
    page = as_alice.post(url("connect", delegated), {"connection": str(connection.pk)})
    assert query_of(continue_url(page))["scope"] == "read write delete"
    provider_server.answer("/token", json=token_answer(scope=granted))
    as_alice.get("/oauth/callback", {"state": query_of(continue_url(page))["state"], "code": "c"})
    assert api.get(f"/connections/{connection.pk}").json()["scope_drift"] == []


def test_a_services_next_token_asks_for_what_is_new(
    service: Integration, as_alice: Client, api: ApiClient, provider_server: ScriptedServer
) -> None:
    connection = make_connection(service, requested_scopes=["read"], granted_scopes=["read"])
    assert "Fetch token now" in as_alice.get(url("scopes", service)).content.decode()
    provider_server.answer("/token", json=token_answer())
    as_alice.post(url("fetch_token", service), {"connection": str(connection.pk)})
    assert provider_server.to("/token")[0].form["scope"] == "read write delete"
    assert api.get(f"/connections/{connection.pk}").json()["scope_drift"] == []


def test_the_list_says_so(delegated: Integration, as_alice: Client) -> None:
    make_connection(delegated, requested_scopes=["read", "write"], granted_scopes=["read", "write"])
    assert "1 new scope waits for consent" in as_alice.get(url("list")).content.decode()
    Connection.objects.update(granted_scopes=["read"])
    assert "2 of 3 scopes not granted" in as_alice.get(url("list")).content.decode()
    Connection.objects.update(requested_scopes=ALL, granted_scopes=ALL)
    page = as_alice.get(url("list")).content.decode()
    assert "not granted" not in page
    assert "waits for" not in page


@pytest.mark.parametrize("way", ["page", "api"])
def test_other_scopes_are_saved_and_wait_for_the_next_consent(
    delegated: Integration, as_alice: Client, api: ApiClient, provider_server: ScriptedServer, way: str
) -> None:
    connection = make_connection(delegated, requested_scopes=ALL, granted_scopes=ALL)
    if way == "page":
        edit = url("connection_edit", delegated, connection_id=connection.pk)
        form = {"scope_choice": "customize", "scopes": ["write"], "additional_scopes": "files:read"}
        page = as_alice.post(edit, form, follow=True).content.decode()
        assert "Tokens carry the new scopes after the next consent" in page
    else:
        answer = api.patch(f"/connections/{connection.pk}", {"scopes": ["write"], "additional_scopes": ["files:read"]})
        assert answer.status_code == 200
        assert answer.json()["scopes"] == ["write"]
    connection.refresh_from_db()
    assert (connection.scopes, connection.additional_scopes) == (["write"], ["files:read"])
    assert api.get(f"/connections/{connection.pk}").json()["scope_drift"] == ["files:read"]
    assert not provider_server.requests
    page = as_alice.post(url("connect", delegated), {"connection": str(connection.pk)})
    assert query_of(continue_url(page))["scope"] == "read write files:read"


def test_null_takes_a_choice_back(delegated: Integration, api: ApiClient) -> None:
    connection = make_connection(delegated, scopes=["write"], additional_scopes=["files:read"])
    answer = api.patch(f"/connections/{connection.pk}", {"scopes": None}).json()
    assert (answer["scopes"], answer["additional_scopes"]) == (None, ["files:read"])


def test_a_refused_change_changes_nothing_not_even_the_name(delegated: Integration, api: ApiClient) -> None:
    connection = make_connection(delegated, requested_scopes=ALL)
    make_connection(delegated, "taken", is_default=False)
    refused = api.patch(f"/connections/{connection.pk}", {"name": "other", "scopes": ["nonsense"]})
    assert refused.json()["errors"][0]["field"] == "scopes"
    assert api.patch(f"/connections/{connection.pk}", {"name": "taken", "scopes": ["write"]}).status_code == 409
    connection.refresh_from_db()
    assert (connection.name, connection.scopes) == ("default", None)


def test_a_choice_does_not_outlive_the_permission_to_choose(
    delegated: Integration, define: Callable[..., CustomProvider], as_alice: Client, api: ApiClient
) -> None:
    connection = make_connection(
        delegated, scopes=["write"], additional_scopes=["files:read"], requested_scopes=["read"], granted_scopes=[]
    )
    define(**{**CHOOSING, "allow_scope_customization": False, "allow_additional_scopes": False})
    page = as_alice.post(url("connect", delegated), {"connection": str(connection.pk)})
    assert query_of(continue_url(page))["scope"] == "read write delete"
    assert api.get(f"/connections/{connection.pk}").json()["scopes"] is None


def test_the_comparison_costs_no_query_per_connection(
    delegated: Integration, as_alice: Client, django_assert_max_num_queries: Any
) -> None:
    def count() -> int:
        with django_assert_max_num_queries(200) as captured:
            as_alice.get(url("list"))
        return len(captured)

    make_connection(delegated)
    count()  # what is cached for everybody
    few = count()
    for number in range(5):
        make_connection(delegated, f"more-{number}", is_default=False)
    assert count() == few
