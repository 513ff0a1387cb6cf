"""Microsoft: one tenant for a service account, .default alone, and numbers that say what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.errors import sentence
from integrations.models import Connection, ConnectionState, GrantType
from integrations.oauth.errors import KNOWN_CODES, ConfigurationRefused, OAuthError
from integrations.providers.catalogue import catalogue
from integrations.providers.deviations.microsoft import MicrosoftProvider, MicrosoftServiceProvider
from integrations.providers.oauth_provider import provider_for
from integrations.providers.registry import find_spec
from integrations.providers.scope_rules import ScopesRefused, check_additional_scopes
from integrations.providers.setup import InvalidSetup, save_integration
from tests.providers.quirks.conftest import NOW, Flow, answer
from workspaces.audit import Actor
from workspaces.models import Workspace

HOST = "/login.microsoftonline.com"
ME = "/graph.microsoft.com/v1.0/me"
TENANT = "contoso.onmicrosoft.com"
DEFAULT = "https://graph.microsoft.com/.default"
ENTRA = "https://login.microsoftonline.com/{{tenant}}/"


def refused(error: str, number: int, **more: Any) -> dict[str, Any]:
    """An error as Entra ID answers it."""
    words = f"AADSTS{number}: Some words about it. Trace ID: 0f8f Correlation ID: 70af Timestamp: 2030-01-02 12:00:00Z"
    return {"error": error, "error_description": words, "error_codes": [number], "trace_id": "0f8f", **more}


@pytest.fixture
def people(builtin: Callable[..., Flow]) -> Flow:
    flow = builtin("microsoft_graph")
    flow.server.answer(ME, json={"id": "7f", "userPrincipalName": "ada@contoso.test", "displayName": "Ada"})
    return flow


@pytest.fixture
def service(builtin: Callable[..., Flow]) -> Flow:
    return builtin("microsoft_graph", grant_type=GrantType.CLIENT_CREDENTIALS, parameters={"tenant": TENANT})


def test_every_file_that_signs_in_at_entra_id_has_the_classes() -> None:
    found = [spec for spec in catalogue().values() if spec.token_endpoint.startswith(ENTRA)]
    assert len(found) > 15
    for spec in found:
        for grant_type in spec.grant_types:
            people = grant_type == GrantType.AUTHORIZATION_CODE
            expected = MicrosoftProvider if people else MicrosoftServiceProvider
            assert type(provider_for(spec, grant_type)) is expected, spec.provider_id


def test_scopes_come_back_without_the_resource_and_offline_access(people: Flow) -> None:
    people.server.answer(f"{HOST}/common/oauth2/v2.0/token", json=answer(scope="User.Read mail.read profile openid"))
    connection = people.connect(additional_scopes=["https://graph.microsoft.com/Mail.Read"])
    assert connection.missing_scopes == []
    assert connection.account == {"id": "7f", "label": "ada@contoso.test"}


def test_a_service_account_asks_its_tenant_for_default(service: Flow) -> None:
    path = f"{HOST}/{TENANT}/oauth2/v2.0/token"
    service.server.answer(path, json=answer(refresh_token=None))
    connection = service.fetch()
    assert service.last(path).form["scope"] == DEFAULT
    assert connection.granted_scopes == [DEFAULT]


@pytest.mark.parametrize("tenant", ["common", "organizations", "consumers", "Common"])
def test_a_service_account_without_a_tenant_of_its_own_is_refused_before_any_call(
    builtin: Callable[..., Flow], tenant: str
) -> None:
    flow = builtin("microsoft_graph", grant_type=GrantType.CLIENT_CREDENTIALS)
    with pytest.raises(ConfigurationRefused) as caught:
        flow.fetch(parameters={"tenant": tenant})
    assert "a service account belongs to one" in caught.value.description
    assert flow.server.requests == []


def test_the_usual_tenant_is_refused_too_and_already_when_it_is_saved(workspace: Workspace) -> None:
    spec = find_spec(workspace, "microsoft_graph")
    with pytest.raises(InvalidSetup) as caught:
        save(workspace, spec, GrantType.CLIENT_CREDENTIALS, parameters={"tenant": "common"})
    assert "Enter the directory's ID or domain." in caught.value.errors["parameters.tenant"][0]
    assert not workspace.integrations.exists()
    save(workspace, spec, GrantType.AUTHORIZATION_CODE, parameters={"tenant": "common"})
    save(workspace, spec, GrantType.CLIENT_CREDENTIALS, parameters={"tenant": TENANT})
    assert workspace.integrations.count() == 2


def save(workspace: Workspace, spec: Any, grant_type: str, **more: Any) -> None:
    save_integration(
        workspace, spec, grant_type, client_id="app", client_secret="secret-value", actor=Actor.operator(), **more
    )


@pytest.mark.parametrize(
    "scope", ["https://graph.microsoft.com/Mail.Read", "https://graph.microsoft.com/Mail.Read/.default"]
)
def test_a_service_account_asks_for_nothing_more(workspace: Workspace, scope: str) -> None:
    spec = find_spec(workspace, "microsoft_graph")
    with pytest.raises(
        ScopesRefused, match=r"a service account asks for https://graph\.microsoft\.com/\.default alone"
    ):
        check_additional_scopes(spec, GrantType.CLIENT_CREDENTIALS, [scope])
    with pytest.raises(InvalidSetup) as caught:
        save(workspace, spec, GrantType.CLIENT_CREDENTIALS, additional_scopes=[scope])
    assert scope[:80] in caught.value.errors["additional_scopes"][0]


def test_people_may_ask_for_more(workspace: Workspace) -> None:
    spec = find_spec(workspace, "microsoft_graph")
    check_additional_scopes(spec, GrantType.AUTHORIZATION_CODE, ["https://graph.microsoft.com/Mail.Read"])


@pytest.mark.parametrize(
    ("error", "number", "code"),
    [
        ("invalid_grant", 700082, "AADSTS700082"),
        ("invalid_grant", 50173, "AADSTS50173"),
        ("invalid_grant", 70043, "AADSTS70043"),
        ("invalid_grant", 70008, "invalid_grant"),
        ("invalid_grant", 65001, "AADSTS65001"),
        ("interaction_required", 50076, "interaction_required"),
        ("invalid_grant", 53003, "AADSTS53003"),
        ("invalid_grant", 99999, "invalid_grant"),  # a number that says nothing to us
    ],
)
def test_an_authorization_that_has_ended_is_a_dead_grant(people: Flow, error: str, number: int, code: str) -> None:
    path = f"{HOST}/common/oauth2/v2.0/token"
    people.server.answer(path, json=answer())
    people.server.answer(path, status=400, json=refused(error, number))
    connection = people.connect()
    assert people.refresh(connection, now=NOW + timedelta(hours=1)).code == code
    ended = people.again(connection.pk)
    assert (ended.state, ended.last_error_code) == (ConnectionState.RECONNECT_REQUIRED, code)
    assert code in KNOWN_CODES


@pytest.mark.parametrize(
    ("error", "number", "code"),
    [
        ("invalid_client", 7000215, "AADSTS7000215"),
        ("invalid_client", 7000222, "AADSTS7000222"),
        ("unauthorized_client", 700016, "AADSTS700016"),
    ],
)
def test_a_refused_app_keeps_its_tokens_and_raises_the_alarm(people: Flow, error: str, number: int, code: str) -> None:
    path = f"{HOST}/common/oauth2/v2.0/token"
    people.server.answer(path, json=answer())
    people.server.answer(path, status=401, json=refused(error, number))
    connection = people.connect()
    assert people.refresh(connection, now=NOW + timedelta(minutes=50)).code == code
    people.integration.refresh_from_db()
    assert (people.integration.client_error_code, people.integration.client_error_message) == (code, sentence(code))
    assert people.again(connection.pk).token.open().access_token == "access-2"


def test_a_code_that_was_used_before_connects_nothing(people: Flow) -> None:
    people.server.answer(f"{HOST}/common/oauth2/v2.0/token", status=400, json=refused("invalid_grant", 54005))
    people.start()
    assert people.come_back().code == "invalid_grant"
    assert not Connection.objects.exists()


@pytest.mark.parametrize(
    ("error", "number", "code", "alarm"),
    [
        ("invalid_client", 7000215, "AADSTS7000215", True),
        ("invalid_grant", 65001, "AADSTS65001", True),  # nobody can consent here: an administrator has to
        # Of one connection: its tenant, its scopes. The others go on.
        ("invalid_request", 90002, "AADSTS90002", False),
        ("invalid_scope", 1002012, "invalid_scope", False),
    ],
)
def test_a_service_account_is_never_asked_to_reconnect(
    service: Flow, error: str, number: int, code: str, alarm: bool
) -> None:
    path = f"{HOST}/{TENANT}/oauth2/v2.0/token"
    service.server.answer(path, json=answer(refresh_token=None))
    service.server.answer(path, status=400, json=refused(error, number))
    connection = service.fetch()
    assert service.refresh(connection, now=NOW + timedelta(hours=2)).code == code
    service.integration.refresh_from_db()
    assert bool(service.integration.client_error_code) is alarm
    assert service.again(connection.pk).state == (ConnectionState.CONNECTED if alarm else ConnectionState.MISCONFIGURED)


def test_an_outage_with_a_number_stays_an_outage(service: Flow) -> None:
    service.server.answer(f"{HOST}/{TENANT}/oauth2/v2.0/token", status=503, json=refused("invalid_client", 7000215))
    with pytest.raises(OAuthError) as caught:
        service.fetch()
    assert caught.value.code == "outage"
