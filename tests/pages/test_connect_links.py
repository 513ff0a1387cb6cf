"""Connect links: someone outside the workspace connects their account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from integrations.models import Connection, ConnectLink, Integration
from tests.factories import make_connection
from tests.pages.conftest import continue_url, query_of, token_answer, url
from tests.servers.scripted import ScriptedServer
from workspaces.models import ActorKind
from workspaces.roles import Role


def make_link(browser: Client, integration: Integration, **data: str) -> str:
    """Create a link in the page; returns its path."""
    page = browser.post(url("connect_link_create", integration), {"name": "customer-1", **data})
    assert page.status_code == 200, page.content.decode()
    _, _, rest = page.content.decode().partition('value="http://localhost:8000/connect/')
    return "/connect/" + rest.partition('"')[0]


@pytest.fixture
def link(as_alice: Client, delegated: Integration) -> str:
    return make_link(as_alice, delegated)


@pytest.fixture
def visitor(link: str) -> Client:
    """Someone's browser, not signed in."""
    return Client()


@pytest.fixture(autouse=True)
def _granting(provider_server: ScriptedServer) -> None:
    provider_server.answer("/token", json=token_answer())
    provider_server.answer("/userinfo", json={"sub": "9", "email": "customer@example.com"})


def finish(visitor: Client, link: str, **query: str) -> Any:
    state = query_of(continue_url(visitor.post(link)))["state"]
    return visitor.get("/oauth/callback", {"state": state, **(query or {"code": "the-code"})})


def test_the_url_is_shown_once_and_not_stored(as_alice: Client, delegated: Integration, link: str) -> None:
    page = as_alice.get(url("connections", delegated)).content.decode()
    assert link.split("/")[2] not in page
    assert ConnectLink.objects.get().token_hash != link.split("/")[2]


def test_the_page_says_who_asks_for_what(visitor: Client, link: str) -> None:
    page = visitor.get(link)
    text = page.content.decode()
    assert "Acme asks to connect your Northwind account" in text
    assert "openid" in text
    assert "no-store" in page["Cache-Control"]
    assert text.count("<form") == 1


def test_an_outsider_sees_a_persons_name_but_never_a_keys(visitor: Client, delegated: Integration, link: str) -> None:
    assert "It was made by alice@example.com" in visitor.get(link).content.decode()
    ConnectLink.objects.update(creator_kind=ActorKind.API_KEY, created_by="nightly-sync (gr_abc…)")
    assert "nightly-sync" not in visitor.get(link).content.decode()


def test_success_ends_on_a_result_page_and_uses_the_link_up(visitor: Client, link: str) -> None:
    answer = finish(visitor, link)
    assert "Northwind is connected" in visitor.get(answer["Location"]).content.decode()
    connection = Connection.objects.get()
    assert (connection.name, connection.account["label"]) == ("customer-1", "customer@example.com")
    gone = visitor.get(link)
    assert gone.status_code == 410
    assert "has been used" in gone.content.decode()


def test_with_htmx_the_post_answers_with_a_header(visitor: Client, link: str) -> None:
    assert "/authorize?" in visitor.post(link, headers={"HX-Request": "true"})["HX-Redirect"]


def test_a_refusal_does_not_use_the_link_up_and_offers_another_try(visitor: Client, link: str) -> None:
    answer = finish(visitor, link, error="access_denied")
    page = visitor.get(answer["Location"]).content.decode()
    assert f'href="{link}">Try again' in page
    assert finish(visitor, link)["Location"].startswith("/oauth/callback/result/")
    assert Connection.objects.count() == 1


def test_the_link_belongs_to_the_browser_that_posted_first(visitor: Client, link: str) -> None:
    visitor.post(link)
    other = Client().post(link)
    assert other.status_code == 410
    assert "another browser" in other.content.decode()


def test_the_return_url_gets_status_and_connection(as_alice: Client, delegated: Integration) -> None:
    delegated.workspace.return_urls = ["https://app.example.com/done"]
    delegated.workspace.save()
    link = make_link(as_alice, delegated, name="customer-2", return_url="https://app.example.com/done?tenant=5")
    answer = finish(Client(), link)
    connection = Connection.objects.get(name="customer-2")
    assert answer.status_code == 303
    assert query_of(answer["Location"]) == {
        "tenant": "5",
        "status": "connected",
        "connection_id": str(connection.pk),
    }


def test_a_return_url_off_the_list_is_refused_and_kept_in_the_form(as_alice: Client, delegated: Integration) -> None:
    page = as_alice.post(
        url("connect_link_create", delegated), {"name": "default", "return_url": "https://evil.example/"}
    )
    assert page.status_code == 422
    assert 'value="https://evil.example/"' in page.content.decode()
    assert not ConnectLink.objects.exists()


@pytest.mark.parametrize("token", ["unknown", "x" * 500, "%00", "ünknown"])
def test_an_unknown_link_is_404_in_plain_words(client: Client, db: None, token: str) -> None:
    page = client.get(f"/connect/{token}/")
    assert page.status_code == 404
    assert "This link cannot be used" in page.content.decode()


def test_a_link_is_posted_with_a_csrf_token_only(link: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.get(link)
    assert strict.post(link).status_code == 403


def test_no_session_holds_the_links_token_in_the_clear(visitor: Client, link: str) -> None:
    visitor.post(link)
    token = link.split("/")[2]
    assert all(token not in str(session.get_decoded()) for session in Session.objects.all())


def test_reconnecting_with_another_account_is_refused(visitor: Client, link: str, delegated: Integration) -> None:
    make_connection(delegated, "customer-1", account={"id": "1", "label": "first@example.com"})
    answer = finish(visitor, link)
    assert "another account" in visitor.get(answer["Location"]).content.decode()


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.EDITOR, 200)])
def test_editors_make_links(sign_in: Callable[[Role], Client], delegated: Integration, role: Role, status: int) -> None:
    assert sign_in(role).post(url("connect_link_create", delegated), {"name": "x"}).status_code == status


def test_a_service_account_has_no_links(as_alice: Client, service: Integration) -> None:
    assert as_alice.post(url("connect_link_create", service), {"name": "x"}).status_code == 422
    assert "connect link" not in as_alice.get(url("connections", service)).content.decode()


def test_opening_links_is_limited_by_address(client: Client, db: None, settings: Any) -> None:
    settings.RATE_LIMIT_SCALE = 0.02
    assert client.get("/connect/unknown/").status_code == 404
    assert client.get("/connect/unknown/").status_code == 429
