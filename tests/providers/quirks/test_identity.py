"""Whose account it is, asked in other ways and answered in other shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.providers.quirks.conftest import Flow, answer
from tests.servers.scripted import ScriptedServer


@pytest.mark.parametrize("body", ['{"query": "{ me { id email } }"}', "null"])
def test_userinfo_is_asked_by_post_with_a_body(
    own: Callable[..., Flow], provider_server: ScriptedServer, body: str
) -> None:
    flow = own(
        userinfo_endpoint=f"{provider_server.url}/graphql",
        userinfo_method="POST",
        userinfo_body=body,
        account_fields=["data.me.email"],
        account_id_field="data.me.id",
    )
    flow.server.answer("/token", json=answer("a-1"))
    flow.server.answer("/graphql", json={"data": {"me": {"id": 7, "email": "ada@example.com"}}})
    assert flow.connect().account == {"id": "7", "label": "ada@example.com"}
    request = flow.last("/graphql")
    assert (request.method, request.body.decode()) == ("POST", body)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer a-1"


def test_headers_of_userinfo_name_the_client_and_parameters(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    flow = own(
        userinfo_endpoint=f"{provider_server.url}/me",
        userinfo_headers={"Client-Id": "{{client_id}}", "X-Region": "r-{{region}}"},
        parameters=[{"key": "region", "label": "Region"}],
    )
    flow.server.answer("/token", json=answer())
    flow.server.answer("/me", json={"sub": "7", "name": "Ada"})
    flow.connect(parameters={"region": "eu"})
    request = flow.last("/me")
    assert (request.headers["client-id"], request.headers["x-region"]) == ("client-1", "r-eu")


def test_a_number_in_a_path_leads_into_a_list(own: Callable[..., Flow], provider_server: ScriptedServer) -> None:
    flow = own(
        userinfo_endpoint=f"{provider_server.url}/users",
        account_fields=["data.0.login"],
        account_id_field="data.0.id",
    )
    flow.server.answer("/token", json=answer())
    flow.server.answer("/users", json={"data": [{"id": "141", "login": "ada"}, {"id": "142", "login": "bob"}]})
    assert flow.connect().account == {"id": "141", "label": "ada"}


def test_where_userinfo_does_not_tell_the_token_answer_does(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    flow = own(
        userinfo_endpoint=f"{provider_server.url}/me", account_id_field="person.id", account_fields=["person.name"]
    )
    flow.server.answer("/token", json=answer(person={"id": "9", "name": "Ada"}))
    flow.server.answer("/me", status=403, json={"error": "insufficient_scope"})
    assert flow.connect().account == {"id": "9", "label": "Ada"}


def test_a_token_answer_without_the_declared_id_names_nobody(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    """Its other ids are of other things: they would look like another account."""
    flow = own(userinfo_endpoint=f"{provider_server.url}/me")
    flow.server.answer("/token", json=answer(id="https://id.example.com/1", name="Ada"))
    flow.server.answer("/me", status=503)
    assert flow.connect().account == {}
