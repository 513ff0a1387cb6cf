"""The reference page's content, read from the OpenAPI document alone: what is not in there is not on the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

MAX_DEPTH = 3  # how far into nested objects the tables go
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One value of a body or an answer: `depth` levels down."""

    name: str
    type: str
    required: bool
    description: str
    depth: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that a call answers with; `lines` say when."""

    status: str
    lines: tuple[str, ...]
    schema: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: tuple[FieldRow, ...]
    body: tuple[FieldRow, ...]
    answer: tuple[FieldRow, ...]
    answers: tuple[Answer, ...]
    curl: str

    @property
    def curl_id(self) -> str:
        """The id of the example, for its copy button."""
        return f"{self.id}-curl"

    @property
    def tone(self) -> str:
        """The method's colour: reading is calm, deleting is not."""
        return {"GET": "good", "DELETE": "bad"}.get(self.method, "next")


@dataclass(frozen=True, slots=True)
class Group:
    """Calls about one resource."""

    id: str
    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """One stable code."""

    code: str
    status: int
    title: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole page."""

    title: str
    version: str
    paragraphs: tuple[str, ...]
    base_url: str
    groups: tuple[Group, ...]
    problems: tuple[ProblemRow, ...]

    @property
    def first_call(self) -> str:
        """What a newcomer types first."""
        return (
            "export GRANTRY_API_KEY=gr_…\n"
            f'curl "{self.base_url}/integrations" -H "Authorization: Bearer $GRANTRY_API_KEY"'
        )


def reference_of(document: Mapping[str, Any]) -> Reference:
    """Read the page's content from an OpenAPI document."""
    base_url = document["servers"][0]["url"]
    calls: dict[str, list[Call]] = {}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                calls.setdefault(operation["tags"][0], []).append(_call(document, base_url, method, path, operation))
    return Reference(
        title=document["info"]["title"],
        version=document["info"]["version"],
        paragraphs=tuple(document["info"]["description"].split("\n\n")),
        base_url=base_url,
        groups=tuple(Group(name.lower(), name, tuple(found)) for name, found in calls.items()),
        problems=tuple(ProblemRow(code, **kind) for code, kind in document["x-problem-codes"].items()),
    )


def _call(document: Mapping[str, Any], base_url: str, method: str, path: str, operation: Mapping[str, Any]) -> Call:
    body_schema = _content_schema(operation.get("requestBody", {}))
    success = next(status for status in sorted(operation["responses"]) if status.startswith("2"))
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        scope=operation.get("x-required-scope", ""),
        parameters=tuple(_parameter(document, parameter) for parameter in operation["parameters"]),
        body=tuple(_fields(document, body_schema)),
        # In an answer every field is there; the word would say nothing.
        answer=tuple(
            replace(row, required=False) for row in _fields(document, _content_schema(operation["responses"][success]))
        ),
        answers=tuple(_answer(document, status, answer) for status, answer in sorted(operation["responses"].items())),
        curl=_curl(document, base_url, method, path, body_schema),
    )


def _answer(document: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> Answer:
    schema = _resolve(document, _content_schema(answer))
    return Answer(status, tuple(answer["description"].split("\n")), str(schema.get("title", "")))


def _parameter(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> FieldRow:
    schema = parameter["schema"]
    where = "path" if parameter["in"] == "path" else "query"
    return FieldRow(
        parameter["name"],
        f"{_type(document, schema)}, in the {where}",
        parameter["required"],
        parameter.get("description", ""),
        0,
    )


def _content_schema(part: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = next(iter(part.get("content", {}).values()), {})
    schema: Mapping[str, Any] = content.get("schema", {})
    return schema


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and pass by the null of an optional value."""
    if "$ref" in schema:
        found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**_resolve(document, choices[0]), **rest}
    return schema


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Iterator[FieldRow]:
    schema = _resolve(document, schema)
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        yield FieldRow(name, _type(document, part), name in required, part.get("description", ""), depth)
        if depth + 1 < MAX_DEPTH:
            yield from _fields(document, _inner(document, part), depth + 1)


def _inner(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    resolved = _resolve(document, schema)
    return _resolve(document, resolved["items"]) if resolved.get("type") == "array" else resolved


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    nullable = any(choice.get("type") == "null" for choice in schema.get("anyOf", ()))
    words = _type_words(document, _resolve(document, schema))
    return f"{words} or null" if nullable and not words.endswith(" or null") else words


def _type_words(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type_words(document, _resolve(document, one)) for one in choices))
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type_words(document, _resolve(document, schema['items']))}"
    return str({"date-time": "time", "uuid": "UUID"}.get(schema.get("format", ""), schema.get("type", "any value")))


def _curl(document: Mapping[str, Any], base_url: str, method: str, path: str, body: Mapping[str, Any]) -> str:
    examples = {"{provider_id}": "github", "{grant_type}": "authorization_code", "{connection_id}": "$CONNECTION_ID"}
    for placeholder, value in examples.items():
        path = path.replace(placeholder, value)
    method_words = "" if method == "get" else f"-X {method.upper()} "
    lines = [f'curl {method_words}"{base_url}{path}"', '  -H "Authorization: Bearer $GRANTRY_API_KEY"']
    sent = _resolve(document, body).get("examples", [])
    if sent:
        lines += [
            '  -H "Content-Type: application/json"',
            f"  -d {shlex.quote(json.dumps(sent[0], ensure_ascii=False))}",
        ]
    return " \\\n".join(lines)
