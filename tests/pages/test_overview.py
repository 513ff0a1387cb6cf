from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.models import Connection, ConnectionState, Integration, TokenSchedule
from tests.factories import make_connection, make_integration
from tests.pages.conftest import CANARY, url
from workspaces.audit import WORKER, Actor, AuditAction, record
from workspaces.models import ActorKind, AuditResult, User, Workspace
from workspaces.roles import Role

TABS = ("detail", "overview", "configuration", "scopes", "connections", "activity")


@pytest.fixture
def connected(delegated: Integration) -> Connection:
    return make_connection(
        delegated,
        account={"id": "7", "label": "integrations@acme.com"},
        requested_scopes=["openid", "files"],
        granted_scopes=["openid", "files"],
    )


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("role", list(Role))
def test_every_role_may_look_at_every_tab(
    sign_in: Callable[[Role], Client], delegated: Integration, connected: Connection, tab: str, role: Role
) -> None:
    page = sign_in(role).get(url(tab, delegated))
    assert page.status_code == 200
    assert page.content.decode().count("<h1") == 1


@pytest.mark.parametrize("tab", TABS)
def test_no_tab_carries_a_secret(as_alice: Client, delegated: Integration, connected: Connection, tab: str) -> None:
    page = as_alice.get(url(tab, delegated)).content.decode()
    for secret in (CANARY, "access-token-1", "refresh-token-1"):
        assert secret not in page


@pytest.mark.parametrize("tab", TABS)
def test_an_outsider_gets_404_on_every_tab(charlie: User, client: Client, delegated: Integration, tab: str) -> None:
    client.force_login(charlie)
    assert client.get(url(tab, delegated)).status_code == 404


def test_a_provider_or_grant_type_that_does_not_exist_is_404(as_alice: Client, workspace: Workspace) -> None:
    assert as_alice.get("/w/acme/integrations/nonsense/authorization_code/").status_code == 404
    assert as_alice.get("/w/acme/integrations/github/client_credentials/").status_code == 404
    assert as_alice.get("/w/acme/integrations/github/nonsense/").status_code == 404


def test_the_headline_says_how_long_the_token_is_good_for(as_alice: Client, delegated: Integration) -> None:
    make_connection(delegated, issued_at=timezone.now() - timedelta(minutes=11, seconds=30))
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert "Good for 48 minutes" in page
    assert "Renews by itself" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lifetime": None, "refresh_token": None}, "Good until revoked"),
        ({"state": ConnectionState.RECONNECT_REQUIRED, "last_error_code": "invalid_grant"}, "Consent is needed again"),
        ({"state": ConnectionState.DEGRADED, "last_error_code": "outage"}, "Renewal is failing"),
        ({"state": ConnectionState.MISCONFIGURED, "last_error_code": "invalid_scope"}, "Renewal is paused"),
        ({"with_token": False}, "No token yet"),
        ({"with_token": False, "connected_at": timezone.now()}, "Disconnected"),
    ],
)
def test_each_state_has_its_words(as_alice: Client, delegated: Integration, fields: dict[str, Any], words: str) -> None:
    make_connection(delegated, **fields)
    assert words in as_alice.get(url("detail", delegated)).content.decode()


def test_a_failure_shows_cause_and_next_step_with_code_and_reference_behind_details(
    as_alice: Client, delegated: Integration
) -> None:
    reference = "7d9f0b4e-3a51-4a53-9a7e-1fd1a5a1c001"
    make_connection(
        delegated,
        state=ConnectionState.DEGRADED,
        last_error_code="outage",
        last_error_message="The provider has a failure on its side.",
        last_error_reference=reference,
    )
    page = as_alice.get(url("detail", delegated)).content.decode()
    details = page[page.index("Details</summary>") :]
    assert "Try now" in page
    assert "outage" in details
    assert reference in details


def test_what_is_needed_now_and_was_not_requested_then_is_offered_for_consent(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    delegated.additional_scopes = ["calendar"]
    delegated.save()
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert "Not requested yet" in page
    assert "Reconnect to grant" in page
    assert "2 of 3 granted" in page


def test_nothing_is_offered_for_consent_when_everything_was_granted(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    assert "Reconnect to grant" not in as_alice.get(url("detail", delegated)).content.decode()


def test_who_read_the_token_is_summed_up_from_the_audit_trail(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    key = Actor(ActorKind.API_KEY, "1", "nightly-export (gr_abc…)")
    for _ in range(3):
        record(connected.workspace, AuditAction.TOKEN_READ, key, target=connected)
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert "nightly-export" in page
    assert '<data value="3" data-number>3</data> reads' in page


def test_renewals_of_the_day_are_counted_with_their_median(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    for took in (100, 200, 300):
        record(
            connected.workspace,
            AuditAction.CONNECTION_REFRESHED,
            WORKER,
            target=connected,
            detail={"duration_ms": took},
        )
    record(
        connected.workspace,
        AuditAction.CONNECTION_REFRESH_FAILED,
        WORKER,
        target=connected,
        result=AuditResult.FAILED,
        detail={"code": "outage"},
    )
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert "<strong>3 of 4</strong> renewed, median 200 ms." in page
    assert "1 try failed." in page


def test_the_page_looks_again_while_a_renewal_is_under_way_and_rests_otherwise(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    assert 'hx-trigger="load delay' not in as_alice.get(url("detail", delegated)).content.decode()
    TokenSchedule.objects.filter(pk=connected.pk).update(
        refresh_due_at=timezone.now() - timedelta(seconds=1), lease_until=timezone.now() + timedelta(seconds=30)
    )
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert 'hx-trigger="load delay:2s"' in page
    assert "A renewal is under way" in page


def test_a_page_that_is_open_when_the_renewal_is_due_wakes_up_for_it(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    TokenSchedule.objects.filter(pk=connected.pk).update(refresh_due_at=timezone.now() + timedelta(seconds=90))
    page = as_alice.get(url("detail", delegated)).content.decode()
    assert 'hx-trigger="load delay:90s"' in page or 'hx-trigger="load delay:91s"' in page


def test_the_part_that_refreshes_itself_is_the_pages_own_markup_and_brings_the_status(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    part = as_alice.get(url("connection", delegated, connection_id=connected.pk), headers={"HX-Request": "true"})
    text = part.content.decode()
    assert "<html" not in text
    assert 'id="live-overview"' in text
    assert 'id="status" hx-swap-oob="true"' in text


def test_the_number_of_queries_does_not_grow_with_connections(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    as_alice.get(url("detail", delegated))
    with CaptureQueriesContext(database) as with_one:
        as_alice.get(url("detail", delegated))
    for number in range(4):
        make_connection(delegated, f"more-{number}")
    with CaptureQueriesContext(database) as with_many:
        as_alice.get(url("detail", delegated))
    assert len(with_many) == len(with_one)


def test_a_viewer_sees_no_actions(
    sign_in: Callable[[Role], Client], delegated: Integration, connected: Connection
) -> None:
    page = sign_in(Role.VIEWER).get(url("detail", delegated)).content.decode()
    for label in ("Test connection", "Reconnect with OAuth", "Disconnect", "Delete integration"):
        assert label not in page


def test_an_editor_may_connect_but_not_delete_the_integration(
    sign_in: Callable[[Role], Client], delegated: Integration, connected: Connection
) -> None:
    page = sign_in(Role.EDITOR).get(url("detail", delegated)).content.decode()
    assert "Reconnect with OAuth" in page
    assert "Disconnect" in page
    assert "Delete integration" not in page


def test_an_integration_that_is_not_set_up_leads_to_its_configuration(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.get("/w/acme/integrations/github/authorization_code/").content.decode()
    assert "Not configured" in page
    assert "Set up" in page


def test_activity_pages_by_cursor_and_loses_nothing(
    as_alice: Client, delegated: Integration, connected: Connection
) -> None:
    for number in range(60):
        record(
            connected.workspace, AuditAction.TOKEN_READ, WORKER, target=connected, detail={"code": f"code-{number:02}"}
        )
    first = as_alice.get(url("activity", delegated)).content.decode()
    _, _, rest = first.partition("?before=")
    cursor = rest.partition('"')[0]
    second = as_alice.get(url("activity", delegated) + f"?before={cursor}").content.decode()
    for number in range(60):
        assert (f"code-{number:02}" in first) != (f"code-{number:02}" in second)


@pytest.mark.parametrize("cursor", ["abc", "-1", "9" * 30, "1;drop"])
def test_a_cursor_that_was_made_up_is_404(as_alice: Client, delegated: Integration, cursor: str) -> None:
    assert as_alice.get(url("activity", delegated), {"before": cursor}).status_code == 404


def test_a_provider_without_integration_has_empty_tabs(as_alice: Client, workspace: Workspace) -> None:
    make_integration(workspace, "slack")
    for tab in ("connections/", "activity/", "scopes/"):
        assert as_alice.get(f"/w/acme/integrations/github/authorization_code/{tab}").status_code == 200
