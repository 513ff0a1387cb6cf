"""Bodies and queries that cannot be used: which field, and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from integrations.api.bodies import MAX_BODY_BYTES
from integrations.models import Connection, Integration
from tests.api.client import ApiClient

GITHUB = "/integrations/github/authorization_code"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"client_id=x",
        b'{"client_id": NaN}',
        b'{"client_id": "a", "client_id": "b"}',  # which one would count?
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"client_id": ' + b"1" * 5000 + b"}",
    ],
)
def test_what_is_not_json_is_400(raw: bytes, api: ApiClient) -> None:
    response = api.call("PUT", GITHUB, raw=raw)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_json"


def test_a_syntax_error_says_where(api: ApiClient) -> None:
    response = api.call("PUT", GITHUB, raw=b'{"client_id": "x",\n  client_secret: 1}')
    assert "line 2, column 3" in response.json()["detail"]


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_no_database_stores_is_422(text: str, api: ApiClient) -> None:
    response = api.put(GITHUB, {"client_id": text})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "client_id"


def test_a_body_over_the_cap_is_413_before_it_is_read(api: ApiClient) -> None:
    response = api.call("PUT", GITHUB, raw=b" " * (MAX_BODY_BYTES + 1))
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_a_chunked_body_is_411_instead_of_silently_empty(api: ApiClient) -> None:
    headers = {"Authorization": f"Bearer {api.key}", "Transfer-Encoding": "chunked"}
    response = api.http.generic("PUT", f"/api/v1{GITHUB}", b"", content_type="application/json", headers=headers)
    assert response.status_code == 411
    assert response.json()["code"] == "length_required"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"client_idd": "x"}, "client_idd", "no such field"),
        ({"client_id": 5}, "client_id", "Send text"),
        ({"client_id": "x" * 600}, "client_id", "at most 512"),
        ({"client_id": "x", "additional_scopes": "repo"}, "additional_scopes", "Send a list"),
        ({"client_id": "x", "additional_scopes": ["repo", 5]}, "additional_scopes.1", "Send text"),
        ({"client_id": "x", "token_endpoint_auth_method": "basic"}, "token_endpoint_auth_method", "client_secret_"),
        ([], "", "Send an object"),
        ({}, "client_id", "client ID"),
    ],
)
def test_each_unusable_value_is_named(body: Any, field: str, words: str, api: ApiClient) -> None:
    response = api.put(GITHUB, body)
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == [field]
    assert words in problem["errors"][0]["message"]


def test_a_missing_body_is_422(api: ApiClient) -> None:
    response = api.call("PUT", GITHUB)
    assert response.status_code == 422
    assert response.json()["errors"] == [{"in": "body", "field": "", "message": "This field is required."}]


def test_an_error_never_repeats_the_value(api: ApiClient) -> None:
    response = api.put(GITHUB, {"client_id": "x", "client_secret": ["canary-4711"]})
    assert response.status_code == 422
    assert "canary-4711" not in response.content.decode()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "a\x00"}, "cursor"),
    ],
)
def test_query_values_are_checked(query: dict[str, str], field: str, api: ApiClient) -> None:
    response = api.get("/integrations", **query)
    assert response.status_code == 422
    assert response.json()["errors"][0] | {"message": ""} == {"in": "query", "field": field, "message": ""}


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "WzFd", "W251bGxd", "é", "=" * 600, "WyJhIiwiYlx1MDAwMCJd"])
@pytest.mark.parametrize("path", ["/integrations", "/connections", "/audit-events", "/providers"])
def test_a_cursor_that_is_not_ours_is_422(path: str, cursor: str, api: ApiClient) -> None:
    if path == "/audit-events" and cursor == "WzFd":
        return  # [1] is a position in this list
    response = api.get(path, cursor=cursor)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_cursor"


def test_a_failure_of_ours_is_a_problem_too(
    api: ApiClient, github: Integration, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("integrations.api.tokens.usable_token", explode)
    api.http.raise_request_exception = False
    response = api.get(f"{GITHUB}/token")
    assert response.status_code == 500
    problem = json.loads(response.content)
    assert problem["code"] == "internal_error"
    assert problem["request_id"] == response["X-Request-ID"]
    assert "wires" not in response.content.decode()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_does_not_answer_is_503(
    error: type[Exception], api: ApiClient, github: Integration, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program tries again later by itself; 500 would tell it that this makes no sense."""

    def lose_connection(*args: Any, **kwargs: Any) -> None:
        raise error("server closed the connection unexpectedly at 10.0.0.7")

    monkeypatch.setattr("integrations.api.tokens.usable_token", lose_connection)
    response = api.get(f"{GITHUB}/token")
    assert response.status_code == 503
    assert response.json()["code"] == "temporarily_unavailable"
    assert int(response["Retry-After"]) > 0
    assert "10.0.0.7" not in response.content.decode()
