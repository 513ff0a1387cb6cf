"""What a provider tells beside the token: kept per connection, part of endpoints, never trusted beyond its pattern."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.models import Connection, Token
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import parameter_values
from integrations.providers.registry import find_spec
from tests.providers.quirks.conftest import NOW, Flow, answer
from tests.servers.scripted import ScriptedServer

LATER = NOW + timedelta(hours=2)
DATA_CENTRES = "https://accounts\\.example\\.(com|eu|in)"
ACCOUNTS_SERVER = {
    "key": "dc",
    "label": "Data centre",
    "source": "callback",
    "field": "accounts-server",
    "pattern": DATA_CENTRES,
}
DC = {"key": "dc", "label": "Data centre", "type": "dropdown", "options": ["com", "eu", "in"], "default": "com"}
INSTANCE = {
    "key": "instance",
    "label": "Instance",
    "source": "token",
    "field": "instance_url",
    "pattern": "https://([a-z0-9-]+)\\.example\\.com",
}


@pytest.fixture
def by_data_centre(own: Callable[..., Flow], provider_server: ScriptedServer) -> Flow:
    """Everything is in the data centre that the callback names."""
    url = provider_server.url
    return own(
        parameters=[DC],
        metadata=[ACCOUNTS_SERVER],
        authorization_endpoint=f"{url}/{{{{dc}}}}/authorize",
        token_endpoint=f"{url}/{{{{dc}}}}/token",
        revocation_endpoint=f"{url}/{{{{dc}}}}/revoke",
    )


# --- from the callback ----------------------------------------------------------------------------------
def test_the_callback_decides_where_the_code_goes_and_every_later_call(by_data_centre: Flow) -> None:
    flow = by_data_centre
    flow.server.answer("/eu/token", json=answer())
    flow.server.answer("/eu/revoke")
    connection = flow.connect(("accounts-server", "https://accounts.example.eu"))
    assert connection.metadata == {"dc": "eu"}
    assert flow.refresh(connection, now=LATER).refreshed
    flow.disconnect(connection)
    assert {request.path for request in flow.server.requests} == {"/eu/token", "/eu/revoke"}


def test_an_absent_value_leaves_the_parameter(by_data_centre: Flow) -> None:
    by_data_centre.server.answer("/in/token", json=answer())
    assert by_data_centre.connect(parameters={"dc": "in"}).metadata == {}


@pytest.mark.parametrize(
    "callback",
    [
        [("accounts-server", "https://accounts.example.org")],  # not a data centre
        [("accounts-server", "https://accounts.example.eu.evil.test")],
        [("accounts-server", "http://accounts.example.eu")],
        [("accounts-server", "")],
        [("accounts-server", "https://accounts.example.eu\n")],
        [("accounts-server", "https://accounts.example.eu"), ("accounts-server", "https://accounts.example.com")],
        [("accounts-server", "https://accounts.example.eu")] * 2,
    ],
)
def test_an_unfit_value_is_refused_before_anybody_is_asked(
    by_data_centre: Flow, callback: list[tuple[str, str]]
) -> None:
    by_data_centre.start()
    outcome = by_data_centre.come_back(*callback)
    assert (outcome.ok, outcome.code) == (False, "metadata_refused")
    assert by_data_centre.server.requests == []
    assert not Connection.objects.exists()


@pytest.fixture
def with_company(own: Callable[..., Flow]) -> Flow:
    realm = {"key": "realm", "label": "Company", "source": "callback", "field": "realmId", "pattern": "[0-9]{1,30}"}
    return own(metadata=[{**realm, "required": True}], api_base_url="https://api.example.com/company/{{realm}}/")


def test_a_required_value_that_is_missing_connects_nothing(with_company: Flow) -> None:
    with_company.start()
    outcome = with_company.come_back()
    assert (outcome.ok, outcome.code) == (False, "metadata_refused")
    assert with_company.server.requests == []
    assert not Connection.objects.exists()


def test_an_unfit_value_costs_a_connection_nothing_that_it_has(with_company: Flow) -> None:
    with_company.server.answer("/token", json=answer("a-1", "r-1"))
    connection = with_company.connect(("realmId", "123"))
    with_company.start(connection=connection)
    assert not with_company.come_back(("realmId", "12/3")).ok
    kept = with_company.again(connection.pk)
    assert (kept.metadata, kept.token.open().access_token) == ({"realm": "123"}, "a-1")


def test_reconnecting_follows_what_the_provider_says_now(with_company: Flow) -> None:
    with_company.server.answer("/token", json=answer())
    connection = with_company.connect(("realmId", "123"))
    assert with_company.connect(("realmId", "456"), connection=connection).metadata == {"realm": "456"}


# --- from the token answer ------------------------------------------------------------------------------
def api_of(connection: Connection) -> str:
    """Where calls with this connection's token go."""
    spec = find_spec(connection.workspace, "custom_acme")
    values = parameter_values(spec, {}, {}, connection.metadata)
    return provider_for(spec, "authorization_code").api_base_url(values)


@pytest.fixture
def with_instance(own: Callable[..., Flow], provider_server: ScriptedServer) -> Flow:
    return own(
        metadata=[INSTANCE],
        api_base_url="https://{{instance}}.example.com/api/",
        userinfo_endpoint=f"{provider_server.url}/{{{{instance}}}}/me",
    )


def test_the_token_answer_says_where_the_api_is_and_whom_to_ask_who_it_is(with_instance: Flow) -> None:
    flow = with_instance
    flow.server.answer("/token", json=answer(instance_url="https://eu12.example.com"))
    flow.server.answer("/eu12/me", json={"sub": "7", "email": "ada@example.com"})
    connection = flow.connect()
    assert connection.metadata == {"instance": "eu12"}
    assert api_of(connection) == "https://eu12.example.com/api/"
    assert connection.account == {"id": "7", "label": "ada@example.com"}


def test_a_refresh_moves_the_api_with_the_instance(with_instance: Flow) -> None:
    flow = with_instance
    flow.server.answer("/token", json=answer(instance_url="https://eu12.example.com"))
    flow.server.answer("/token", json=answer("a-3", instance_url="https://eu13.example.com"))
    connection = flow.connect()
    assert flow.refresh(connection, now=LATER).refreshed
    assert api_of(flow.again(connection.pk)) == "https://eu13.example.com/api/"


@pytest.mark.parametrize(
    "unfit", ["https://eu12.example.com.evil.test", "https://evil.test/", 7, None, ["x"], "x" * 9000]
)
def test_an_unfit_value_never_loses_the_token(with_instance: Flow, unfit: Any) -> None:
    with_instance.server.answer("/token", json=answer("a-1", "r-1", instance_url=unfit))
    connection = with_instance.connect()
    assert connection.metadata == {}
    assert connection.token.open().access_token == "a-1"
    assert api_of(connection) == ""


def test_an_unfit_value_at_a_refresh_keeps_the_token_and_what_was_known(with_instance: Flow) -> None:
    flow = with_instance
    flow.server.answer("/token", json=answer("a-1", "r-1", instance_url="https://eu12.example.com"))
    flow.server.answer("/token", json=answer("a-2", "r-2", instance_url="https://evil.test"))
    connection = flow.connect()
    assert flow.refresh(connection, now=LATER).refreshed
    renewed = flow.again(connection.pk)
    assert (renewed.token.open().refresh_token, renewed.metadata) == ("r-2", {"instance": "eu12"})
    assert Token.objects.count() == 1
