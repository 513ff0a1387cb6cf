"""The token policy of a workspace: what may be chosen, what it does to reads, schedules and connections."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from integrations.connections import rescheduling
from integrations.connections.batch import refresh_due
from integrations.connections.consent_notices import tell_consents_ending
from integrations.connections.errors import TokenUnavailable
from integrations.connections.forecast import ConsentReason, forecast
from integrations.connections.rescheduling import SETTLED, reschedule_stale
from integrations.connections.tokens import UsableToken, usable_token
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectionStatus,
    GrantType,
    Integration,
    Notice,
    Token,
    TokenSchedule,
)
from integrations.providers.custom import update_custom_provider
from tests.connections.conftest import NOW, TOKEN, define_provider, token_answer
from tests.factories import make_connection, make_integration, make_member, make_user, make_workspace
from tests.servers.scripted import ScriptedServer
from workspaces.audit import WORKER, Actor
from workspaces.models import AuditEvent, User, Workspace
from workspaces.roles import Role
from workspaces.workspaces import change_token_policy

OPERATOR = Actor.operator()
URL = "/w/acme/settings/token-policy/"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def delegated(workspace: Workspace, provider_server: ScriptedServer) -> Integration:
    """A custom provider whose server is scripted, with a delegated user."""
    define_provider(workspace, provider_server)
    return make_integration(workspace, "custom_acme")


@pytest.fixture
def service(delegated: Integration) -> Integration:
    return make_integration(delegated.workspace, "custom_acme", GrantType.CLIENT_CREDENTIALS)


def set_policy(workspace: Workspace, max_age: int | None = None, margin: int | None = None) -> Workspace:
    """In seconds."""
    return change_token_policy(workspace, max_age_seconds=max_age, margin_seconds=margin, actor=OPERATOR)


def stored(connection: Connection) -> Connection:
    rows = Connection.objects.select_related("workspace", "integration", "token", "schedule")
    return rows.get(pk=connection.pk)


def read(connection: Connection, **more: Any) -> UsableToken:
    return usable_token(stored(connection), **{"actor": WORKER, "now": NOW, **more})


def stale_at(workspace: Workspace, moment: Any) -> None:
    """The mark is by the database's clock; tests stand at NOW."""
    Workspace.objects.filter(pk=workspace.pk).update(schedule_stale_since=moment)


# --- reads ----------------------------------------------------------------------------------------------
def test_a_token_older_than_the_policy_allows_is_renewed_before_it_is_handed_out(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW - 2 * HOUR, lifetime=10 * HOUR)
    assert read(connection).access_token == "access-token-1"
    set_policy(delegated.workspace, max_age=3600)
    provider_server.answer(TOKEN, json=token_answer(expires_in=36_000))
    token = read(connection)
    assert token.access_token == "access-2"
    assert token.expires_at == NOW + HOUR  # when it has to be asked for again
    assert len(provider_server.to(TOKEN)) == 1
    assert read(connection).access_token == "access-2"
    assert len(provider_server.to(TOKEN)) == 1


def test_a_token_that_is_too_old_is_not_handed_out_while_its_renewal_fails(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, issued_at=NOW - 2 * HOUR, lifetime=10 * HOUR)
    set_policy(delegated.workspace, max_age=3600)
    provider_server.answer(TOKEN, status=503)
    with pytest.raises(TokenUnavailable) as refused:
        read(connection)
    assert refused.value.code == "temporarily_unavailable"


def test_a_token_that_is_too_old_and_cannot_be_renewed_needs_a_person(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(delegated, refresh_token=None, issued_at=NOW - 2 * HOUR, lifetime=None)
    assert read(connection).expires_at is None
    set_policy(delegated.workspace, max_age=3600)
    with pytest.raises(TokenUnavailable) as refused:
        read(connection)
    assert refused.value.code == "reconnect_required"
    assert "older than the workspace allows" in refused.value.message
    assert stored(connection).status_at(NOW) == ConnectionStatus.RECONNECT_REQUIRED
    assert provider_server.requests == []


def test_a_service_accounts_token_that_is_too_old_is_fetched_anew(
    service: Integration, provider_server: ScriptedServer
) -> None:
    connection = make_connection(service, refresh_token=None, issued_at=NOW - 2 * HOUR, lifetime=None)
    set_policy(service.workspace, max_age=3600)
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None, expires_in=None))
    assert read(connection).access_token == "access-2"


def test_a_provider_that_refuses_early_renewals_is_not_asked_and_an_older_token_stays_withheld(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    define_provider(delegated.workspace, provider_server, refuses_early_refresh=True)
    connection = make_connection(delegated, issued_at=NOW - 2 * HOUR, lifetime=10 * HOUR)
    set_policy(delegated.workspace, max_age=3600)
    with pytest.raises(TokenUnavailable) as refused:
        read(connection)
    assert (refused.value.code, refused.value.retry_after) == ("temporarily_unavailable", 8 * 3600)
    assert provider_server.requests == []


def test_min_ttl_is_capped_at_half_of_what_the_policy_allows(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    set_policy(delegated.workspace, max_age=3600)
    connection = make_connection(delegated, issued_at=NOW - HOUR / 2, lifetime=10 * HOUR)
    assert read(connection, min_ttl=9 * 3600).access_token == "access-token-1"
    assert provider_server.requests == []


# --- schedules ------------------------------------------------------------------------------------------
def test_a_change_schedules_connections_anew_and_of_this_workspace_only(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    other = make_workspace()
    define_provider(other, provider_server)
    theirs = make_connection(make_integration(other, "custom_acme"), issued_at=NOW, lifetime=10 * HOUR)
    ours = make_connection(delegated, issued_at=NOW, lifetime=10 * HOUR)
    unknown = make_connection(delegated, "unknown", issued_at=NOW, lifetime=None)
    before = stored(theirs).schedule.refresh_due_at
    set_policy(delegated.workspace, max_age=3600)
    stale_at(delegated.workspace, NOW)
    assert reschedule_stale(NOW) == 2
    for connection in (ours, unknown):
        due = stored(connection).schedule.refresh_due_at
        assert due is not None
        assert NOW + timedelta(minutes=45) <= due <= NOW + timedelta(minutes=48)
    assert stored(theirs).schedule.refresh_due_at == before
    assert reschedule_stale(NOW) == 0
    set_policy(delegated.workspace)
    stale_at(delegated.workspace, NOW)
    reschedule_stale(NOW)
    assert stored(unknown).schedule.refresh_due_at is None


def test_a_renewal_by_the_new_policy_goes_on_by_it(delegated: Integration, provider_server: ScriptedServer) -> None:
    set_policy(delegated.workspace, max_age=3600, margin=300)
    connection = make_connection(delegated, issued_at=NOW - HOUR, lifetime=None, due_at=NOW)
    provider_server.answer(TOKEN, json=token_answer(expires_in=None))
    assert refresh_due(now=NOW).renewed == 1
    due = stored(connection).schedule.refresh_due_at
    assert due is not None
    assert NOW + timedelta(minutes=53) <= due <= NOW + timedelta(minutes=55)


def test_what_is_due_at_once_is_spread_and_does_not_move_with_later_passes(
    delegated: Integration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescheduling, "SPREAD_PER_CONNECTION", timedelta(seconds=60))
    made = [make_connection(delegated, f"c{n}", issued_at=NOW - DAY, lifetime=30 * DAY) for n in range(6)]
    set_policy(delegated.workspace, max_age=3600)
    stale_at(delegated.workspace, NOW)
    assert reschedule_stale(NOW) == 6
    due = [stored(one).schedule.refresh_due_at for one in made]
    assert len(set(due)) == 6
    assert all(moment is not None and NOW <= moment <= NOW + timedelta(minutes=6) for moment in due)
    assert reschedule_stale(NOW + timedelta(seconds=60)) == 0


def test_the_mark_stays_until_answers_under_way_at_the_change_have_arrived(delegated: Integration) -> None:
    workspace = delegated.workspace
    set_policy(workspace, max_age=3600)
    stale_at(workspace, NOW)
    reschedule_stale(NOW + SETTLED - timedelta(seconds=1))
    workspace.refresh_from_db()
    assert workspace.schedule_stale_since == NOW
    # What a worker stored meanwhile by the older rules is put right by the last pass.
    late = make_connection(delegated, issued_at=NOW, lifetime=10 * HOUR)
    assert reschedule_stale(NOW + SETTLED) == 1
    assert stored(late).schedule.refresh_due_at < NOW + HOUR  # type: ignore[operator] # None fails, too
    workspace.refresh_from_db()
    assert workspace.schedule_stale_since is None


def test_what_backs_off_is_leased_or_held_keeps_its_time(delegated: Integration) -> None:
    later = NOW + 5 * HOUR
    made = {name: make_connection(delegated, name, issued_at=NOW, due_at=later) for name in ("backoff", "leased")}
    TokenSchedule.objects.filter(pk=made["backoff"].pk).update(attempts=2)
    TokenSchedule.objects.filter(pk=made["leased"].pk).update(lease_id=made["leased"].pk, lease_until=NOW + HOUR)
    set_policy(delegated.workspace, max_age=600)
    assert reschedule_stale(NOW) == 0
    assert set(TokenSchedule.objects.values_list("refresh_due_at", flat=True)) == {later}


def test_passes_go_through_every_batch(delegated: Integration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescheduling, "BATCH", 2)
    monkeypatch.setattr(rescheduling, "IDS_AT_ONCE", 4)
    for number in range(9):
        make_connection(delegated, f"c{number}", issued_at=NOW, lifetime=None)
    set_policy(delegated.workspace, max_age=3600)
    stale_at(delegated.workspace, NOW)
    assert reschedule_stale(NOW) == 9


def test_a_definition_that_says_when_refresh_tokens_die_schedules_its_connections_anew(
    delegated: Integration,
) -> None:
    connection = make_connection(delegated, issued_at=NOW, lifetime=None)
    provider = delegated.workspace.custom_providers.get()
    update_custom_provider(provider, {"description": "Nothing about renewal"}, actor=OPERATOR)
    assert reschedule_stale(NOW) == 0
    update_custom_provider(provider, {"refresh_token_idle_seconds": 90 * 86_400}, actor=OPERATOR)
    assert reschedule_stale(NOW) == 1
    due = stored(connection).schedule.refresh_due_at
    assert due is not None
    assert NOW + 80 * DAY < due < NOW + 83 * DAY


# --- connections that a policy ends ---------------------------------------------------------------------
def test_a_connection_that_the_policy_ends_is_told_of_and_comes_back_when_it_allows_the_token_again(
    delegated: Integration,
) -> None:
    workspace = delegated.workspace
    connection = make_connection(delegated, refresh_token=None, issued_at=NOW - DAY, lifetime=None)
    set_policy(workspace, max_age=30 * 86_400)
    reschedule_stale(NOW)
    end = forecast(stored(connection), NOW)
    assert end is not None
    assert (end.at, end.reason) == (NOW + 29 * DAY, ConsentReason.MAX_AGE)
    set_policy(workspace, max_age=3600)
    reschedule_stale(NOW)
    assert [tell_consents_ending(NOW), tell_consents_ending(NOW)] == [1, 0]
    ended = stored(connection)
    assert (ended.state, ended.last_error_code) == (ConnectionState.RECONNECT_REQUIRED, "token_too_old")
    set_policy(workspace)
    reschedule_stale(NOW)
    back = stored(connection)
    assert (back.state, back.last_error_code, back.token.consent_ends_at) == (ConnectionState.CONNECTED, "", None)
    kinds = list(Notice.objects.order_by("id").values_list("kind", flat=True))
    assert kinds == ["reconnect_required", "recovered"]


def test_a_dead_grant_does_not_come_back_by_a_policy(delegated: Integration) -> None:
    make_connection(delegated, issued_at=NOW, state=ConnectionState.RECONNECT_REQUIRED, last_error_code="invalid_grant")
    set_policy(delegated.workspace, max_age=3600)
    reschedule_stale(NOW)
    assert Connection.objects.get().state == ConnectionState.RECONNECT_REQUIRED


# --- what may be chosen ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("max_age", "margin", "fields"),
    [
        (299, None, {"max_age"}),
        (0, None, {"max_age"}),
        (365 * 86_400 + 1, None, {"max_age"}),
        (None, 59, {"margin"}),
        (None, 86_401, {"margin"}),
        (600, 301, {"margin"}),
        (1, 1, {"max_age", "margin"}),
    ],
)
def test_a_policy_that_cannot_work_is_refused(
    workspace: Workspace, max_age: int | None, margin: int | None, fields: set[str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        set_policy(workspace, max_age, margin)
    assert set(refused.value.message_dict) == fields
    workspace.refresh_from_db()
    assert (workspace.max_token_age_seconds, workspace.schedule_stale_since) == (None, None)


def test_a_change_is_recorded_with_what_was_before(workspace: Workspace) -> None:
    set_policy(workspace, 600, 300)
    set_policy(workspace, 600, 300)
    set_policy(workspace, 1200, 300)
    events = AuditEvent.objects.filter(action="workspace:changed").order_by("id")
    assert [event.detail for event in events] == [
        {
            "max_token_age_seconds": 600,
            "max_token_age_seconds_before": None,
            "refresh_margin_seconds": 300,
            "refresh_margin_seconds_before": None,
        },
        {"max_token_age_seconds": 1200, "max_token_age_seconds_before": 600},
    ]


# --- the page -------------------------------------------------------------------------------------------
def test_an_admin_sets_and_clears_the_policy_on_the_settings_page(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.get("/w/acme/settings/").content.decode()
    assert "Token policy" in page
    assert "None has a token yet" in page
    assert as_alice.post(URL, {"max_age": " 60 ", "margin": "10"}).status_code == 302
    workspace.refresh_from_db()
    assert (workspace.max_token_age_seconds, workspace.refresh_margin_seconds) == (3600, 600)
    page = as_alice.get("/w/acme/settings/").content.decode()
    assert re.search(r'name="max_age"[^>]*value="60"|value="60"[^>]*name="max_age"', page)
    assert as_alice.post(URL, {"max_age": "", "margin": ""}).status_code == 302
    workspace.refresh_from_db()
    assert (workspace.max_token_age_seconds, workspace.refresh_margin_seconds) == (None, None)


@pytest.mark.parametrize("typed", ["0", "-5", "4", "525601", "ten", "1.5", "9" * 5000, "１０x", "60; drop"])
def test_what_is_no_sensible_number_of_minutes_comes_back_with_its_error(
    as_alice: Client, workspace: Workspace, typed: str
) -> None:
    response = as_alice.post(URL, {"max_age": typed, "margin": "30"})
    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.content.decode()
    workspace.refresh_from_db()
    assert workspace.max_token_age_seconds is None


def test_a_policy_that_ends_connections_is_shown_with_what_it_ends_before_it_is_saved(
    as_alice: Client, delegated: Integration
) -> None:
    now = timezone.now()
    make_connection(delegated, refresh_token=None, issued_at=now - DAY, lifetime=None)
    make_connection(delegated, "renewable", issued_at=now - DAY, lifetime=30 * DAY)
    make_connection(delegated, "young", issued_at=now)
    asked = as_alice.post(URL, {"max_age": "60", "margin": ""})
    assert asked.status_code == 200
    words = re.sub(r"<[^>]+>", "", asked.content.decode())
    assert "1 connection has an older token that nothing can renew" in words
    assert "1 connection has an older token that is renewed" in words
    workspace = Workspace.objects.get(pk=delegated.workspace_id)
    assert workspace.max_token_age_seconds is None
    saved = as_alice.post(URL, {"max_age": "60", "margin": "", "confirm": "yes"}, follow=True)
    assert "3 connections are scheduled anew" in saved.content.decode()
    workspace.refresh_from_db()
    assert workspace.max_token_age_seconds == 3600


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_others_see_the_policy_and_may_not_change_it(workspace: Workspace, alice: User, role: Role) -> None:
    set_policy(workspace, 3600)
    user = make_user()
    make_member(workspace, user, role)
    client = Client()
    client.force_login(user)
    page = client.get("/w/acme/settings/").content.decode()
    assert "Maximum lifetime of an access token" in page
    assert URL not in page
    assert client.post(URL, {"max_age": "", "margin": ""}).status_code == 403
    assert client.get(URL).status_code == 403


def test_with_any_policy_no_token_older_than_it_allows_is_handed_out(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """Ages, lifetimes and policies at random: what is handed out is fresh enough, or it is refused."""
    rng = random.Random(7)
    provider_server.answer(TOKEN, json=token_answer(expires_in=None))
    for number in range(25):
        age, max_age = timedelta(seconds=rng.randrange(200_000)), rng.randrange(300, 200_000)
        lifetime = rng.choice([None, HOUR, 2 * DAY])
        set_policy(delegated.workspace, max_age=max_age)
        refresh_token = rng.choice([None, "refresh"])
        connection = make_connection(
            delegated, f"c{number}", refresh_token=refresh_token, issued_at=NOW - age, lifetime=lifetime
        )
        try:
            read(connection)
        except TokenUnavailable:
            assert refresh_token is None
            assert stored(connection).status_at(NOW) == ConnectionStatus.RECONNECT_REQUIRED
        else:
            assert NOW - Token.objects.get(pk=connection.pk).issued_at < timedelta(seconds=max_age)


@pytest.mark.parametrize("grant_type", list(GrantType))
def test_judging_many_connections_by_the_policy_costs_no_query_for_each(
    as_alice: Client, delegated: Integration, django_assert_max_num_queries: Any, grant_type: GrantType
) -> None:
    set_policy(delegated.workspace, max_age=86_400)
    integration = Integration.objects.filter(grant_type=grant_type).first() or make_integration(
        delegated.workspace, "custom_acme", grant_type
    )
    for number in range(12):
        make_connection(integration, f"c{number}", refresh_token=None)
    path = f"/w/acme/integrations/custom_acme/{grant_type}/connections/"
    for page in ("/w/acme/integrations/", path):
        as_alice.get(page)
        with django_assert_max_num_queries(25):
            assert as_alice.get(page).status_code == 200
