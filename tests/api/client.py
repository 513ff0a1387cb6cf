"""A program with a key. Every answer it gets is held against the OpenAPI document."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from django.http import HttpResponse
from django.test import Client
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from integrations.api.api import api
from integrations.api.openapi import openapi_document
from workspaces.api_keys import create_api_key
from workspaces.audit import Actor
from workspaces.models import Workspace
from workspaces.roles import KeyScope

BASE = "/api/v1"
ALL_SCOPES = [scope.value for scope in KeyScope]


def make_key(workspace: Workspace, *scopes: str, **fields: Any) -> str:
    """A real key, made by an operator."""
    new = create_api_key(
        workspace,
        name="test key",
        scopes=scopes or ALL_SCOPES,
        actor=Actor.operator(),
        **{"created_by": None, **fields},
    )
    return new.key


class ApiClient:
    """Calls the API as a program does: without cookies, with CSRF checks on, with its key."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.http = Client(enforce_csrf_checks=True)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        media_type: str = "application/json",
        **query: Any,
    ) -> HttpResponse:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key is not None else {}
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        response = self.http.generic(
            method,
            f"{BASE}{path}",
            data,
            content_type=media_type,
            query_params=query or None,
            headers=headers,
        )
        check_against_document(method, path, response)
        return response

    def get(self, path: str, **query: Any) -> HttpResponse:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any = None, **query: Any) -> HttpResponse:
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: Any) -> HttpResponse:
        return self.call("PUT", path, body)

    def patch(self, path: str, body: Any) -> HttpResponse:
        return self.call("PATCH", path, body)

    def delete(self, path: str, **query: Any) -> HttpResponse:
        return self.call("DELETE", path, **query)


@functools.cache
def document() -> dict[str, Any]:
    return json.loads(json.dumps(openapi_document(api)))


@functools.cache
def _registry() -> Registry:
    return Registry().with_resource("urn:openapi", DRAFT202012.create_resource(document()))


def operation_for(method: str, path: str) -> dict[str, Any] | None:
    """The document's operation for a path, the one with the fewest placeholders first."""
    for template, operations in sorted(document()["paths"].items(), key=lambda item: item[0].count("{")):
        if method.lower() in operations and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            return operations[method.lower()]
    return None


def check_against_document(method: str, path: str, response: HttpResponse) -> None:
    """Status, media type and body are what the document promises."""
    operation = operation_for(method, path)
    if operation is None or response.status_code in (400, 405, 500):
        return
    assert str(response.status_code) in operation["responses"], (method, path, response.status_code, response.content)
    content = operation["responses"][str(response.status_code)].get("content")
    if content is None:
        assert response.content == b""
        return
    media_type = response["Content-Type"].split(";")[0]
    assert media_type in content, (media_type, list(content))
    pointer = f"#/paths/{_escaped(_template(method, path))}/{method.lower()}/responses/{response.status_code}"
    schema = {"$ref": f"urn:openapi{pointer}/content/{_escaped(media_type)}/schema"}
    validator = Draft202012Validator(schema, registry=_registry(), format_checker=FormatChecker())
    validator.validate(json.loads(response.content) if "json" in media_type else response.content.decode())


def _template(method: str, path: str) -> str:
    operation = operation_for(method, path)
    return next(
        template for template, operations in document()["paths"].items() if operations.get(method.lower()) is operation
    )


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
