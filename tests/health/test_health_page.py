"""The Health page: numbers, what fails and what will, renewals, notices; a bounded number of queries."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.connections.batch import refresh_due
from integrations.connections.parties import parties_of
from integrations.health.chart import round_step
from integrations.health.renewals import integration_of_label, median_of_steps, renewals_of_day
from integrations.models import (
    Connection,
    ConnectionState,
    GrantType,
    Integration,
    Notice,
    NoticeKind,
    ProviderOutage,
    ProviderPause,
    Token,
    TokenSchedule,
)
from integrations.notices import notice_of_connection, notice_of_integration
from tests.factories import make_connection, make_integration, make_member
from tests.servers.scripted import ScriptedServer
from workspaces.models import AuditEvent, Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db
PAGE = "/w/acme/health/"
DEAD, DEGRADED = ConnectionState.RECONNECT_REQUIRED, ConnectionState.DEGRADED


def text_of(response: Any) -> str:
    """What a reader sees, tags left out."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def numbers(response: Any) -> dict[str, int]:
    live = response.context["live"]
    return {
        "connected": live.tally.connected,
        "retrying": live.tally.retrying,
        "person": live.tally.need_person,
        "expiring": live.forecast.total,
    }


def renewed(connection: Connection, *, hours_ago: float = 0.1, ms: int = 200, action: str = "refreshed") -> AuditEvent:
    return AuditEvent.objects.create(
        workspace=connection.workspace,
        at=timezone.now() - timedelta(hours=hours_ago),
        action=f"connection:{action}",
        actor_kind="worker",
        target_kind="connection",
        target_id=str(connection.pk),
        target_label=str(connection),
        detail={"duration_ms": ms} if action == "refreshed" else {"code": "server_error"},
    )


def tell(connection: Connection, before: str = "connected", **fields: Any) -> Notice:
    notice = notice_of_connection(connection, before, at=fields.pop("at", timezone.now()), **fields)
    assert notice is not None
    return notice


def test_a_workspace_without_connections_is_told_what_to_do(as_alice: Client, workspace: Workspace) -> None:
    make_connection(make_integration(workspace), with_token=False)  # never connected
    answer = as_alice.get(PAGE)
    assert "Nothing to watch yet" in text_of(answer)
    assert "Set up an integration" in text_of(answer)


def test_the_four_numbers_count_as_each_connections_own_status_does(as_alice: Client, workspace: Workspace) -> None:
    now = timezone.now()
    github = make_integration(workspace)
    make_connection(github)
    make_connection(github, "retrying", state=DEGRADED, last_error_code="server_error")
    make_connection(github, "dead", state=DEAD, last_error_code="invalid_grant")
    make_connection(github, "disconnected", with_token=False)
    # Its token ran out and nothing renews it: its state does not say so, its status does.
    make_connection(github, "ran out", refresh_token=None, issued_at=now - timedelta(hours=2))
    make_connection(github, "runs out", refresh_token=None, lifetime=timedelta(days=3))
    refused = make_integration(workspace, "slack", client_error_code="invalid_client", client_error_at=now)
    for name in ("one", "two"):
        make_connection(refused, name)
    answer = as_alice.get(PAGE)
    assert numbers(answer) == {"connected": 2, "retrying": 1, "person": 4, "expiring": 1}
    rows = workspace.connections.select_related("integration", "token")
    statuses = [row.status_at(timezone.now()).value for row in rows]
    assert statuses.count("connected") == 2
    assert statuses.count("reconnect_required") + statuses.count("misconfigured") == 4


def test_each_row_says_why_since_when_what_happens_next_and_leads_to_the_fix(
    as_alice: Client, workspace: Workspace
) -> None:
    now = timezone.now()
    github = make_integration(workspace)
    dead = make_connection(github, "sales", state=DEAD, last_error_code="invalid_grant", last_error_at=now)
    tell(dead, at=now - timedelta(hours=2), code="invalid_grant")
    notion = make_integration(workspace, "notion")
    tried = make_connection(
        notion,
        state=DEGRADED,
        last_error_code="server_error",
        last_error_at=now,
        due_at=now + timedelta(minutes=5, seconds=30),
    )
    tell(tried, at=now - timedelta(minutes=38), code="server_error")
    answer = as_alice.get(PAGE)
    by_name = {row.about: row for row in answer.context["live"].troubles.rows}
    assert list(by_name) == ["GitHub · sales", "Notion"]  # what needs a person first
    assert by_name["GitHub · sales"].since == now - timedelta(hours=2)
    assert by_name["GitHub · sales"].step.label == "Reconnect with OAuth"
    assert by_name["GitHub · sales"].step.connection_id == dead.pk
    assert by_name["Notion"].retry_at == now + timedelta(minutes=5, seconds=30)
    assert by_name["Notion"].step.url.endswith(f"/connections/{tried.pk}/refresh/")
    words = text_of(answer)
    assert "GitHub no longer accepts the authorization" in words
    assert "began 2 h ago · not tried by itself" in words
    assert "began 38 min ago · next try in 5 min" in words


def test_many_connections_with_the_same_trouble_are_one_row(as_alice: Client, workspace: Workspace) -> None:
    slack = make_integration(workspace, "slack")
    for number in range(3):
        make_connection(slack, f"team-{number}", state=DEAD, last_error_code="invalid_grant")
    [row] = as_alice.get(PAGE).context["live"].troubles.rows
    assert row.about == "Slack · 3 connections"
    assert row.step.label == "Show all 3"
    listed = as_alice.get(row.step.url)
    assert [one["connection"].name for one in listed.context["rows"]] == ["team-0", "team-1", "team-2"]


def test_the_list_of_connections_can_be_cut_to_one_status(as_alice: Client, workspace: Workspace) -> None:
    slack = make_integration(workspace, "slack")
    make_connection(slack)
    make_connection(slack, "dead", state=DEAD)
    listed = as_alice.get("/w/acme/integrations/slack/authorization_code/connections/?status=reconnect_required")
    assert [one["connection"].name for one in listed.context["rows"]] == ["dead"]
    assert "1 of 2: expired – reconnect" in text_of(listed)
    none = as_alice.get("/w/acme/integrations/slack/authorization_code/connections/?status=misconfigured")
    assert "No connection has this status now." in text_of(none)
    everything = as_alice.get("/w/acme/integrations/slack/authorization_code/connections/?status=nonsense")
    assert len(everything.context["rows"]) == 2


def test_different_causes_are_not_told_as_one(as_alice: Client, workspace: Workspace) -> None:
    slack = make_integration(workspace, "slack")
    make_connection(slack, "one", state=DEAD, last_error_code="invalid_grant")
    make_connection(slack, "two", state=DEAD, last_error_code="required_by_operator")
    [row] = as_alice.get(PAGE).context["live"].troubles.rows
    assert row.cause == "They fail for different reasons."


def test_a_refused_client_is_one_row_with_its_next_probe(as_alice: Client, workspace: Workspace) -> None:
    now = timezone.now()
    slack = make_integration(
        workspace,
        "slack",
        client_error_code="invalid_client",
        client_error_at=now - timedelta(hours=1),
        next_probe_at=now + timedelta(minutes=20),
    )
    make_connection(slack, "fine")
    make_connection(slack, "retrying", state=DEGRADED, last_error_code="server_error")
    answer = as_alice.get(PAGE)
    [row] = answer.context["live"].troubles.rows
    assert (row.about, row.step.label) == ("Slack · 2 connections", "Check configuration")
    assert (row.since, row.retry_at) == (slack.client_error_at, slack.next_probe_at)
    [of_table] = answer.context["table"].rows
    assert (of_table.note, of_table.until) == ("Client refused; next try", slack.next_probe_at)


def test_an_outage_is_one_row_with_its_next_try_and_touches_only_what_would_be_renewed(
    as_alice: Client, workspace: Workspace
) -> None:
    now = timezone.now()
    slack = make_integration(workspace, "slack", outage_since=now - timedelta(minutes=9))
    ProviderOutage.objects.create(
        key="k",
        provider_key="p",
        workspace=workspace,
        provider_id="slack",
        origin="https://slack.com",
        code="server_error",
        last_failure_at=now,
        opened_at=now - timedelta(minutes=9),
        next_probe_at=now + timedelta(minutes=2),
    )
    make_connection(slack, "fine")
    make_connection(slack, "retrying", state=DEGRADED, last_error_code="server_error")
    make_connection(slack, "for ever", refresh_token=None, lifetime=timedelta(days=90))
    answer = as_alice.get(PAGE)
    assert numbers(answer) == {"connected": 1, "retrying": 2, "person": 0, "expiring": 0}
    [row] = answer.context["live"].troubles.rows
    assert row.about == "Slack · 2 connections"
    assert (row.since, row.retry_at) == (slack.outage_since, now + timedelta(minutes=2))
    [of_table] = answer.context["table"].rows
    assert (of_table.note, of_table.until) == ("Does not answer; next try", now + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("only", "names"), [("retrying", ["Notion"]), ("person", ["GitHub"]), ("x", ["GitHub", "Notion"])]
)
def test_a_number_leads_to_its_rows(as_alice: Client, workspace: Workspace, only: str, names: list[str]) -> None:
    make_connection(make_integration(workspace), state=DEAD)
    make_connection(make_integration(workspace, "notion"), state=DEGRADED, last_error_code="server_error")
    answer = as_alice.get(PAGE, {"only": only})
    assert [row.about for row in answer.context["live"].troubles.rows] == names


def test_a_viewer_sees_all_of_it_and_no_button_that_would_be_refused(
    workspace: Workspace, sign_in: Callable[[Role], Client]
) -> None:
    github = make_integration(workspace)
    make_connection(github, state=DEAD)
    make_connection(github, "ends", refresh_token=None)
    answer = sign_in(Role.VIEWER).get(PAGE)
    live = answer.context["live"]
    assert [row.step.label for row in (*live.troubles.rows, *live.forecast.rows)] == ["View", "View"]


# --- what changes by itself -------------------------------------------------------------------------------


def test_the_page_looks_again_only_while_something_is_tried_again(as_alice: Client, workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace))
    assert "every 10s" not in as_alice.get(PAGE).content.decode()
    Connection.objects.update(state=DEGRADED)
    page = as_alice.get(PAGE)
    assert 'hx-trigger="every 10s"' in page.content.decode()
    sign, htmx = page.context["live"].sign, {"HX-Request": "true"}
    same = as_alice.get(PAGE, {"live": sign}, headers=htmx)
    assert (same.status_code, same.content) == (204, b"")
    Connection.objects.filter(pk=connection.pk).update(state="connected")
    changed = as_alice.get(PAGE, {"live": sign}, headers=htmx)
    assert b'id="health-live"' in changed.content
    assert b"<html" not in changed.content
    assert b"every 10s" not in changed.content  # it is over: nobody asks any more


# --- renewals ---------------------------------------------------------------------------------------------


def test_renewals_are_summed_up_by_hour_and_by_integration(as_alice: Client, workspace: Workspace) -> None:
    github, notion = (
        make_connection(make_integration(workspace)),
        make_connection(make_integration(workspace, "notion")),
    )
    for ms in (100, 200, 900):
        renewed(github, ms=ms)
    renewed(github, action="refresh_failed")
    renewed(github, hours_ago=5)
    renewed(notion, hours_ago=5, action="reconnect_required")
    renewed(github, hours_ago=30)  # long ago
    answer = as_alice.get(PAGE)
    day = answer.context["day"]
    assert (day.renewed, day.total) == (4, 6)
    assert len(day.hours) == 24
    table = {row.spec.provider_id: row for row in answer.context["table"].rows}
    assert (table["github"].sums.renewed, table["github"].sums.failed) == (4, 1)
    assert (table["notion"].sums.renewed, table["notion"].sums.failed) == (0, 1)
    assert table["github"].sums.median_ms == pytest.approx(200, rel=0.03)
    assert table["notion"].sums.median_ms is None
    assert "4 of 6 renewed in the last 24 hours" in text_of(answer)


def test_hours_that_are_over_are_counted_once(workspace: Workspace, django_assert_num_queries: Any) -> None:
    connection = make_connection(make_integration(workspace))
    now = timezone.now().replace(minute=30)
    for hours in range(1, 5):
        renewed(connection, hours_ago=hours)
    first = renewals_of_day(workspace, now)
    AuditEvent.objects.filter(at__lt=now.replace(minute=0))._raw_delete("default")  # only the cache knows them now
    assert renewals_of_day(workspace, now).total == first.total == 4
    later = renewals_of_day(workspace, now + timedelta(hours=22))
    assert later.total < 4  # they leave the day in their turn


def test_the_trail_of_a_real_renewal_is_understood(
    workspace: Workspace, as_alice: Client, northwind: str, provider_server: ScriptedServer
) -> None:
    """The table reads the integration from the label of the event, as the engine writes it."""
    integration = make_integration(workspace, northwind, GrantType.AUTHORIZATION_CODE)
    now = timezone.now()
    make_connection(integration, "a / b (c)", issued_at=now - timedelta(hours=1), due_at=now)
    answer = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r"}
    provider_server.answer("/token", json=answer)
    refresh_due(now=now)
    [row] = as_alice.get(PAGE).context["table"].rows
    assert (row.spec.provider_id, row.grant_type, row.sums.renewed) == (northwind, "authorization_code", 1)


def test_a_pause_that_a_provider_asked_for_is_shown_with_its_end(as_alice: Client, workspace: Workspace) -> None:
    integration = make_integration(workspace)
    make_connection(integration)
    until = timezone.now() + timedelta(minutes=3)
    ProviderPause.objects.create(key=parties_of(integration).pause_key, until=until, code="http_429")
    [row] = as_alice.get(PAGE).context["table"].rows
    assert (row.note, row.until) == ("Asked for a pause; goes on", until)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("github (Delegated user)", ("github", "authorization_code")),
        ("custom_x (Service account)", ("custom_x", "client_credentials")),
        ("", ("", "")),
        ("somebody@example.com", ("", "")),
    ],
)
def test_labels_of_the_audit_trail_name_integrations(label: str, expected: tuple[str, str]) -> None:
    assert integration_of_label(label) == expected


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (1, 1), (4, 1), (5, 2), (9, 3), (12, 3), (13, 5), (41, 20), (100_000, 30_000)]
)
def test_the_scale_has_round_steps(highest: int, step: int) -> None:
    assert round_step(highest) == step


def test_the_median_of_nothing_is_unknown() -> None:
    assert median_of_steps({}) is None


# --- notices ----------------------------------------------------------------------------------------------


def test_notices_are_listed_newest_first_with_what_is_new_and_more_of_them_on_demand(
    as_alice: Client, workspace: Workspace
) -> None:
    github = make_integration(workspace)
    for number in range(25):
        connection = make_connection(github, f"c{number}", state=DEAD)
        tell(connection, code="invalid_grant" if number % 2 else "access_denied")
    page = as_alice.get(PAGE)
    rows = page.context["notices"].rows
    assert [row.about for row in rows[:2]] == ["GitHub · c24", "GitHub · c23"]
    assert len(rows) == 20
    assert all(row.is_new for row in rows)
    more = as_alice.get(f"{PAGE}?{page.context['more_query']}", headers={"HX-Request": "true"})
    assert re.findall(r"GitHub · c\d+", text_of(more)) == [f"GitHub · c{number}" for number in range(4, -1, -1)]
    assert b"<html" not in more.content
    assert b"Load more" not in more.content


def test_a_storm_is_one_row_of_the_list(as_alice: Client, workspace: Workspace) -> None:
    slack = make_integration(workspace, "slack")
    for number in range(30):
        tell(make_connection(slack, f"team-{number}", state=DEAD), code="invalid_grant")
    notice_of_integration(slack, NoticeKind.MISCONFIGURED, at=timezone.now(), code="invalid_client")
    whole, storm = as_alice.get(PAGE).context["notices"].rows
    assert (whole.about, storm.about) == ("Slack", "Slack · 30 connections")


def test_notices_can_be_cut_to_one_kind(as_alice: Client, workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), state=DEAD)
    tell(connection)
    connection.state = ConnectionState.CONNECTED
    tell(connection, before="reconnect_required")
    kinds = [row.notice.kind for row in as_alice.get(PAGE, {"kind": "recovered"}).context["notices"].rows]
    assert kinds == ["recovered"]


@pytest.mark.parametrize("before", ["x", "-1", "9" * 19, "١"])
def test_a_cursor_that_is_none_of_ours_is_not_found(as_alice: Client, workspace: Workspace, before: str) -> None:
    assert as_alice.get(PAGE, {"before": before}).status_code == 404


def test_the_bell_counts_what_a_member_has_not_seen_on_every_page(
    as_alice: Client, bob: User, workspace: Workspace
) -> None:
    connection = make_connection(make_integration(workspace), state=DEAD)
    old, new = tell(connection), tell(connection)
    audit = "/w/acme/audit/"
    assert "Notices, 2 new" in as_alice.get(audit).content.decode()
    as_alice.post(f"{PAGE}seen/", {"up_to": old.pk})
    assert "Notices, 1 new" in as_alice.get(audit).content.decode()
    as_alice.post(f"{PAGE}seen/", {"up_to": new.pk})
    assert 'aria-label="Notices"' in as_alice.get(audit).content.decode()
    as_alice.post(f"{PAGE}seen/", {"up_to": old.pk})  # an older page's button takes nothing back
    assert 'aria-label="Notices"' in as_alice.get(audit).content.decode()
    other = Client()
    other.force_login(bob)
    assert "Notices, 2 new" in other.get(audit).content.decode()


def test_nobody_can_say_seen_of_what_is_still_to_come(as_alice: Client, workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), state=DEAD)
    tell(connection)
    as_alice.post(f"{PAGE}seen/", {"up_to": "9" * 18})
    tell(connection)
    assert "Notices, 1 new" in as_alice.get(PAGE).content.decode()


def test_what_happened_before_somebody_joined_is_no_news_for_them(workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), state=DEAD)
    tell(connection, at=timezone.now() - timedelta(days=1))
    member = make_member(workspace, role=Role.VIEWER)
    browser = Client()
    browser.force_login(member.user)
    page = browser.get(PAGE)
    assert 'aria-label="Notices"' in page.content.decode()
    assert not page.context["notices"].rows[0].is_new


def test_the_bell_costs_one_query_and_only_where_it_is_shown(as_alice: Client, workspace: Workspace) -> None:
    as_alice.get("/w/acme/audit/")
    with CaptureQueriesContext(database) as queries:
        as_alice.get("/w/acme/audit/")
        as_alice.get("/api/v1/docs")
    assert sum("integrations_notice" in query["sql"] for query in queries.captured_queries) == 1


def test_a_notice_of_what_was_deleted_stays_without_a_link(as_alice: Client, workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), "gone", state=DEAD)
    make_connection(make_integration(workspace, "notion"))
    tell(connection)
    connection.delete()
    [row] = as_alice.get(PAGE).context["notices"].rows
    assert (row.about, row.url) == ("GitHub · gone", "")


# --- bounds -----------------------------------------------------------------------------------------------


def furnish(workspace: Workspace, provider_ids: list[str], each: int) -> None:
    now = timezone.now()
    for provider_id in provider_ids:
        integration = make_integration(workspace, provider_id)
        for number in range(each):
            state = (ConnectionState.CONNECTED, DEGRADED, DEAD)[number % 3]
            connection = make_connection(integration, f"c{number}", state=state, last_error_at=now)
            renewed(connection)
            Token.objects.filter(pk=connection.pk).update(refresh_token_expires_at=now + timedelta(days=number + 1))
            if state != ConnectionState.CONNECTED:
                tell(connection)


def test_the_number_of_queries_does_not_depend_on_how_much_there_is(as_alice: Client, workspace: Workspace) -> None:
    furnish(workspace, ["github"], 3)
    as_alice.get(PAGE)
    with CaptureQueriesContext(database) as few:
        as_alice.get(PAGE)
    furnish(workspace, ["slack", "notion", "asana", "hubspot"], 6)
    with CaptureQueriesContext(database) as many:
        as_alice.get(PAGE)
    assert len(many) <= len(few) <= 30


def test_the_page_shows_a_bounded_part_of_a_large_workspace(as_alice: Client, workspace: Workspace) -> None:
    slack = make_integration(workspace, "slack")
    rows = [
        Connection(workspace=workspace, integration=slack, name=f"c{number}", state=DEAD) for number in range(3_000)
    ]
    Connection.objects.bulk_create(rows)
    TokenSchedule.objects.bulk_create(TokenSchedule(connection=row) for row in rows)
    answer = as_alice.get(PAGE)
    assert numbers(answer)["person"] == 3_000
    assert len(answer.content) < 60_000


# --- preferences ------------------------------------------------------------------------------------------


def test_each_member_chooses_for_themselves(as_alice: Client, alice: User, bob: User) -> None:
    address = "/w/acme/settings/notifications/"
    assert as_alice.get(address).context["form"].initial == {"mails": "all"}
    assert as_alice.post(address, {"mails": "person"}).status_code == 302
    assert as_alice.get(address).context["form"].initial == {"mails": "person"}
    assert as_alice.post(address, {"mails": "sometimes"}).status_code == 422
    other = Client()
    other.force_login(bob)
    assert other.get(address).context["form"].initial == {"mails": "all"}
    assert Membership.objects.get(user=alice).notice_settings.mails == "person"


def test_an_editor_gets_nothing_until_they_ask(sign_in: Callable[[Role], Client]) -> None:
    browser = sign_in(Role.EDITOR)
    address = "/w/acme/settings/notifications/"
    assert browser.get(address).context["form"].initial == {"mails": "none"}
    assert browser.post(address, {"mails": "all"}).status_code == 302
    assert browser.get(address).context["form"].initial == {"mails": "all"}


def test_a_choice_outlives_neither_the_membership_nor_what_was_seen(
    as_alice: Client, alice: User, slack: Integration
) -> None:
    as_alice.post("/w/acme/settings/notifications/", {"mails": "none"})
    tell(make_connection(slack, state=DEAD))
    as_alice.post(f"{PAGE}seen/", {"up_to": 10**9})
    settings = Membership.objects.get(user=alice).notice_settings
    assert (settings.mails, settings.seen_notice_id > 0) == ("none", True)  # one row, both marks
