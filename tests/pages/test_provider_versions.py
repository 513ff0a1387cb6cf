"""Drafts and versions of a workspace's own provider: who stays where, what changed, what publishing takes away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.models import Connection, CustomProvider, Integration
from integrations.providers.custom import update_custom_provider
from integrations.providers.registry import find_newest_spec, find_spec
from tests.factories import make_connection
from tests.pages.conftest import PROVIDER_ID, url
from tests.pages.html_form import Form
from workspaces.audit import Actor
from workspaces.models import AuditEvent, User, Workspace
from workspaces.roles import Role

ELSEWHERE = "https://elsewhere.example/token"


@pytest.fixture
def edit(delegated: Integration) -> str:
    return url("custom_edit", provider_id=PROVIDER_ID)


def save(browser: Client, edit: str, go: str, **changes: Any) -> Any:
    """Open the page, change fields, press a button."""
    return browser.post(edit, {**Form.of(browser.get(edit).content.decode()).data, **changes, "go": go})


def test_a_draft_leaves_connections_where_they_are_and_their_page_says_so(
    as_alice: Client, edit: str, delegated: Integration, workspace: Workspace
) -> None:
    connection = make_connection(delegated, provider_version=1)
    done = save(as_alice, edit, "draft", name="Northwind 2", token_endpoint=ELSEWHERE)
    assert done["Location"] == edit
    assert find_spec(workspace, PROVIDER_ID).name == "Northwind"
    delegated.refresh_from_db()
    assert delegated.has_client_secret
    text = as_alice.get(edit).content.decode()
    assert "Version 2 is not published: connections are on version 1." in text
    assert "1 connection: default" in text
    page = as_alice.get(url("connection", delegated, connection_id=connection.pk)).content.decode()
    assert "Version 1. Version 2 is a draft: this connection stays on 1 until it is published." in page


def test_the_versions_say_what_changed_and_who_changed_it(as_alice: Client, edit: str, alice: User) -> None:
    save(as_alice, edit, "publish", name="Northwind 2", **{"scopes-1-name": "files.read"})
    text = as_alice.get(edit).content.decode()
    versions = text[text.index('id="versions"') :]
    assert '<del><span class="g-visually-hidden">Removed: </span>Northwind</del>' in versions
    assert "Added: </span>Northwind 2</ins>" in versions
    assert "Added: </span>name: files.read</ins>" in versions
    assert f"by {alice.email}" in versions


def test_publishing_shows_what_differs_and_counts_what_it_takes(
    as_alice: Client, edit: str, delegated: Integration
) -> None:
    make_connection(delegated)
    save(as_alice, edit, "draft", token_endpoint=ELSEWHERE)
    publish = url("custom_publish", provider_id=PROVIDER_ID)
    text = as_alice.get(publish).content.decode()
    assert "1 client secret is cleared, and 1 connection must be connected again" in text
    assert f"Added: </span>{ELSEWHERE}</ins>" in text
    assert Connection.objects.get().state == "connected"
    assert as_alice.post(publish)["Location"] == edit
    assert Connection.objects.get().last_error_code == "endpoint_changed"
    assert as_alice.get(publish).status_code == 302  # nothing left to publish


def test_a_draft_is_discarded_and_leaves_a_trace_in_the_audit_log_only(
    as_alice: Client, edit: str, workspace: Workspace
) -> None:
    save(as_alice, edit, "draft", name="Next")
    save(as_alice, edit, "draft", name="Next again")
    discard = url("custom_discard", provider_id=PROVIDER_ID)
    assert "Discard the draft" in as_alice.get(discard).content.decode()
    assert as_alice.post(discard)["Location"] == edit
    spec = find_newest_spec(workspace, PROVIDER_ID)
    assert (spec.version, spec.name) == (1, "Northwind")
    event = AuditEvent.objects.filter(action="provider:changed").latest("pk")
    assert event.detail["discarded"] == [2, 3]


def test_what_was_never_published_is_not_discarded(as_alice: Client, edit: str) -> None:
    provider = CustomProvider.objects.get()
    provider.versions.update(draft=True)
    as_alice.post(url("custom_discard", provider_id=PROVIDER_ID))
    assert provider.versions.count() == 1


def test_a_move_is_confirmed_before_anything_is_saved(as_alice: Client, edit: str, delegated: Integration) -> None:
    make_connection(delegated)
    asked = save(as_alice, edit, "publish", token_endpoint=ELSEWHERE)
    text = asked.content.decode()
    assert "Publish and clear" in text
    assert CustomProvider.objects.get().versions.count() == 1
    form = Form.of(text)
    assert ("go", "publish") in form.buttons
    assert as_alice.post(edit, {**form.data, "go": "publish"}).status_code == 302
    assert Connection.objects.get().last_error_code == "endpoint_changed"


def test_a_move_that_costs_nothing_is_not_asked_about(as_alice: Client, edit: str, delegated: Integration) -> None:
    delegated.client_secret = None
    delegated.save()
    assert save(as_alice, edit, "publish", token_endpoint=ELSEWHERE).status_code == 302


def test_an_edit_on_top_of_somebody_elses_is_told(as_alice: Client, edit: str) -> None:
    form = Form.of(as_alice.get(edit).content.decode())
    update_custom_provider(CustomProvider.objects.get(), {"description": "by another"}, actor=Actor.operator())
    answer = as_alice.post(edit, {**form.data, "name": "Mine", "go": "publish"})
    assert answer.status_code == 422
    assert "Version 2 was saved meanwhile" in answer.content.decode()
    again = Form.of(answer.content.decode())
    assert as_alice.post(edit, {**again.data, "go": "publish"}).status_code == 302


def test_a_grant_type_in_use_is_kept(as_alice: Client, edit: str) -> None:
    answer = save(as_alice, edit, "publish", grant_types=["client_credentials"])
    assert answer.status_code == 422
    assert "Delete that integration first" in answer.content.decode()


@pytest.mark.parametrize("name", ["custom_edit", "custom_publish", "custom_discard"])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_only_admins_change_providers(
    sign_in: Callable[[Role], Client], delegated: Integration, name: str, role: Role
) -> None:
    address = url(name, provider_id=PROVIDER_ID)
    browser = sign_in(role)
    assert (browser.get(address).status_code, browser.post(address).status_code) == (403, 403)


def test_the_page_asks_the_database_as_often_for_many_versions_and_connections_as_for_one(
    as_alice: Client, edit: str, delegated: Integration
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(database) as seen:
            as_alice.get(edit)
        return len(seen)

    as_alice.get(edit)  # the first visit also notes the workspace in the session
    few = queries()
    for number in range(8):
        update_custom_provider(CustomProvider.objects.get(), {"description": str(number)}, actor=Actor.operator())
        make_connection(delegated, f"c{number}", provider_version=number)
    assert queries() == few
