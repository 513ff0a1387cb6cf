"""Setting a provider up: what is kept, cleared, refused, and what wakes up again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.models import ConnectionState, GrantType, Integration, Token
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.catalogue import catalogue
from integrations.providers.custom import create_custom_provider
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import admin_parameters, connection_parameters, parameter_values
from integrations.providers.registry import find_spec
from integrations.providers.rendering import ParameterRefused
from integrations.providers.setup import InvalidSetup, is_configured, redirect_uri, save_integration
from tests.factories import make_connection
from tests.providers.test_custom_ids import definition
from workspaces.audit import Actor
from workspaces.models import User, Workspace

OPERATOR = Actor.operator()
CODE = GrantType.AUTHORIZATION_CODE
SERVICE = GrantType.CLIENT_CREDENTIALS


def save(workspace: Workspace, provider_id: str = "github", grant_type: str = CODE, **fields: Any) -> Integration:
    values = {"client_id": "client-1", "client_secret": "s3cret-value", "actor": OPERATOR, **fields}
    return save_integration(workspace, find_spec(workspace, provider_id), grant_type, **values)


def stored(integration: Integration) -> Integration:
    return Integration.objects.get(pk=integration.pk)


def errors_of(workspace: Workspace, *args: str, **fields: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidSetup) as caught:
        save(workspace, *args, **fields)
    return caught.value.errors


def test_both_grant_types_stand_side_by_side(workspace: Workspace) -> None:
    code = save(workspace, "microsoft_graph", CODE)
    service = save(workspace, "microsoft_graph", SERVICE, client_id="service-1")
    assert {i.pk for i in workspace.integrations.all()} == {code.pk, service.pk}
    assert save(workspace, "microsoft_graph", CODE, client_id="client-2").pk == code.pk
    assert stored(service).client_id == "service-1"


@pytest.mark.parametrize("blank", [None, "", "   "])
def test_a_blank_secret_keeps_the_stored_one(workspace: Workspace, blank: str | None) -> None:
    save(workspace)
    integration = stored(save(workspace, client_id="client-2", client_secret=blank))
    assert integration.client_secret == "s3cret-value"
    assert integration.client_id == "client-2"


def test_clearing_the_secret_is_explicit(workspace: Workspace) -> None:
    spec = catalogue()["github"]
    assert is_configured(spec, stored(save(workspace)))
    integration = stored(save(workspace, client_secret=None, clear_client_secret=True))
    assert integration.client_secret is None
    assert not is_configured(spec, integration)
    errors = errors_of(workspace, client_secret="new", clear_client_secret=True)
    assert set(errors) == {"client_secret"}


def test_white_space_from_copying_is_dropped(workspace: Workspace) -> None:
    integration = stored(save(workspace, client_id=" client-1\n", client_secret="\ts3cret \n"))
    assert (integration.client_id, integration.client_secret) == ("client-1", "s3cret")


def test_a_public_client_needs_only_its_id(workspace: Workspace) -> None:
    spec = catalogue()["gitlab"]
    integration = save(workspace, "gitlab", client_secret=None)
    assert not is_configured(spec, stored(integration))
    integration = save(workspace, "gitlab", client_secret=None, token_endpoint_auth_method="none")
    assert is_configured(spec, stored(integration))
    assert provider_for(spec, CODE).client(stored(integration)).auth_method is ClientAuth.NONE
    assert not is_configured(spec, None)


def test_client_authentication_is_kept_or_goes_back_to_the_providers(workspace: Workspace) -> None:
    spec = catalogue()["github"]
    save(workspace, token_endpoint_auth_method="client_secret_post")
    kept = stored(save(workspace, token_endpoint_auth_method=None))
    assert provider_for(spec, CODE).client(kept).auth_method is ClientAuth.CLIENT_SECRET_POST
    back = stored(save(workspace, token_endpoint_auth_method=""))
    assert provider_for(spec, CODE).client(back).auth_method is ClientAuth.CLIENT_SECRET_BASIC


@pytest.mark.parametrize(
    ("args", "fields", "field"),
    [
        ((), {"client_id": ""}, "client_id"),
        ((), {"client_id": "  "}, "client_id"),
        ((), {"client_id": "x" * 513}, "client_id"),
        ((), {"client_id": "a\nb"}, "client_id"),
        ((), {"client_secret": "x" * 4097}, "client_secret"),
        ((), {"client_secret": "a\x00b"}, "client_secret"),
        ((), {"client_secret": "a\u200bb"}, "client_secret"),  # an invisible character from a web page
        ((), {"token_endpoint_auth_method": "private_key"}, "token_endpoint_auth_method"),
        (("jamf", SERVICE), {"token_endpoint_auth_method": "none"}, "token_endpoint_auth_method"),
        (("github", SERVICE), {}, "grant_type"),
        ((), {"additional_scopes": ["Not A Scope"]}, "additional_scopes"),
        ((), {"parameters": {"tenant": "x"}}, "parameters"),
        (("microsoft_graph",), {"parameters": {"tenant": "evil.com/"}}, "parameters"),
        (("microsoft_graph",), {"parameters": {"tenant": ["x"]}}, "parameters"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_field(
    workspace: Workspace, args: tuple[str, ...], fields: dict[str, Any], field: str
) -> None:
    errors = errors_of(workspace, *args, **fields)
    assert list(errors) == [field]
    assert not workspace.integrations.exists()


def test_refusals_never_repeat_the_secret(workspace: Workspace) -> None:
    errors = errors_of(workspace, client_id="", client_secret="hunter2\x00hunter2")
    assert "hunter2" not in str(errors)


def test_every_error_is_told_at_once_and_nothing_changes(workspace: Workspace) -> None:
    save(workspace)
    errors = errors_of(workspace, client_id="", additional_scopes=["A B"], parameters={"x": "y"})
    assert set(errors) == {"client_id", "additional_scopes", "parameters"}
    assert workspace.integrations.get().client_id == "client-1"


def test_additional_scopes_are_kept_once_each_without_base_scopes(workspace: Workspace) -> None:
    integration = stored(save(workspace, additional_scopes=["gist", " read:org ", "repo", "gist", ""]))
    assert integration.additional_scopes == ["gist", "read:org"]
    provider = provider_for(catalogue()["github"], CODE)
    scopes = provider.effective_scopes(
        integration_additional=integration.additional_scopes, connection_additional=["gist", "workflow"]
    )
    assert scopes == ("repo", "gist", "read:org", "workflow")


def test_who_configured_what_is_recorded_without_values(workspace: Workspace, alice: User) -> None:
    save(workspace, actor=Actor.member(alice), additional_scopes=["gist"])
    save(workspace, client_secret="another-secret", additional_scopes=["gist"])
    save(workspace, client_secret=None, additional_scopes=["gist"])  # nothing changed, nothing recorded
    first, second = workspace.audit_events.filter(action="integration:configured").order_by("id")
    assert first.actor_label == "alice@example.com"
    assert first.detail == {"changed": ["client_id", "additional_scopes", "client_secret"], "created": True}
    assert second.detail == {"changed": ["client_secret"], "created": False}
    assert "another-secret" not in str(second.detail)


def paused(workspace: Workspace) -> Integration:
    integration = save(workspace)
    integration.client_error_code = "invalid_client"
    integration.client_error_message = "Refused."
    integration.client_error_at = timezone.now()
    integration.next_probe_at = timezone.now() + timedelta(hours=1)
    integration.save()
    return integration


def test_correcting_the_credentials_ends_the_pause(workspace: Workspace) -> None:
    integration = paused(workspace)
    far = datetime(2040, 1, 1, tzinfo=UTC)
    waiting = make_connection(integration, "waiting", state=ConnectionState.MISCONFIGURED, due_at=far)
    still_fine = make_connection(integration, "fine", due_at=far)
    needs_a_person = make_connection(integration, "dead", refresh_token=None, is_default=False)
    before = timezone.now()
    integration = stored(save(workspace, client_secret="corrected"))
    assert (integration.client_error_code, integration.client_error_message) == ("", "")
    assert (integration.client_error_at, integration.next_probe_at) == (None, None)
    for connection in (waiting, still_fine):
        connection.schedule.refresh_from_db()
        assert before <= connection.schedule.refresh_due_at <= timezone.now()
    needs_a_person.schedule.refresh_from_db()
    assert needs_a_person.schedule.refresh_due_at is None


def test_other_changes_do_not_end_the_pause(workspace: Workspace) -> None:
    paused(workspace)
    assert stored(save(workspace, client_secret=None, additional_scopes=["gist"])).client_error_code == "invalid_client"


def test_new_credentials_do_not_make_healthy_connections_renew_at_once(workspace: Workspace) -> None:
    far = datetime(2040, 1, 1, tzinfo=UTC)
    connection = make_connection(save(workspace), due_at=far)
    save(workspace, client_secret="rotated")
    connection.schedule.refresh_from_db()
    assert connection.schedule.refresh_due_at == far


def test_the_redirect_uri_follows_the_public_address(settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://grantry.example.com"
    assert redirect_uri(Workspace()) == "https://grantry.example.com/oauth/callback"


def self_hosted(workspace: Workspace, **fields: Any) -> ProviderSpec:
    values = {
        "authorization_endpoint": "https://{{host}}/{{tenant}}/authorize",
        "token_endpoint": "https://{{host}}/{{tenant}}/token",
        "parameters": [{"key": "host", "label": "Host"}, {"key": "tenant", "label": "Tenant"}],
        **fields,
    }
    provider = create_custom_provider(workspace, definition(**values), actor=OPERATOR)
    return find_spec(workspace, provider.provider_id)


def test_a_parameter_that_is_the_host_belongs_to_the_integration(workspace: Workspace) -> None:
    spec = self_hosted(workspace)
    assert [parameter.key for parameter in admin_parameters(spec)] == ["host"]
    assert [parameter.key for parameter in connection_parameters(spec)] == ["tenant"]
    values = parameter_values(spec, {"host": "git.example.com"}, {"tenant": "a"})
    assert provider_for(spec, CODE).server(values).token_endpoint == "https://git.example.com/a/token"
    with pytest.raises(ParameterRefused, match="an admin sets it"):
        parameter_values(spec, {"host": "git.example.com"}, {"host": "evil.example.net", "tenant": "a"})
    with pytest.raises(ParameterRefused, match="an admin sets it"):
        parameter_values(spec, {}, {"host": "evil.example.net", "tenant": "a"})
    with pytest.raises(ParameterRefused, match="no parameter “shop”"):
        parameter_values(spec, {"host": "git.example.com"}, {"tenant": "a", "shop": "b"})


def test_two_connections_with_different_values_work_side_by_side(workspace: Workspace) -> None:
    spec = self_hosted(workspace)
    server = provider_for(spec, CODE).server
    endpoints = [
        server(parameter_values(spec, {"host": "git.example.com", "tenant": "z"}, own)).token_endpoint
        for own in ({"tenant": "a"}, {"tenant": "b"}, {})
    ]
    assert endpoints == [f"https://git.example.com/{tenant}/token" for tenant in "abz"]


def test_the_host_is_needed_before_anything_is_saved(workspace: Workspace) -> None:
    spec = self_hosted(workspace)
    errors = errors_of(workspace, spec.provider_id, parameters={"host": ""})
    assert "which host is called" in errors["parameters"][0]


def test_another_host_needs_the_secret_again_and_forgets_tokens(workspace: Workspace) -> None:
    spec = self_hosted(workspace)
    integration = save(workspace, spec.provider_id, parameters={"host": "git.example.com"})
    connection = make_connection(integration, parameters={"tenant": "a"})
    errors = errors_of(workspace, spec.provider_id, client_secret=None, parameters={"host": "evil.example.net"})
    assert "another host" in errors["client_secret"][0]
    assert stored(integration).parameters == {"host": "git.example.com"}
    assert Token.objects.filter(connection=connection).exists()

    save(workspace, spec.provider_id, client_secret="typed again", parameters={"host": "new.example.com"})
    connection.refresh_from_db()
    assert (connection.state, connection.last_error_code) == (ConnectionState.RECONNECT_REQUIRED, "endpoint_changed")
    assert not Token.objects.filter(connection=connection).exists()


def test_another_tenant_needs_nothing_again(workspace: Workspace) -> None:
    spec = self_hosted(workspace)
    values = {"host": "git.example.com", "tenant": "a"}
    connection = make_connection(save(workspace, spec.provider_id, parameters=values))
    save(workspace, spec.provider_id, client_secret=None, parameters={**values, "tenant": "b"})
    assert Token.objects.filter(connection=connection).exists()


def test_one_workspaces_set_up_is_not_anothers(workspace: Workspace, charlie: User) -> None:
    other = charlie.memberships.get().workspace
    save(other, client_id="theirs")
    save(workspace, client_id="ours")
    assert other.integrations.get().client_id == "theirs"
    assert workspace.integrations.get().client_id == "ours"
