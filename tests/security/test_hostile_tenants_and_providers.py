"""A tenant who wants to stop the others, and a provider that answers what no honest one would."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.connections.authorization import start_authorization
from integrations.connections.batch import refresh_due
from integrations.connections.choices import ChosenScopes
from integrations.connections.client_credentials import fetch_token
from integrations.connections.completion import complete_authorization
from integrations.connections.connect_links import create_connect_link
from integrations.connections.errors import FlowRefused
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.models import Connection, Integration, Token, TokenSchedule
from integrations.providers.custom import create_custom_provider, publish, update_custom_provider
from integrations.providers.registry import find_newest_spec, find_spec, specs_for
from tests.factories import make_connection, make_integration
from tests.security.conftest import browser_of, definition, token_answer
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

pytestmark = pytest.mark.django_db
ACTOR = Actor.operator()


# --- tenants --------------------------------------------------------------------------------------------
def test_old_versions_of_a_definition_are_not_read_to_find_the_one_that_counts(
    define: Callable[..., str], workspace: Workspace
) -> None:
    """Each change keeps its version; pages and token reads must not grow with them."""
    provider_id = define()
    provider = workspace.custom_providers.get()
    for number in range(30):
        update_custom_provider(provider, {"description": f"v{number}" + "x" * 200}, actor=ACTOR)
    update_custom_provider(provider, {"description": "draft"}, actor=ACTOR, draft=True)
    with CaptureQueriesContext(
        database,
    ) as queries:
        listed = [spec for spec in specs_for(workspace) if spec.custom]
        found = find_spec(workspace, provider_id)
    assert len(queries) == 2
    assert [spec.version for spec in listed] == [31]
    assert (found.version, found.draft) == (31, False)
    assert find_newest_spec(workspace, provider_id).version == 32
    assert find_spec(workspace, provider_id, version=32).version == 32
    assert find_spec(workspace, provider_id, version=3).version == 31
    publish(provider, actor=ACTOR)
    assert find_spec(workspace, provider_id).version == 32


def test_a_definition_of_another_workspace_is_never_taken(
    define: Callable[..., str], workspace: Workspace, charlie: User, provider_server: ScriptedServer
) -> None:
    provider_id = define()
    other = Workspace.objects.get(slug="other")
    create_custom_provider(other, definition(provider_server, description="theirs"), actor=ACTOR)
    assert find_spec(workspace, provider_id).description == ""
    assert [spec.description for spec in specs_for(workspace) if spec.custom] == [""]


@pytest.mark.parametrize(
    ("values", "code"),
    [({"chosen": ChosenScopes(None, ("forbidden",))}, "scope_refused"), ({"name": " "}, "invalid_name"),
     ({"name": "n" * 101}, "invalid_name")],
)  # fmt: skip
def test_a_service_connection_keeps_to_the_rules_whoever_asks_for_it(
    values: dict[str, Any], code: str, define: Callable[..., str], workspace: Workspace, provider_server: ScriptedServer
) -> None:
    """The verb itself refuses, so that no page or call can leave the rules out."""
    denied = [{"pattern": "forbidden", "description": "no"}]
    integration = make_integration(workspace, define(denied_scope_patterns=denied), "client_credentials")  # type: ignore[arg-type]
    with pytest.raises(FlowRefused) as refused:
        fetch_token(integration, actor=ACTOR, **values)
    assert refused.value.code == code
    assert provider_server.to("/token") == []


def test_people_are_not_sent_where_the_rules_of_today_forbid(
    delegated: Integration, alice: User, settings: Any
) -> None:
    """The definition was saved while its plain http host was allowed."""
    settings.OUTBOUND_ALLOWED_HOSTS = []
    with pytest.raises(FlowRefused) as refused:
        start_authorization(delegated, binding="b", user=alice, actor=Actor.member(alice))
    assert refused.value.code == "address_refused"
    answer = browser_of(alice).post(f"/w/acme/integrations/{delegated.provider_id}/authorization_code/connect/")
    assert answer.status_code == 302


# --- providers ------------------------------------------------------------------------------------------
def connect(integration: Integration, user: User) -> AuthorizationOutcome:
    started = start_authorization(integration, binding="b", user=user, actor=Actor.member(user))
    return complete_authorization([("code", "c"), ("state", started.state)], binding="b", user=user)


ODD_ANSWERS: dict[str, dict[str, Any]] = {
    "nul in the scope": {"scope": "read\x00 \x00 wr\x00ite"},
    "surrogates in the scope": {"scope": "read \ud800"},
    "a thousand long scopes": {"scope": " ".join(f"scope-{number}-{'x' * 300}" for number in range(1_500))},
    "nul in the type": {"token_type": "Bea\x00rer"},
    "a type of a megabyte": {"token_type": "B" * 400_000},
    "a type that is no text": {"token_type": ["Bearer"]},
    "nul in an extra field": {"team\x00": {"na\x00me": "x\ud800"}},
    "a lifetime beyond time": {"expires_in": 10**29},
    "a negative lifetime": {"expires_in": -5},
    "a list for the scope": {"scope": [["read"], None, 7]},
    "a very long access token": {"access_token": "a" * 300_000},
}


@pytest.mark.parametrize("kind", ODD_ANSWERS)
def test_an_odd_answer_is_stored_whole_or_refused_whole(
    kind: str, delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    """On PostgreSQL, too: whatever the database cannot hold must not lose the token that came with it."""
    provider_server.answer("/token", json=token_answer(**{"access_token": "access-2", **ODD_ANSWERS[kind]}))
    provider_server.answer("/userinfo", json={"sub": "1\x00", "email": "e\x00\ud800\u202e" + "x" * 10_000})
    outcome = connect(delegated, alice)
    assert outcome.ok, outcome.code
    connection = Connection.objects.select_related("integration", "token").get()
    assert connection.token.open().refresh_token == "refresh-2"
    page = browser_of(alice).get(f"/w/acme/integrations/{delegated.provider_id}/authorization_code/")
    assert page.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 300_000,
        b'{"a":' * 100_000,
        b'{"access_token": "a", "x": ' + b"[" * 200_000,
        b"\xff\xfe{",
        b"null",
    ],
    ids=["deep list", "deep object", "deep member", "utf-16", "null"],
)
def test_an_answer_that_cannot_be_read_harms_nothing(
    body: bytes, delegated: Integration, connected: Connection, alice: User, provider_server: ScriptedServer
) -> None:
    before = connected.token.open()
    provider_server.answer("/token", body=body, headers={"Content-Type": "application/json"})
    assert not connect(delegated, alice).ok
    TokenSchedule.objects.update(refresh_due_at=timezone.now())
    assert refresh_due().failed == 1
    assert Token.objects.get().open() == before
    assert Connection.objects.get().state == "degraded"


def test_userinfo_that_cannot_be_read_does_not_fail_the_connect(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    for body in (
        b"[" * 300_000,
        json.dumps({"sub": {"a": 1}, "email": ["x"]}).encode(),
        b'{"sub": ' + b"9" * 5_000 + b"}",
    ):
        provider_server.forget()
        provider_server.answer("/token", json=token_answer())
        provider_server.answer("/userinfo", body=body)
        assert connect(delegated, alice).ok


@pytest.mark.parametrize("code", ["in\x00valid", "\ud800", "x" * 5_000, "<script>", "", "\u202e"])
def test_an_odd_error_code_is_stored_and_shown(
    code: str, delegated: Integration, connected: Connection, alice: User, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", status=400, json={"error": code, "error_description": code, "error_uri": code})
    assert not connect(delegated, alice).ok
    TokenSchedule.objects.update(refresh_due_at=timezone.now())
    refresh_due()
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code/"
    for path in (base, f"{base}activity/", "/w/acme/audit/", "/w/acme/audit/export/"):
        answer = browser_of(alice).get(path)
        assert answer.status_code == 200
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert b"<script>" not in content.replace(b"<script src=", b"") or answer.streaming


def test_a_provider_cannot_redirect_us_anywhere(
    delegated: Integration, connected: Connection, alice: User, provider_server: ScriptedServer
) -> None:
    """Neither token, userinfo nor revocation requests follow a redirect: it would carry the secret along."""
    for path in ("/token", "/userinfo", "/revoke"):
        provider_server.answer(path, status=307, headers={"Location": f"{provider_server.url}/stolen"})
    connect(delegated, alice)
    TokenSchedule.objects.update(refresh_due_at=timezone.now())
    refresh_due()
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code/connections/{connected.pk}"
    browser_of(alice).post(f"{base}/disconnect/", {"confirm": delegated.provider_id})
    assert provider_server.to("/revoke") != []
    assert provider_server.to("/stolen") == []


def test_a_pause_that_one_tenant_provokes_is_not_anothers(
    delegated: Integration, workspace: Workspace, charlie: User, provider_server: ScriptedServer
) -> None:
    """A hostile tenant's own client is throttled; another client at the same provider goes on."""
    other = Workspace.objects.get(slug="other")
    provider = create_custom_provider(other, definition(provider_server), actor=ACTOR)
    theirs = make_integration(other, provider.provider_id, client_id="client-of-charlie")
    mine = make_connection(delegated, due_at=timezone.now())
    make_connection(theirs, due_at=timezone.now())
    provider_server.respond("/token", _throttle_charlie)
    refresh_due()
    mine.refresh_from_db()
    assert mine.state == "connected"
    assert mine.last_refreshed_at is not None


def _throttle_charlie(asked: Any) -> Any:
    from base64 import b64decode

    from tests.servers.scripted import Answer

    who = b64decode(asked.headers["authorization"].split()[1]).decode()
    if who.startswith("client-of-charlie"):
        return Answer(429, b"", {"Retry-After": "86400"})
    return Answer(200, json.dumps(token_answer()).encode(), {"Content-Type": "application/json"})


def test_a_link_of_one_integration_is_no_key_to_another(delegated: Integration, service: Integration) -> None:
    with pytest.raises(FlowRefused):
        create_connect_link(service, actor=ACTOR)
