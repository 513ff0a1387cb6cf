"""Token answers of another shape, from connect to refresh."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from integrations.models import Connection, ConnectionState
from tests.providers.quirks.conftest import NOW, Flow, answer
from tests.servers.scripted import ScriptedServer

LATER = NOW + timedelta(hours=2)


def tokens_of(connection: Connection) -> tuple[str, str | None]:
    opened = connection.token.open()
    return opened.access_token, opened.refresh_token


def test_a_token_inside_another_object_is_found_at_connect_and_at_refresh(own: Callable[..., Flow]) -> None:
    flow = own(token_response={"token_path": "data.person"})
    flow.server.answer("/token", json={"data": {"person": answer("a-1", "r-1")}, "access_token": "the bot's"})
    flow.server.answer("/token", json={"data": {"person": answer("a-2", "r-2")}, "access_token": "the bot's"})
    connection = flow.connect()
    assert tokens_of(connection) == ("a-1", "r-1")
    assert flow.refresh(connection, now=LATER).refreshed
    assert tokens_of(flow.again(connection.pk)) == ("a-2", "r-2")


@pytest.mark.parametrize(
    "outer",
    [
        {"person": {"id": "U1"}},  # named, without a token of its own
        {"person": None},
        {},
    ],
)
def test_where_the_inner_object_has_no_token_the_outer_one_counts(own: Callable[..., Flow], outer: Any) -> None:
    flow = own(token_response={"token_path": "person"})
    flow.server.answer("/token", json={**answer("the-bots", None), **outer})
    assert tokens_of(flow.connect()) == ("the-bots", None)


def test_no_token_in_either_object_connects_nothing(own: Callable[..., Flow]) -> None:
    flow = own(token_response={"token_path": "person"})
    flow.server.answer("/token", json={"person": {"id": "U1"}})
    flow.start()
    assert flow.come_back().code == "no_access_token"
    assert not Connection.objects.exists()


def test_a_form_encoded_answer_is_read(own: Callable[..., Flow]) -> None:
    flow = own()
    flow.server.answer("/token", body=urlencode(answer("a-1", "r-1", scope="read,write")))
    connection = flow.connect()
    assert tokens_of(connection) == ("a-1", "r-1")
    assert connection.granted_scopes == ["read", "write"]
    assert connection.token.expires_at == NOW + timedelta(hours=1)


def test_fields_may_have_other_names(own: Callable[..., Flow]) -> None:
    flow = own(
        token_response={
            "token_path": "result",
            "access_token_field": "accessToken",
            "refresh_token_field": "renewal.token",
            "expires_in_field": "ttl",
            "scope_field": "permissions",
        }
    )
    body = {"result": {"accessToken": "a-1", "renewal": {"token": "r-1"}, "ttl": 60, "permissions": ["read"]}}
    flow.server.answer("/token", json=body)
    connection = flow.connect()
    assert tokens_of(connection) == ("a-1", "r-1")
    assert connection.token.expires_at == NOW + timedelta(seconds=60)
    assert connection.granted_scopes == ["read"]


@pytest.mark.parametrize(
    ("rules", "said", "lifetime"),
    [
        ({"expires_in_unit": "milliseconds"}, 5_400_000, timedelta(minutes=90)),
        ({"expires_in_unit": "minutes"}, 90, timedelta(minutes=90)),
        ({}, 0, timedelta()),  # without the knob, zero is zero
        ({"zero_means_never": True}, 0, None),
        ({"zero_means_never": True}, 5400, timedelta(minutes=90)),
    ],
)
def test_a_lifetime_is_read_as_the_definition_says(
    own: Callable[..., Flow], rules: Any, said: int, lifetime: timedelta | None
) -> None:
    flow = own(token_response=rules)
    flow.server.answer("/token", json=answer(expires_in=said))
    expires_at = flow.connect().token.expires_at
    assert expires_at == (None if lifetime is None else NOW + lifetime)


ERRORS_IN_200: list[tuple[Any, Any, str]] = [
    ({}, {"error": "invalid_client"}, "invalid_client"),
    ({}, {"ok": False, "error": "invalid_client_id"}, "invalid_client_id"),
    ({}, {"ok": False}, "unspecified"),
    ({"error_field": "errcode", "error_success": ["0"]}, {"errcode": 40029, "errmsg": "no"}, "40029"),
    ({"error_field": "status.code", "error_success": ["ok"]}, {"status": {"code": "denied"}}, "denied"),
]


@pytest.mark.parametrize(("rules", "said", "code"), ERRORS_IN_200)
def test_an_error_with_status_200_is_an_error_even_beside_a_token(
    own: Callable[..., Flow], rules: Any, said: Any, code: str
) -> None:
    flow = own(token_response=rules)
    flow.server.answer("/token", json={**answer(), **said})
    flow.start()
    outcome = flow.come_back()
    assert (outcome.ok, outcome.code) == (False, code)
    assert not Connection.objects.exists()


def test_the_code_that_every_answer_carries_means_success_where_the_definition_says_so(
    own: Callable[..., Flow],
) -> None:
    flow = own(token_response={"error_field": "errcode", "error_success": ["0"]})
    flow.server.answer("/token", json=answer("a-1", "r-1", errcode=0))
    assert tokens_of(flow.connect()) == ("a-1", "r-1")


def test_a_refresh_refused_with_a_code_of_the_providers_own_is_a_dead_grant(own: Callable[..., Flow]) -> None:
    rules = {"error_field": "errcode", "error_success": ["0"], "dead_grant_codes": ["40030"]}
    flow = own(token_response=rules)
    flow.server.answer("/token", json=answer(errcode=0))
    flow.server.answer("/token", json={"errcode": 40030})
    connection = flow.connect()
    assert flow.refresh(connection, now=LATER).code == "40030"
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


def test_what_the_provider_says_about_an_error_is_read_where_the_definition_says(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    flow = own(token_response={"error_field": "err.no", "error_description_field": "err.text"})
    provider_server.answer("/token", status=400, json={"err": {"no": 7, "text": "The code was used before."}})
    flow.start()
    assert flow.come_back().provider_text == "The code was used before."
