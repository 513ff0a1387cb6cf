"""The six statuses, exactly as product and API promise them, with cause and next step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.errors import naming
from integrations.connections.status import StatusExplanation, explain, integration_status
from integrations.models import Connection, ConnectionStatus, GrantType, Integration
from integrations.providers.base import ClientAuth
from integrations.providers.registry import find_spec
from tests.connections.conftest import NOW
from tests.factories import make_connection
from workspaces.models import Workspace

HOURS_AGO = NOW - timedelta(hours=2)


def status_of(integration: Integration | None, workspace: Workspace, now: Any = NOW) -> ConnectionStatus:
    spec = find_spec(workspace, "custom_acme")
    rows = Connection.objects.select_related("integration", "token", "schedule").filter(integration=integration)
    return integration_status(spec, integration, rows, now)


def test_without_credentials_it_is_not_configured(workspace: Workspace, delegated: Integration) -> None:
    assert status_of(None, workspace) == "not_configured"
    delegated.client_secret = None
    delegated.save()
    assert status_of(delegated, workspace) == "not_configured"
    # A public client needs only its client id.
    delegated.token_endpoint_auth_method = ClientAuth.NONE
    assert status_of(delegated, workspace) == "configured"
    delegated.client_id = ""
    assert status_of(delegated, workspace) == "not_configured"


@pytest.mark.parametrize(
    ("grant", "fields", "expected"),
    [
        ("delegated", {"issued_at": NOW}, "connected"),
        ("delegated", {"issued_at": HOURS_AGO}, "connected"),  # it renews itself
        ("delegated", {"issued_at": HOURS_AGO, "refresh_token": None}, "reconnect_required"),
        ("delegated", {"issued_at": NOW, "refresh_token": None}, "connected"),
        ("delegated", {"issued_at": HOURS_AGO, "refresh_token": None, "lifetime": None}, "connected"),
        ("delegated", {"issued_at": HOURS_AGO, "state": "degraded"}, "degraded"),
        ("delegated", {"with_token": False}, "configured"),
        ("service", {"issued_at": HOURS_AGO, "refresh_token": None}, "connected"),
        ("service", {"issued_at": NOW, "state": "misconfigured"}, "misconfigured"),
    ],
)
def test_a_connection_has_one_honest_status(
    workspace: Workspace,
    delegated: Integration,
    service: Integration,
    grant: str,
    fields: dict[str, Any],
    expected: str,
) -> None:
    integration = {"delegated": delegated, "service": service}[grant]
    connection = make_connection(integration, **fields)
    assert connection.status_at(NOW) == expected
    assert status_of(integration, workspace) == expected


def test_a_refused_client_makes_the_whole_integration_misconfigured(
    workspace: Workspace, delegated: Integration
) -> None:
    connected = make_connection(delegated, issued_at=NOW)
    disconnected = make_connection(delegated, "off", with_token=False)
    dead = make_connection(delegated, "dead", issued_at=NOW, state="reconnect_required")
    delegated.client_error_code = "invalid_client"
    delegated.save()
    found = {c.name: c.status_at(NOW) for c in Connection.objects.filter(integration=delegated)}
    assert found == {connected.name: "misconfigured", disconnected.name: "configured", dead.name: "reconnect_required"}
    assert status_of(delegated, workspace) == "misconfigured"


def test_an_integration_shows_the_worst_of_its_connections(workspace: Workspace, delegated: Integration) -> None:
    for state, expected in [
        ("configured", "configured"),
        ("connected", "connected"),
        ("configured", "connected"),
        ("degraded", "degraded"),
        ("reconnect_required", "reconnect_required"),
        ("misconfigured", "misconfigured"),
    ]:
        make_connection(delegated, f"{state}{Connection.objects.count()}", state=state, issued_at=NOW)
        assert status_of(delegated, workspace) == expected


@pytest.mark.parametrize(
    ("status", "grant", "label"),
    [
        ("not_configured", "authorization_code", "Set up"),
        ("configured", "authorization_code", "Connect with OAuth"),
        ("configured", "client_credentials", "Fetch token"),
        ("connected", "authorization_code", "Manage"),
        ("degraded", "authorization_code", "Try now"),
        ("misconfigured", "client_credentials", "Check configuration"),
        ("reconnect_required", "authorization_code", "Reconnect with OAuth"),
    ],
)
def test_every_status_names_cause_and_next_step(
    workspace: Workspace, delegated: Integration, service: Integration, status: str, grant: str, label: str
) -> None:
    integration = delegated if grant == GrantType.AUTHORIZATION_CODE else service
    connection = make_connection(integration, issued_at=NOW, last_error_code="outage")
    spec = find_spec(workspace, "custom_acme")
    told = explain(
        ConnectionStatus(status),
        spec=spec,
        grant_type=grant,
        integration=integration,
        connection=connection,
        now=NOW,
    )
    assert told.next_step_label == label
    assert told.cause.endswith(".")
    assert told.label == ConnectionStatus(status).label
    assert (told.code == "outage") == (status in {"degraded", "misconfigured", "reconnect_required"})
    assert (told.retry_at is not None) == (status == "degraded")


def told_of(integration: Integration, status: str, **fields: Any) -> StatusExplanation:
    connection = make_connection(integration, issued_at=NOW, **fields)
    return explain(
        ConnectionStatus(status),
        spec=find_spec(integration.workspace, "custom_acme"),
        grant_type=integration.grant_type,
        integration=integration,
        connection=connection,
        now=NOW,
    )


def test_trouble_is_told_with_the_providers_name_and_when_it_was_seen(delegated: Integration) -> None:
    told = told_of(delegated, "degraded", state="degraded", last_error_code="outage", last_error_at=HOURS_AGO)
    name = find_spec(delegated.workspace, "custom_acme").name
    assert told.cause.startswith(f"{name} has a failure on its side.")
    assert told.since == HOURS_AGO


def test_a_refused_client_is_told_what_happens_meanwhile(service: Integration) -> None:
    service.client_error_code, service.client_error_at = "invalid_client", HOURS_AGO
    told = told_of(service, "misconfigured")
    assert "The token is kept, and renewal resumes by itself" in told.next_step
    assert told.since == HOURS_AGO


def test_a_dead_grant_is_told_what_it_means_for_programs(delegated: Integration) -> None:
    told = told_of(delegated, "reconnect_required", state="reconnect_required", last_error_code="invalid_grant")
    assert told.next_step.startswith("Programs get no token until someone consents at ")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The provider refused the client.", r"A\1 & Co. refused the client."),
        ("Check the app at the provider.", r"Check the app at A\1 & Co.."),
        ("Look into the provider's documentation.", r"Look into A\1 & Co.'s documentation."),
        ("Other providers say so.", "Other providers say so."),
    ],
)
def test_sentences_name_the_provider_whatever_its_name(text: str, named: str) -> None:
    assert naming(text, r"A\1 & Co.") == named
    assert naming(text, "") == text
