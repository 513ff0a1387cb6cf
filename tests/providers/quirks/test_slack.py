"""Slack: the person's token inside authed_user, errors with 200, a revocation method of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.testing import test_connection as run_test
from integrations.models import Connection, ConnectionState
from tests.providers.quirks.conftest import NOW, Flow

ACCESS = "/slack.com/api/oauth.v2.access"
AUTH_TEST = "/slack.com/api/auth.test"
REVOKE = "/slack.com/api/auth.revoke"
WHO = {"ok": True, "user": "ada", "user_id": "U07", "team": "Acme", "team_id": "T01", "url": "https://acme.slack.test/"}


def installed(person: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An answer of oauth.v2.access: the bot outside, the person inside."""
    return {
        "ok": True,
        "app_id": "A01",
        "access_token": "xoxb-bot",
        "token_type": "bot",
        "scope": "commands",
        "bot_user_id": "B01",
        "team": {"id": "T01", "name": "Acme"},
        "enterprise": None,
        "authed_user": {"id": "U07", **(person or {})},
        **more,
    }


PERSON = {"access_token": "xoxp-1", "token_type": "user", "scope": "search:read,users:read"}
ROTATING = {**PERSON, "access_token": "xoxe.xoxp-1", "refresh_token": "xoxe-1", "expires_in": 43_200}


@pytest.fixture
def flow(builtin: Callable[..., Flow]) -> Flow:
    made = builtin("slack")
    made.server.answer(AUTH_TEST, json=WHO)
    return made


def test_the_person_is_asked_for_scopes_of_their_own(flow: Flow) -> None:
    query = flow.start(additional_scopes=["users:read"])
    assert query["user_scope"] == ["search:read,users:read"]
    assert "scope" not in query


def test_the_persons_token_is_kept_with_who_and_where(flow: Flow) -> None:
    flow.server.answer(ACCESS, json=installed(PERSON))
    connection = flow.connect(additional_scopes=["users:read"])
    assert connection.token.open().access_token == "xoxp-1"
    assert (connection.granted_scopes, connection.missing_scopes) == (["search:read", "users:read"], [])
    assert connection.account == {"id": "T01:U07", "label": "ada (Acme)"}
    assert connection.metadata == {"team_id": "T01"}
    assert connection.token.expires_at is None  # rotation is off: it never expires


def test_without_auth_test_the_token_answer_gives_the_same_identity(flow: Flow) -> None:
    flow.server.forget()
    flow.server.answer(AUTH_TEST, status=500)
    flow.server.answer(ACCESS, json=installed(PERSON))
    assert flow.connect().account == {"id": "T01:U07", "label": "U07 (Acme)"}


def test_the_same_person_in_another_workspace_is_another_account(flow: Flow) -> None:
    flow.server.answer(ACCESS, json=installed(PERSON))
    connection = flow.connect()
    flow.server.forget()
    flow.server.answer(ACCESS, json=installed(PERSON, team={"id": "T02", "name": "Other"}))
    flow.server.answer(AUTH_TEST, json={**WHO, "team": "Other", "team_id": "T02"})
    flow.start(connection=connection)
    assert flow.come_back().warning == "This is another account than before: it was ada (Acme)."


def test_where_only_the_bot_was_authorized_its_token_counts(flow: Flow) -> None:
    flow.server.answer(ACCESS, json=installed())
    assert flow.connect().token.open().access_token == "xoxb-bot"


@pytest.mark.parametrize(
    "renewed",
    [
        installed({**ROTATING, "access_token": "xoxe.xoxp-2", "refresh_token": "xoxe-2"}),
        {
            "ok": True,
            "access_token": "xoxe.xoxp-2",
            "refresh_token": "xoxe-2",
            "expires_in": 43_200,
            "token_type": "user",
        },
    ],
)
def test_with_rotation_both_tokens_are_renewed_wherever_the_answer_has_them(flow: Flow, renewed: Any) -> None:
    flow.server.answer(ACCESS, json=installed(ROTATING))
    flow.server.answer(ACCESS, json=renewed)
    connection = flow.connect()
    assert connection.token.expires_at == NOW + timedelta(hours=12)
    assert flow.refresh(connection, now=NOW + timedelta(hours=11)).refreshed
    kept = flow.again(connection.pk).token.open()
    assert (kept.access_token, kept.refresh_token) == ("xoxe.xoxp-2", "xoxe-2")


@pytest.mark.parametrize("code", ["token_expired", "invalid_refresh_token", "token_revoked", "account_inactive"])
def test_a_dead_grant_has_slacks_names(flow: Flow, code: str) -> None:
    flow.server.answer(ACCESS, json=installed(ROTATING))
    flow.server.answer(ACCESS, json={"ok": False, "error": code})
    connection = flow.connect()
    assert flow.refresh(connection, now=NOW + timedelta(hours=11)).code == code
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


@pytest.mark.parametrize("code", ["invalid_client_id", "bad_client_secret", "bad_redirect_uri"])
def test_a_refused_app_connects_nothing_and_raises_the_alarm(flow: Flow, code: str) -> None:
    flow.server.answer(ACCESS, json={"ok": False, "error": code})
    flow.start()
    assert flow.come_back().code == code
    flow.integration.refresh_from_db()
    assert flow.integration.client_error_code == code
    assert not Connection.objects.exists()


@pytest.mark.parametrize("rotation", [False, True])
def test_disconnect_calls_auth_revoke_with_the_access_token_as_the_bearer(flow: Flow, rotation: bool) -> None:
    flow.server.answer(ACCESS, json=installed(ROTATING if rotation else PERSON))
    flow.server.answer(REVOKE, json={"ok": True, "revoked": True})
    connection = flow.connect()
    assert flow.disconnect(connection).result == "revoked"
    [request] = flow.server.to(REVOKE)
    assert request.headers["authorization"] == f"Bearer {'xoxe.xoxp-1' if rotation else 'xoxp-1'}"
    assert request.body == b""


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ({"ok": True, "revoked": False}, "failed"),
        ({"ok": True}, "failed"),
        ({"ok": False, "error": "invalid_auth"}, "revoked"),
        ({"ok": False, "error": "token_revoked"}, "revoked"),
        ({"ok": False, "error": "fatal_error"}, "failed"),
    ],
)
def test_what_auth_revoke_says_is_told(flow: Flow, said: Any, result: str) -> None:
    flow.server.answer(ACCESS, json=installed(PERSON))
    flow.server.answer(REVOKE, json=said)
    assert flow.disconnect(flow.connect()).result == result


def test_a_stale_token_is_renewed_by_the_test_instead_of_being_called_dead(flow: Flow) -> None:
    flow.server.answer(ACCESS, json=installed(ROTATING))
    connection = flow.connect()
    flow.server.forget()
    flow.server.answer(AUTH_TEST, json={"ok": False, "error": "token_expired"})
    flow.server.answer(ACCESS, json=installed({**ROTATING, "access_token": "xoxe.xoxp-2"}))
    result = run_test(flow.integration, connection, actor=flow.actor, now=NOW + timedelta(hours=11))
    assert result.ok, result.message
    assert flow.again(connection.pk).token.open().access_token == "xoxe.xoxp-2"
