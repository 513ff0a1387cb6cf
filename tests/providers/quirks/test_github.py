"""GitHub: form-encoded answers, errors with 200, revocation at the API, tokens of GitHub Apps."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from integrations.models import Connection, ConnectionState
from tests.providers.quirks.conftest import NOW, Flow

TOKEN = "/github.com/login/oauth/access_token"
USER = "/api.github.com/user"
REVOKE = "/api.github.com/applications/client-1/token"
OF_AN_OAUTH_APP = {"access_token": "gho_1", "scope": "repo,user", "token_type": "bearer"}
OF_A_GITHUB_APP = {
    "access_token": "ghu_1",
    "expires_in": "28800",
    "refresh_token": "ghr_1",
    "refresh_token_expires_in": "15897600",
    "scope": "",
    "token_type": "bearer",
}


@pytest.fixture
def flow(builtin: Callable[..., Flow]) -> Flow:
    made = builtin("github")
    made.server.answer(USER, json={"id": 583231, "login": "ada"})
    return made


def test_a_form_encoded_answer_with_scopes_between_commas(flow: Flow) -> None:
    flow.server.answer(TOKEN, body=urlencode(OF_AN_OAUTH_APP))
    connection = flow.connect(additional_scopes=["user", "user:email"])
    assert connection.granted_scopes == ["repo", "user", "user:email"]  # `user` includes it
    assert connection.missing_scopes == []
    assert connection.account == {"id": "583231", "label": "ada"}
    assert connection.token.expires_at is None
    assert connection.schedule.refresh_due_at is None


def test_tokens_of_a_github_app_renew_and_miss_no_scope(flow: Flow) -> None:
    flow.server.answer(TOKEN, body=urlencode(OF_A_GITHUB_APP))
    flow.server.answer(TOKEN, json={**OF_A_GITHUB_APP, "access_token": "ghu_2", "refresh_token": "ghr_2"})
    connection = flow.connect()
    assert connection.missing_scopes == []
    assert connection.token.expires_at == NOW + timedelta(hours=8)
    assert connection.token.refresh_token_expires_at == NOW + timedelta(days=184)
    assert flow.refresh(connection, now=NOW + timedelta(hours=7)).refreshed
    renewed = flow.again(connection.pk)
    assert renewed.token.open().refresh_token == "ghr_2"
    assert renewed.missing_scopes == []


def test_an_oauth_app_that_was_granted_no_scope_misses_it(flow: Flow) -> None:
    flow.server.answer(TOKEN, json={**OF_AN_OAUTH_APP, "scope": ""})
    assert flow.connect().missing_scopes == ["repo"]


@pytest.mark.parametrize("code", ["incorrect_client_credentials", "redirect_uri_mismatch"])
@pytest.mark.parametrize("as_form", [False, True])
def test_a_refused_app_with_status_200(flow: Flow, code: str, as_form: bool) -> None:
    error = {"error": code, "error_description": "Something about the app."}
    if as_form:
        flow.server.answer(TOKEN, body=urlencode(error))
    else:
        flow.server.answer(TOKEN, json=error)
    flow.start()
    assert flow.come_back().code == code
    flow.integration.refresh_from_db()
    assert flow.integration.client_error_code == code
    assert not Connection.objects.exists()


def test_a_bad_refresh_token_with_status_200_is_a_dead_grant(flow: Flow) -> None:
    flow.server.answer(TOKEN, json=OF_A_GITHUB_APP)
    flow.server.answer(TOKEN, json={"error": "bad_refresh_token"})
    connection = flow.connect()
    assert flow.refresh(connection, now=NOW + timedelta(hours=7)).code == "bad_refresh_token"
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


def test_disconnect_deletes_the_token_at_the_api_and_leaves_the_grant_to_its_siblings(flow: Flow) -> None:
    flow.server.answer(TOKEN, json=OF_A_GITHUB_APP)
    flow.server.answer(REVOKE, status=204)
    assert flow.disconnect(flow.connect()).result == "revoked"
    [request] = flow.server.to(REVOKE)
    assert request.method == "DELETE"
    assert request.headers["authorization"] == "Basic " + b64encode(b"client-1:client-secret-value").decode()
    assert request.json == {"access_token": "ghu_1"}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"status": 404, "json": {"message": "Not Found"}}, "revoked"),  # there is no such token any more
        ({"status": 401, "json": {"message": "Bad credentials"}}, "failed"),
        ({"status": 422, "json": {"message": "Validation Failed"}}, "failed"),
        ({"status": 503}, "failed"),
    ],
)
def test_what_the_api_says_to_a_revocation_is_told(flow: Flow, answer: Any, result: str) -> None:
    flow.server.answer(TOKEN, json=OF_AN_OAUTH_APP)
    flow.server.answer(REVOKE, **answer)
    assert flow.disconnect(flow.connect()).result == result


def test_a_client_id_is_no_path(builtin: Callable[..., Flow]) -> None:
    flow = builtin("github", client_id="../x/y?z")
    flow.server.answer(TOKEN, json=OF_AN_OAUTH_APP)
    flow.disconnect(flow.connect())
    assert [r.path for r in flow.server.requests if r.method == "DELETE"] == [
        "/api.github.com/applications/..%2Fx%2Fy%3Fz/token"
    ]
