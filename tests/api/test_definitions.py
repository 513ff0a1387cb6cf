"""Export, import and inspection through the API."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import CustomProvider
from tests.api.client import ApiClient
from workspaces.models import AuditEvent

YAML = """\
grantry_provider: 1
provider_id: custom_billing
name: Billing
grant_types: [client_credentials]
token_endpoint: https://id.example.com/token
scopes:
- name: invoices.read
  required: true
"""
SECRET = "canary-config-value-0123456789"
TOKEN = "canary-access-token-0123456789-wxyz"


def send(api: ApiClient, text: str, path: str = "/providers/import", **query: Any) -> Any:
    return api.call("POST", path, raw=text.encode(), media_type="application/yaml", **query)


def test_a_file_makes_a_provider_and_comes_back_as_it_was(api: ApiClient) -> None:
    made = send(api, YAML)
    assert made.status_code == 201
    assert (made.json()["provider_id"], made.json()["version"]) == ("custom_billing", 1)
    exported = api.get("/providers/custom_billing/export")
    assert exported["Content-Type"].startswith("application/yaml")
    text = exported.content.decode()
    assert text.startswith("grantry_provider: 1\nprovider_id: custom_billing\n")
    again = send(api, text)
    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert {**again.json(), "version": 1} == made.json()


def test_json_carries_the_same_file_and_may_ask_for_a_draft(api: ApiClient) -> None:
    send(api, YAML)
    changed = api.post("/providers/import", {"yaml": YAML.replace("name: Billing", "name: Next"), "draft": True})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["draft"]) == ("Next", True)
    assert send(api, YAML.replace("name: Billing", "name: Later"), draft="true").json()["draft"] is True
    assert CustomProvider.objects.get().versions.filter(draft=False).count() == 1


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("name: x", "yaml", "grantry_provider: 1"),
        ("grantry_provider: 1\nname: [", "yaml", "Line"),
        (
            "grantry_provider: 1\nname: x\ngrant_types: [client_credentials]",
            "token_endpoint",
            "Enter the token endpoint.",
        ),
        (YAML + "nonsense: 1\n", "nonsense", "not a field"),
        (YAML.replace("https://id", "http://id"), "token_endpoint", "http://"),
    ],
)
def test_what_cannot_be_imported_names_line_or_field_with_the_words_of_the_page(
    text: str, field: str, words: str, api: ApiClient
) -> None:
    for response in (send(api, text), api.post("/providers/import", {"yaml": text})):
        assert response.status_code == 422
        errors = {error["field"]: error["message"] for error in response.json()["errors"]}
        assert words in errors[field]
    assert not CustomProvider.objects.exists()


@pytest.mark.parametrize("body", [{}, {"yaml": 1}, {"yaml": YAML, "more": 1}, {"yaml": YAML, "draft": "maybe"}])
def test_a_body_of_another_shape_is_422(body: Any, api: ApiClient) -> None:
    assert api.post("/providers/import", body).status_code == 422


def test_no_export_has_a_secret(api: ApiClient) -> None:
    value = {"key": "api_key", "label": "API key", "value": SECRET, "type": "password"}
    made = api.post(
        "/providers",
        {
            "name": "Billing",
            "grant_types": ["client_credentials"],
            "token_endpoint": "https://id.example.com/token",
            "token_params": {"key": "{{api_key}}"},
            "config_values": [value],
        },
    )
    assert made.status_code == 201
    assert SECRET not in api.get("/providers/custom_billing/export").content.decode()
    inspected = api.post("/providers/custom_billing/inspect", {"grant_type": "client_credentials"})
    assert SECRET not in inspected.content.decode()
    assert {"name": "key", "value": "••••"} in inspected.json()["previews"][0]["requests"][0]["fields"]


def test_built_in_providers_are_exported_as_what_a_copy_begins_with(api: ApiClient) -> None:
    text = api.get("/providers/github/export").content.decode()
    assert "provider_id" not in text
    copy = send(api, text)
    assert (copy.status_code, copy.json()["provider_id"]) == (201, "custom_github")


def test_an_answer_is_inspected_and_leaves_no_trace(api: ApiClient) -> None:
    events = AuditEvent.objects.count()
    body = f'{{"access_token": "{TOKEN}", "expires_in": 60, "scope": "repo"}}'
    response = api.post("/providers/github/inspect", {"body": body})
    assert response.status_code == 200
    assert TOKEN not in response.content.decode()
    reading = response.json()["reading"]
    assert (reading["ok"], reading["access_token"], reading["expires_in"]) == (True, "…wxyz", 60)
    titles = [sent["title"] for sent in response.json()["previews"][0]["requests"]]
    assert titles[:3] == ["Send the browser to consent", "Exchange the code", "Renew the token"]
    assert AuditEvent.objects.count() == events


def test_a_refusal_has_its_class_and_policy(api: ApiClient) -> None:
    body = {"grant_type": "refresh_token", "status": 400, "body": '{"error": "invalid_grant"}'}
    reading = api.post("/providers/gitlab/inspect", body).json()["reading"]
    assert (reading["ok"], reading["refusal"]["error_class"]) == (False, "dead_grant")
    assert reading["outcome"]


def test_without_an_answer_only_the_requests_are_shown(api: ApiClient) -> None:
    assert api.post("/providers/github/inspect", {}).json()["reading"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"grant_type": "client_credentials"},
        {"grant_type": "password"},
        {"status": 42},
        {"body": 1},
        {"body": "x" * 100_001},
    ],
)
def test_an_inspection_of_another_shape_is_422(body: Any, api: ApiClient) -> None:
    assert api.post("/providers/github/inspect", body).status_code == 422
