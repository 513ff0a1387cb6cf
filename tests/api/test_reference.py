"""The OpenAPI document and the reference page."""

from __future__ import annotations

import re
import shlex
from typing import Any

from django.test import Client
from jsonschema import Draft202012Validator

from tests.api.client import document
from workspaces.roles import KeyScope

REFERENCE = "/api/v1/docs"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(m, p, op) for p, ops in document()["paths"].items() for m, op in ops.items()]


def test_the_document_is_served_and_names_its_server(client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert body["openapi"] == "3.1.0"
    assert body["servers"] == [{"url": "http://localhost:8000/api/v1"}]


def test_every_call_is_described_with_its_scope_and_refusals() -> None:
    for method, path, operation in operations():
        name = f"{method} {path}"
        assert operation["summary"], name
        assert len(operation["description"]) > 10, name
        [[scope]] = [next(iter(requirement.values())) for requirement in operation["security"]]
        assert KeyScope(scope)
        assert operation["x-required-scope"] == scope, name
        assert {"401", "403", "429"} <= set(operation["responses"]), name
        assert ("404" in operation["responses"]) == ("{" in path), name
        assert all("in" in p and p.get("description") for p in operation["parameters"]), name


def test_every_schema_is_valid_and_every_example_conforms() -> None:
    schemas = document()["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        for example in schema.get("examples", []):
            Draft202012Validator({**schema, "components": {"schemas": schemas}}).validate(example)
        assert "ninja" not in name.lower()


def test_references_lead_somewhere() -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for child in node.values() for ref in references(child)]
        return [ref for child in node for ref in references(child)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in document()["components"]["schemas"]}
    assert set(references(document())) <= known


def test_the_page_shows_every_call_and_every_problem_code(client: Client) -> None:
    page = client.get(REFERENCE)
    assert page.status_code == 200
    html = page.content.decode()
    for _, path, operation in operations():
        assert f'id="{operation["operationId"]}"' in html
        assert path in html
    for code in document()["x-problem-codes"]:
        assert f'id="problem-{code}"' in html


def test_the_page_has_no_foreign_host_and_nothing_inline(client: Client) -> None:
    html = client.get(REFERENCE).content.decode()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)


def test_ids_on_the_page_are_unique(client: Client) -> None:
    ids = re.findall(r'\sid="([^"]+)"', client.get(REFERENCE).content.decode())
    assert len(ids) == len(set(ids))


def test_curl_examples_are_commands_that_a_shell_reads(client: Client) -> None:
    from integrations.api.reference import reference_of

    for group in reference_of(document()).groups:
        for call in group.calls:
            words = shlex.split(call.curl.replace("\\\n", " "))
            assert words[0] == "curl"
            assert any(word.startswith("http://localhost:8000/api/v1/") for word in words), call.curl
            assert (call.method == "GET") == ("-X" not in words)
