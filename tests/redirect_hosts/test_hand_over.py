"""A connect link on a redirect host: begun there, finished on PUBLIC_BASE_URL, by one and the same browser."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from integrations.crypto import open_sealed
from integrations.models import Connection, Integration, PendingAuthorization
from tests.pages.conftest import continue_url, query_of
from tests.redirect_hosts.conftest import HOST, OPERATOR, PUBLIC, Visitor, link_path
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace
from workspaces.workspaces import change_redirect_host

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_real_hosts", "own_host")]


@pytest.fixture
def link(delegated: Integration) -> str:
    return link_path(delegated)


def on_the_way(visitor: Visitor, link: str) -> str:
    """Post the link's form; returns where the page without JavaScript leads on to."""
    page = visitor.own.post(link)
    assert page.status_code == 200, page.content.decode()
    return continue_url(page)


def back_with_ticket(visitor: Visitor, way: str) -> str:
    """By PUBLIC_BASE_URL; returns the address on the redirect host with the ticket."""
    answer = visitor.follow(way)
    assert answer.status_code == 303, answer.content.decode()
    return str(answer.headers["Location"])


def at_consent(visitor: Visitor, link: str) -> str:
    """The whole way to the consent page; returns the authorization URL."""
    answer = visitor.follow(back_with_ticket(visitor, on_the_way(visitor, link)))
    assert answer.status_code == 303, answer.content.decode()
    return str(answer.headers["Location"])


def come_back(visitor: Visitor, authorization_url: str, **query: str) -> Any:
    """As the provider sends the browser back: to the redirect host, which forwards it."""
    sent = query_of(authorization_url)
    assert sent["redirect_uri"] == f"https://{HOST}/oauth/callback"
    forwarded = visitor.own.get("/oauth/callback", {"state": sent["state"], **(query or {"code": "the-code"})})
    assert forwarded.status_code == 308
    return visitor.follow(forwarded.headers["Location"])


def test_the_whole_way_ends_connected_and_exchanges_what_was_sent(
    visitor: Visitor, link: str, provider_server: ScriptedServer
) -> None:
    answer = come_back(visitor, at_consent(visitor, link))
    assert answer.status_code == 303
    page = visitor.public.get(answer.headers["Location"])
    assert "Northwind is connected" in page.content.decode()
    assert Connection.objects.get().account["label"] == "customer@example.com"
    (exchange,) = provider_server.to("/token")
    assert exchange.form["redirect_uri"] == f"https://{HOST}/oauth/callback"
    assert visitor.own.get(link).status_code == 410  # used up


def test_no_step_is_kept_by_a_cache_or_named_to_the_next_site(visitor: Visitor, link: str) -> None:
    page = visitor.own.post(link)
    by_public = visitor.follow(continue_url(page))
    leaving = visitor.follow(by_public.headers["Location"])
    for answer in (page, by_public, leaving):
        assert "no-store" in answer.headers["Cache-Control"]
    for answer in (by_public, leaving):
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_with_htmx_the_form_answers_with_the_same_way(visitor: Visitor, link: str) -> None:
    way = visitor.own.post(link, headers={"HX-Request": "true"}).headers["HX-Redirect"]
    assert way.startswith(f"{PUBLIC}/connect/")
    assert visitor.follow(back_with_ticket(visitor, way)).status_code == 303


def test_going_back_and_on_again_leads_to_the_same_consent(visitor: Visitor, link: str) -> None:
    way = on_the_way(visitor, link)
    first = visitor.follow(back_with_ticket(visitor, way)).headers["Location"]
    assert visitor.follow(back_with_ticket(visitor, way)).headers["Location"] == first
    assert come_back(visitor, first).status_code == 303
    assert Connection.objects.count() == 1


def test_a_refusal_offers_another_try_on_the_same_host(visitor: Visitor, link: str) -> None:
    answer = come_back(visitor, at_consent(visitor, link), error="access_denied")
    page = visitor.public.get(answer.headers["Location"]).content.decode()
    assert f'href="https://{HOST}{link}">Try again' in page
    assert visitor.own.get(link).status_code == 200
    assert come_back(visitor, at_consent(visitor, link)).status_code == 303
    assert Connection.objects.count() == 1


def test_no_session_or_address_holds_a_secret_in_the_clear(visitor: Visitor, link: str) -> None:
    back = back_with_ticket(visitor, on_the_way(visitor, link))
    state = query_of(str(visitor.follow(back).headers["Location"]))["state"]
    token, sessions = link.split("/")[2], [session.get_decoded() for session in Session.objects.all()]
    assert len(sessions) == 2
    assert all(secret not in str(sessions) for secret in (token, state))
    binding = visitor.public.session["oauth_browser"]
    assert binding not in back


def test_the_public_host_needs_no_way_around(visitor: Visitor, link: str) -> None:
    """The same link, opened at PUBLIC_BASE_URL: one browser, one cookie, straight to the consent page."""
    url = continue_url(visitor.public.post(link))
    assert "/authorize?" in url
    answer = come_back(visitor, url)
    assert "Northwind is connected" in visitor.public.get(answer.headers["Location"]).content.decode()


# --- somebody else --------------------------------------------------------------------------------------------------


def test_an_address_that_a_stranger_passes_on_leads_nobody_to_consent(link: str) -> None:
    """Session fixation: the victim would consent, perhaps unasked, and the account would be connected for another."""
    attacker, victim = Visitor.new(), Visitor.new()
    way = on_the_way(attacker, link)
    bound_to = PendingAuthorization.objects.get().session_hash
    refused = victim.follow(back_with_ticket(victim, way))
    assert refused.status_code == 410
    assert "Location" not in refused.headers
    assert PendingAuthorization.objects.get().session_hash == bound_to  # else the consent page could be passed on next
    # The attacker is none the wiser, and goes on alone.
    assert attacker.follow(back_with_ticket(attacker, way)).status_code == 303


def test_a_victim_who_has_used_a_link_of_their_own_is_not_led_there_either(link: str, delegated: Integration) -> None:
    attacker, victim = Visitor.new(), Visitor.new()
    at_consent(victim, link_path(delegated, connection_name="mine"))  # both hosts know the victim's browser
    assert victim.follow(back_with_ticket(victim, on_the_way(attacker, link))).status_code == 410


def test_a_consent_page_that_a_stranger_passes_on_connects_nobody(link: str, provider_server: ScriptedServer) -> None:
    attacker, victim = Visitor.new(), Visitor.new()
    answer = come_back(victim, at_consent(attacker, link))
    assert "Nothing was connected" in victim.public.get(answer.headers["Location"]).content.decode()
    assert not Connection.objects.exists()
    assert provider_server.to("/token") == []


def test_a_flow_that_was_never_handed_over_cannot_be_finished(visitor: Visitor, link: str) -> None:
    """The way around cannot be left out, even by whoever learnt the authorization URL."""
    visitor.follow(on_the_way(visitor, link))  # the public host knows this browser now, and was told nothing else
    key, sealed = next(iter(visitor.own.session["oauth_leaving"].items()))
    answer = come_back(visitor, open_sealed(sealed.encode(), f"leaving:{key}"))
    assert "started in another browser" in visitor.public.get(answer.headers["Location"]).content.decode()
    assert PendingAuthorization.objects.get().consumed_at is None


def test_the_first_browser_to_post_keeps_the_link(link: str) -> None:
    on_the_way(Visitor.new(), link)
    other = Visitor.new()
    assert other.own.post(link).status_code == 410
    assert other.public.post(link).status_code == 410


def test_a_ticket_is_good_for_one_flow(visitor: Visitor, link: str, delegated: Integration) -> None:
    ticket = back_with_ticket(visitor, on_the_way(visitor, link)).partition("?")[2]
    second = back_with_ticket(visitor, on_the_way(visitor, link_path(delegated, connection_name="second")))
    assert visitor.follow(f"{second.partition('?')[0]}?{ticket}").status_code == 410
    assert visitor.follow(second).status_code == 303


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=made-up", "?ticket=%00", "?ticket=%C3%BC", "?ticket=%ff"])
def test_a_made_up_ticket_is_refused(visitor: Visitor, link: str, query: str) -> None:
    back = back_with_ticket(visitor, on_the_way(visitor, link)).partition("?")[0]
    assert visitor.follow(back + query).status_code == 410


def test_another_browser_cannot_take_over_what_was_handed_over(link: str) -> None:
    attacker, victim = Visitor.new(), Visitor.new()
    way = on_the_way(victim, link)
    consent = victim.follow(back_with_ticket(victim, way)).headers["Location"]
    assert attacker.follow(back_with_ticket(attacker, way)).status_code == 410
    assert come_back(victim, consent).status_code == 303
    assert Connection.objects.count() == 1


def test_a_flow_is_handed_over_to_one_browser_only(link: str) -> None:
    """Not even by whoever began it: a second one could be made to consent for the first."""
    attacker, victim = Visitor.new(), Visitor.new()
    way = on_the_way(attacker, link)
    assert attacker.follow(back_with_ticket(attacker, way)).status_code == 303
    ticket_of_the_victim = back_with_ticket(victim, way)
    assert attacker.follow(ticket_of_the_victim).status_code == 410


@pytest.mark.parametrize("step", ["browser", "leave"])
def test_a_flow_whose_time_is_over_goes_no_further(visitor: Visitor, link: str, step: str) -> None:
    way = on_the_way(visitor, link)
    back = back_with_ticket(visitor, way)
    PendingAuthorization.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = visitor.follow(way if step == "browser" else back)
    assert answer.status_code == 410
    assert "is over" in answer.content.decode()


def test_made_up_flows_and_links_are_not_there(visitor: Visitor, link: str, delegated: Integration) -> None:
    made_up = uuid.uuid4()
    other = link_path(delegated, connection_name="other")
    pending = on_the_way(visitor, link).rstrip("/").rpartition("/")[2]
    assert visitor.public.get(f"{link}browser/{made_up}/").status_code == 410
    assert visitor.public.get(f"{other}browser/{pending}/").status_code == 410  # another link's flow
    assert visitor.public.get(f"/connect/unknown/browser/{pending}/").status_code == 404
    assert visitor.own.get(f"/connect/unknown/leave/{pending}/").status_code == 404
    assert visitor.own.get(f"{link}browser/{pending}/").status_code == 404  # each step has its host
    assert visitor.public.get(f"{link}leave/{pending}/").status_code == 404


# --- the host changes meanwhile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["", "https://new.acme.example"])
def test_a_change_of_host_ends_what_is_under_way(
    visitor: Visitor, link: str, own_host: Workspace, provider_server: ScriptedServer, to: str
) -> None:
    way = on_the_way(visitor, link)
    consent = at_consent(visitor, link)
    change_redirect_host(own_host, to, actor=OPERATOR)
    assert visitor.follow(way).status_code == 410
    assert visitor.own.get("/oauth/callback").status_code == 400
    late = visitor.public.get("/oauth/callback", {"state": query_of(consent)["state"], "code": "the-code"})
    page = visitor.public.get(late.headers["Location"]).content.decode()
    assert "redirect host were changed" in page
    assert provider_server.to("/token") == []
    assert not Connection.objects.exists()
