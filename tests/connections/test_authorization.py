"""The authorization code flow (RFC 6749 §4.1, RFC 7636, RFC 9207, RFC 9700): what is sent, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from integrations.connections.authorization import StartedAuthorization, start_authorization
from integrations.connections.batch import refresh_due
from integrations.connections.choices import ChosenScopes
from integrations.connections.completion import complete_authorization
from integrations.connections.connect_links import create_connect_link, find_link
from integrations.connections.errors import FlowRefused, LinkGone
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.connections.sweep import sweep
from integrations.models import (
    Connection,
    ConnectLink,
    CustomProvider,
    GrantType,
    Integration,
    PendingAuthorization,
    Token,
)
from tests.connections.conftest import NOW, REVOKE, TOKEN, USERINFO, token_answer
from tests.factories import make_connection, make_integration
from tests.servers.scripted import ScriptedServer
from workspaces.audit import WORKER, Actor
from workspaces.models import AuditEvent, Membership, User, Workspace
from workspaces.roles import Role

BROWSER = "browser-secret"


def start(integration: Integration, user: User | None, **more: Any) -> StartedAuthorization:
    actor = Actor.member(user) if user is not None else WORKER
    return start_authorization(integration, user=user, **{"binding": BROWSER, "actor": actor, "now": NOW, **more})


def finish(started: StartedAuthorization, user: User | None, **more: Any) -> AuthorizationOutcome:
    query = more.pop("query", [("code", "the-code"), ("state", started.state)])
    return complete_authorization(query, user=user, **{"binding": BROWSER, "now": NOW, **more})


def sent(started: StartedAuthorization) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(started.url).query).items()}


# --- the way there --------------------------------------------------------------------------------------
def test_the_browser_is_sent_with_pkce_and_a_state_that_is_stored_as_a_digest(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    started = start(delegated, alice)
    query = sent(started)
    assert started.url.startswith(f"{provider_server.url}/authorize?")
    assert query["response_type"] == "code"
    assert query["client_id"] == "client-1"
    assert query["redirect_uri"] == "http://localhost:8000/oauth/callback"
    assert query["scope"] == "read write"
    assert query["code_challenge_method"] == "S256"
    assert len(base64.urlsafe_b64decode(query["state"] + "==")) == 32
    pending = PendingAuthorization.objects.get()
    assert pending.state_hash == hashlib.sha256(query["state"].encode()).hexdigest()
    assert started.state not in json.dumps({k: str(v) for k, v in vars(pending).items()})
    challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.code_verifier.encode()).digest()).rstrip(b"=").decode()
    assert query["code_challenge"] == challenge
    assert pending.expires_at == NOW + timedelta(minutes=10)


def test_the_code_becomes_a_connection(delegated: Integration, alice: User, provider_server: ScriptedServer) -> None:
    provider_server.answer(TOKEN, json=token_answer("a", "r", scope="read", team="Acme"))
    started = start(delegated, alice, chosen=ChosenScopes(None, ("extra",)))
    verifier = started.pending.code_verifier
    outcome = finish(started, alice)
    assert (outcome.ok, outcome.code) == (True, "connected")
    assert (outcome.workspace_slug, outcome.provider_id) == ("acme", "custom_acme")
    assert outcome.missing_scopes == ["write", "extra"]
    [request] = provider_server.to(TOKEN)
    assert request.form == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": "http://localhost:8000/oauth/callback",
        "code_verifier": verifier,
    }
    assert request.headers["authorization"].startswith("Basic ")
    connection = Connection.objects.get(pk=outcome.connection_id)
    assert (connection.name, connection.is_default, connection.state) == ("default", True, "connected")
    assert connection.requested_scopes == ["read", "write", "extra"]
    assert connection.granted_scopes == ["read"]
    assert connection.connected_by == "alice@example.com"
    assert connection.provider_version == 1
    assert connection.token.open().refresh_token == "r"
    assert json.loads(connection.token.extra) == {"team": "Acme"}
    assert connection.schedule.refresh_due_at is not None
    events = AuditEvent.objects.order_by("id").values_list("action", flat=True)
    assert list(events) == ["connection:started", "connection:connected"]


def test_nothing_is_stored_in_the_clear(delegated: Integration, alice: User, provider_server: ScriptedServer) -> None:
    provider_server.answer(TOKEN, json=token_answer("canary-access", "canary-refresh", id_token="canary-id"))
    finish(start(delegated, alice), alice)
    from django.db import connection as database

    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (names from the database itself)
            assert "canary-" not in str([[bytes(v) if isinstance(v, memoryview) else v for v in r] for r in cursor])


def test_whose_account_it_is_comes_from_userinfo(
    delegated: Integration, alice: User, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    provider_server.answer(TOKEN, json=token_answer("a"))
    provider_server.answer(USERINFO, json={"sub": "u1", "email": "ann@example.com"})
    outcome = finish(start(delegated, alice), alice)
    assert Connection.objects.get(pk=outcome.connection_id).account == {"id": "u1", "label": "ann@example.com"}
    assert provider_server.to(USERINFO)[0].headers["authorization"] == "Bearer a"


@pytest.mark.parametrize("answer", [{"status": 500}, {"status": 401}, {"body": "<html>"}, {"json": [1]}])
def test_not_knowing_the_account_never_fails_a_connect(
    delegated: Integration,
    alice: User,
    provider_server: ScriptedServer,
    define: Callable[..., CustomProvider],
    answer: dict[str, Any],
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    provider_server.answer(TOKEN, json=token_answer())
    provider_server.answer(USERINFO, **answer)
    assert finish(start(delegated, alice), alice).ok


def test_reconnecting_replaces_only_its_own_connection(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    first = make_connection(delegated, additional_scopes=["mine"])
    second = make_connection(delegated, "second")
    provider_server.answer(TOKEN, json=token_answer())
    started = start(delegated, alice, connection=first)
    assert sent(started)["scope"] == "read write mine"
    outcome = finish(started, alice)
    assert outcome.connection_id == first.pk
    assert Token.objects.get(pk=first.pk).open().access_token == "access-2"
    assert Token.objects.get(pk=first.pk).version == first.token.version + 1
    assert Token.objects.get(pk=second.pk).open().access_token == "access-token-1"
    assert Connection.objects.count() == 2


def test_reconnecting_brings_a_dead_connection_back_into_the_schedule(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW - timedelta(hours=1), due_at=NOW)
    provider_server.answer(TOKEN, status=400, json={"error": "invalid_grant"})
    refresh_due(now=NOW)
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    assert finish(start(delegated, alice, connection=connection), alice).ok
    connection = Connection.objects.get(pk=connection.pk)
    assert (connection.state, connection.last_error_code) == ("connected", "")
    assert connection.schedule.refresh_due_at > NOW


def test_another_account_than_before_is_warned_about(
    delegated: Integration, alice: User, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    connection = make_connection(delegated, account={"id": "u1", "label": "ann@example.com"})
    provider_server.answer(TOKEN, json=token_answer())
    provider_server.answer(USERINFO, json={"sub": "u2", "email": "eve@example.com"})
    outcome = finish(start(delegated, alice, connection=connection), alice)
    assert outcome.ok
    assert "ann@example.com" in outcome.warning


# --- what is refused ------------------------------------------------------------------------------------
@pytest.fixture
def existing(delegated: Integration) -> Connection:
    return make_connection(delegated, issued_at=NOW, account={"id": "u1", "label": "Ann"})


def snapshot(connection: Connection) -> dict[str, Any]:
    """Everything about a connection that a failed flow must not touch."""
    row = Connection.objects.select_related("integration", "token", "schedule").get(pk=connection.pk)
    parts: list[Any] = [row, row.token, row.schedule, row.integration]
    return {f"{part._meta.model_name}.{k}": v for part in parts for k, v in vars(part).items() if k != "_state"} | {
        "secrets": row.token.open(),
        "status": row.status_at(NOW),
    }


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 400, "json": {"error": "invalid_grant", "error_description": "stale"}}, "invalid_grant"),
        ({"status": 401, "json": {"error": "invalid_client"}}, "invalid_client"),
        ({"status": 400, "json": {"error": "redirect_uri_mismatch"}}, "redirect_uri_mismatch"),
        ({"status": 404, "body": "nothing here"}, "wrong_endpoint"),
        ({"body": "<html><body>Sign in</body></html>"}, "html_answer"),
        ({"json": {"access_token": ""}}, "no_access_token"),
        ({"json": {"access_token": "a", "token_type": "mac"}}, "unsupported_token_type"),
        ({"status": 302, "headers": {"Location": "https://evil.example/"}}, "redirected"),
        ({"status": 500}, "outage"),
        ({"status": 429, "headers": {"Retry-After": "60"}}, "throttled"),
        ({"json": {"ok": False, "error": "invalid_code"}}, "invalid_code"),
    ],
)
def test_every_failed_exchange_leaves_the_existing_connection_untouched(
    existing: Connection, alice: User, provider_server: ScriptedServer, answer: dict[str, Any], code: str
) -> None:
    provider_server.answer(TOKEN, **answer)
    before = snapshot(existing)
    outcome = finish(start(existing.integration, alice, connection=existing), alice)
    assert (outcome.ok, outcome.code) == (False, code)
    assert outcome.message
    assert outcome.next_step
    assert snapshot(existing) == before
    assert AuditEvent.objects.order_by("id").last().action == "connection:failed"  # type: ignore[union-attr]


def test_an_unreachable_token_endpoint_leaves_it_untouched_too(
    existing: Connection, alice: User, define: Callable[..., CustomProvider], settings: Any
) -> None:
    define(token_endpoint="http://127.0.0.1:9/token")
    settings.OUTBOUND_ALLOWED_HOSTS = [*settings.OUTBOUND_ALLOWED_HOSTS, "127.0.0.1:9"]
    before = snapshot(existing)
    outcome = finish(start(existing.integration, alice, connection=existing), alice)
    assert outcome.code == "unreachable"
    assert snapshot(existing) == before


@pytest.mark.parametrize(
    ("error", "code"),
    [("access_denied", "access_denied"), ("server_error", "server_error"), ("invalid_scope", "invalid_scope"),
     ("unheard_of", "unheard_of")],
)  # fmt: skip
def test_an_error_at_the_consent_page_is_told_in_our_words_with_the_providers_cleaned(
    existing: Connection, alice: User, provider_server: ScriptedServer, error: str, code: str
) -> None:
    before = snapshot(existing)
    started = start(existing.integration, alice, connection=existing)
    text = "<script>no</script>\u202e" + "x" * 900
    query = [("error", error), ("error_description", text), ("state", started.state)]
    outcome = finish(started, alice, query=query)
    assert (outcome.ok, outcome.code) == (False, code)
    assert "script" not in outcome.message
    assert len(outcome.provider_text) == 500
    assert "\u202e" not in outcome.provider_text
    assert snapshot(existing) == before
    assert provider_server.to(TOKEN) == []


@pytest.mark.parametrize(
    "query",
    [
        [],
        [("state", "{state}")],
        [("code", "c")],
        [("code", "c"), ("code", "d"), ("state", "{state}")],
        [("code", "c"), ("state", "{state}"), ("state", "other")],
        [("code", "c"), ("error", "access_denied"), ("state", "{state}")],
        [("code", "c"), ("state", "x" * 600)],
        [("code", "c"), ("state", "unknown")],
    ],
)
def test_what_is_no_answer_to_our_request_changes_nothing_and_uses_nothing_up(
    existing: Connection, alice: User, provider_server: ScriptedServer, query: list[tuple[str, str]]
) -> None:
    started = start(existing.integration, alice, connection=existing)
    before = snapshot(existing)
    crafted = [(name, value.replace("{state}", started.state)) for name, value in query]
    outcome = finish(started, alice, query=crafted)
    assert not outcome.ok
    assert outcome.workspace_slug == ""
    assert snapshot(existing) == before
    provider_server.answer(TOKEN, json=token_answer())
    assert finish(started, alice).ok


def test_another_browser_or_person_learns_nothing_and_uses_nothing_up(
    existing: Connection, alice: User, bob: User, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    started = start(existing.integration, alice, connection=existing)
    for user, binding in [(alice, "other-browser"), (alice, ""), (bob, BROWSER), (None, BROWSER)]:
        outcome = finish(started, user, binding=binding)
        assert (outcome.code, outcome.workspace_slug) == ("foreign_session", "")
    assert provider_server.to(TOKEN) == []
    assert finish(started, alice).ok


def test_a_second_hit_shows_the_first_outcome_and_exchanges_nothing(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    started = start(delegated, alice)
    first = finish(started, alice)
    assert finish(started, alice) == first
    # Whatever the replay carries: the code is not looked at again (RFC 9700 §4.5).
    assert finish(started, alice, query=[("error", "access_denied"), ("state", started.state)]) == first
    assert len(provider_server.to(TOKEN)) == 1


def test_a_second_hit_of_a_failure_shows_that_failure(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    started = start(delegated, alice)
    refused = [("error", "access_denied"), ("error_description", "no"), ("state", started.state)]
    first = finish(started, alice, query=refused)
    provider_server.answer(TOKEN, json=token_answer())
    assert finish(started, alice) == first
    assert provider_server.to(TOKEN) == []


def test_a_hit_during_the_exchange_is_told_to_wait_and_a_broken_one_to_start_again(
    delegated: Integration, alice: User
) -> None:
    started = start(delegated, alice)
    PendingAuthorization.objects.update(consumed_at=NOW)
    assert finish(started, alice).code == "in_progress"
    assert finish(started, alice, now=NOW + timedelta(minutes=3)).code == "interrupted"


def test_after_ten_minutes_it_is_too_late(delegated: Integration, alice: User) -> None:
    started = start(delegated, alice)
    assert finish(started, alice, now=NOW + timedelta(minutes=10)).code == "expired_state"
    sweep(NOW + timedelta(minutes=10))
    assert not PendingAuthorization.objects.exists()
    assert finish(started, alice).code == "unknown_state"


@pytest.mark.parametrize("change", ["role", "membership", "account"])
def test_whoever_may_no_longer_connect_cannot_finish(
    existing: Connection, bob: User, provider_server: ScriptedServer, change: str
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    before = snapshot(existing)
    started = start(existing.integration, bob, connection=existing)
    membership = Membership.objects.filter(user=bob)
    if change == "role":
        membership.update(role=Role.VIEWER)
    elif change == "membership":
        membership.delete()
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    assert finish(started, bob).code == "no_permission"
    assert provider_server.to(TOKEN) == []
    assert snapshot(existing) == before
    assert PendingAuthorization.objects.get().consumed_at is not None


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint", "issuer"])
def test_editing_the_provider_invalidates_flows_under_way(
    existing: Connection,
    alice: User,
    provider_server: ScriptedServer,
    define: Callable[..., CustomProvider],
    field: str,
) -> None:
    started = start(existing.integration, alice, connection=existing)
    before = snapshot(existing)
    define(**{field: f"{provider_server.url}/elsewhere"})
    assert finish(started, alice).code == "provider_changed"
    assert provider_server.requests == []
    assert snapshot(existing) == before


def test_editing_the_client_invalidates_flows_under_way(
    existing: Connection, alice: User, provider_server: ScriptedServer
) -> None:
    started = start(existing.integration, alice, connection=existing)
    Integration.objects.filter(pk=existing.integration_id).update(client_id="other-client")
    assert finish(started, alice).code == "provider_changed"
    assert provider_server.requests == []


@pytest.mark.parametrize(("iss", "ok"), [("", True), ("match", True), ("https://evil.example", False)])
def test_an_issuer_that_is_not_the_one_asked_is_a_mix_up(
    delegated: Integration,
    alice: User,
    provider_server: ScriptedServer,
    define: Callable[..., CustomProvider],
    iss: str,
    ok: bool,
) -> None:
    define(issuer=provider_server.url)
    provider_server.answer(TOKEN, json=token_answer())
    started = start(delegated, alice)
    query = [("code", "c"), ("state", started.state)]
    if iss:
        query.append(("iss", provider_server.url if iss == "match" else iss))
    outcome = finish(started, alice, query=query)
    assert outcome.ok is ok
    if not ok:
        assert outcome.code == "issuer_mismatch"
        assert provider_server.to(TOKEN) == []


def test_a_connection_deleted_meanwhile_is_not_brought_back(
    existing: Connection, alice: User, provider_server: ScriptedServer
) -> None:
    started = start(existing.integration, alice, connection=existing)
    provider_server.answer(TOKEN, json=token_answer())
    existing.delete()
    assert not finish(started, alice).ok
    assert not Connection.objects.exists()


def test_a_first_connect_with_a_refused_client_is_a_misconfiguration(
    delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, status=401, json={"error": "invalid_client"})
    assert finish(start(delegated, alice), alice).code == "invalid_client"
    delegated.refresh_from_db()
    assert delegated.client_error_code == "invalid_client"
    provider_server.forget()
    provider_server.answer(TOKEN, json=token_answer())
    assert finish(start(delegated, alice), alice).ok
    delegated.refresh_from_db()
    assert delegated.client_error_code == ""


# --- starting -------------------------------------------------------------------------------------------
def test_what_cannot_become_a_connection_is_refused_before_anybody_is_sent(
    workspace: Workspace, delegated: Integration, service: Integration, alice: User
) -> None:
    no_secret = Integration.objects.get(pk=delegated.pk)
    no_secret.client_secret = None
    no_secret.save()
    orphan = make_integration(workspace, "custom_gone")
    cases = [(no_secret, {}, "not_configured"), (orphan, {}, "provider_missing"), (service, {}, "wrong_grant_type")]
    for integration, more, code in cases:
        with pytest.raises(FlowRefused) as caught:
            start(integration, alice, **more)
        assert caught.value.code == code
        assert caught.value.message
    assert not PendingAuthorization.objects.exists()


@pytest.mark.parametrize(
    "more", [{"connection_name": ""}, {"connection_name": "x" * 101}, {"chosen": ChosenScopes(None, ("two words",))},
             {"parameters": {"nonsense": "x"}}],
)  # fmt: skip
def test_unfit_names_scopes_and_parameters_are_refused(
    delegated: Integration, alice: User, more: dict[str, Any]
) -> None:
    with pytest.raises(FlowRefused):
        start(delegated, alice, **more)


# --- connect links --------------------------------------------------------------------------------------
def make_link(integration: Integration, **more: Any) -> tuple[str, ConnectLink]:
    return create_connect_link(integration, **{"actor": WORKER, "now": NOW, **more})


def test_a_link_connects_an_account_of_somebody_outside(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    url, _ = make_link(delegated, connection_name="customer-7", chosen=ChosenScopes(None, ("extra",)))
    token = url.removeprefix("http://localhost:8000/connect/").rstrip("/")
    link = find_link(token, NOW)
    assert token not in str(vars(link))
    started = start(delegated, None, link=link)
    assert sent(started)["scope"] == "read write extra"
    outcome = finish(started, None)
    assert outcome.ok
    assert outcome.link == link
    connection = Connection.objects.get(pk=outcome.connection_id)
    assert connection.name == "customer-7"
    with pytest.raises(LinkGone) as caught:
        find_link(token, NOW)
    assert caught.value.code == "link_used"


def test_a_refusal_does_not_use_a_link_up_and_success_does(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer(TOKEN, json=token_answer())
    _, link = make_link(delegated)
    started = start(delegated, None, link=link)
    assert not finish(started, None, query=[("error", "access_denied"), ("state", started.state)]).ok
    second, third = start(delegated, None, link=link), start(delegated, None, link=link)
    assert finish(second, None).ok
    assert finish(third, None).code == "link_used"
    assert len(provider_server.to(TOKEN)) == 1


def test_a_link_belongs_to_the_browser_that_posted_first(delegated: Integration) -> None:
    _, link = make_link(delegated)
    start(delegated, None, link=link)
    with pytest.raises(LinkGone) as caught:
        start(delegated, None, link=ConnectLink.objects.get(pk=link.pk), binding="another")
    assert caught.value.code == "link_in_other_browser"


def test_a_link_lives_a_day(delegated: Integration) -> None:
    url, link = make_link(delegated)
    assert link.expires_at == NOW + timedelta(hours=24)
    with pytest.raises(LinkGone) as caught:
        find_link(url.split("/")[-2], NOW + timedelta(hours=24))
    assert caught.value.code == "link_expired"
    with pytest.raises(LinkGone) as caught:
        find_link("unknown", NOW)
    assert caught.value.code == "unknown_link"


def test_a_link_refuses_another_account_and_revokes_what_it_brought(
    delegated: Integration, provider_server: ScriptedServer, define: Callable[..., CustomProvider]
) -> None:
    define(userinfo_endpoint=f"{provider_server.url}{USERINFO}")
    connection = make_connection(delegated, account={"id": "u1", "label": "ann@example.com"})
    before = snapshot(connection)
    provider_server.answer(TOKEN, json=token_answer("theirs", "theirs-refresh"))
    provider_server.answer(USERINFO, json={"sub": "u2"})
    provider_server.answer(REVOKE)
    _, link = make_link(delegated)
    outcome = finish(start(delegated, None, link=link), None)
    assert outcome.code == "account_differs"
    assert snapshot(connection) == before
    assert [request.form["token"] for request in provider_server.to(REVOKE)] == ["theirs-refresh", "theirs"]


def test_the_return_url_must_be_on_the_workspaces_list(
    delegated: Integration, workspace: Workspace, provider_server: ScriptedServer
) -> None:
    workspace.return_urls = ["https://app.example.com/done"]
    workspace.save()
    delegated.refresh_from_db()
    with pytest.raises(FlowRefused):
        make_link(delegated, return_url="https://evil.example/done")
    _, link = make_link(delegated, return_url="https://app.example.com/done?tab=1")
    provider_server.answer(TOKEN, json=token_answer())
    outcome = finish(start(delegated, None, link=link), None)
    expected = f"https://app.example.com/done?tab=1&status=connected&connection_id={outcome.connection_id}"
    assert outcome.return_location == expected


def test_a_return_url_taken_off_the_list_meanwhile_is_not_followed(
    delegated: Integration, workspace: Workspace
) -> None:
    workspace.return_urls = ["https://app.example.com/done"]
    workspace.save()
    delegated.refresh_from_db()
    _, link = make_link(delegated, return_url="https://app.example.com/done")
    started = start(delegated, None, link=link)
    Workspace.objects.update(return_urls=[])
    outcome = finish(started, None, query=[("error", "access_denied"), ("state", started.state)])
    assert outcome.return_location == ""


def test_links_are_for_people_only(service: Integration) -> None:
    with pytest.raises(FlowRefused) as caught:
        make_link(service)
    assert caught.value.code == "wrong_grant_type"
    assert service.grant_type == GrantType.CLIENT_CREDENTIALS
