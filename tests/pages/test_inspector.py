"""The inspector's page: requests for chosen values, a pasted answer read and forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.providers.custom import create_custom_provider
from tests.pages.conftest import url
from workspaces.audit import Actor
from workspaces.models import AuditEvent, User, Workspace
from workspaces.roles import Role

TOKEN = "canary-access-token-0123456789-wxyz"
PASTED = {"answers": "authorization_code", "status": "200", "content_type": "application/json"}


@pytest.fixture
def page(workspace: Workspace) -> str:
    create_custom_provider(
        workspace,
        {
            "name": "Regional",
            "grant_types": ["authorization_code"],
            "authorization_endpoint": "https://{{region}}.id.example.com/authorize",
            "token_endpoint": "https://{{region}}.id.example.com/token",
            "token_params": {"pin": "{{pin}}"},
            "scopes": [{"name": "openid", "required": True}],
            "parameters": [
                {"key": "region", "label": "Region", "type": "dropdown", "options": ["eu", "us"]},
                {"key": "pin", "label": "PIN", "type": "password"},
            ],
        },
        actor=Actor.operator(),
        draft=True,
    )
    return url("custom_inspect", provider_id="custom_regional")


def test_the_requests_follow_the_chosen_values(as_alice: Client, page: str) -> None:
    text = as_alice.get(page).content.decode()
    assert "<b>POST</b> https://{{region}}.id.example.com/token" in text
    assert "PIN" not in text  # a password is blotted out whatever it is
    text = as_alice.post(page, {**PASTED, "param_region": "eu"}).content.decode()
    assert "<b>POST</b> https://eu.id.example.com/token" in text
    assert "<i>pin</i>=••••" in text


def test_a_value_outside_its_list_is_told_beside_its_field(as_alice: Client, page: str) -> None:
    answer = as_alice.post(page, {**PASTED, "param_region": "evil.example"})
    assert answer.status_code == 422
    assert 'id="id_param_region_error"' in answer.content.decode()
    assert "evil.example/token" not in answer.content.decode()


def test_a_pasted_answer_is_read_and_forgotten(as_alice: Client, page: str) -> None:
    events = AuditEvent.objects.count()
    answer = as_alice.post(page, {**PASTED, "body": f'{{"access_token": "{TOKEN}", "expires_in": 60}}'})
    text = answer.content.decode()
    assert "This is a token" in text
    assert "…wxyz" in text
    assert "no-store" in answer["Cache-Control"]
    assert TOKEN not in text
    assert AuditEvent.objects.count() == events
    assert all(TOKEN not in str(session.get_decoded()) for session in Session.objects.all())


def test_a_refusal_says_what_would_happen(as_alice: Client, page: str) -> None:
    body = {**PASTED, "answers": "refresh_token", "status": "400", "body": '{"error": "invalid_grant"}'}
    text = as_alice.post(page, body).content.decode()
    assert "This is no token" in text
    assert "<code>dead_grant</code>" in text
    assert "Expired – reconnect" in text


@pytest.mark.parametrize(
    ("field", "value"), [("status", "999"), ("status", "x"), ("answers", "client_credentials"), ("body", "x" * 100_001)]
)
def test_what_cannot_be_inspected_is_told(as_alice: Client, page: str, field: str, value: str) -> None:
    answer = as_alice.post(page, {**PASTED, field: value})
    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in answer.content.decode()


def test_built_in_providers_are_inspected_too(as_alice: Client, workspace: Workspace) -> None:
    address = url("inspect", provider_id="github", grant_type="authorization_code")
    assert "https://github.com/login/oauth/access_token" in as_alice.get(address).content.decode()
    assert as_alice.get(url("inspect", provider_id="github", grant_type="client_credentials")).status_code == 404
    assert as_alice.get(url("custom_inspect", provider_id="github")).status_code == 404


def test_the_page_of_an_integration_leads_there(as_alice: Client, workspace: Workspace) -> None:
    text = as_alice.get(url("detail", provider_id="github", grant_type="authorization_code")).content.decode()
    assert f'href="{url("inspect", provider_id="github", grant_type="authorization_code")}"' in text
    assert "/integrations/custom/import/?copy=github" in text


def test_viewers_may_look_and_outsiders_find_nothing(
    sign_in: Callable[[Role], Client], page: str, charlie: User, client: Client
) -> None:
    assert sign_in(Role.VIEWER).get(page).status_code == 200
    client.force_login(charlie)
    assert client.get(page).status_code == 404


def test_it_asks_the_database_as_often_for_one_parameter_as_for_many(as_alice: Client, page: str) -> None:
    def queries(data: dict[str, Any]) -> int:
        with CaptureQueriesContext(
            database,
        ) as seen:
            as_alice.post(page, data)
        return len(seen)

    queries(PASTED)  # the first visit also notes the workspace in the session
    assert queries(PASTED) == queries({**PASTED, "param_region": "eu", "body": '{"access_token": "x"}'})
