"""Config values: what helpers make of the parameters, and secrets of the definition's own."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection as database

from integrations.connections.errors import FlowRefused
from integrations.models import Integration
from integrations.providers.custom import create_custom_provider, update_custom_provider
from integrations.providers.definition import definition_of
from integrations.providers.registry import find_newest_spec
from tests.api.client import ApiClient, make_key
from tests.factories import make_integration
from tests.providers.quirks.conftest import Flow, answer
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

CANARY = "canary-of-the-definition"
OPERATOR = Actor.operator()


def test_basic_credentials_go_into_a_parameter_of_the_token_request(own: Callable[..., Flow]) -> None:
    flow = own(
        config_values=[{"key": "pair", "label": "Pair", "helper": "basic_credentials"}],
        token_params={"credentials": "{{pair}}"},
    )
    flow.server.answer("/token", json=answer())
    flow.connect()
    assert b64decode(flow.last("/token").form["credentials"]) == b"client-1:client-secret-value"


def test_a_host_is_sent_in_lower_case(own: Callable[..., Flow]) -> None:
    flow = own(
        parameters=[{"key": "shop", "label": "Shop"}],
        config_values=[{"key": "host", "label": "Host", "helper": "lower_case_host(shop)"}],
        authorization_params={"shop": "{{host}}"},
    )
    assert flow.start(parameters={"shop": "Acme.Example.COM"})["shop"] == ["acme.example.com"]


@pytest.mark.parametrize(("region", "host"), [("us", "api"), ("EU", "api.eu"), ("global", "api")])
def test_a_region_becomes_the_host_label_of_its_api(
    own: Callable[..., Flow], provider_server: ScriptedServer, region: str, host: str
) -> None:
    flow = own(
        parameters=[{"key": "region", "label": "Region"}],
        config_values=[{"key": "host", "label": "Host", "helper": "region_api_host"}],
        token_endpoint=f"{provider_server.url}/{{{{host}}}}/token",
    )
    flow.server.answer(f"/{host}/token", json=answer())
    flow.connect(parameters={"region": region})
    assert [request.path for request in flow.server.requests] == [f"/{host}/token"]


def test_a_nonce_is_new_for_each_request(own: Callable[..., Flow]) -> None:
    flow = own(
        config_values=[{"key": "once", "label": "Once", "helper": "nonce"}], authorization_params={"nonce": "{{once}}"}
    )
    [first], [second] = flow.start()["nonce"], flow.start()["nonce"]
    assert first != second
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in (first, second))


# --- secrets --------------------------------------------------------------------------------------------
@pytest.fixture
def with_secret(workspace: Workspace, alice: User, provider_server: ScriptedServer) -> Flow:
    """A provider whose token requests carry a secret that belongs to the definition."""
    definition = {
        "name": "Acme",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": f"{provider_server.url}/authorize",
        "token_endpoint": f"{provider_server.url}/token",
        "token_params": {"partner": "{{partner}}"},
        "config_values": [{"key": "partner", "label": "Partner key", "value": CANARY, "type": "password"}],
    }
    create_custom_provider(workspace, definition, actor=OPERATOR)
    provider_server.answer("/token", json=answer())
    return Flow(make_integration(workspace, "custom_acme"), alice, provider_server)


def sent_partner(flow: Flow) -> str:
    flow.connect()
    return flow.last("/token").form["partner"]


def test_a_secret_config_value_is_sent(with_secret: Flow) -> None:
    assert sent_partner(with_secret) == CANARY


def test_it_is_stored_sealed(with_secret: Flow) -> None:
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (names from the database itself)
            rows = [[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in cursor]
            assert CANARY not in str(rows), table


def test_it_is_shown_by_neither_definition_nor_api_nor_repr(with_secret: Flow, workspace: Workspace) -> None:
    spec = find_newest_spec(workspace, "custom_acme")
    assert CANARY not in str(definition_of(spec))
    assert CANARY not in repr(spec)
    shown = ApiClient(make_key(workspace)).get("/providers/custom_acme").content.decode()
    assert "Partner key" in shown
    assert CANARY not in shown


def test_it_is_kept_when_a_definition_comes_back_without_it(with_secret: Flow, workspace: Workspace) -> None:
    api = ApiClient(make_key(workspace))
    shown: dict[str, Any] = api.get("/providers/custom_acme").json()
    assert shown["config_values"][0]["value"] == ""
    changed = api.call("PATCH", "/providers/custom_acme", {"config_values": shown["config_values"], "name": "Renamed"})
    assert changed.status_code == 200, changed.content
    assert find_newest_spec(workspace, "custom_acme").name == "Renamed"
    assert sent_partner(with_secret) == CANARY


def test_another_one_takes_its_place(with_secret: Flow, workspace: Workspace) -> None:
    value = {"key": "partner", "label": "Partner key", "value": "another-secret", "type": "password"}
    provider = workspace.custom_providers.get()
    update_custom_provider(provider, {"config_values": [value]}, actor=OPERATOR)
    assert sent_partner(with_secret) == "another-secret"


def test_it_survives_the_rotation_of_keys(with_secret: Flow, settings: Any) -> None:
    new_key = Fernet.generate_key()
    settings.FERNET_KEYS = [new_key, *settings.FERNET_KEYS]
    call_command("rotate_fernet_keys", stdout=StringIO())
    settings.FERNET_KEYS = [new_key]
    with_secret.integration = Integration.objects.get()
    assert sent_partner(with_secret) == CANARY


def test_without_its_key_nothing_is_sent_in_its_place(with_secret: Flow, settings: Any) -> None:
    settings.FERNET_KEYS = [Fernet.generate_key()]
    with pytest.raises(FlowRefused):
        with_secret.start()
    assert with_secret.server.requests == []
