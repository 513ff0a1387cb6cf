"""Attempts to have a provider's definition, or an edit of it, hand secrets to somebody who must not have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.connections.authorization import start_authorization
from integrations.models import GrantType, PendingAuthorization
from integrations.providers.custom import InvalidDefinition
from integrations.providers.registry import find_spec
from integrations.providers.setup import InvalidSetup, save_integration
from tests.factories import make_integration
from tests.security.conftest import token_answer
from tests.servers.scripted import ScriptedServer, scripted_server
from workspaces.audit import Actor
from workspaces.models import User, Workspace

pytestmark = pytest.mark.django_db
OPERATOR = Actor.operator()
CANARY = "canary-of-the-definition"
PARTNER = {"key": "partner", "label": "Partner key", "value": CANARY, "type": "password"}
API_KEY = {"key": "api_key", "label": "API key", "type": "password", "pattern": "[ -~]+"}
PAIR = {"key": "pair", "label": "Pair", "helper": "basic_credentials"}


@pytest.fixture
def evil(settings: Any, provider_server: ScriptedServer) -> Any:
    """Another host, which the door would let through."""
    with scripted_server() as server:
        settings.OUTBOUND_ALLOWED_HOSTS = [provider_server.host, server.host]
        server.answer("/token", json=token_answer())
        yield server


# --- into the browser -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "more",
    [
        {"config_values": [PARTNER], "authorization_params": {"x": "{{partner}}"}},
        {"config_values": [PARTNER], "authorization_endpoint": "https://a.example.com/?x={{partner}}"},
        {"config_values": [PARTNER], "issuer": "https://a.example.com/{{partner}}"},
        {"parameters": [API_KEY], "authorization_params": {"x": "{{api_key}}"}},
        {
            "parameters": [API_KEY],
            "config_values": [{"key": "made", "label": "Made", "helper": "lower_case_host(api_key)"}],
            "authorization_params": {"x": "{{made}}"},
        },
        {
            "config_values": [{"key": "alias", "label": "Alias", "value": "{{pair}}"}, PAIR],
            "authorization_params": {"x": "{{alias}}"},
        },
        {
            "config_values": [{"key": "alias", "label": "Alias", "value": "{{pair}}"}, PAIR],
            "revocation_endpoint": "https://a.example.com/?x={{alias}}",
        },
    ],
)
def test_no_secret_becomes_part_of_the_address_that_a_browser_is_sent_to(
    define: Callable[..., str], more: dict[str, Any]
) -> None:
    """Whoever may connect would read it there; the roles say that nobody reads secrets."""
    with pytest.raises(InvalidDefinition):
        define(**more)


@pytest.mark.parametrize("client_id", ["{{partner}}", "x-{{ api_key }}"])
def test_no_secret_is_shown_as_part_of_the_client_id(
    define: Callable[..., str], workspace: Workspace, alice: User, client_id: str
) -> None:
    provider_id = define(config_values=[PARTNER], parameters=[API_KEY], token_params={"a": "{{partner}}{{api_key}}"})
    spec = find_spec(workspace, provider_id)
    with pytest.raises(InvalidSetup):
        save_integration(
            workspace, spec, GrantType.AUTHORIZATION_CODE, client_id=client_id, client_secret="s", actor=OPERATOR
        )
    integration = make_integration(workspace, provider_id, client_id=client_id)  # saved when the key was no secret yet
    integration.parameters = {"api_key": CANARY}
    integration.save()
    started = start_authorization(integration, binding="b", user=alice, actor=Actor.member(alice))
    assert CANARY not in started.url
    assert CANARY not in PendingAuthorization.objects.get().client_id
