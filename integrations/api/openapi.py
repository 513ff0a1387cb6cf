"""The OpenAPI 3.1 document: the framework's, plus scopes, problem answers and our server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from integrations.api.authentication import ApiKeyAuth
from integrations.api.problems import PROBLEM_JSON, PROBLEMS
from integrations.api.schemas.base import ProblemShape

SECURITY_SCHEME = "apiKey"
API_PATH = "/api/v1"

DESCRIPTION = """\
Fresh access tokens for what a workspace has connected, and everything that leads there.

A key belongs to one workspace and carries scopes; each call names the one it needs. Errors are
`application/problem+json` (RFC 9457): look at `code`, show `detail`. Lists are
`{"items": […], "next": cursor|null}`. Times are RFC 3339 in UTC."""


def refusals(**meanings: str) -> dict[str, Any]:
    """Say in an endpoint's `openapi_extra` which problem codes it answers with beyond the usual, and when."""
    return {"x-problems": meanings}


class OpenAPIDocument(OpenAPISchema):
    """Names each call's scope and every problem it can answer with."""

    def operation_details(self, operation: Operation) -> dict[str, Any]:
        """One call, with its problem answers."""
        details: dict[str, Any] = super().operation_details(operation)
        own: Mapping[str, str] = details.pop("x-problems", {})
        auth = _key_auth(operation)
        if auth is not None:
            details["x-required-scope"] = auth.scope.value
        details["responses"].update(_problem_answers({**_usual(details, auth), **own}))
        _name_answers(details["responses"])
        return details

    def operation_security(self, operation: Operation) -> list[dict[str, Any]] | None:
        """The scope stands in the requirement, as OpenAPI 3.1 allows for every scheme."""
        auth = _key_auth(operation)
        return [{SECURITY_SCHEME: [auth.scope.value]}] if auth is not None else None

    def get_components(self) -> dict[str, Any]:
        """The schemas, Problem among them, and the security scheme."""
        schema = ProblemShape.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        self.add_schema_definitions(schema.pop("$defs", {}))
        self.add_schema_definitions({"Problem": schema})
        self.securitySchemes[SECURITY_SCHEME] = {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "gr_<prefix>_<secret>",
            "description": "An API key of the workspace, made on its API keys page.",
        }
        components: dict[str, Any] = super().get_components()
        return components


def openapi_document(api: NinjaAPI) -> dict[str, Any]:
    """The whole document as JSON types."""
    document = OpenAPIDocument(api, "")
    document["servers"] = [{"url": settings.PUBLIC_BASE_URL + API_PATH}]
    document["x-problem-codes"] = {
        code: {"status": kind.status, "title": kind.title, "meaning": kind.meaning} for code, kind in PROBLEMS.items()
    }
    return dict(document)


def _key_auth(operation: Operation) -> ApiKeyAuth | None:
    return next((auth for auth in operation.auth_callbacks if isinstance(auth, ApiKeyAuth)), None)


def _usual(details: Mapping[str, Any], auth: ApiKeyAuth | None) -> dict[str, str]:
    """Problem codes that follow from a call's form: key, path, body, query."""
    codes = ["unauthorized", "insufficient_scope", "rate_limited"] if auth is not None else []
    places = {parameter["in"] for parameter in details["parameters"]}
    has_body = "requestBody" in details
    codes += ["not_found"] * ("path" in places)
    codes += ["invalid_request"] * (has_body or "query" in places)
    codes += ["invalid_json", "length_required", "body_too_large"] * has_body
    return {code: PROBLEMS[code].meaning for code in codes}


def _problem_answers(meanings: Mapping[str, str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code, meaning in meanings.items():
        by_status.setdefault(PROBLEMS[code].status, []).append(f"`{code}`: {meaning}")
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": "\n".join(lines), "content": content} | _answer_headers(status)
        for status, lines in sorted(by_status.items())
    }


def _answer_headers(status: int) -> dict[str, Any]:
    if status in (429, 503):
        return {"headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}}
    if status in (401, 403):
        return {"headers": {"WWW-Authenticate": {"description": "RFC 6750 §3.", "schema": {"type": "string"}}}}
    return {}


def _name_answers(answers: dict[Any, Any]) -> None:
    """JSON has text names only; the framework uses numbers for successes."""
    for status in [status for status in answers if isinstance(status, int)]:
        answers[str(status)] = answers.pop(status)
