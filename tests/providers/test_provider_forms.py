"""The form of a provider says everything that a definition may say, and loses nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.providers.definition import _FIELDS, definition_of, spec_from_definition
from integrations.providers.helpers import registered
from integrations.providers.provider_forms import ProviderForm, initial_of
from integrations.providers.registry import builtin_specs
from integrations.providers.row_forms import ConfigValueRow

SECRET = "canary-config-value-0123456789"
SAID_OTHERWISE = {"base_scopes"}  # as `scopes` that are required
# Everything at something else than its default.
EVERYTHING: dict[str, Any] = {
    "name": "Northwind",
    "category": "Finance",
    "description": "Invoices.",
    "grant_types": ["authorization_code", "client_credentials"],
    "authorization_endpoint": "https://{{region}}.northwind.example/authorize",
    "token_endpoint": "https://{{region}}.northwind.example/token",
    "refresh_endpoint": "https://{{region}}.northwind.example/refresh",
    "revocation_endpoint": "https://{{region}}.northwind.example/revoke",
    "introspection_endpoint": "https://{{region}}.northwind.example/introspect",
    "userinfo_endpoint": "https://{{region}}.northwind.example/userinfo",
    "issuer": "https://id.northwind.example",
    "api_base_url": "https://{{instance}}.northwind.example/",
    "suggested_scopes": [{"name": "extra", "required": False, "description": "More"}],
    "scopes": {
        "authorization_code": [
            {"name": "openid", "required": True, "description": "Who"},
            {"name": "mail", "required": False, "description": ""},
        ],
        "client_credentials": [{"name": "openid", "required": True, "description": "Who"}],
    },
    "allow_scope_customization": True,
    "allow_additional_scopes": False,
    "scope_input_delimiter": "comma",
    "additional_scopes_help": "Ask IT.",
    "scope_separator": ",",
    "allowed_scope_patterns": [{"pattern": "[a-z]+", "description": "lower case"}],
    "denied_scope_patterns": [{"pattern": "admin", "description": "no admin"}],
    "pkce": "off",
    "token_endpoint_auth_method": "client_secret_post",
    "assertion_audience": "issuer",
    "basic_auth_encoding": "raw",
    "scope_parameter": "user_scope",
    "scope_comparison": {
        "aliases": {"whoami": "openid"},
        "prefix": "https://northwind.example/",
        "ignore_case": True,
        "not_echoed": ["mail"],
        "implied": {"openid": ["a", "b"]},
    },
    "revocation_request_format": "json",
    "client_id_parameter": "client_key",
    "client_secret_parameter": "client_code",
    "response_type": "",
    "token_request_format": "json",
    "authorization_params": {"prompt": "consent", "x": "a=b"},
    "token_params": {"audience": "{{host}}"},
    "refresh_params": {"again": "1"},
    "token_headers": {"X-Version": "2"},
    "token_response": {
        "token_path": "data",
        "expires_in_unit": "minutes",
        "zero_means_never": True,
        "dead_grant_codes": ["Invalid refresh token", "gone"],
        "error_field": "errcode",
        "error_success": ["0"],
    },
    "userinfo_method": "POST",
    "userinfo_body": "null",
    "userinfo_headers": {"X-Client": "{{client_id}}"},
    "account_fields": ["user.email"],
    "account_id_field": "user.id",
    "metadata": [
        {
            "key": "instance",
            "label": "Instance",
            "source": "callback",
            "field": "instance",
            "pattern": "[a-z]+",
            "required": True,
        }
    ],
    "refresh_margin_seconds": 120,
    "refuses_early_refresh": True,
    "refresh_token_idle_seconds": 90 * 86_400,
    "refresh_token_lifetime_seconds": 365 * 86_400,
    "parameters": [
        {
            "label": "Region",
            "key": "region",
            "type": "dropdown",
            "options": ["eu", "us"],
            "pattern": "[a-z]+",
            "help": "Where",
            "placeholder": "",
            "default": "eu",
        },
        {
            "label": "Token",
            "key": "token",
            "type": "password",
            "options": [],
            "pattern": "[a-z]+",
            "help": "",
            "placeholder": "abc",
            "default": "",
        },
    ],
    "config_values": [
        {"key": "host", "label": "Host", "helper": "lower_case_host(region)", "type": "text", "visible": True},
        {"key": "plan", "label": "Plan", "value": "free", "type": "text", "visible": True},
        {"key": "hidden", "label": "Hidden", "value": SECRET, "type": "text", "visible": False},
    ],
    "docs_url": "https://docs.northwind.example/",
}


def there_and_back(definition: dict[str, Any]) -> dict[str, Any]:
    """What the form makes of a definition that it shows and that is sent back unchanged."""
    spec = spec_from_definition(definition)
    shown = ProviderForm(initial=initial_of(spec), seal_context="test", spec=spec)
    sent = ProviderForm(shown.as_posted(), seal_context="test", spec=spec)
    assert sent.is_valid(), sent.errors
    assert not sent.wrong
    return definition_of(spec_from_definition(sent.definition()))


def test_the_example_says_everything_that_a_definition_may_say() -> None:
    assert set(EVERYTHING) == set(_FIELDS) - SAID_OTHERWISE
    usual = definition_of(spec_from_definition({"grant_types": EVERYTHING["grant_types"]}))
    assert [name for name, value in EVERYTHING.items() if value == usual[name] and name != "grant_types"] == []


def test_every_field_of_a_definition_can_be_edited() -> None:
    before = definition_of(spec_from_definition(EVERYTHING))
    after = there_and_back(EVERYTHING)
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}


@pytest.mark.parametrize(
    "provider_id", sorted(spec.provider_id for spec in builtin_specs().values() if not spec.resource)
)
def test_the_form_loses_nothing_of_any_definition_in_the_catalogue(provider_id: str) -> None:
    definition = {**definition_of(builtin_specs()[provider_id]), "provider_id": ""}
    before = definition_of(spec_from_definition(definition))
    after = there_and_back(definition)
    # A rule that says the usual once more is left out.
    before["token_response"] = {
        name: value
        for name, value in before["token_response"].items()
        if after["token_response"].get(name) or value != "unix_seconds"
    }
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}


def test_credentials_asked_per_connection_are_two_locked_parameters_with_their_labels() -> None:
    definition = {
        "name": "N",
        "grant_types": ["client_credentials"],
        "token_endpoint": "https://id.northwind.example/token",
        "parameters": [
            {"key": "client_id", "label": "App key"},
            {"key": "client_secret", "label": "App secret", "help": "From the console"},
            {"key": "region", "label": "Region"},
        ],
    }
    after = there_and_back(definition)
    assert after == {**definition_of(spec_from_definition(definition)), "category": after["category"]}
    spec = spec_from_definition(definition)
    shown = ProviderForm(initial=initial_of(spec), seal_context="test", spec=spec)
    assert [row.typed("key") for row in shown.rows["parameters"].forms] == ["region"]
    assert shown["client_id_label"].value() == "App key"


def test_every_helper_is_offered_with_its_description() -> None:
    offered = dict(ConfigValueRow(seal_context="test").fields["helper"].choices)  # type: ignore[attr-defined]
    assert registered()
    for helper in registered():
        assert helper.description in offered[helper.name]


def row(**typed: str) -> ConfigValueRow:
    return ConfigValueRow({f"c-{name}": value for name, value in typed.items()}, prefix="c", seal_context="test")


@pytest.mark.parametrize(
    "typed",
    [
        {"type": "password", "visible": "on"},
        {"type": "text"},  # invisible
    ],
)
def test_a_secret_config_value_travels_sealed_and_is_never_rendered(typed: dict[str, str]) -> None:
    first = row(key="k", label="L", value=SECRET, **typed)
    assert SECRET not in str(first)
    assert first.secret == SECRET
    carried = first.carried()
    assert SECRET not in str(carried)
    second = row(key="k", label="L", sealed_value=carried["sealed_value"], **typed)
    second.is_valid()
    assert second.entry()["value"] == SECRET
    foreign = ConfigValueRow(
        {"c-key": "k", "c-sealed_value": carried["sealed_value"], "c-type": "password"},
        prefix="c",
        seal_context="other",
    )
    assert foreign.secret == ""
