"""Attempts to have a provider's definition, or an edit of it, hand secrets to somebody who must not have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.connections.authorization import start_authorization
from integrations.connections.client_credentials import fetch_token
from integrations.connections.errors import FlowRefused
from integrations.models import Connection, GrantType, Integration, PendingAuthorization
from integrations.oauth.errors import OAuthError
from integrations.providers.custom import InvalidDefinition, update_custom_provider
from integrations.providers.provider_forms import initial_of
from integrations.providers.registry import find_spec
from integrations.providers.setup import InvalidSetup, save_integration
from tests.api.client import ApiClient, make_key
from tests.factories import make_integration
from tests.security.conftest import definition, token_answer
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


# --- to another host ------------------------------------------------------------------------------------
def test_a_moved_endpoint_is_not_sent_the_secret_parameters_of_integration_and_connections(
    define: Callable[..., str], workspace: Workspace, provider_server: ScriptedServer, evil: ScriptedServer
) -> None:
    """A password parameter is as much a secret as the client secret, which the move clears."""
    own = {**API_KEY, "key": "own_key"}
    provider_id = define(parameters=[API_KEY, own], token_params={"api_key": "{{api_key}}", "own_key": "{{own_key}}"})
    provider_server.answer("/token", json=token_answer())
    integration = make_integration(workspace, provider_id, GrantType.CLIENT_CREDENTIALS)
    integration.parameters = {"api_key": "canary-shared"}
    integration.save()
    connection = fetch_token(integration, parameters={"own_key": "canary-own"}, actor=OPERATOR)
    update_custom_provider(workspace.custom_providers.get(), {"token_endpoint": f"{evil.url}/token"}, actor=OPERATOR)
    integration = Integration.objects.get()
    assert integration.parameters == {}
    integration.client_secret = "entered-again"  # type: ignore[assignment]
    integration.save()
    with pytest.raises(OAuthError):
        fetch_token(integration, connection=Connection.objects.get(pk=connection.pk), actor=OPERATOR)
    assert [r.body for r in evil.requests if b"canary" in r.body] == []


def test_a_moved_endpoint_is_not_sent_a_secret_of_the_definition_that_nobody_entered_again(
    define: Callable[..., str], workspace: Workspace, provider_server: ScriptedServer, evil: ScriptedServer
) -> None:
    define(config_values=[PARTNER], token_params={"partner": "{{partner}}"})
    provider = workspace.custom_providers.get()
    moved = {"token_endpoint": f"{evil.url}/token"}
    for changes in (moved, {**moved, "draft": True}, {**moved, "config_values": [{**PARTNER, "value": ""}]}):
        with pytest.raises(InvalidDefinition) as refused:
            update_custom_provider(provider, changes, actor=OPERATOR)
        assert "config_values" in refused.value.errors
    update_custom_provider(provider, {**moved, "config_values": [{**PARTNER, "value": "again"}]}, actor=OPERATOR)
    assert find_spec(workspace, provider.provider_id).config_values[0].value == "again"


def test_another_host_of_the_integration_is_not_sent_its_stored_password_parameter(
    define: Callable[..., str], workspace: Workspace
) -> None:
    """The form keeps a blank password: not beside another host."""
    from integrations.providers.setup_forms import SetupForm

    host = {"key": "host", "label": "Host"}
    provider_id = define(
        parameters=[host, API_KEY], token_endpoint="https://{{host}}/token", token_params={"k": "{{api_key}}"}
    )
    integration = make_integration(workspace, provider_id)
    integration.parameters = {"host": "good.example.com", "api_key": CANARY}
    integration.save()
    spec = find_spec(workspace, provider_id)
    posted = {"client_id": "client-1", "client_secret": "again", "param_host": "evil.example.com"}
    form = SetupForm(posted, spec=spec, grant_type=GrantType.AUTHORIZATION_CODE, integration=integration, connected=0)
    assert not form.is_valid() or CANARY not in form.parameters.values()


def test_a_host_named_by_an_integration_is_sent_no_secret_of_the_definition(define: Callable[..., str]) -> None:
    host = {"key": "host", "label": "Host"}
    with pytest.raises(InvalidDefinition):
        define(
            parameters=[host],
            token_endpoint="https://{{host}}/token",
            config_values=[PARTNER],
            token_params={"k": "{{partner}}"},
        )


def test_a_connection_made_with_a_draft_does_not_take_a_new_secret_to_the_old_host(
    define: Callable[..., str], workspace: Workspace, provider_server: ScriptedServer, evil: ScriptedServer
) -> None:
    provider_id = define(draft=True, token_endpoint=f"{evil.url}/token")
    integration = make_integration(workspace, provider_id, GrantType.CLIENT_CREDENTIALS)
    connection = fetch_token(integration, actor=OPERATOR)
    provider = workspace.custom_providers.get()
    update_custom_provider(
        provider,
        {"token_endpoint": f"{provider_server.url}/token", "revocation_endpoint": ""},
        draft=True,
        actor=OPERATOR,
    )
    integration = Integration.objects.get()
    assert not integration.has_client_secret
    integration.client_secret = "entered-again"  # type: ignore[assignment]
    integration.save()
    evil.forget()
    provider_server.answer("/token", json=token_answer())
    fetch_token(integration, connection=Connection.objects.get(pk=connection.pk), actor=OPERATOR)
    assert evil.requests == []
    assert len(provider_server.to("/token")) == 1


# --- made public by an edit -----------------------------------------------------------------------------
@pytest.mark.parametrize("more", [{"type": "text"}, {"type": "text", "visible": True}, {}])
def test_a_stored_secret_does_not_become_a_text_that_is_shown(
    define: Callable[..., str], workspace: Workspace, more: dict[str, Any]
) -> None:
    """Blank keeps what is stored only as long as it stays a secret."""
    define(config_values=[PARTNER], token_params={"partner": "{{partner}}"})
    public = {"key": "partner", "label": "Partner key", "value": "", **more}
    api = ApiClient(make_key(workspace))
    answered = api.call("PATCH", "/providers/custom_acme", {"config_values": [public]})
    assert answered.status_code == 422, answered.content
    assert CANARY not in api.get("/providers/custom_acme").content.decode()


@pytest.mark.parametrize("detour", [False, True])
def test_a_stored_password_parameter_does_not_become_a_text_that_is_shown(
    define: Callable[..., str], workspace: Workspace, as_alice: Client, detour: bool
) -> None:
    provider_id = define(parameters=[API_KEY], token_params={"api_key": "{{api_key}}"})
    integration = make_integration(workspace, provider_id)
    integration.parameters = {"api_key": CANARY}
    integration.save()
    provider = workspace.custom_providers.get()
    if detour:
        update_custom_provider(provider, {"parameters": [], "token_params": {}}, draft=True, actor=OPERATOR)
    text = {**API_KEY, "type": "text"}
    update_custom_provider(
        provider, {"parameters": [text], "token_params": {"api_key": "{{api_key}}"}}, draft=False, actor=OPERATOR
    )
    address = f"/w/acme/integrations/{provider_id}/authorization_code/"
    for page in (address, f"{address}configuration/"):
        shown = as_alice.get(page)
        assert shown.status_code == 200, page
        assert CANARY not in shown.content.decode()
    assert Integration.objects.get().parameters == {}


# --- odd definitions ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "more",
    [
        {"token_response": {"dead_grant_codes": [["a"]]}},
        {"token_response": {"error_success": [{"a": 1}]}},
        {"token_response": {"dead_grant_codes": ["a" * 501]}},
        {"token_response": {"dead_grant_codes": [str(number) for number in range(201)]}},
        {"userinfo_method": "POST", "userinfo_body": "[" * 2000},
    ],
)
def test_a_definition_that_is_oddly_nested_is_refused_not_a_crash(
    workspace: Workspace, provider_server: ScriptedServer, more: dict[str, Any]
) -> None:
    api = ApiClient(make_key(workspace))
    answered = api.call("POST", "/providers", definition(provider_server, **more))
    assert answered.status_code == 422, answered.content


@pytest.mark.parametrize(
    "more",
    [
        {"scope_parameter": "redirect_uri"},
        {"scope_parameter": "state"},
        {"client_id_parameter": "state"},
        {"client_id_parameter": "client_secret"},
        {"client_secret_parameter": "client_id"},
        {"client_secret_parameter": "grant_type"},
        {"client_id_parameter": "app", "client_secret_parameter": "app"},
    ],
)
def test_no_other_name_of_a_field_takes_the_place_of_what_the_flow_itself_sends(
    define: Callable[..., str], more: dict[str, str]
) -> None:
    """The scope as redirect_uri was a 500; the client id beside the state made two of them."""
    with pytest.raises(InvalidDefinition):
        define(**more)


def test_the_page_says_that_a_secret_has_to_be_entered_again(
    define: Callable[..., str], workspace: Workspace, as_alice: Client, evil: ScriptedServer
) -> None:
    """Its form has no field for the secret; the sentence stands above the form."""
    provider_id = define(config_values=[PARTNER], token_params={"partner": "{{partner}}"})
    posted = initial_of(find_spec(workspace, provider_id))
    posted = {name: value for name, value in posted.items() if value is not None}
    answered = as_alice.post(
        f"/w/acme/integrations/custom/{provider_id}/edit/", {**posted, "token_endpoint": f"{evil.url}/token"}
    )
    assert answered.status_code == 422
    assert "the stored secret is not sent to another host" in answered.content.decode()


@pytest.mark.parametrize("odd", ["a\u202eb", "a\u2066b", "a\u2028b", "a\u0085b", "a\ud800b", "a\x00b"])
def test_names_read_as_they_are(define: Callable[..., str], workspace: Workspace, alice: User, odd: str) -> None:
    """A name that turns the direction of writing looks like another; lone surrogates no database stores."""
    for more in ({"name": odd}, {"description": odd}, {"parameters": [{**API_KEY, "label": odd}]}):
        with pytest.raises(InvalidDefinition):
            define(**more)
    integration = make_integration(workspace, define())
    name = "a\u202eb" if odd in ("a\ud800b", "a\x00b") else odd  # every way in refuses those two before
    with pytest.raises(FlowRefused):
        start_authorization(integration, binding="b", user=alice, connection_name=name, actor=Actor.member(alice))


# --- PKCE -----------------------------------------------------------------------------------------------
def test_a_public_client_always_has_pkce(define: Callable[..., str], workspace: Workspace) -> None:
    """Without a secret nothing else ties a code to whoever began (RFC 9700 §2.1.1)."""
    with pytest.raises(InvalidDefinition) as refused:
        define(pkce="off", token_endpoint_auth_method="none")
    assert "pkce" in refused.value.errors
    spec = find_spec(workspace, define(pkce="off"))
    with pytest.raises(InvalidSetup) as chosen:
        save_integration(
            workspace,
            spec,
            GrantType.AUTHORIZATION_CODE,
            client_id="c",
            token_endpoint_auth_method="none",
            actor=OPERATOR,
        )
    assert "token_endpoint_auth_method" in chosen.value.errors
