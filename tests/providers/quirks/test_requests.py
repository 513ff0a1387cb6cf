"""Requests of another shape: names, bodies, endpoints, headers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.providers.quirks.conftest import NOW, Flow, answer
from tests.servers.scripted import ScriptedServer

LATER = NOW + timedelta(hours=2)
JSON = "application/json"


def test_token_requests_go_out_as_json(own: Callable[..., Flow]) -> None:
    flow = own(token_request_format="json")
    flow.server.answer("/token", json=answer("a-1", "r-1"))
    flow.refresh(flow.connect(), now=LATER)
    exchange, refresh = flow.server.to("/token")
    assert exchange.headers["content-type"] == refresh.headers["content-type"] == JSON
    assert (exchange.json["grant_type"], exchange.json["code"]) == ("authorization_code", "the-code")
    assert (refresh.json["grant_type"], refresh.json["refresh_token"]) == ("refresh_token", "r-1")
    assert exchange.json["client_secret"] == refresh.json["client_secret"] == "client-secret-value"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_revocations_go_out_as_json_with_either_client_authentication(own: Callable[..., Flow], method: str) -> None:
    flow = own(revocation_request_format="json", token_endpoint_auth_method=method)
    flow.server.answer("/token", json=answer("a-1", "r-1"))
    flow.server.answer("/revoke")
    assert flow.disconnect(flow.connect()).result == "revoked"
    sent = [request.json for request in flow.server.to("/revoke")]
    assert [body["token"] for body in sent] == ["r-1", "a-1"]
    basic = "Basic " + b64encode(b"client-1:client-secret-value").decode()
    for request in flow.server.to("/revoke"):
        assert (request.headers.get("authorization") == basic) == (method == "client_secret_basic")
        assert ("client_secret" in request.json) == (method == "client_secret_post")


def test_a_revocation_is_form_encoded_otherwise(own: Callable[..., Flow]) -> None:
    flow = own()
    flow.server.answer("/token", json=answer("a-1", None))
    flow.server.answer("/revoke")
    flow.disconnect(flow.connect())
    assert flow.last("/revoke").form == {
        "token": "a-1",
        "token_type_hint": "access_token",
        "client_id": "client-1",
        "client_secret": "client-secret-value",
    }


def test_a_revocation_refused_with_the_providers_own_code_has_failed(own: Callable[..., Flow]) -> None:
    flow = own(token_response={"error_field": "errcode", "error_success": ["0"]})
    flow.server.answer("/token", json=answer("a-1", None, errcode=0))
    flow.server.answer("/revoke", json={"errcode": 40001})
    assert flow.disconnect(flow.connect()).result == "failed"


def test_scopes_have_a_parameter_of_their_own(own: Callable[..., Flow]) -> None:
    query = own(scope_parameter="user_scope", scope_separator=",").start()
    assert query["user_scope"] == ["read,write"]
    assert "scope" not in query


def test_client_id_and_secret_have_other_names_on_the_wire(own: Callable[..., Flow]) -> None:
    flow = own(client_id_parameter="client_key", client_secret_parameter="client_token")
    flow.server.answer("/token", json=answer())
    flow.server.answer("/revoke")
    query = flow.start()
    assert (query["client_key"], "client_id" in query) == (["client-1"], False)
    connection = flow.connect()
    flow.refresh(connection, now=LATER)
    flow.disconnect(connection)
    requests = [*flow.server.to("/token"), *flow.server.to("/revoke")]
    assert len(requests) == 4
    for request in requests:
        assert (request.form["client_key"], request.form["client_token"]) == ("client-1", "client-secret-value")
        assert not {"client_id", "client_secret"} & request.form.keys()


def test_response_type_is_left_out(own: Callable[..., Flow]) -> None:
    assert "response_type" not in own(response_type="").start()


def test_response_type_is_code_otherwise(own: Callable[..., Flow]) -> None:
    assert own().start()["response_type"] == ["code"]


def test_refresh_tokens_go_to_an_endpoint_of_their_own_with_parameters_of_their_own(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    flow = own(
        refresh_endpoint=f"{provider_server.url}/renew",
        token_params={"audience": "api"},
        refresh_params={"rotate": "yes"},
    )
    flow.server.answer("/token", json=answer("a-1", "r-1"))
    flow.server.answer("/renew", json=answer("a-2", None))
    connection = flow.connect()
    assert flow.refresh(connection, now=LATER).refreshed
    [exchange], [refresh] = flow.server.to("/token"), flow.server.to("/renew")
    assert (exchange.form["audience"], "rotate" in exchange.form) == ("api", False)
    assert (refresh.form["audience"], refresh.form["rotate"], refresh.form["refresh_token"]) == ("api", "yes", "r-1")
    kept = flow.again(connection.pk).token.open()
    assert (kept.access_token, kept.refresh_token) == ("a-2", "r-1")


def test_headers_go_with_every_token_request_and_may_name_the_client(own: Callable[..., Flow]) -> None:
    flow = own(token_headers={"Api-Version": "2030-01-01", "X-App": "{{client_id}}"})
    flow.server.answer("/token", json=answer())
    flow.refresh(flow.connect(), now=LATER)
    sent = [(r.headers["api-version"], r.headers["x-app"]) for r in flow.server.to("/token")]
    assert sent == [("2030-01-01", "client-1")] * 2
