"""Lists in the form of a provider: rows come, go and move without JavaScript, and nothing else is lost by it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from integrations.models import CustomProvider, ProviderVersionSecrets
from integrations.providers.registry import find_newest_spec
from tests.pages.conftest import url
from tests.pages.html_form import Form
from tests.pages.test_custom_provider import SCOPES, STEP_2, STEP_3, rows
from workspaces.models import Workspace

SECRET = "canary-config-value-0123456789"
PARAMETERS = rows(
    "parameters", {"label": "Region", "key": "region"}, {"label": "Tier", "key": "tier", "type": "dropdown"}
)


@pytest.fixture
def wizard(workspace: Workspace) -> str:
    return url("custom_new")


def press(browser: Client, wizard: str, go: str, data: dict[str, Any] | None = None) -> Form:
    answer = browser.post(wizard, {**STEP_2, **PARAMETERS, **(data or {}), "go": go})
    assert answer.status_code == 200
    return Form.of(answer.content.decode())


def keys(form: Form, name: str = "parameters", field: str = "key") -> list[str]:
    return [form.data[f"{name}-{n}-{field}"] for n in range(int(form.data[f"{name}-count"]))]


@pytest.mark.parametrize(
    ("go", "expected"),
    [
        ("add:parameters", ["region", "tier", ""]),
        ("remove:parameters:0", ["tier"]),
        ("up:parameters:1", ["tier", "region"]),
        ("down:parameters:0", ["tier", "region"]),
        ("up:parameters:0", ["region", "tier"]),
        ("down:parameters:1", ["region", "tier"]),
        ("remove:parameters:9", ["region", "tier"]),
    ],
)
def test_rows_come_go_and_move(as_alice: Client, wizard: str, go: str, expected: list[str]) -> None:
    form = press(as_alice, wizard, go, {"parameters-1-options": "free\npaid"})
    assert keys(form) == expected
    assert form.data["name"] == "Northwind ID"
    assert form.data["client_id"] == "app-1"
    if "tier" in expected:
        assert form.data[f"parameters-{expected.index('tier')}-options"] == "free\npaid"


@pytest.mark.parametrize("go", ["add:nonsense", "up:parameters", "remove:parameters:x", "fly:parameters:1"])
def test_a_change_of_no_list_is_no_change(as_alice: Client, wizard: str, go: str) -> None:
    answer = as_alice.post(wizard, {**STEP_2, **PARAMETERS, "go": go})
    assert keys(Form.of(answer.content.decode())) == ["region", "tier"]


def test_the_new_row_takes_the_focus_and_is_announced(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, {**STEP_2, **PARAMETERS, "go": "add:parameters"}).content.decode()
    assert page.count("autofocus") == 1
    assert re.search(r'<input[^>]*name="parameters-2-label"[^>]*autofocus', page)
    assert "Parameter added." in page
    part = as_alice.post(wizard, {**STEP_2, **PARAMETERS, "go": "add:parameters"}, headers={"HX-Request": "true"})
    assert "data-focus" in part.content.decode()
    assert "autofocus" not in part.content.decode()


def test_a_blank_row_is_none(as_alice: Client, wizard: str) -> None:
    blank = rows("parameters", {"label": "", "key": "", "type": "text"}, {"label": "Region", "key": "region"})
    assert as_alice.post(wizard, {**STEP_3, **blank}).status_code == 302
    assert [p["key"] for p in CustomProvider.objects.get().versions.get().definition["parameters"]] == ["region"]


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (rows("parameters", {"label": "A", "key": "a b"}), "parameters-0-key", "Name the key"),
        (rows("parameters", {"label": "A", "key": "a"}, {"label": "B", "key": "a"}), "parameters-0-key", "used twice"),
        (
            rows("parameters", {"label": "A", "key": "a", "type": "dropdown"}),
            "parameters-0-options",
            "options of its dropdown",
        ),
        (rows("parameters", {"label": "A", "key": "a", "pattern": "(a+)+"}), "parameters-0-pattern", "repetition"),
        (rows("parameters", {"label": "", "key": "a"}), "parameters-0-label", "Enter the label."),
        (rows("parameters", {"label": "A", "key": "client_id"}), "parameters-0-key", "Asked for each connection"),
        (
            rows("config_values", {"label": "A", "key": "a", "visible": "on"}),
            "config_values-0-helper",
            "either a value or a helper",
        ),
        (
            rows("config_values", {"label": "A", "key": "a", "helper": "lower_case_host"}),
            "config_values-0-helper",
            "reads the parameter",
        ),
        (
            rows("config_values", {"label": "A", "key": "a", "helper": "nonce", "argument": "b"}),
            "config_values-0-argument",
            "reads no parameter",
        ),
        (rows("scopes", {"name": "two words"}), "scopes-0-name", "is not a scope"),
        (rows("allowed_scope_patterns", {"pattern": "("}), "allowed_scope_patterns-0-pattern", "regular expression"),
    ],
)
def test_an_error_stands_beside_its_field_of_its_row(
    as_alice: Client, wizard: str, data: dict[str, str], place: str, words: str
) -> None:
    page = as_alice.post(wizard, {**STEP_3, **data})
    assert page.status_code == 422
    text = page.content.decode()
    error = text[text.index(f'id="id_{place}_error"') :]
    assert words in error[: error.index("form-hint") if "form-hint" in error else None]
    assert not CustomProvider.objects.exists()


def test_a_placeholder_of_the_first_step_becomes_a_parameter_of_the_second(as_alice: Client, wizard: str) -> None:
    first = {**STEP_2, "step": "1", "go": "next", "token_endpoint": "https://{{api_region}}.id.northwind.example/token"}
    page = as_alice.post(wizard, first)
    assert page.status_code == 200
    form = Form.of(page.content.decode())
    assert (form.data["parameters-0-key"], form.data["parameters-0-label"]) == ("api_region", "Api region")
    # Later it is judged as the API judges it.
    assert as_alice.post(wizard, {**first, "step": "3", "go": "create", **SCOPES}).status_code == 422


def test_one_field_of_a_row_is_checked_alone(as_alice: Client, wizard: str) -> None:
    data = rows("parameters", {"label": "A", "key": "a b"})
    answer = as_alice.post(wizard, {**STEP_2, **data, "go": "check", "field": "parameters-0-key"})
    text = answer.content.decode()
    assert "<html" not in text
    assert 'id="id_parameters-0-key_error"' in text
    assert "parameters-0-label" not in text


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRET_VALUE = rows(
    "config_values", {"label": "API key", "key": "api_key", "value": SECRET, "type": "password", "visible": "on"}
)


def test_a_secret_config_value_travels_sealed_from_step_to_step(as_alice: Client, wizard: str) -> None:
    page = as_alice.post(wizard, {**STEP_2, **SECRET_VALUE, "token_params": "key={{api_key}}"})
    assert SECRET not in page.content.decode()
    third = {**Form.of(page.content.decode()).data, **SCOPES, "go": "create"}
    assert as_alice.post(wizard, third).status_code == 302
    spec = find_newest_spec(Workspace.objects.get(slug="acme"), "custom_northwind_id")
    assert spec.config_values[0].value == SECRET
    assert SECRET not in str(CustomProvider.objects.get().versions.get().definition)


def test_a_stored_secret_is_kept_blank_and_never_shown(as_alice: Client, wizard: str, workspace: Workspace) -> None:
    as_alice.post(wizard, {**STEP_3, **SECRET_VALUE, "token_params": "key={{api_key}}"})
    address = url("custom_edit", provider_id="custom_northwind_id")
    page = as_alice.get(address).content.decode()
    assert SECRET not in page
    assert "Leave it blank to keep it" in page
    assert as_alice.post(address, {**Form.of(page).data, "name": "Renamed", "go": "publish"}).status_code == 302
    spec = find_newest_spec(workspace, "custom_northwind_id")
    assert (spec.name, spec.version, spec.config_values[0].value) == ("Renamed", 2, SECRET)
    assert ProviderVersionSecrets.objects.count() == 2


# --- credentials asked per connection ---------------------------------------------------------------------------------


def test_credentials_asked_per_connection_are_locked_parameters(as_alice: Client, wizard: str) -> None:
    own = {"credentials": "connection", "client_id_label": "App key", "client_secret_label": "App secret"}
    preview = as_alice.post(wizard, {**STEP_3, **own, **PARAMETERS, "go": "preview"}).content.decode()
    assert "App secret: asked for each connection, cannot be left out" in preview
    assert "<i>client_id</i>=‹client id›" in preview
    done = as_alice.post(wizard, {**STEP_3, **own, **rows("parameters", {"label": "Region", "key": "region"})})
    assert done["Location"].endswith("/configuration/")
    parameters = CustomProvider.objects.get().versions.get().definition["parameters"]
    assert [(p["key"], p["label"], p["type"]) for p in parameters] == [
        ("client_id", "App key", "text"),
        ("client_secret", "App secret", "password"),
        ("region", "Region", "text"),
    ]
    # What was typed as the integration's client before is not saved.
    assert not Workspace.objects.get(slug="acme").integrations.exists()
