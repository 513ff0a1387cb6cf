"""Attempts to have a provider's answer, or a person at it, break or take over what a connection has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.connections.authorization import start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.connect_links import create_connect_link
from integrations.connections.errors import FlowRefused
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.connections.refresh import refresh_connection
from integrations.models import Connection, Integration, PendingAuthorization, Token
from integrations.providers.custom import InvalidDefinition
from integrations.providers.oauth_provider import AuthorizationCodeOAuthProvider
from tests.factories import make_connection, make_integration
from tests.security.conftest import token_answer
from tests.security.evidence import database_text
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

pytestmark = pytest.mark.django_db
OPERATOR = Actor.operator()


def connect(integration: Integration, user: User, *callback: tuple[str, str], **more: Any) -> AuthorizationOutcome:
    started = start_authorization(integration, binding="b", user=user, actor=Actor.member(user), **more)
    return complete_authorization([("code", "c"), ("state", started.state), *callback], binding="b", user=user)


# --- what is kept beside a token ------------------------------------------------------------------------
INSTANCE = {"key": "instance", "label": "Instance", "source": "token", "field": "instance", "pattern": ".+"}


def test_a_value_that_does_not_fit_its_parameter_does_not_cost_the_connection(
    define: Callable[..., str], workspace: Workspace, alice: User, provider_server: ScriptedServer
) -> None:
    """The metadata's own pattern takes it; the parameter whose place it takes does not."""
    parameter = {"key": "instance", "label": "Instance", "default": "eu"}
    provider_id = define(parameters=[parameter], metadata=[INSTANCE], api_base_url="https://{{instance}}.example.com/")
    provider_server.answer("/token", json={**token_answer("a-1", "r-1"), "instance": "us"})
    provider_server.answer("/token", json={**token_answer("a-2", "r-2"), "instance": "not / fit"})
    provider_server.answer("/token", json=token_answer("a-3", "r-3"))
    connect(make_integration(workspace, provider_id), alice)
    connection = Connection.objects.get()
    for expected in ("a-2", "a-3"):
        outcome = refresh_connection(connection.pk, forced=True, actor=OPERATOR)
        assert outcome.refreshed, outcome
        connection = Connection.objects.get()
        assert connection.token.open().access_token == expected
        assert connection.metadata == {"instance": "us"}


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": [{**INSTANCE, "field": "data.token"}]},
        {"account_fields": ["data.token"], "userinfo_endpoint": ""},
        {"account_id_field": "data.token", "userinfo_endpoint": ""},
    ],
)
def test_a_token_is_kept_nowhere_in_plain_text_whatever_a_definition_calls_it(
    define: Callable[..., str], workspace: Workspace, alice: User, provider_server: ScriptedServer, more: dict[str, Any]
) -> None:
    provider_id = define(token_response={"access_token_field": "data.token"}, **more)
    provider_server.answer("/token", json={"data": {"token": "canary-access-token"}, "expires_in": 3600})
    provider_server.answer("/userinfo", status=404)
    outcome = connect(make_integration(workspace, provider_id), alice)
    assert outcome.ok
    assert Connection.objects.get().token.open().access_token == "canary-access-token"
    assert [place for place, text in database_text() if "canary-" in text] == []


@pytest.mark.parametrize("unfit", ["€", "a\u0085b"])
@pytest.mark.parametrize("field", ["userinfo_headers", "token_headers"])
def test_a_value_that_no_header_holds_is_refused_before_a_token_is_issued(
    define: Callable[..., str],
    workspace: Workspace,
    alice: User,
    provider_server: ScriptedServer,
    field: str,
    unfit: str,
) -> None:
    parameter = {"key": "tenant", "label": "Tenant", "pattern": ".+"}
    integration = make_integration(workspace, define(parameters=[parameter], **{field: {"X-Tenant": "{{tenant}}"}}))
    with pytest.raises(FlowRefused):
        connect(integration, alice, parameters={"tenant": unfit})
    with pytest.raises(InvalidDefinition):
        define(**{field: {"X-Tenant": unfit}})
    assert provider_server.requests == []


def test_a_token_survives_whatever_happens_while_its_account_is_asked(
    delegated: Integration, alice: User, provider_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise UnicodeError("nobody foresaw this")

    monkeypatch.setattr(AuthorizationCodeOAuthProvider, "userinfo", fail)
    provider_server.answer("/token", json=token_answer("a-1", "r-1"))
    assert connect(delegated, alice).ok
    assert Token.objects.get().open().access_token == "a-1"


# --- whose account it is --------------------------------------------------------------------------------
@pytest.mark.parametrize("said", [{"status": 403}, {"json": {}}, {"json": {"email": "x@example.com"}}])
def test_a_link_does_not_replace_a_known_account_by_one_that_nobody_can_name(
    delegated: Integration, provider_server: ScriptedServer, said: dict[str, Any]
) -> None:
    """Whoever holds the link chooses the account, and with its rights whether userinfo tells."""
    make_connection(delegated, access_token="access-of-robin", account={"id": "robin", "label": "robin@example.com"})
    provider_server.answer("/token", json=token_answer("access-of-mallory", "refresh-of-mallory"))
    provider_server.answer("/userinfo", **said)
    provider_server.answer("/revoke")
    _, link = create_connect_link(delegated, actor=OPERATOR)
    started = start_authorization(delegated, binding="b", link=link, actor=OPERATOR)
    outcome = complete_authorization([("code", "c"), ("state", started.state)], binding="b")
    assert (outcome.ok, outcome.code) == (False, "account_unknown")
    assert Connection.objects.get().token.open().access_token == "access-of-robin"
    assert provider_server.to("/revoke") == []  # it may be robin all the same


def test_nor_one_that_was_connected_while_the_link_was_used(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """Neither id nor label can be compared with what a member connected meanwhile."""
    provider_server.answer("/token", json=token_answer("access-of-mallory", "refresh-of-mallory"))
    provider_server.answer("/userinfo", json={"email": "robin@example.com"})
    provider_server.answer("/revoke")
    _, link = create_connect_link(delegated, actor=OPERATOR)
    started = start_authorization(delegated, binding="b", link=link, actor=OPERATOR)
    make_connection(delegated, access_token="access-of-robin", account={"id": "robin"})
    outcome = complete_authorization([("code", "c"), ("state", started.state)], binding="b")
    assert not outcome.ok
    assert Connection.objects.get().token.open().access_token == "access-of-robin"


# --- what no column holds -------------------------------------------------------------------------------
def test_a_client_id_or_issuer_longer_than_its_column_is_refused(
    define: Callable[..., str], workspace: Workspace, alice: User
) -> None:
    """PostgreSQL refuses it with an error, SQLite keeps it: neither is an answer."""
    credentials = [
        {"key": "client_id", "label": "ID"},
        {"key": "client_secret", "label": "Secret", "type": "password"},
    ]
    realm = {"key": "realm", "label": "Realm"}
    provider_id = define(parameters=[*credentials, realm], issuer="https://a.example.com/{{realm}}")
    integration = make_integration(workspace, provider_id)
    usual = {"client_id": "c", "client_secret": "s", "realm": "r"}
    for more in ({"client_id": "c" * 4000}, {"realm": "r" * 500}):
        with pytest.raises(FlowRefused):
            connect(integration, alice, parameters={**usual, **more})
    assert not PendingAuthorization.objects.exists()
