"""A workspace's own providers: the whole shape, versions, drafts, endpoint changes, deletion."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import Connection, ConnectionState, CustomProvider, GrantType, Integration, Token
from integrations.providers.base import ClientAuth
from integrations.providers.custom import (
    HasDependants,
    InvalidDefinition,
    create_custom_provider,
    definition_of,
    delete_custom_provider,
    find_custom_provider,
    publish,
    update_custom_provider,
)
from integrations.providers.oauth_provider import provider_for
from integrations.providers.registry import (
    ProviderNotFound,
    builtin_specs,
    find_newest_spec,
    find_spec,
    specs_for,
)
from tests.factories import make_connection, make_integration
from tests.providers.test_custom_ids import definition
from workspaces.audit import Actor
from workspaces.models import User, Workspace

OPERATOR = Actor.operator()


def create(workspace: Workspace, **fields: Any) -> CustomProvider:
    return create_custom_provider(workspace, definition(**fields), actor=OPERATOR)


KEPT = {"key": "host", "label": "Host", "source": "token", "field": "instance_url", "pattern": "https://(.+)"}


def errors_of(workspace: Workspace, **fields: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidDefinition) as caught:
        create(workspace, **fields)
    assert not CustomProvider.objects.filter(workspace=workspace).exists()
    return caught.value.errors


def test_the_whole_shape_is_kept(workspace: Workspace) -> None:
    given = {
        "name": "Acme",
        "category": "Shops",
        "description": "Orders.",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": "https://{{shop}}.acme.example.com/authorize",
        "token_endpoint": "https://{{shop}}.acme.example.com/token",
        "revocation_endpoint": "https://{{shop}}.acme.example.com/revoke",
        "introspection_endpoint": "https://{{shop}}.acme.example.com/introspect",
        "userinfo_endpoint": "https://{{shop}}.acme.example.com/me",
        "issuer": "https://{{shop}}.acme.example.com",
        "api_base_url": "https://{{shop}}.acme.example.com/{{version}}/",
        "scopes": [
            {"name": "read", "required": True, "description": "Read"},
            {"name": "write", "required": False, "description": ""},
        ],
        "suggested_scopes": [{"name": "admin", "required": False, "description": ""}],
        "allow_scope_customization": True,
        "allow_additional_scopes": False,
        "scope_input_delimiter": "comma",
        "additional_scopes_help": "Ask Bob.",
        "scope_separator": ",",
        "allowed_scope_patterns": [{"pattern": "[a-z]+", "description": "words"}],
        "denied_scope_patterns": [{"pattern": "root", "description": "no"}],
        "pkce": "off",
        "token_endpoint_auth_method": "client_secret_post",
        "assertion_audience": "issuer",
        "basic_auth_encoding": "raw",
        "authorization_params": {"audience": "{{shop}}"},
        "token_params": {"resource": "x"},
        "parameters": [
            {
                "label": "Shop",
                "key": "shop",
                "type": "dropdown",
                "options": ["eu", "us"],
                "pattern": r"[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.))*",
                "help": "",
                "placeholder": "",
                "default": "eu",
            }
        ],
        "config_values": [{"key": "version", "label": "Version", "value": "v2", "type": "text", "visible": True}],
        "docs_url": "https://docs.example.com/",
    }
    provider = create_custom_provider(workspace, given, actor=OPERATOR)
    spec = find_spec(workspace, provider.provider_id)
    shape = definition_of(spec)
    assert {key: shape[key] for key in given} == given
    assert (shape["provider_id"], shape["version"], shape["draft"]) == ("custom_acme", 1, False)
    assert shape["base_scopes"] == ["read"]
    oauth_provider = provider_for(spec, "authorization_code")
    server = oauth_provider.server({"shop": "us"})
    assert server.token_endpoint == "https://us.acme.example.com/token"
    assert (server.assertion_audience, server.issuer) == ("issuer", "https://us.acme.example.com")
    assert server.authorization_params == {"audience": "us"}
    assert oauth_provider.api_base_url({"shop": "us"}) == "https://us.acme.example.com/v2/"


def test_little_is_needed_and_the_defaults_are_safe(workspace: Workspace) -> None:
    spec = find_spec(workspace, create(workspace).provider_id)
    assert spec.pkce == "S256"
    assert spec.token_endpoint_auth_method is ClientAuth.CLIENT_SECRET_BASIC
    assert spec.scope_separator == " "
    assert (spec.custom, spec.category) == (True, "Custom")


def test_a_service_account_needs_no_authorization_endpoint(workspace: Workspace) -> None:
    provider = create(workspace, grant_types=["client_credentials"], authorization_endpoint=None)
    spec = find_spec(workspace, provider.provider_id)
    assert spec.grant_types == (GrantType.CLIENT_CREDENTIALS,)
    assert provider_for(spec, "client_credentials").server({}).authorization_endpoint == ""
    with pytest.raises(ValueError, match="does not support"):
        provider_for(spec, "authorization_code")


def test_base_scopes_are_required_scopes(workspace: Workspace) -> None:
    provider = create(workspace, base_scopes=["read"], scopes=[{"name": "write"}, {"name": "read"}])
    spec = find_spec(workspace, provider.provider_id)
    assert spec.base_scopes("authorization_code") == ("read",)
    assert spec.default_scopes("authorization_code") == ("read", "write")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": ""}, "name", "Enter a name"),
        ({"name": "x" * 101}, "name", "At most 100"),
        ({"name": "a\nb"}, "name", "line breaks"),
        ({"grant_types": []}, "grant_types", "at least one"),
        ({"grant_types": "authorization_code"}, "grant_types", "Write a list"),
        ({"authorization_endpoint": ""}, "authorization_endpoint", "Enter the authorization endpoint"),
        ({"token_endpoint": None}, "token_endpoint", "Enter the token endpoint"),
        ({"token_endpoint": "http://acme.example.com/t"}, "token_endpoint", "https://"),
        ({"token_endpoint": "https://10.0.0.1/t"}, "token_endpoint", "public internet"),
        ({"token_endpoint": "https://2130706433/t"}, "token_endpoint", "unusual spelling"),  # 127.0.0.1
        ({"token_endpoint": "https://a@acme.example.com/t"}, "token_endpoint", "user name"),
        ({"token_endpoint": "https://acme.example.com/t#f"}, "token_endpoint", "fragment"),
        ({"token_endpoint": "https://acme.example.com:{{port}}/t"}, "token_endpoint", "port"),
        ({"token_endpoint": "https://{{shop}}.example.com/t"}, "token_endpoint", "“shop”"),
        ({"userinfo_endpoint": "javascript:alert(1)"}, "userinfo_endpoint", "https://"),
        ({"scopes": [{"name": 'a"b'}]}, "scopes", "is not a scope"),
        ({"scope_separator": "x"}, "scope_separator", "Choose one of"),
        ({"pkce": "plain"}, "pkce", "Choose one of"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "token_endpoint_auth_method", "Choose one of"),
        ({"assertion_audience": "anyone"}, "assertion_audience", "Choose one of"),
        ({"assertion_audience": "issuer"}, "issuer", "Enter the issuer"),
        # An assertion for someone else's server must not be sent to one's own.
        ({"assertion_audience": "issuer", "issuer": "https://bank.example"}, "assertion_audience", "different hosts"),
        ({"assertion_audience": "issuer", "issuer": "https://[", "token_endpoint": "https://["}, "issuer", "valid URL"),
        ({"authorization_params": {"client_id": "x"}}, "authorization_params", "Remove “client_id”"),
        ({"parameters": [{"key": "a", "label": "A", "pattern": "(a+)+"}]}, "parameters", "pattern of “a”"),
        ({"unknown": 1}, "unknown", "not a field of a provider"),
        # Only catalogue files may choose these.
        ({"brand_icon": "github"}, "brand_icon", "not a field of a provider"),
        ({"credential": "service_account_key"}, "credential", "not a field of a provider"),
        ({"resource": "https://mcp.example.com/"}, "resource", "not a field of a provider"),
        ({"parameters": [{"key": "a", "label": "A", "optional": True}]}, "parameters", "“optional” is not known"),
        # What leaves with a token or a secret.
        ({"userinfo_headers": {"Authorization": "x"}}, "userinfo_headers", "Remove “Authorization”"),
        ({"userinfo_headers": {"X-App": "{{app}}"}}, "userinfo_headers", "“app”"),
        ({"userinfo_body": "{", "userinfo_method": "POST"}, "userinfo_body", "Write JSON"),
        ({"userinfo_body": "{}"}, "userinfo_body", "POST"),
        ({"token_headers": {"Cookie": "x"}}, "token_headers", "Remove “Cookie”"),
        ({"client_id_parameter": "client id"}, "client_id_parameter", "parameter's name"),
        ({"refresh_params": {"refresh_token": "x"}}, "refresh_params", "Remove “refresh_token”"),
        ({"refresh_endpoint": "http://127.0.0.1/r"}, "refresh_endpoint", "https://"),
        # Reading the answer.
        ({"token_response": {"nested": "a"}}, "token_response", "“nested” is not known"),
        ({"token_response": {"zero_means_never": "yes"}}, "token_response", "true or false"),
        ({"token_response": {"expires_in_unit": "weeks"}}, "token_response", "is one of: seconds"),
        ({"token_response": {"error_success": "0"}}, "token_response", "a list of texts"),
        ({"token_response": {"token_path": "a..b"}}, "token_response", "a path"),
        # What is kept of answers.
        ({"metadata": [KEPT | {"pattern": "("}]}, "metadata", "not a regular expression"),
        ({"metadata": [KEPT | {"source": "header"}]}, "metadata", "Choose one of"),
        ({"metadata": [KEPT | {"key": "client_secret"}]}, "metadata", "credentials never come"),
        ({"metadata": [KEPT, KEPT]}, "metadata", "used twice"),
        ({"metadata": [KEPT], "token_endpoint": "https://{{host}}.example.com/t"}, "token_endpoint", "not known yet"),
        (
            {"metadata": [KEPT], "userinfo_endpoint": "https://api.{{host}}/me"},
            "metadata",
            "would decide which host is called",
        ),
        # Config values and helpers.
        ({"config_values": [{"key": "a", "label": "A"}]}, "config_values", "either a value or a helper"),
        (
            {"config_values": [{"key": "a", "label": "A", "value": "x", "helper": "nonce"}]},
            "config_values",
            "either a value or a helper",
        ),
        ({"config_values": [{"key": "a", "label": "A", "helper": "md5"}]}, "config_values", "no helper “md5”"),
        ({"config_values": [{"key": "a", "label": "A", "helper": "nonce(x)"}]}, "config_values", "reads no parameter"),
        ({"config_values": [{"key": "a", "label": "A", "helper": "lower_case_host"}]}, "config_values", "“host”"),
        (
            {
                "config_values": [{"key": "a", "label": "A", "helper": "basic_credentials"}],
                "authorization_params": {"hint": "{{a}}"},
            },
            "config_values",
            "never in a URL",
        ),
        (
            {
                "config_values": [{"key": "a", "label": "A", "value": "x", "type": "password"}],
                "token_endpoint": "https://{{host}}/token",
                "parameters": [
                    {"key": "host", "label": "Host"},
                    {"key": "client_id", "label": "I"},
                    {"key": "client_secret", "label": "S"},
                ],
            },
            "config_values",
            "whatever host a parameter names",
        ),
        # Credentials asked per connection.
        ({"parameters": [{"key": "client_secret", "label": "S", "type": "password"}]}, "parameters", "client_id"),
        ({"parameters": [{"key": "client_id", "label": "I"}]}, "parameters", "client_secret"),
        (
            {
                "parameters": [
                    {"key": "client_id", "label": "I"},
                    {"key": "client_secret", "label": "S", "type": "text"},
                ]
            },
            "parameters",
            "a password",
        ),
        ({"draft": "yes"}, "draft", "true or false"),
    ],
)
def test_what_cannot_be_used_is_refused_by_field(
    workspace: Workspace, fields: dict[str, Any], field: str, words: str
) -> None:
    errors = errors_of(workspace, **fields)
    assert words in " ".join(errors[field])


def test_every_error_is_told_at_once(workspace: Workspace) -> None:
    errors = errors_of(workspace, name="", token_endpoint="ftp://x", pkce="no", colour="red")
    assert set(errors) == {"name", "token_endpoint", "pkce", "colour"}


def test_hosts_that_the_operator_opened_may_be_private_and_plain_http(workspace: Workspace, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1:9000"]
    provider = create(workspace, token_endpoint="http://127.0.0.1:9000/token")
    assert find_spec(workspace, provider.provider_id).token_endpoint == "http://127.0.0.1:9000/token"


def test_an_update_makes_a_new_version_that_counts(workspace: Workspace) -> None:
    provider = create(workspace, scopes=[{"name": "read", "required": True}])
    update_custom_provider(provider, {"name": "Acme 2", "scopes": [{"name": "write"}]}, actor=OPERATOR)
    spec = find_spec(workspace, provider.provider_id)
    assert (spec.name, spec.version, spec.draft) == ("Acme 2", 2, False)
    # A scope that was required comes back by neither of its two names.
    assert spec.default_scopes("authorization_code") == ("write",)
    assert provider.versions.get(number=1).definition["name"] == "Acme"
    event = workspace.audit_events.filter(action="provider:changed").get()
    assert event.detail == {"changed": ["name", "scopes"], "draft": False}


def test_none_resets_a_field(workspace: Workspace) -> None:
    provider = create(workspace, pkce="off", docs_url="https://docs.example.com/")
    update_custom_provider(provider, {"pkce": None, "docs_url": None}, actor=OPERATOR)
    spec = find_spec(workspace, provider.provider_id)
    assert (spec.pkce, spec.docs_url) == ("S256", "")


def test_a_refused_update_changes_nothing(workspace: Workspace) -> None:
    provider = create(workspace)
    with pytest.raises(InvalidDefinition):
        update_custom_provider(provider, {"name": "Other", "token_endpoint": "nowhere"}, actor=OPERATOR)
    assert find_newest_spec(workspace, provider.provider_id).name == "Acme"


def test_the_id_cannot_be_changed(workspace: Workspace) -> None:
    provider = create(workspace)
    with pytest.raises(InvalidDefinition) as caught:
        update_custom_provider(provider, {"provider_id": "custom_other"}, actor=OPERATOR)
    assert set(caught.value.errors) == {"provider_id"}


def test_a_grant_type_in_use_cannot_be_removed(workspace: Workspace) -> None:
    provider = create(workspace, grant_types=["authorization_code", "client_credentials"])
    make_integration(workspace, provider.provider_id, GrantType.CLIENT_CREDENTIALS)
    with pytest.raises(InvalidDefinition) as caught:
        update_custom_provider(provider, {"grant_types": ["authorization_code"]}, actor=OPERATOR)
    assert "Service account" in caught.value.errors["grant_types"][0]


def test_connections_stay_on_their_version_until_a_newer_one_is_published(workspace: Workspace) -> None:
    provider = create(workspace)
    update_custom_provider(provider, {"name": "Draft", "draft": True}, actor=OPERATOR)
    assert find_spec(workspace, provider.provider_id).name == "Acme"
    assert find_spec(workspace, provider.provider_id, version=1).name == "Acme"
    newest = find_newest_spec(workspace, provider.provider_id)
    assert (newest.name, newest.version, newest.draft) == ("Draft", 2, True)

    publish(provider, actor=OPERATOR)
    assert find_spec(workspace, provider.provider_id, version=1).name == "Draft"
    assert find_spec(workspace, provider.provider_id).draft is False


def test_a_draft_that_was_connected_counts_for_its_connections_only(workspace: Workspace) -> None:
    provider = create(workspace, draft=True)
    update_custom_provider(provider, {"name": "Second"}, actor=OPERATOR, draft=True)
    assert find_spec(workspace, provider.provider_id).name == "Second"
    assert find_spec(workspace, provider.provider_id, version=1).name == "Acme"
    publish(provider, actor=OPERATOR)
    assert find_spec(workspace, provider.provider_id, version=1).name == "Second"


def test_publishing_twice_changes_nothing(workspace: Workspace) -> None:
    provider = create(workspace, draft=True)
    publish(provider, actor=OPERATOR)
    publish(provider, actor=OPERATOR)
    assert workspace.audit_events.filter(action="provider:changed").count() == 1


def connected(workspace: Workspace, provider: CustomProvider) -> tuple[Integration, Connection]:
    integration = make_integration(workspace, provider.provider_id)
    return integration, make_connection(integration)


def assert_forgotten(integration: Integration, connection: Connection) -> None:
    integration = Integration.objects.get(pk=integration.pk)
    connection.refresh_from_db()
    assert not integration.has_client_secret
    assert integration.client_id == "client-1"
    assert connection.state == ConnectionState.RECONNECT_REQUIRED
    assert connection.last_error_code == "endpoint_changed"
    assert not Token.objects.filter(connection=connection).exists()
    assert connection.schedule.refresh_due_at is None


def assert_untouched(integration: Integration, connection: Connection) -> None:
    integration = Integration.objects.get(pk=integration.pk)
    connection.refresh_from_db()
    assert integration.client_secret == "client-secret-value"
    assert connection.state == ConnectionState.CONNECTED
    assert connection.token.open().access_token == "access-token-1"


EVERYWHERE = {
    "revocation_endpoint": "https://acme.example.com/revoke",
    "introspection_endpoint": "https://acme.example.com/introspect",
    "userinfo_endpoint": "https://acme.example.com/me",
    "api_base_url": "https://acme.example.com/api/",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"token_endpoint": "https://evil.example.net/token"},
        {"revocation_endpoint": "https://evil.example.net/revoke"},
        {"introspection_endpoint": "https://evil.example.net/introspect"},
        {"userinfo_endpoint": "https://evil.example.net/me"},
        {"api_base_url": "https://evil.example.net/"},
        {"token_endpoint": "https://acme.example.com:8443/token"},  # another port is another server
        {"token_endpoint": "https://acme.example.com.evil.example.net/token"},
        {
            "token_endpoint": "https://{{v}}.example.com/token",
            "parameters": [{"key": "v", "label": "V"}],
        },
    ],
)
def test_moving_an_endpoint_forgets_secrets_and_tokens(workspace: Workspace, changes: dict[str, Any]) -> None:
    provider = create(workspace, **EVERYWHERE)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, changes, actor=OPERATOR)
    assert_forgotten(integration, connection)
    assert workspace.audit_events.get(action="provider:changed").detail["endpoint_changed"] is True


def test_a_new_endpoint_on_a_foreign_host_counts_as_moved(workspace: Workspace) -> None:
    provider = create(workspace)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, {"userinfo_endpoint": "https://evil.example.net/me"}, actor=OPERATOR)
    assert_forgotten(integration, connection)


def test_a_config_value_in_the_host_counts_as_moved(workspace: Workspace) -> None:
    fields = {"token_endpoint": "https://{{region}}.example.com/token", "config_values": [region("eu")]}
    provider = create(workspace, **fields)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, {"config_values": [region("us")]}, actor=OPERATOR)
    assert_forgotten(integration, connection)


def region(value: str) -> dict[str, str]:
    return {"key": "region", "label": "Region", "value": value}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Renamed"},
        {"token_endpoint": "https://acme.example.com/other/token"},  # a path on the same origin
        {"token_endpoint": "https://ACME.example.com:443/token"},  # the same origin, spelt otherwise
        {"revocation_endpoint": None},
        {"authorization_endpoint": "https://login.example.net/authorize"},  # is sent no secret
        {"scopes": [{"name": "new", "required": True}]},
    ],
)
def test_other_changes_cost_nothing(workspace: Workspace, changes: dict[str, Any]) -> None:
    provider = create(workspace, **EVERYWHERE)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, changes, actor=OPERATOR)
    assert_untouched(integration, connection)


def test_a_new_endpoint_beside_the_token_endpoint_costs_nothing(workspace: Workspace) -> None:
    provider = create(workspace)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, EVERYWHERE, actor=OPERATOR)
    assert_untouched(integration, connection)


def test_a_draft_moves_nothing_until_it_is_published(workspace: Workspace) -> None:
    provider = create(workspace)
    integration, connection = connected(workspace, provider)
    moved = {"token_endpoint": "https://new.example.net/token", "draft": True}
    update_custom_provider(provider, moved, actor=OPERATOR)
    assert_untouched(integration, connection)
    publish(provider, actor=OPERATOR)
    assert_forgotten(integration, connection)


def test_a_draft_that_counts_because_nothing_is_published_moves_at_once(workspace: Workspace) -> None:
    provider = create(workspace, draft=True)
    integration, connection = connected(workspace, provider)
    update_custom_provider(provider, {"token_endpoint": "https://new.example.net/t", "draft": True}, actor=OPERATOR)
    assert_forgotten(integration, connection)


def test_a_disconnected_connection_stays_disconnected(workspace: Workspace) -> None:
    provider = create(workspace)
    connection = make_connection(make_integration(workspace, provider.provider_id), with_token=False)
    update_custom_provider(provider, {"token_endpoint": "https://new.example.net/t"}, actor=OPERATOR)
    connection.refresh_from_db()
    assert connection.state == ConnectionState.CONFIGURED


def test_moving_one_workspaces_endpoint_leaves_the_others_alone(workspace: Workspace, charlie: User) -> None:
    other = charlie.memberships.get().workspace
    provider, theirs = create(workspace), create(other)
    assert provider.provider_id == theirs.provider_id
    integration, connection = connected(other, theirs)
    update_custom_provider(provider, {"token_endpoint": "https://new.example.net/t"}, actor=OPERATOR)
    assert_untouched(integration, connection)


def test_a_provider_in_use_is_not_deleted_without_force(workspace: Workspace) -> None:
    provider = create(workspace)
    connected(workspace, provider)
    with pytest.raises(HasDependants) as caught:
        delete_custom_provider(provider, actor=OPERATOR)
    assert caught.value.dependants == [
        "Integration “custom_acme (Delegated user)”",
        "Connection “default” of “custom_acme (Delegated user)”",
    ]
    assert find_custom_provider(workspace, provider.provider_id) == provider


def test_forced_each_integration_goes_through_the_verb_that_revokes(workspace: Workspace) -> None:
    provider = create(workspace)
    integration, _ = connected(workspace, provider)
    seen: list[tuple[Any, bool]] = []

    def revoke_and_delete(target: Integration, *, actor: Actor, force: bool) -> None:
        seen.append((target.pk, force))
        target.delete()

    delete_custom_provider(provider, actor=OPERATOR, force=True, delete_integration=revoke_and_delete)
    assert seen == [(integration.pk, True)]
    assert not CustomProvider.objects.filter(workspace=workspace).exists()
    assert workspace.audit_events.filter(action="provider:deleted").count() == 1
    with pytest.raises(ProviderNotFound):
        find_spec(workspace, "custom_acme")


def test_an_integration_made_meanwhile_stops_the_deletion(workspace: Workspace) -> None:
    provider = create(workspace, grant_types=["authorization_code", "client_credentials"])
    connected(workspace, provider)

    def revoke_slowly(target: Integration, *, actor: Actor, force: bool) -> None:
        target.delete()
        make_integration(workspace, provider.provider_id, GrantType.CLIENT_CREDENTIALS)

    with pytest.raises(HasDependants, match="Service account"):
        delete_custom_provider(provider, actor=OPERATOR, force=True, delete_integration=revoke_slowly)
    assert find_spec(workspace, provider.provider_id)


def test_an_unused_provider_is_deleted(workspace: Workspace) -> None:
    provider = create(workspace)
    delete_custom_provider(provider, actor=OPERATOR)
    assert [spec for spec in specs_for(workspace) if spec.custom] == []


def test_another_workspaces_provider_is_not_found(workspace: Workspace, charlie: User) -> None:
    theirs = create(charlie.memberships.get().workspace, name="Secret Plans")
    for find in (find_spec, find_newest_spec):
        with pytest.raises(ProviderNotFound):
            find(workspace, theirs.provider_id)
    with pytest.raises(CustomProvider.DoesNotExist):
        find_custom_provider(workspace, theirs.provider_id)
    assert theirs.provider_id not in [spec.provider_id for spec in specs_for(workspace)]


def test_the_list_has_built_in_and_own_providers_in_one_query(
    workspace: Workspace, django_assert_num_queries: Any
) -> None:
    create(workspace)
    hidden = create(workspace, name="Zeta")
    update_custom_provider(hidden, {"name": "Not yet", "draft": True}, actor=OPERATOR)
    with django_assert_num_queries(1):
        names = [spec.name for spec in specs_for(workspace)]
    assert names == sorted(names, key=str.casefold)
    assert {"Acme", "Zeta"} < set(names)
    assert len(names) == len(builtin_specs()) + 2


def test_a_definition_saved_under_older_rules_can_still_be_read(workspace: Workspace) -> None:
    provider = create(workspace)
    version = provider.versions.get()
    version.definition["token_endpoint"] = "http://no-longer-allowed.example.com/token"
    version.save()
    assert find_spec(workspace, provider.provider_id).token_endpoint.startswith("http://no-longer")
