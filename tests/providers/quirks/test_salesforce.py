"""Salesforce: the API elsewhere, and a lifetime that only introspection tells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.testing import test_connection as run_test
from integrations.models import Connection, ConnectionState, GrantType
from integrations.providers.catalogue import catalogue
from integrations.providers.oauth_provider import provider_for
from tests.providers.quirks.conftest import NOW, Flow

SERVICES = "/login.salesforce.com/services/oauth2"
TOKEN, INTROSPECT, REVOKE, USERINFO = (f"{SERVICES}/{name}" for name in ("token", "introspect", "revoke", "userinfo"))
ENDS = NOW + timedelta(hours=2)


def issued(access_token: str = "00D!a", **more: Any) -> dict[str, Any]:
    """Without expires_in, with the instance and an id that is a URL."""
    return {
        "access_token": access_token,
        "signature": "c2ln",
        "scope": "api refresh_token id",
        "instance_url": "https://acme.my.salesforce.com",
        "id": "https://login.salesforce.com/id/00D/005",
        "token_type": "Bearer",
        "issued_at": str(int(NOW.timestamp() * 1000)),
        **more,
    }


@pytest.fixture
def flow(builtin: Callable[..., Flow]) -> Flow:
    made = builtin("salesforce")
    made.server.answer(USERINFO, json={"user_id": "005", "preferred_username": "ada@acme.test"})
    return made


def introspected(flow: Flow, **claims: Any) -> None:
    flow.server.answer(INTROSPECT, json={"active": True, "exp": int(ENDS.timestamp()), **claims})


def test_the_instance_is_where_the_api_is(flow: Flow) -> None:
    flow.server.answer(TOKEN, json=issued(refresh_token="5Aep"))
    introspected(flow)
    connection = flow.connect()
    assert connection.metadata == {"instance": "acme.my"}
    assert connection.account == {"id": "005", "label": "ada@acme.test"}
    provider = provider_for(catalogue()["salesforce"], "authorization_code")
    values = {"domain": "login", **connection.metadata}
    assert provider.api_base_url(values) == "https://acme.my.salesforce.com/services/"


def test_introspection_tells_the_lifetime_so_that_the_token_is_renewed_in_time(flow: Flow) -> None:
    flow.server.answer(TOKEN, json=issued(refresh_token="5Aep"))
    flow.server.answer(TOKEN, json=issued("00D!b"))
    introspected(flow)
    connection = flow.connect()
    assert connection.token.expires_at == ENDS
    assert ENDS - timedelta(minutes=20) < connection.schedule.refresh_due_at < ENDS
    asked = flow.last(INTROSPECT).form
    assert (asked["token"], asked["client_secret"]) == ("00D!a", "client-secret-value")
    flow.server.forget()
    flow.server.answer(TOKEN, json=issued("00D!b"))
    introspected(flow, exp=int((ENDS + timedelta(hours=1)).timestamp()))
    assert flow.refresh(connection, now=NOW + timedelta(hours=1)).refreshed
    renewed = flow.again(connection.pk).token
    assert (renewed.expires_at, renewed.open().access_token) == (ENDS + timedelta(hours=1), "00D!b")
    assert renewed.open().refresh_token == "5Aep"  # a refresh brings none


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "json": {"error": "invalid_client"}},  # the app may not introspect
        {"status": 503},
        {"json": {"active": False, "exp": int(ENDS.timestamp())}},
        {"json": {"active": True}},
        {"json": {"active": True, "exp": int(NOW.timestamp()) - 1}},
        {"json": {"active": True, "exp": "soon"}},
        {"body": b"<html>"},
    ],
)
def test_whatever_introspection_says_no_token_is_lost(flow: Flow, answer: Any) -> None:
    flow.server.answer(TOKEN, json=issued(refresh_token="5Aep"))
    flow.server.answer(INTROSPECT, **answer)
    token = flow.connect().token
    assert (token.open().access_token, token.expires_at) == ("00D!a", None)


def test_a_service_account_learns_its_lifetime_too(builtin: Callable[..., Flow]) -> None:
    flow = builtin("salesforce", grant_type=GrantType.CLIENT_CREDENTIALS, parameters={"domain": "acme.my"})
    own = "/acme.my.salesforce.com/services/oauth2"
    flow.server.answer(f"{own}/token", json=issued())
    flow.server.answer(f"{own}/introspect", json={"active": True, "exp": int(ENDS.timestamp())})
    assert flow.fetch().token.expires_at == ENDS


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("invalid_grant", "expired access/refresh token"),
        ("inactive_user", "user is inactive"),
        ("inactive_org", "organization is locked"),
    ],
)
def test_a_dead_grant_has_salesforces_names(flow: Flow, code: str, words: str) -> None:
    flow.server.answer(TOKEN, json=issued(refresh_token="5Aep"))
    introspected(flow)
    connection = flow.connect()
    flow.server.forget()
    flow.server.answer(TOKEN, status=400, json={"error": code, "error_description": words})
    assert flow.refresh(connection, now=NOW + timedelta(hours=1)).code == code
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


def test_disconnect_and_test_are_the_standard_ones(flow: Flow) -> None:
    flow.server.answer(TOKEN, json=issued(refresh_token="5Aep"))
    introspected(flow)
    flow.server.answer(REVOKE)
    connection = flow.connect()
    assert run_test(flow.integration, connection, actor=flow.actor, now=NOW).ok
    assert flow.disconnect(connection).result == "revoked"
    assert not Connection.objects.get().granted_scopes
