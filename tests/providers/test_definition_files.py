"""Definitions as YAML files: nothing lost on the way there and back, nothing read that could do harm."""

from __future__ import annotations

import pytest
import yaml

from integrations.models import CustomProvider
from integrations.providers.base import ProviderSpec
from integrations.providers.custom import create_custom_provider
from integrations.providers.definition import definition_of, spec_from_definition
from integrations.providers.definition_files import export_definition, import_definition, read_definition_file
from integrations.providers.registry import builtin_specs, find_newest_spec
from integrations.providers.strict_yaml import MAX_BYTES, UnreadableYAML, read_mapping
from workspaces.audit import Actor
from workspaces.models import Workspace

NOT_EXPORTED = {"provider_id", "unverified", "version", "draft"}
SECRET = "canary-config-value-0123456789"
NORTHWIND = {
    "name": "Northwind",
    "grant_types": ["authorization_code"],
    "authorization_endpoint": "https://id.northwind.example/authorize",
    "token_endpoint": "https://id.northwind.example/token",
    "token_params": {"audience": "{{api_key}}"},
    "config_values": [{"key": "api_key", "label": "API key", "value": SECRET, "type": "password", "visible": False}],
}


@pytest.mark.parametrize("provider_id", sorted(builtin_specs()))
def test_every_built_in_definition_survives_the_way_there_and_back(provider_id: str) -> None:
    spec = builtin_specs()[provider_id]
    text = export_definition(spec)
    assert yaml.safe_load(text)["grantry_provider"] == 1
    back = definition_of(spec_from_definition(read_definition_file(text).definition))
    before = definition_of(spec)
    assert {name for name in before if before[name] != back[name]} <= NOT_EXPORTED


def test_keys_stand_in_a_fixed_order_and_defaults_go_without_saying() -> None:
    spec = spec_from_definition({"scope_separator": ",", "name": "Northwind", "grant_types": ["client_credentials"]})
    lines = export_definition(spec).splitlines()
    assert lines == [
        "grantry_provider: 1",
        "name: Northwind",
        "grant_types:",
        "- client_credentials",
        "scope_separator: ','",
    ]


@pytest.fixture
def northwind(workspace: Workspace) -> CustomProvider:
    return create_custom_provider(workspace, NORTHWIND, actor=Actor.operator())


def newest(provider: CustomProvider) -> ProviderSpec:
    return find_newest_spec(provider.workspace, provider.provider_id)


def test_a_secret_is_not_exported_and_is_kept_when_the_file_comes_back(northwind: CustomProvider) -> None:
    text = export_definition(newest(northwind))
    assert SECRET not in text
    assert "Fill in the value of: api_key" in text
    changed = read_definition_file(text.replace("name: Northwind", "name: Northwind 2"))
    provider, is_new = import_definition(northwind.workspace, changed, actor=Actor.operator())
    assert (provider.pk, is_new) == (northwind.pk, False)
    assert newest(northwind).name == "Northwind 2"
    assert newest(northwind).config_values[0].value == SECRET


def test_what_a_file_leaves_out_goes_back_to_its_default(northwind: CustomProvider) -> None:
    file = read_definition_file(
        "grantry_provider: 1\nprovider_id: custom_northwind\nname: Northwind\ngrant_types: [client_credentials]\n"
        "token_endpoint: https://id.northwind.example/token\n"
    )
    import_definition(northwind.workspace, file, actor=Actor.operator(), draft=True)
    spec = newest(northwind)
    assert (spec.draft, spec.version) == (True, 2)
    assert spec.authorization_endpoint == ""
    assert (dict(spec.token_params), spec.config_values) == ({}, ())


def test_the_id_of_nobody_makes_a_new_provider(northwind: CustomProvider) -> None:
    file = read_definition_file(
        "grantry_provider: 1\nprovider_id: custom_other\nname: Other\ngrant_types: [client_credentials]\n"
        "token_endpoint: https://id.northwind.example/token\n"
    )
    made, is_new = import_definition(northwind.workspace, file, actor=Actor.operator())
    assert (made.provider_id, is_new) == ("custom_other", True)


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("name: x\n", "Begin the file with grantry_provider: 1", 0),
        ("name: x\ngrantry_provider: 2\n", "Only grantry_provider: 1", 2),
        ("grantry_provider: true\n", "Only grantry_provider: 1", 1),  # in Python true is 1
        ("grantry_provider: 1\nname: a\nname: b\n", "the key “name” is given twice", 3),
        ("grantry_provider: 1\nname: [unclosed\n", "", 3),
        ("grantry_provider: 1\na: &x [1]\nb: *x\n", "anchors (&) and aliases (*)", 2),
        ("- a\n- b\n", "Write keys with values", 0),
        ("", "Write keys with values", 0),
        ("just words", "Write keys with values", 0),
        ("grantry_provider: 1\nname: !!python/object/apply:os.system ['true']\n", "", 2),
        ("a: " + "[" * 40 + "]" * 40, "levels fit into each other", 1),
        ("grantry_provider: 1\nrefresh_margin_seconds: " + "9" * 5000, "This is not YAML that can be read", 0),
        ("grantry_provider: 1\nname: \x00\n", "", 0),
        ("grantry_provider: 1\nname: \ud800\n", "", 0),
        ("grantry_provider: 1\ndescription: " + "x" * MAX_BYTES, "At most 200 KB", 0),
        ("? [a, b]\n: c\n", "", 0),
    ],
)
def test_what_cannot_be_read_says_why_and_where(text: str, words: str, line: int) -> None:
    with pytest.raises(UnreadableYAML) as refused:
        read_definition_file(text)
    assert words.lower() in refused.value.message.lower()
    assert refused.value.message.endswith((".", "…"))
    if line:
        assert refused.value.line == line


def test_a_billion_laughs_are_refused_before_anything_is_built() -> None:
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(UnreadableYAML, match="anchors"):
        read_mapping(text)


def test_each_key_knows_its_line() -> None:
    file = read_definition_file("# a comment\ngrantry_provider: 1\n\nname: x\ntoken_endpoint: y\n")
    assert (file.lines["name"], file.lines["token_endpoint"]) == (4, 5)
