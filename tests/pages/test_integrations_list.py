from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.models import ConnectionState, GrantType
from tests.factories import make_connection, make_integration, make_workspace
from tests.pages.conftest import url
from workspaces.models import User, Workspace
from workspaces.roles import Role


def test_a_new_workspace_sees_the_first_steps_instead_of_an_empty_page(as_alice: Client, workspace: Workspace) -> None:
    page = as_alice.get(url("list"))
    assert "Three steps to a token that stays fresh" in page.content.decode()


def test_the_sandbox_is_offered_only_while_it_runs(as_alice: Client, workspace: Workspace, settings: Any) -> None:
    assert "Connect the sandbox" not in as_alice.get(url("list")).content.decode()
    settings.SANDBOX_BASE_URL = "http://localhost:8001"
    settings.SANDBOX_CLIENTS = {"authorization_code": ("sandbox-client", "sandbox-secret-value")}
    page = as_alice.get(url("list")).content.decode()
    assert "Connect the sandbox" in page
    assert "sandbox-secret-value" not in page


def test_connecting_the_sandbox_sets_it_up_and_leaves_for_its_consent_page(
    as_alice: Client, workspace: Workspace, settings: Any
) -> None:
    settings.SANDBOX_BASE_URL = "http://localhost:8001"
    settings.OUTBOUND_ALLOWED_HOSTS = ["localhost:8001"]
    settings.SANDBOX_CLIENTS = {"authorization_code": ("sandbox-client", "sandbox-secret-value")}
    left = as_alice.post(url("sandbox_connect"), headers={"HX-Request": "true"})
    assert left["HX-Redirect"].startswith("http://localhost:8001/o/authorize/?")
    saved = workspace.integrations.get(provider_id="sandbox")
    assert (saved.client_id, saved.client_secret) == ("sandbox-client", "sandbox-secret-value")


def test_without_a_sandbox_there_is_nothing_to_connect(as_alice: Client, workspace: Workspace) -> None:
    assert as_alice.post(url("sandbox_connect")).status_code == 404
    assert not workspace.integrations.exists()


def test_what_needs_attention_stands_first_with_its_cause_and_one_next_step(
    as_alice: Client, workspace: Workspace
) -> None:
    make_connection(make_integration(workspace, "github"), account={"id": "1", "label": "acme-bot"})
    make_connection(
        make_integration(workspace, "notion"),
        state=ConnectionState.RECONNECT_REQUIRED,
        last_error_code="invalid_grant",
    )
    page = as_alice.get(url("list")).content.decode()
    assert page.index("Needs attention</h2>") < page.index("Notion") < page.index("Connected</h2>")
    assert "Notion no longer accepts the authorization" in page
    assert "Reconnect with OAuth" in page
    assert "acme-bot" in page


@pytest.mark.parametrize(
    ("query", "seen", "unseen"),
    [
        ("?q=git", ("GitHub", "GitLab"), ("Notion",)),
        ("?q=GIT+hub", ("GitHub",), ("GitLab",)),
        ("?status=connected", ("GitHub",), ("GitLab",)),
        ("?status=available", ("GitLab",), ("GitHub",)),
        ("?grant=client_credentials", ("Jamf Pro",), ("Slack",)),
        ("?status=nonsense&grant=nonsense", ("GitHub", "Airtable"), ()),  # unknown words filter nothing
    ],
)
def test_search_and_filters_come_from_the_url(
    as_alice: Client, workspace: Workspace, query: str, seen: tuple[str, ...], unseen: tuple[str, ...]
) -> None:
    make_connection(make_integration(workspace, "github"))
    results = as_alice.get(url("list") + query, headers={"HX-Request": "true"}).content.decode()
    for name in seen:
        assert name in results
    for name in unseen:
        assert f">{name}</a>" not in results


def test_the_htmx_answer_is_the_same_markup_as_in_the_page(as_alice: Client, workspace: Workspace) -> None:
    make_connection(make_integration(workspace, "github"))
    page = as_alice.get(url("list") + "?q=slack").content.decode()
    fragment = as_alice.get(url("list") + "?q=slack", headers={"HX-Request": "true"})
    assert "HX-Request" in fragment["Vary"]
    assert "<html" not in fragment.content.decode()
    assert fragment.content.decode().strip() in page


def test_the_number_of_results_is_announced(as_alice: Client, workspace: Workspace) -> None:
    make_connection(make_integration(workspace, "github"))
    results = as_alice.get(url("list") + "?q=slack", headers={"HX-Request": "true"}).content.decode()
    assert "data-announce>1 integration found" in results


def test_a_search_without_results_says_what_to_do(as_alice: Client, workspace: Workspace) -> None:
    results = as_alice.get(url("list") + "?q=<b>zzz").content.decode()
    assert "Nothing found" in results
    assert "&lt;b&gt;zzz" in results
    assert "Add custom OAuth provider" in results


def test_a_viewer_sees_no_button_that_would_be_refused(sign_in: Callable[[Role], Client], workspace: Workspace) -> None:
    make_connection(make_integration(workspace, "github"), state=ConnectionState.RECONNECT_REQUIRED)
    page = sign_in(Role.VIEWER).get(url("list")).content.decode()
    assert "Add integration" not in page
    assert "Reconnect with OAuth" not in page
    assert "Expired – reconnect" in page
    assert ">View<" in page
    assert ">Manage<" not in page


@pytest.mark.parametrize(("days", "words"), [(1, "Not read yet"), (8, "Not read for 7 days")])
def test_a_new_connection_is_not_blamed_for_not_being_read(
    as_alice: Client, workspace: Workspace, days: int, words: str
) -> None:
    asked = ["repo"]  # all that is needed: no scope waits for consent
    github = make_integration(workspace, "github")
    make_connection(
        github, connected_at=timezone.now() - timedelta(days=days), requested_scopes=asked, granted_scopes=asked
    )
    page = as_alice.get(url("list")).content.decode()
    assert words in page


def test_one_provider_under_both_grant_types_makes_two_cards_that_can_be_told_apart(
    as_alice: Client, workspace: Workspace
) -> None:
    make_integration(workspace, "microsoft_graph")
    make_integration(workspace, "microsoft_graph", GrantType.CLIENT_CREDENTIALS)
    cards = [card for card in as_alice.get(url("list")).content.decode().split("<li") if "Microsoft Graph" in card]
    assert [("Delegated user" in card, "Service account" in card) for card in cards] == [(True, False), (False, True)]


def test_an_outsider_gets_404(charlie: User, client: Client, workspace: Workspace) -> None:
    client.force_login(charlie)
    assert client.get(url("list")).status_code == 404


def test_another_workspaces_integrations_are_not_listed(as_alice: Client, workspace: Workspace) -> None:
    other = make_integration(make_workspace("Elsewhere"), "github")
    make_connection(other, account={"label": "someone-else"})
    make_connection(make_integration(workspace, "slack"))
    assert "someone-else" not in as_alice.get(url("list")).content.decode()


def test_the_number_of_queries_does_not_grow_with_integrations(as_alice: Client, workspace: Workspace) -> None:
    make_connection(make_integration(workspace, "github"))
    as_alice.get(url("list"))
    with CaptureQueriesContext(database) as with_one:
        as_alice.get(url("list"))
    for provider_id in ("slack", "notion", "jira", "gitlab"):
        integration = make_integration(workspace, provider_id)
        make_connection(integration)
        make_connection(integration, "second")
    make_connection(make_integration(workspace, "jamf", GrantType.CLIENT_CREDENTIALS))
    with CaptureQueriesContext(database) as with_many:
        as_alice.get(url("list"))
    assert len(with_many) == len(with_one)


def test_a_token_that_nothing_renews_is_said_to_expire(as_alice: Client, workspace: Workspace) -> None:
    make_connection(
        make_integration(workspace, "github"), refresh_token=None, lifetime=timedelta(hours=2), issued_at=timezone.now()
    )
    assert "no renewal" in as_alice.get(url("list")).content.decode()
