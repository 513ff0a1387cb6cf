"""Leaving for the consent page and coming back (RFC 6749 §4.1, RFC 9700)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from integrations.models import Connection, Integration, PendingAuthorization
from tests.factories import make_connection, make_integration
from tests.pages.conftest import CANARY, continue_url, query_of, token_answer, url
from tests.servers.scripted import ScriptedServer
from workspaces.models import User, Workspace
from workspaces.roles import Role

CALLBACK = "/oauth/callback"


@pytest.fixture
def answering(provider_server: ScriptedServer) -> ScriptedServer:
    """A provider that grants everything."""
    provider_server.answer("/token", json=token_answer())
    provider_server.answer("/userinfo", json={"sub": "7", "email": "person@example.com"})
    return provider_server


def leave(browser: Client, integration: Integration, **data: str) -> str:
    """Press "Connect with OAuth" without JavaScript; returns the authorization URL."""
    page = browser.post(url("connect", integration), data)
    assert page.status_code == 200
    return continue_url(page)


def come_back(browser: Client, authorization_url: str, **query: str) -> Any:
    """What the provider's redirect brings, up to our own page."""
    state = query_of(authorization_url)["state"]
    return browser.get(CALLBACK, {"state": state, **(query or {"code": "the-code"})})


def test_without_javascript_a_page_links_to_the_provider(as_alice: Client, delegated: Integration) -> None:
    page = as_alice.post(url("connect", delegated))
    asked = query_of(continue_url(page))
    assert page["Cache-Control"] == "no-store"
    assert asked["redirect_uri"] == "http://localhost:8000/oauth/callback"
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid files"


def test_with_htmx_the_browser_is_sent_by_a_header(as_alice: Client, delegated: Integration) -> None:
    answer = as_alice.post(url("connect", delegated), headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "/authorize?" in answer["HX-Redirect"]


def test_connecting_needs_a_post_with_its_csrf_token(delegated: Integration, alice: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert strict.get(url("connect", delegated)).status_code == 405
    assert strict.post(url("connect", delegated)).status_code == 403
    assert not PendingAuthorization.objects.exists()


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.EDITOR, 200)])
def test_editors_connect_and_viewers_do_not(
    sign_in: Callable[[Role], Client], delegated: Integration, role: Role, status: int
) -> None:
    assert sign_in(role).post(url("connect", delegated)).status_code == status


def test_an_outsider_gets_404(charlie: User, client: Client, delegated: Integration) -> None:
    client.force_login(charlie)
    assert client.post(url("connect", delegated)).status_code == 404


def test_success_lands_on_the_connection_at_a_clean_address(
    as_alice: Client, delegated: Integration, answering: ScriptedServer
) -> None:
    answer = come_back(as_alice, leave(as_alice, delegated))
    connection = Connection.objects.get()
    assert answer.status_code == 303
    assert answer["Location"] == url("connection", delegated, connection_id=connection.pk)
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == "no-store"
    page = as_alice.get(answer["Location"]).content.decode()
    assert "Connected. Everything requested was granted." in page
    assert "person@example.com" in page
    for secret in (CANARY, "issued-access-token", "issued-refresh-token"):
        assert secret not in page


def test_scopes_that_were_not_granted_are_told(
    as_alice: Client, delegated: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer(scope="openid"))
    provider_server.answer("/userinfo", json={"sub": "7"})
    answer = come_back(as_alice, leave(as_alice, delegated))
    page = as_alice.get(answer["Location"]).content.decode()
    assert "Missing: files." in page
    assert "Reconnect to grant" in page


def test_reconnecting_with_another_account_warns(
    as_alice: Client, delegated: Integration, answering: ScriptedServer
) -> None:
    before = make_connection(delegated, account={"id": "1", "label": "first@example.com"})
    answer = come_back(as_alice, leave(as_alice, delegated, connection=str(before.pk)))
    assert "another account than before: it was first@example.com" in as_alice.get(answer["Location"]).content.decode()


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"error": "access_denied"}, "access_denied", "Access was not granted"),
        ({"error": "invalid_scope"}, "invalid_scope", "does not know a requested scope"),
        ({"error": "temporarily_unavailable"}, "temporarily_unavailable", "overloaded or under maintenance"),
        ({"error": "made_up_code"}, "made_up_code", "not part of the OAuth standards"),
    ],
)
def test_each_refusal_has_its_words_and_leaves_the_connection_alone(
    as_alice: Client, delegated: Integration, query: dict[str, str], code: str, words: str
) -> None:
    connection = make_connection(delegated)
    version = connection.token.version
    answer = come_back(as_alice, leave(as_alice, delegated), **query)
    assert answer.status_code == 303
    assert "state" not in answer["Location"]
    page = as_alice.get(answer["Location"]).content.decode()
    assert "Northwind was not connected" in page
    assert words in page
    assert "Nothing has changed" in page
    assert f"<code>{code}</code>" in page
    assert "Try again" in page
    assert "Back to Northwind" in page
    left = Connection.objects.select_related("token").get(pk=connection.pk)
    assert left.state == "connected"
    assert left.token.version == version


def test_the_providers_text_is_escaped(as_alice: Client, delegated: Integration) -> None:
    answer = come_back(
        as_alice,
        leave(as_alice, delegated),
        error="access_denied",
        error_description="<script>alert(1)</script> no \u202e",
    )
    page = as_alice.get(answer["Location"]).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; no" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": "invalid_client"}, "refused the client ID or the client secret"),
        (400, {"error": "invalid_grant"}, "no longer accepts the authorization"),
        (503, "down", "has a failure on its side"),
        (200, "<!doctype html><html></html>", "answered with a web page"),
    ],
)
def test_a_failing_exchange_is_told_in_plain_words(
    as_alice: Client,
    delegated: Integration,
    provider_server: ScriptedServer,
    status: int,
    body: Any,
    words: str,
) -> None:
    sent = {"json": body} if isinstance(body, dict) else {"body": body, "headers": {"Content-Type": "text/html"}}
    provider_server.answer("/token", status=status, **sent)
    answer = come_back(as_alice, leave(as_alice, delegated))
    assert words in as_alice.get(answer["Location"]).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=unknown&code=x",
        "state=a&state=b&code=x",
        "state=a&code=x&error=y",
        "code=x",
        "state=" + "s" * 40_000,
        "state=%ff%fe&code=%00",
    ],
)
def test_whatever_comes_is_answered_by_a_plain_page(client: Client, db: None, query: str) -> None:
    answer = client.get(f"{CALLBACK}?{query}")
    assert answer.status_code == 303
    assert answer["Location"].startswith("/oauth/callback/result/")
    page = client.get(answer["Location"])
    assert page.status_code == 200
    assert "Nothing was connected" in page.content.decode()


def test_a_browser_that_never_left_gets_no_session(client: Client, db: None) -> None:
    client.get(f"{CALLBACK}?state=unknown&code=x")
    assert not client.cookies


def test_another_browser_learns_nothing_and_uses_nothing_up(
    as_alice: Client, delegated: Integration, answering: ScriptedServer
) -> None:
    there = leave(as_alice, delegated)
    stranger = Client()
    page = stranger.get(come_back(stranger, there)["Location"]).content.decode()
    assert "Northwind" not in page
    assert "Acme" not in page
    assert not answering.to("/token")
    assert come_back(as_alice, there)["Location"].startswith("/w/acme/")


def test_after_signing_out_the_answer_is_refused_on_a_plain_page(as_alice: Client, delegated: Integration) -> None:
    there = leave(as_alice, delegated)
    as_alice.logout()
    page = as_alice.get(come_back(as_alice, there)["Location"]).content.decode()
    assert "Nothing was connected" in page
    assert "Sign in" in page
    assert not Connection.objects.exists()


def test_a_second_hit_shows_the_outcome_of_the_first(
    as_alice: Client, delegated: Integration, answering: ScriptedServer
) -> None:
    there = leave(as_alice, delegated)
    first, second = come_back(as_alice, there), come_back(as_alice, there)
    assert first["Location"] == second["Location"]
    assert len(answering.to("/token")) == 1


def test_an_outcome_is_shown_only_in_the_browser_it_belongs_to(as_alice: Client, delegated: Integration) -> None:
    answer = come_back(as_alice, leave(as_alice, delegated), error="access_denied")
    assert "Northwind" in as_alice.get(answer["Location"]).content.decode()
    assert "Northwind" not in Client().get(answer["Location"]).content.decode()
    assert "Northwind" not in as_alice.get(f"/oauth/callback/result/{uuid4()}/").content.decode()


def test_trying_again_for_a_new_connection_does_not_reconnect_the_default_one(
    as_alice: Client, delegated: Integration
) -> None:
    make_connection(delegated)
    left = as_alice.post(url("connection_new", delegated), {"name": "finance"})
    answer = come_back(as_alice, continue_url(left), error="access_denied")
    page = as_alice.get(answer["Location"]).content.decode()
    assert f'href="{url("connection_new", delegated)}">Try again' in page


def test_a_new_connection_has_its_own_name(as_alice: Client, delegated: Integration, answering: ScriptedServer) -> None:
    make_connection(delegated)
    left = as_alice.post(url("connection_new", delegated), {"name": "finance"})
    come_back(as_alice, continue_url(left))
    assert sorted(Connection.objects.values_list("name", flat=True)) == ["default", "finance"]


def test_a_name_that_is_taken_comes_back_with_the_form(as_alice: Client, delegated: Integration) -> None:
    make_connection(delegated, "finance")
    page = as_alice.post(url("connection_new", delegated), {"name": "finance"})
    assert page.status_code == 422
    assert 'value="finance"' in page.content.decode()
    assert not PendingAuthorization.objects.exists()


def test_another_integrations_connection_cannot_be_named(as_alice: Client, delegated: Integration) -> None:
    foreign = make_connection(make_integration(delegated.workspace, "github"))
    assert as_alice.post(url("connect", delegated), {"connection": str(foreign.pk)}).status_code == 404
    assert as_alice.post(url("connect", delegated), {"connection": "no-uuid"}).status_code == 404


def test_an_integration_without_credentials_leads_to_its_configuration(as_alice: Client, workspace: Workspace) -> None:
    answer = as_alice.post("/w/acme/integrations/github/authorization_code/connect/")
    assert answer["Location"].endswith("/configuration/")


def test_trying_too_often_is_refused_with_a_time(as_alice: Client, delegated: Integration, settings: Any) -> None:
    settings.RATE_LIMIT_SCALE = 0.04
    assert as_alice.post(url("connect", delegated)).status_code == 200
    refused = as_alice.post(url("connect", delegated))
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
