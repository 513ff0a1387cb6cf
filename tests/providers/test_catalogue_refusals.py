"""What the loader refuses, and in which words: the file, the key, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from integrations.providers import catalogue as catalogue_module
from integrations.providers.catalogue import CatalogueError, load_catalogue
from integrations.providers.definition import read_definition

GOOD = """\
provider_id: acme
name: Acme
category: Testing
grant_types: [authorization_code]
authorization_endpoint: https://acme.example.com/authorize
token_endpoint: https://acme.example.com/token
scopes:
  - {name: read, required: true}
"""


def write(folder: Path, text: str, name: str = "acme.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(folder)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file_loads(tmp_path: Path) -> None:
    spec = load_catalogue(write(tmp_path, GOOD))["acme"]
    assert (spec.name, spec.base_scopes("authorization_code")) == ("Acme", ("read",))


REFUSED = [
    ("colour: red", "colour", "not a field of a provider"),
    # YAML 1.1 reads a bare off as false.
    ("pkce: off", "pkce", 'Put it in quotes: "off".'),
    ("pkce: yes", "pkce", "Choose one of: 'S256', 'off'"),
    ("pkce: plain", "pkce", "Choose one of: 'S256', 'off'"),
    ("name: 42", "name", "Write text (in quotes in a YAML file), not a number."),
    ("name: ''", "name", "Enter a name."),
    ("grant_types: []", "grant_types", "at least one"),
    ("grant_types: [password]", "grant_types", "Choose one of"),
    ("grant_types: [authorization_code, authorization_code]", "grant_types", "once"),
    ("grant_types: authorization_code", "grant_types", "Write a list, such as [first, second], not text."),
    ("token_endpoint: ''", "token_endpoint", "Enter the token endpoint."),
    ("authorization_endpoint: ''", "authorization_endpoint", "Enter the authorization endpoint"),
    ("token_endpoint: http://acme.example.com/token", "token_endpoint", "http://"),
    ("token_endpoint: acme.example.com/token", "token_endpoint", "https://"),
    ("token_endpoint: ftp://acme.example.com/token", "token_endpoint", "https://"),
    ("token_endpoint: https://u:p@acme.example.com/token", "token_endpoint", "user name"),
    ("token_endpoint: 'https://acme.example.com/token#x'", "token_endpoint", "fragment"),
    ("token_endpoint: https://127.0.0.1/token", "token_endpoint", "public internet"),
    ("token_endpoint: https://localhost/token", "token_endpoint", "name for this machine"),
    ("userinfo_endpoint: 'https://{{shop}}.example.com/me'", "userinfo_endpoint", "“shop”"),
    ("token_params: {audience: '{{shop}}'}", "token_params", "“shop”"),
    ("token_params: {grant_type: password}", "token_params", "Remove “grant_type”"),
    ("authorization_params: {state: fixed}", "authorization_params", "Remove “state”"),
    ("authorization_params: {max_age: 1}", "authorization_params", "“max_age”: Write text"),
    ("userinfo_headers: {Authorization: x}", "userinfo_headers", "Remove “Authorization”"),
    ("token_response: {token_pth: a}", "token_response", "“token_pth” is not known"),
    ("scopes: [{name: 'a b'}]", "scopes", "is not a scope"),
    ("scopes: [{name: a}, {name: a}]", "scopes", "named twice"),
    ("scopes: [{required: true}]", "scopes", "“name” is missing"),
    ("scopes: [{name: a, require: true}]", "scopes", "“require” is not known"),
    ("scopes: [{name: a, required: 'yes'}]", "scopes", "true or false"),
    ("scopes: {client_credentials: [{name: a}]}", "scopes", "Add the grant type client_credentials"),
    ("allowed_scope_patterns: [{pattern: '('}]", "allowed_scope_patterns", "not a regular expression"),
    # Would take for ever on a long scope.
    ("denied_scope_patterns: [{pattern: '(a+)+b'}]", "denied_scope_patterns", "Repeat one set of characters instead"),
    (
        "denied_scope_patterns: [{pattern: '(read|write)+'}]",
        "denied_scope_patterns",
        "instead: [a-z]+ for (read|write)+.",
    ),
    ("denied_scope_patterns: [{pattern: '(?!a)b'}]", "denied_scope_patterns", "Write out what a value may look like."),
    ("parameters: [{key: 1shop, label: Shop}]", "parameters", "beginning with a letter"),
    ("parameters: [{key: shop, label: S}, {key: shop, label: T}]", "parameters", "used twice"),
    ("parameters: [{key: shop, label: S, type: dropdown}]", "parameters", "options of its dropdown"),
    ("parameters: [{key: shop, label: S, options: [a]}]", "parameters", "make it a dropdown"),
    ("parameters: [{key: s, label: S, type: dropdown, options: [a], default: b}]", "parameters", "default"),
    ("parameters: [{key: s, label: S, pattern: '[a'}]", "parameters", "not a regular expression"),
    ("config_values: [{key: k, label: K, value: v, visible: false}]", "config_values", "Password parameter"),
    # What only files of the catalogue have to keep to.
    ("category: Toys", "category", "Choose one of: Advertising and marketing, "),
    ("category:", "category", "Choose one of: "),
    ("allowed_scope_patterns: [{pattern: 'write:.*'}]", "scopes", "“read” is not one this provider allows"),
    ("denied_scope_patterns: [{pattern: 'read'}]", "scopes", "“read” is not permitted"),
    ("scopes: {authorization_code: [b]}\nallowed_scope_patterns: [{pattern: a}]", "scopes", "“b” is not one"),
    (
        "allowed_scope_patterns: [{pattern: read}]\nsuggested_scopes: [{name: write, description: Write}]",
        "suggested_scopes",
        "“write” is not one this provider allows. Expected: read. Correct the scope",
    ),
    ("suggested_scopes: [write]", "suggested_scopes", "Describe “write”"),
    ("parameters: [{key: shop, label: Shop}]", "parameters", "Remove “shop”, or write {{shop}} where"),
    ("refresh_margin_seconds: 0", "refresh_margin_seconds", "whole seconds"),
    ("refresh_token_idle_seconds: 3599", "refresh_token_idle_seconds", "from 3600 (an hour)"),
    ("refresh_token_lifetime_seconds: 1.0e+6", "refresh_token_lifetime_seconds", "whole seconds"),
    ("docs_url: javascript:alert(1)", "docs_url", "https://"),
    ("base_url_setting: SECRET_KEY", "base_url_setting", "SANDBOX_BASE_URL"),
    ("provider_id: Acme", "provider_id", "lower-case"),
    ("provider_id: custom_acme", "provider_id", "workspaces"),
    ("provider_id: other", "provider_id", "rename it to other.yaml"),
]


@pytest.mark.parametrize(("line", "key", "words"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_a_file_is_refused_with_its_name_the_key_and_what_to_do(
    tmp_path: Path, line: str, key: str, words: str
) -> None:
    replaced = line.partition(":")[0]
    kept: list[str] = []
    skipping = False
    for old in GOOD.splitlines():
        skipping = old.startswith(f"{replaced}:") or (skipping and old.startswith(" "))
        if not skipping:
            kept.append(old)
    found = problems_of(write(tmp_path, "\n".join([*kept, line])))
    assert any(problem.startswith(f"acme.yaml: {key}: ") and words in problem for problem in found), found


@pytest.mark.parametrize("name", ["acme.yml", "acme.YAML", "acme.YML"])
def test_a_file_with_another_ending_is_not_passed_by(tmp_path: Path, name: str) -> None:
    found = problems_of(write(tmp_path, GOOD, name))
    assert found == [f"{name}: file: Rename it to acme.yaml: a file with another ending is not read."]


UNASKED = """\
parameters:
  - {key: host, label: Host}
  - {key: subject, label: Acts as, optional: true}
config_values:
  - {key: api, label: API, helper: lower_case_host(host)}
api_base_url: https://{{api}}.example.com
"""


def test_a_parameter_is_used_by_a_helper_too_and_an_optional_one_may_be_for_a_subclass(tmp_path: Path) -> None:
    assert load_catalogue(write(tmp_path, GOOD + UNASKED))["acme"].parameters
    [found] = problems_of(write(tmp_path, GOOD + UNASKED.replace(", optional: true", "")))
    assert found.startswith("acme.yaml: parameters: Remove “subject”")


def test_a_workspaces_own_provider_keeps_to_none_of_that() -> None:
    definition = {
        "name": "Acme",
        "category": "Toys",
        "grant_types": ["client_credentials"],
        "token_endpoint": "https://acme.example.com/token",
        "scopes": ["read"],
        "suggested_scopes": ["write"],
        "allowed_scope_patterns": [{"pattern": "admin"}],
        "parameters": [{"key": "shop", "label": "Shop"}],
    }
    spec = read_definition(definition, provider_id="custom_acme", allowed_hosts=[])
    assert (spec.category, spec.default_scopes("client_credentials")) == ("Toys", ("read",))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, GOOD + "name: Other\n"))
    assert "acme.yaml: file:" in found[0]
    assert "“name” is given twice" in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "just text",
        "",
        "a: [unclosed",
        "!!python/object/apply:os.system ['true']",  # a tag that unsafe loaders run
        "\x00",
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert problems_of(write(tmp_path, text))[0].startswith("acme.yaml: file: ")


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    found = problems_of(write(tmp_path, GOOD, "acme_copy.yaml"))
    assert found == ["acme_copy.yaml: provider_id: “acme” is taken by acme.yaml. Give each provider its own id."]


def test_every_problem_of_every_file_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("name: Acme", "name: ''") + "colour: red\n")
    found = problems_of(write(tmp_path, GOOD.replace("acme", "other") + "pkce: plain\n", "other.yaml"))
    assert [problem.split(": ")[:2] for problem in found] == [
        ["acme.yaml", "colour"],
        ["acme.yaml", "name"],
        ["other.yaml", "pkce"],
    ]


def test_manage_py_refuses_to_go_on_with_a_broken_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "CATALOGUE_FOLDER", write(tmp_path, GOOD + "colour: red\n"))
    found = run_checks(tags=["catalogue"])
    assert [(message.id, message.obj) for message in found] == [("integrations.E001", "acme.yaml")]
    with pytest.raises(SystemCheckError, match="colour"):
        call_command("check", "--tag", "catalogue")


def test_a_broken_base_url_setting_is_refused(settings: Any) -> None:
    settings.SANDBOX_BASE_URL = "localhost:8001"
    with pytest.raises(CatalogueError, match=r"sandbox\.yaml: token_endpoint: "):
        catalogue_module.catalogue()
