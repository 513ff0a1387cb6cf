"""A connect link on a redirect host: begun there, finished on PUBLIC_BASE_URL, by one and the same browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from integrations.connections.authorization import StartedAuthorization, start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.connect_links import create_connect_link
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.connections.recognition import note_browser
from integrations.models import Connection, ConnectLink, Integration, PendingAuthorization
from tests.pages.conftest import continue_url, query_of, url
from tests.redirect_hosts.conftest import HOST, OPERATOR, PUBLIC, Visitor, link_path
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace
from workspaces.workspaces import change_redirect_host

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_real_hosts", "own_host")]

CALLBACK = "/oauth/callback"
BROWSER = "the-browser-that-began"


@pytest.fixture
def link(delegated: Integration) -> str:
    return link_path(delegated)


def begin(visitor: Visitor, link: str) -> str:
    """Post the link's form on the redirect host; returns the authorization URL's state."""
    page = visitor.own.post(link)
    assert page.status_code == 200, page.content.decode()
    sent = query_of(continue_url(page))
    assert sent["redirect_uri"] == f"https://{HOST}{CALLBACK}"
    return sent["state"]


def pass_by(visitor: Visitor, state: str, **answer: str) -> str:
    """As the provider sends the browser back, up to the redirect; returns where that leads."""
    forwarded = visitor.own.get(CALLBACK, {"state": state, **(answer or {"code": "the-code"})})
    assert forwarded.status_code == 308
    return str(forwarded.headers["Location"])


def come_back(visitor: Visitor, state: str, **answer: str) -> Any:
    """The same, and the redirect followed."""
    landed = visitor.follow(pass_by(visitor, state, **answer))
    assert landed.status_code == 303
    return landed


def result(visitor: Visitor, landed: Any) -> str:
    """The text of the page at the clean address."""
    return str(visitor.public.get(landed.headers["Location"]).content.decode())


def assert_nothing_happened(provider_server: ScriptedServer) -> None:
    assert provider_server.to("/token") == []
    assert not Connection.objects.exists()
    assert PendingAuthorization.objects.get().consumed_at is None


# --- the browser that began -----------------------------------------------------------------------------------------


def test_the_whole_way_ends_connected_and_exchanges_what_was_sent(
    visitor: Visitor, link: str, provider_server: ScriptedServer
) -> None:
    page = visitor.own.post(link)
    assert continue_url(page).startswith(f"{provider_server.url}/authorize?")
    assert "no-store" in page.headers["Cache-Control"]
    landed = come_back(visitor, query_of(continue_url(page))["state"])
    assert "Northwind is connected" in result(visitor, landed)
    assert Connection.objects.get().account["label"] == "customer@example.com"
    (exchange,) = provider_server.to("/token")
    assert exchange.form["redirect_uri"] == f"https://{HOST}{CALLBACK}"
    assert exchange.form["code"] == "the-code"
    assert visitor.own.get(link).status_code == 410  # used up


def test_with_htmx_the_form_answers_with_the_authorization_url(
    visitor: Visitor, link: str, provider_server: ScriptedServer
) -> None:
    answer = visitor.own.post(link, headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"].startswith(f"{provider_server.url}/authorize?")


def test_a_refusal_offers_another_try_on_the_same_host(visitor: Visitor, link: str) -> None:
    text = result(visitor, come_back(visitor, begin(visitor, link), error="access_denied"))
    again = f"/connect/again/{ConnectLink.objects.get().pk}/"
    assert f'href="https://{HOST}{again}">Try again' in text
    assert link.split("/")[2] not in text
    answer = visitor.own.get(again)
    assert (answer.status_code, answer.headers["Location"]) == (302, link)
    assert "no-store" in answer.headers["Cache-Control"]
    assert come_back(visitor, begin(visitor, link)).status_code == 303
    assert Connection.objects.count() == 1


def test_the_links_address_stays_with_the_browser_that_used_it(visitor: Visitor, link: str) -> None:
    landed = come_back(visitor, begin(visitor, link), error="access_denied")
    again = f"/connect/again/{ConnectLink.objects.get().pk}/"
    for somebody in (Visitor.new().own, visitor.public):
        answer = somebody.get(again)
        assert answer.status_code in (404, 410)
        assert link.split("/")[2] not in answer.content.decode() + str(answer.headers)
    assert visitor.own.get(f"/connect/again/{uuid4()}/").status_code == 410
    token, sessions = link.split("/")[2], [session.get_decoded() for session in Session.objects.all()]
    assert len(sessions) == 2
    assert all(token not in str(session) for session in sessions)
    assert "connect_links" not in visitor.public.session
    assert "was not connected" in result(visitor, landed)


def test_no_try_again_leads_to_a_host_that_is_gone(visitor: Visitor, link: str, own_host: Workspace) -> None:
    landed = come_back(visitor, begin(visitor, link), error="access_denied")
    change_redirect_host(own_host, "", actor=OPERATOR)
    text = result(visitor, landed)
    assert "was not connected" in text
    assert "Try again" not in text


def test_a_second_hit_of_the_same_browser_shows_the_first_outcome(
    visitor: Visitor, link: str, provider_server: ScriptedServer
) -> None:
    state = begin(visitor, link)
    come_back(visitor, state)
    assert "Northwind is connected" in result(visitor, come_back(visitor, state))
    assert "Northwind is connected" in result(visitor, come_back(visitor, state, code="another-code"))
    assert len(provider_server.to("/token")) == 1


def test_the_return_url_is_reached_and_reached_again(
    visitor: Visitor, delegated: Integration, own_host: Workspace
) -> None:
    own_host.return_urls = ["https://app.example.com/done"]
    own_host.save()
    delegated.refresh_from_db()
    state = begin(visitor, link_path(delegated, return_url="https://app.example.com/done"))
    for _ in range(2):
        location = come_back(visitor, state).headers["Location"]
        assert location.startswith("https://app.example.com/done?status=connected&connection_id=")


def test_somebody_who_is_signed_in_stays_so_and_keeps_their_session(visitor: Visitor, link: str, alice: User) -> None:
    visitor.public.force_login(alice)
    session = visitor.public.session.session_key
    assert "Northwind is connected" in result(visitor, come_back(visitor, begin(visitor, link)))
    assert visitor.public.session.session_key == session
    assert visitor.public.get("/w/acme/integrations/").status_code == 200


def test_two_tabs_connect_once(visitor: Visitor, link: str, provider_server: ScriptedServer) -> None:
    first, second = begin(visitor, link), begin(visitor, link)
    ways = [pass_by(visitor, first, code="one"), pass_by(visitor, second, code="two")]
    pages = [result(visitor, visitor.follow(way)) for way in reversed(ways)]
    assert "Northwind is connected" in pages[0]
    assert "has been used" in pages[1]
    assert [request.form["code"] for request in provider_server.to("/token")] == ["two"]


def test_two_links_of_one_browser_do_not_disturb_each_other(visitor: Visitor, delegated: Integration) -> None:
    states = [begin(visitor, link_path(delegated, connection_name=name)) for name in ("mine", "yours")]
    ways = [pass_by(visitor, state) for state in states]
    for way in ways:
        assert "Northwind is connected" in result(visitor, visitor.follow(way))
    assert set(Connection.objects.values_list("name", flat=True)) == {"mine", "yours"}


def test_a_proxy_may_escape_the_query_otherwise_on_one_of_the_hosts(visitor: Visitor, link: str) -> None:
    state = begin(visitor, link)
    visitor.own.get(CALLBACK, QUERY_STRING=f"code=4/0Ab%2bc%20d&state={state}")
    landed = visitor.public.get(CALLBACK, QUERY_STRING=f"code=4%2F0Ab%2Bc+d&state={state}")
    assert "Northwind is connected" in result(visitor, landed)


def test_the_public_host_needs_no_mark(visitor: Visitor, link: str) -> None:
    """The same link, opened at PUBLIC_BASE_URL: one browser, one cookie."""
    state = query_of(continue_url(visitor.public.post(link)))["state"]
    landed = come_back(visitor, state)
    assert "Northwind is connected" in result(visitor, landed)


# --- somebody else --------------------------------------------------------------------------------------------------


def _knows_nobody(link: str, delegated: Integration) -> Visitor:
    return Visitor.new()


def _used_a_link_of_their_own(link: str, delegated: Integration) -> Visitor:
    victim = Visitor.new()
    come_back(victim, begin(victim, link_path(delegated, connection_name="theirs")), error="access_denied")
    PendingAuthorization.objects.all().delete()
    return victim


def _opened_the_same_link(link: str, delegated: Integration) -> Visitor:
    victim = Visitor.new()
    victim.own.get(link)
    return victim


VICTIMS = pytest.mark.parametrize("known", [_knows_nobody, _used_a_link_of_their_own, _opened_the_same_link])


@VICTIMS
def test_an_authorization_url_that_is_passed_on_connects_nobody(
    known: Callable[[str, Integration], Visitor], link: str, delegated: Integration, provider_server: ScriptedServer
) -> None:
    """The provider approves by itself, since the victim consented to the app before."""
    victim = known(link, delegated)
    landed = come_back(victim, begin(Visitor.new(), link), code="the-victims-code")
    assert "Nothing was connected" in result(victim, landed)
    assert_nothing_happened(provider_server)


def test_a_stranger_gets_no_session_by_coming_back(link: str) -> None:
    began, victim = Visitor.new(), Visitor.new()
    state = begin(began, link)
    result(victim, come_back(victim, state))
    assert "grantry_session" not in victim.public.cookies
    assert "grantry_session" not in victim.own.cookies
    assert "grantry_session" not in began.public.cookies  # until now
    come_back(began, state)
    assert "grantry_session" in began.public.cookies


@VICTIMS
@pytest.mark.parametrize(
    "made_with", [{"code": "made-up"}, {"error": "access_denied"}, {"code": "the-victims-code", "more": "1"}]
)
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_mark_that_whoever_began_made_beforehand_does_not_count_for_a_victims_code(
    known: Callable[[str, Integration], Visitor],
    when: str,
    made_with: dict[str, str],
    link: str,
    delegated: Integration,
    provider_server: ScriptedServer,
) -> None:
    """The attacker keeps the flow marked by their own browser, and sends the victim to the consent page."""
    victim, attacker = known(link, delegated), Visitor.new()
    state = begin(attacker, link)
    if when == "before":
        pass_by(attacker, state, **made_with)
    way = pass_by(victim, state, code="the-victims-code")
    if when == "between":
        pass_by(attacker, state, **made_with)
    assert PendingAuthorization.objects.get().browser_seen_at is not None  # the attack was made
    assert "Nothing was connected" in result(victim, victim.follow(way))
    assert_nothing_happened(provider_server)


@VICTIMS
def test_a_callback_url_that_is_passed_on_connects_nobody(
    known: Callable[[str, Integration], Visitor], link: str, delegated: Integration, provider_server: ScriptedServer
) -> None:
    """Login CSRF: the attacker consented with their own account and stopped before the redirect host."""
    victim = known(link, delegated)
    landed = come_back(victim, begin(Visitor.new(), link), code="the-attackers-code")
    assert "Nothing was connected" in result(victim, landed)
    assert_nothing_happened(provider_server)


def test_a_marked_callback_that_is_passed_on_connects_whoever_began_and_tells_the_victim_nothing_else(
    link: str, alice: User, provider_server: ScriptedServer
) -> None:
    """The attacker stops before the redirect is followed: what is connected is their account, by their link."""
    attacker, victim = Visitor.new(), Visitor.new()
    victim.public.force_login(alice)
    way = pass_by(attacker, begin(attacker, link), code="the-attackers-code")
    text = result(victim, victim.follow(way))
    assert [request.form["code"] for request in provider_server.to("/token")] == ["the-attackers-code"]
    assert "Northwind is connected" in text
    assert link.split("/")[2] not in text
    assert victim.own.get(f"/connect/again/{ConnectLink.objects.get().pk}/").status_code == 410
    assert Connection.objects.get().connected_by.startswith("Connect link made by")
    assert victim.public.get("/w/acme/integrations/").status_code == 200  # still alice


def test_what_was_finished_is_not_shown_to_anybody_who_repeats_it(link: str, provider_server: ScriptedServer) -> None:
    began, other = Visitor.new(), Visitor.new()
    way = pass_by(began, begin(began, link))
    began.follow(way)
    text = result(other, other.follow(way))
    assert "Nothing was connected" in text
    assert "Northwind" not in text
    assert len(provider_server.to("/token")) == 1
    assert PendingAuthorization.objects.get().browser_seen_at is None


def test_the_redirect_is_the_same_whether_or_not_it_marked(link: str) -> None:
    began = Visitor.new()
    state = begin(began, link)
    marked = []
    answers = []
    for browser in (began, Visitor.new(), _used_elsewhere()):
        PendingAuthorization.objects.update(browser_seen_at=None)
        answer = browser.own.get(CALLBACK, {"state": state, "code": "the-code"})
        marked.append(PendingAuthorization.objects.get().browser_seen_at is not None)
        headers = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
        answers.append((answer.status_code, headers, dict(answer.cookies), answer.content))
    assert marked == [True, False, False]
    assert answers[0] == answers[1] == answers[2]


def _used_elsewhere() -> Visitor:
    """A browser with a session of its own on the redirect host."""
    visitor = Visitor.new()
    session = visitor.own.session
    session["oauth_browser"] = "another-browser"
    session.save()
    return visitor


def test_the_first_browser_to_post_keeps_the_link(link: str) -> None:
    begin(Visitor.new(), link)
    other = Visitor.new()
    assert other.own.post(link).status_code == 410
    assert other.public.post(link).status_code == 410


def test_no_session_or_row_holds_a_secret_in_the_clear(visitor: Visitor, link: str) -> None:
    state = begin(visitor, link)
    pass_by(visitor, state, code="the-code-that-is-secret")
    sessions = str([session.get_decoded() for session in Session.objects.all()])
    row = str(vars(PendingAuthorization.objects.get()))
    for secret in (state, "the-code-that-is-secret", link.split("/")[2]):
        assert secret not in sessions
        assert secret not in row


# --- what is marked, and for how long -------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def started(integration: Integration, **options: Any) -> StartedAuthorization:
    """A link's flow that began in BROWSER."""
    fresh = Integration.objects.select_related("workspace").get(pk=integration.pk)
    _, link = create_connect_link(fresh, actor=OPERATOR, now=NOW)
    return start_authorization(fresh, **{"binding": BROWSER, "link": link, "actor": OPERATOR, "now": NOW, **options})


def note(workspace: Workspace, query: list[tuple[str, str]], **options: Any) -> bool:
    """Whether the flow is marked after its answer passed by."""
    note_browser(workspace, query, **{"binding": BROWSER, "now": NOW, **options})
    return PendingAuthorization.objects.filter(browser_seen_at__isnull=False).exists()


def finish(query: list[tuple[str, str]], now: datetime, **options: Any) -> AuthorizationOutcome:
    """As PUBLIC_BASE_URL does for a browser that has no cookie of it."""
    return complete_authorization(query, **{"binding": "new-here", "now": now, **options})


@pytest.mark.parametrize(
    ("seconds", "ok"), [(0, True), (1, True), (60, True), (60.001, False), (61, False), (599, False)]
)
def test_a_mark_lasts_for_a_minute(delegated: Integration, own_host: Workspace, seconds: float, ok: bool) -> None:
    query = [("code", "c"), ("state", started(delegated).state)]
    assert note(own_host, query)
    outcome = finish(query, NOW + timedelta(seconds=seconds))
    assert outcome.ok is ok, outcome
    assert outcome.code == ("connected" if ok else "foreign_session")


def test_passing_by_again_makes_the_mark_anew(delegated: Integration, own_host: Workspace) -> None:
    query = [("code", "c"), ("state", started(delegated).state)]
    later = NOW + timedelta(minutes=5)
    assert note(own_host, query)
    assert note(own_host, query, now=later)
    assert finish(query, later + timedelta(seconds=1)).ok


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_flow_whose_time_is_over_is_not_marked(delegated: Integration, own_host: Workspace, seconds: int) -> None:
    begun = started(delegated)
    moment = begun.pending.expires_at + timedelta(seconds=seconds)
    assert note(own_host, [("code", "c"), ("state", begun.state)], now=moment) is (seconds < 0)


def test_a_flow_that_ends_after_it_was_marked_says_that_its_time_is_over(
    delegated: Integration, own_host: Workspace, provider_server: ScriptedServer
) -> None:
    begun = started(delegated)
    query = [("code", "c"), ("state", begun.state)]
    assert note(own_host, query, now=begun.pending.expires_at - timedelta(seconds=1))
    assert finish(query, begun.pending.expires_at).code == "expired_state"
    assert provider_server.to("/token") == []


def test_a_flow_that_was_used_up_is_not_marked(delegated: Integration, own_host: Workspace) -> None:
    begun = started(delegated)
    PendingAuthorization.objects.update(consumed_at=NOW)
    assert not note(own_host, [("code", "c"), ("state", begun.state)])


@pytest.mark.parametrize(
    "answer",
    [
        [("code", "c")],
        [("code", "c"), ("state", "")],
        [("code", "c"), ("state", "STATE"), ("state", "STATE")],
        [("code", "c"), ("state", "STATE"), ("state", "other")],
        [("code", "c"), ("code", "d"), ("state", "STATE")],
        [("state", "STATE")],
        [("code", "c"), ("state", "STATE" * 200)],
        [("code", "c"), ("state", "made-up")],
        [("code", "c"), ("state", "\x00")],
    ],
)
def test_an_answer_that_is_none_marks_nothing(
    delegated: Integration, own_host: Workspace, answer: list[tuple[str, str]]
) -> None:
    state = started(delegated).state
    assert not note(own_host, [(name, value.replace("STATE", state)) for name, value in answer])


@pytest.mark.parametrize("binding", ["", "another-browser", BROWSER.upper()])
def test_another_browser_marks_nothing(delegated: Integration, own_host: Workspace, binding: str) -> None:
    assert not note(own_host, [("code", "c"), ("state", started(delegated).state)], binding=binding)


def test_the_redirect_host_of_another_workspace_marks_nothing(
    delegated: Integration, own_host: Workspace, charlie: User, visitor: Visitor, link: str
) -> None:
    other = Workspace.objects.get(slug="other")
    change_redirect_host(other, "https://connect.other.example", actor=OPERATOR)
    state = begin(visitor, link)
    theirs = Client(headers={"Host": "connect.other.example"})
    theirs.cookies = visitor.own.cookies  # even if the browser had shown its cookie there
    forwarded = theirs.get(CALLBACK, {"state": state, "code": "the-code"})
    assert forwarded.headers["Location"].startswith(f"{PUBLIC}{CALLBACK}?")
    assert PendingAuthorization.objects.get().browser_seen_at is None
    assert "Nothing was connected" in result(visitor, visitor.follow(forwarded.headers["Location"]))


def test_a_host_that_moved_to_another_workspace_marks_nothing_of_the_one_before(
    delegated: Integration, own_host: Workspace, charlie: User
) -> None:
    state = started(delegated).state
    other = Workspace.objects.get(slug="other")
    change_redirect_host(own_host, "", actor=OPERATOR)
    change_redirect_host(other, f"https://{HOST}", actor=OPERATOR)
    other.refresh_from_db()
    assert not note(other, [("code", "c"), ("state", state)])


def test_a_members_flow_is_not_marked(delegated: Integration, own_host: Workspace, alice: User) -> None:
    begun = started(delegated, link=None, user=alice, actor=Actor.member(alice))
    assert not note(own_host, [("code", "c"), ("state", begun.state)])


def test_a_members_flow_is_not_finished_by_a_mark_if_it_had_one(
    delegated: Integration, own_host: Workspace, alice: User, provider_server: ScriptedServer
) -> None:
    query = [("code", "c"), ("state", started(delegated).state)]
    assert note(own_host, query)
    PendingAuthorization.objects.update(connect_link=None, user=alice)
    for user in (alice, None):
        assert finish(query, NOW, user=user).code == "foreign_session"
    assert provider_server.to("/token") == []


def test_a_member_comes_back_through_the_redirect_host_by_the_cookie_of_the_public_one(
    visitor: Visitor, delegated: Integration, alice: User
) -> None:
    visitor.public.force_login(alice)
    state = query_of(continue_url(visitor.public.post(url("connect", delegated))))["state"]
    way = pass_by(visitor, state)
    assert PendingAuthorization.objects.get().browser_seen_at is None
    assert visitor.follow(way).headers["Location"].startswith("/w/acme/integrations/")
    assert Connection.objects.get().connected_by == "alice@example.com"


def test_a_flow_that_began_without_the_host_is_not_marked_by_it(delegated: Integration, own_host: Workspace) -> None:
    change_redirect_host(own_host, "", actor=OPERATOR)
    state = started(delegated).state
    change_redirect_host(own_host, f"https://{HOST}", actor=OPERATOR)
    own_host.refresh_from_db()
    assert not note(own_host, [("code", "c"), ("state", state)])


def test_a_mark_counts_only_for_a_redirect_host(delegated: Integration, own_host: Workspace) -> None:
    change_redirect_host(own_host, "", actor=OPERATOR)
    own_host.refresh_from_db()
    query = [("code", "c"), ("state", started(delegated).state)]
    assert note(own_host, query)  # which nothing does: there is no host to do it
    assert finish(query, NOW).code == "foreign_session"


# --- the host changes meanwhile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["", "https://new.acme.example"])
@pytest.mark.parametrize("passed_by", [False, True])
def test_a_change_of_host_ends_what_is_under_way(
    visitor: Visitor, link: str, own_host: Workspace, provider_server: ScriptedServer, to: str, passed_by: bool
) -> None:
    state = begin(visitor, link)
    if passed_by:
        pass_by(visitor, state)
        assert PendingAuthorization.objects.get().browser_seen_at is not None
    change_redirect_host(own_host, to, actor=OPERATOR)
    assert visitor.own.get(CALLBACK).status_code == 400
    late = visitor.public.get(CALLBACK, {"state": state, "code": "the-code"})
    assert "Nothing was connected" in result(visitor, late)
    assert_nothing_happened(provider_server)


def test_a_link_that_ends_while_its_browser_comes_back_connects_nobody(
    visitor: Visitor, link: str, provider_server: ScriptedServer
) -> None:
    way = pass_by(visitor, begin(visitor, link))
    ConnectLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "This link has expired" in result(visitor, visitor.follow(way))
    assert provider_server.to("/token") == []
