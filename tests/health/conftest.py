"""Notices as the engine writes them, at moments that a test names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from integrations.health.gathering import gather_digests
from integrations.health.mailing import send_mails
from integrations.models import Connection, ConnectionState, Integration, Notice, NoticeKind
from integrations.notices import notice_of_connection, notice_of_consent_ending, notice_of_integration
from tests.factories import make_connection, make_integration
from tests.pages.conftest import northwind as northwind
from tests.pages.conftest import sign_in as sign_in
from workspaces.models import Workspace

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def after(minutes: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def becomes(connection: Connection, state: ConnectionState, minutes: float, code: str = "") -> Notice | None:
    """The connection is in another state from then on, and its notice says so."""
    before = Connection.objects.get(pk=connection.pk).state
    connection.state = state
    connection.last_error_code = code
    connection.save(update_fields=["state", "last_error_code"])
    return notice_of_connection(connection, before, at=after(minutes), code=code)


def client_refused(integration: Integration, minutes: float) -> Notice:
    """The provider refuses the client of the whole integration."""
    integration.client_error_code = "invalid_client"
    integration.client_error_at = after(minutes)
    integration.save(update_fields=["client_error_code", "client_error_at"])
    return notice_of_integration(integration, NoticeKind.MISCONFIGURED, at=after(minutes), code="invalid_client")


def consent_ends(connection: Connection, minutes: float, *, in_days: int = 5) -> Notice:
    """Somebody has to consent again within days."""
    return notice_of_consent_ending(connection, after(minutes) + timedelta(days=in_days), at=after(minutes))


def beat(minutes: float) -> int:
    """What the task does at that minute; returns how many mails went out."""
    gather_digests(after(minutes))
    return send_mails(after(minutes))


def beats(first: int, last: int) -> int:
    """Every minute of a time, as beat does."""
    return sum(beat(minute) for minute in range(first, last + 1))


@pytest.fixture
def slack(workspace: Workspace) -> Integration:
    """Slack, set up in Alice's workspace."""
    return make_integration(workspace, "slack")


@pytest.fixture
def connection(slack: Integration) -> Connection:
    """A connection to it that works."""
    return make_connection(slack, "team-1", issued_at=NOON)
