"""Providers that deviate in ways that their files can say: no subclass, the standard calls, the answers they give."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.models import Connection, ConnectionState
from integrations.providers.catalogue import catalogue
from integrations.providers.oauth_provider import AuthorizationCodeOAuthProvider, provider_for
from integrations.providers.parameters import parameter_values
from tests.providers.quirks.conftest import NOW, Flow, answer

BASIC = "Basic " + b64encode(b"client-1:client-secret-value").decode()
LATER = NOW + timedelta(hours=23)


@pytest.mark.parametrize("provider_id", ["figma", "notion", "quickbooks", "quickbooks_sandbox", "tiktok", "zoho"])
def test_there_is_no_subclass(provider_id: str) -> None:
    assert type(provider_for(catalogue()[provider_id], "authorization_code")) is AuthorizationCodeOAuthProvider


# --- Figma: refresh tokens go elsewhere, and stay -------------------------------------------------------
def test_figma_renews_at_another_endpoint_and_keeps_its_refresh_token(builtin: Callable[..., Flow]) -> None:
    flow = builtin("figma")
    flow.server.answer(
        "/api.figma.com/v1/oauth/token", json=answer("fig-1", "figr-1", expires_in=7_776_000, user_id=42)
    )
    flow.server.answer("/api.figma.com/v1/oauth/refresh", json=answer("fig-2", None, expires_in=7_776_000))
    flow.server.answer("/api.figma.com/v1/me", json={"id": "42", "email": "ada@example.com", "handle": "Ada"})
    connection = flow.connect()
    assert connection.account == {"id": "42", "label": "ada@example.com"}
    assert flow.refresh(connection, now=NOW + timedelta(days=89)).refreshed
    [request] = flow.server.to("/api.figma.com/v1/oauth/refresh")
    assert request.headers["authorization"] == BASIC
    assert request.form == {"grant_type": "refresh_token", "refresh_token": "figr-1"}
    kept = flow.again(connection.pk).token.open()
    assert (kept.access_token, kept.refresh_token) == ("fig-2", "figr-1")


# --- Notion: JSON, Basic, a version header, an identity in the token answer ------------------------------
WORKSPACE = "0f8fad5b-d9cb-469f-a165-70867728950e"
BOT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
PERSON = {"object": "user", "id": "b1", "name": "Ada", "type": "person", "person": {"email": "ada@example.com"}}


@pytest.fixture
def notion(builtin: Callable[..., Flow]) -> Flow:
    flow = builtin("notion")
    flow.server.answer(
        "/api.notion.com/v1/oauth/token",
        json={
            "access_token": "ntn_1",
            "token_type": "bearer",
            "refresh_token": "nrt_1",
            "bot_id": BOT,
            "workspace_id": WORKSPACE,
            "workspace_name": "Acme",
            "owner": {"type": "user", "user": PERSON},
            "duplicated_template_id": None,
        },
    )
    return flow


def test_notion_speaks_json_with_basic_and_its_version(notion: Flow) -> None:
    notion.server.answer("/api.notion.com/v1/oauth/revoke", json={"request_id": "r"})
    connection = notion.connect()
    assert connection.metadata == {"workspace_id": WORKSPACE}
    assert connection.token.expires_at is None
    assert notion.refresh(connection).refreshed
    assert notion.disconnect(connection).result == "revoked"
    exchange, refresh = notion.server.to("/api.notion.com/v1/oauth/token")
    revocations = notion.server.to("/api.notion.com/v1/oauth/revoke")
    for request in (exchange, refresh, *revocations):
        assert request.headers["authorization"] == BASIC
        assert request.headers["content-type"] == "application/json"
    assert exchange.headers["notion-version"] == refresh.headers["notion-version"] == "2022-06-28"
    assert exchange.json["redirect_uri"] == "http://localhost:8000/oauth/callback"
    assert [request.json["token"] for request in revocations] == ["nrt_1", "ntn_1"]


def test_notion_names_owner_and_bot_the_same_in_both_answers(notion: Flow) -> None:
    by_token = notion.connect()  # userinfo answers 404
    assert by_token.account == {"id": BOT, "label": "ada@example.com"}
    me = {
        "object": "user",
        "id": BOT,
        "type": "bot",
        "name": "Robot",
        "bot": {"owner": {"type": "user", "user": PERSON}},
    }
    notion.server.answer("/api.notion.com/v1/users/me", json=me)
    notion.start(connection=by_token)
    outcome = notion.come_back()
    assert (outcome.ok, outcome.warning) == (True, "")
    assert notion.again(outcome.connection_id).account == by_token.account


def test_notion_without_a_person_is_named_by_its_workspace(notion: Flow) -> None:
    notion.server.forget()
    body = {"access_token": "ntn_1", "bot_id": BOT, "workspace_id": WORKSPACE, "workspace_name": "Acme"}
    notion.server.answer("/api.notion.com/v1/oauth/token", json={**body, "owner": {"type": "workspace"}})
    assert notion.connect().account == {"id": BOT, "label": "Acme"}


# --- QuickBooks: the company in the callback, rotating refresh tokens, revocation as JSON ----------------
QB_TOKEN = "/oauth.platform.intuit.com/oauth2/v1/tokens/bearer"
QB_REVOKE = "/developer.api.intuit.com/v2/oauth2/tokens/revoke"


@pytest.fixture
def quickbooks(builtin: Callable[..., Flow]) -> Flow:
    flow = builtin("quickbooks")
    for number in (1, 2):
        body = answer(f"eyJ-{number}", f"AB1-{number}", x_refresh_token_expires_in=8_726_400, token_type="bearer")
        flow.server.answer(QB_TOKEN, json=body)
    return flow


def test_quickbooks_keeps_the_company_of_the_callback_and_follows_the_rotation(quickbooks: Flow) -> None:
    quickbooks.server.answer(QB_REVOKE)
    connection = quickbooks.connect(("realmId", "9130347596842384"))
    assert connection.metadata == {"realm_id": "9130347596842384"}
    assert connection.token.refresh_token_expires_at == NOW + timedelta(days=101)
    later = NOW + timedelta(minutes=55)
    assert quickbooks.refresh(connection, now=later).refreshed
    renewed = quickbooks.again(connection.pk)
    assert renewed.token.open().refresh_token == "AB1-2"
    assert renewed.token.refresh_token_expires_at == later + timedelta(days=101)
    assert renewed.metadata == {"realm_id": "9130347596842384"}
    assert quickbooks.disconnect(connection).result == "revoked"
    sent = quickbooks.server.to(QB_REVOKE)
    assert [request.json["token"] for request in sent] == ["AB1-2", "eyJ-2"]
    assert {request.headers["authorization"] for request in sent} == {BASIC}


@pytest.mark.parametrize(
    "callback", [[], [("realmId", "")], [("realmId", "91x")], [("realmId", "1"), ("realmId", "2")]]
)
def test_quickbooks_without_one_company_connects_nothing(quickbooks: Flow, callback: list[tuple[str, str]]) -> None:
    quickbooks.start()
    assert quickbooks.come_back(*callback).code == "metadata_refused"
    assert quickbooks.server.requests == []
    assert not Connection.objects.exists()


# --- TikTok: client_key, errors as texts and as objects --------------------------------------------------
TT_TOKEN, TT_REVOKE = "/open.tiktokapis.com/v2/oauth/token/", "/open.tiktokapis.com/v2/oauth/revoke/"
TT_ME = "/open.tiktokapis.com/v2/user/info/"
FINE = {"code": "ok", "message": "", "log_id": "20300102"}


@pytest.fixture
def tiktok(builtin: Callable[..., Flow]) -> Flow:
    flow = builtin("tiktok")
    flow.server.answer(TT_ME, json={"data": {"user": {"open_id": "-000a", "display_name": "Ada"}}, "error": FINE})
    return flow


def tiktok_answer(number: int) -> dict[str, Any]:
    return answer(
        f"act.{number}", f"rft.{number}", expires_in=86_400, refresh_expires_in=31_536_000, scope="user.info.basic"
    )


def test_tiktok_calls_the_client_id_client_key_everywhere_and_rotates(tiktok: Flow) -> None:
    tiktok.server.answer(TT_TOKEN, json={**tiktok_answer(1), "open_id": "-000a"})
    tiktok.server.answer(TT_TOKEN, json={**tiktok_answer(2), "error": FINE})
    tiktok.server.answer(TT_REVOKE)
    assert tiktok.start()["client_key"] == ["client-1"]
    connection = tiktok.connect()
    assert connection.account == {"id": "-000a", "label": "Ada"}
    assert connection.token.refresh_token_expires_at == NOW + timedelta(days=365)
    assert tiktok.refresh(connection, now=LATER).refreshed
    assert tiktok.again(connection.pk).token.open().refresh_token == "rft.2"
    assert tiktok.disconnect(connection).result == "revoked"
    for request in (*tiktok.server.to(TT_TOKEN), *tiktok.server.to(TT_REVOKE)):
        assert (request.form["client_key"], request.form["client_secret"]) == ("client-1", "client-secret-value")
        assert "client_id" not in request.form
    assert {request.form["token"] for request in tiktok.server.to(TT_REVOKE)} == {"act.2", "rft.2"}


@pytest.mark.parametrize(
    "error",
    [
        {"error": "invalid_grant", "error_description": "Refresh token is invalid or expired.", "log_id": "1"},
        {"data": {}, "error": {"code": "invalid_grant", "message": "Refresh token is invalid.", "log_id": "1"}},
    ],
)
def test_tiktok_refuses_by_text_or_by_object(tiktok: Flow, error: Any) -> None:
    tiktok.server.answer(TT_TOKEN, json=tiktok_answer(1))
    tiktok.server.answer(TT_TOKEN, json=error)
    connection = tiktok.connect()
    assert tiktok.refresh(connection, now=LATER).code == "invalid_grant"
    assert tiktok.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


def test_tiktok_refuses_a_revocation_by_object(tiktok: Flow) -> None:
    tiktok.server.answer(TT_TOKEN, json=tiktok_answer(1))
    tiktok.server.answer(TT_REVOKE, json={"error": {"code": "invalid_client", "message": "No.", "log_id": "1"}})
    assert tiktok.disconnect(tiktok.connect()).result == "failed"


# --- Zoho: the data centre in the callback, errors with 200, no second refresh token ---------------------
@pytest.fixture
def zoho(builtin: Callable[..., Flow]) -> Flow:
    flow = builtin("zoho")
    body = answer("1000.a", "1000.r", api_domain="https://www.zohoapis.eu")
    flow.server.answer("/accounts.zoho.eu/oauth/v2/token", json=body)
    return flow


EU = ("accounts-server", "https://accounts.zoho.eu")


def test_zoho_takes_the_code_and_every_later_call_to_the_accounts_data_centre(zoho: Flow) -> None:
    zoho.server.answer("/accounts.zoho.eu/oauth/v2/token", json=answer("1000.b", None))
    zoho.server.answer("/accounts.zoho.eu/oauth/v2/token/revoke", json={"status": "success"})
    zoho.server.answer("/accounts.zoho.eu/oauth/user/info", json={"ZUID": 7, "Email": "ada@example.com"})
    connection = zoho.connect(("location", "eu"), EU)
    assert connection.metadata == {"dc": "eu", "api_domain": "https://www.zohoapis.eu"}
    assert connection.account == {"id": "7", "label": "ada@example.com"}
    spec = catalogue()["zoho"]
    values = parameter_values(spec, {}, {}, connection.metadata)
    assert provider_for(spec, "authorization_code").api_base_url(values) == "https://www.zohoapis.eu/"
    assert zoho.refresh(connection, now=LATER).refreshed
    kept = zoho.again(connection.pk).token.open()
    assert (kept.access_token, kept.refresh_token) == ("1000.b", "1000.r")
    assert zoho.disconnect(connection).result == "revoked"
    assert {request.path.split("/")[1] for request in zoho.server.requests} == {"accounts.zoho.eu"}


@pytest.mark.parametrize(
    "server",
    [
        "https://accounts.zoho.eu.evil.test",
        "https://accounts.zoho.evil",
        "https://accounts-zoho.eu",
        "http://accounts.zoho.eu",
    ],
)
def test_zoho_sends_the_code_to_no_other_host(zoho: Flow, server: str) -> None:
    zoho.start()
    assert zoho.come_back(("accounts-server", server)).code == "metadata_refused"
    assert zoho.server.requests == []


def test_zoho_refuses_with_status_200(zoho: Flow) -> None:
    zoho.server.answer("/accounts.zoho.eu/oauth/v2/token", json={"error": "invalid_code"})
    connection = zoho.connect(EU)
    assert zoho.refresh(connection, now=LATER).code == "invalid_code"
    assert zoho.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED
