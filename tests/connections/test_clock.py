"""The database's clock decides, whatever the clock of a machine says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from integrations import clock
from integrations.connections.lease import LEASE, claim_one
from integrations.connections.tokens import usable_token
from integrations.models import Connection, GrantType, Token
from tests.factories import make_connection, make_integration
from workspaces.audit import WORKER
from workspaces.models import Workspace


@pytest.fixture(autouse=True)
def _ask_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_shared", None)


def test_a_clock_counts_the_time_that_the_machine_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    elapsed = [0.0]
    monkeypatch.setattr(clock, "elapsed_seconds", lambda: elapsed[0])
    start = datetime(2030, 1, 1, tzinfo=UTC)
    running = clock.Clock(start)
    elapsed[0] = 3600.0
    assert running.now() == start + timedelta(hours=1)


@pytest.mark.django_db
@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_machine_whose_clock_is_off_neither_serves_what_expired_nor_refuses_what_is_good(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    right = clock.database_now()
    integration = make_integration(workspace, "github", GrantType.AUTHORIZATION_CODE)
    good = make_connection(integration, "good", issued_at=right - timedelta(minutes=55))
    stale = make_connection(integration, "stale", issued_at=right - timedelta(minutes=65), refresh_token=None)
    # SQLite has no clock of its own; here it gets one.
    monkeypatch.setattr(clock, "_database_has_a_clock", lambda: True)
    monkeypatch.setattr(clock, "database_now", lambda: right)
    monkeypatch.setattr(timezone, "now", lambda: right + timedelta(minutes=minutes))
    rows = Connection.objects.select_related("integration", "token", "schedule", "workspace")
    token = usable_token(rows.get(pk=good.pk), actor=WORKER)
    assert token.warning is None
    with pytest.raises(Exception, match="reconnect_required"):
        usable_token(rows.get(pk=stale.pk), actor=WORKER)
    lease = claim_one(good.pk, clock.start_clock().now())
    assert lease is not None
    assert abs(lease.taken_at + LEASE - right - LEASE) < timedelta(minutes=1)
    assert Token.objects.count() == 2


@pytest.mark.django_db
def test_readers_ask_for_the_time_seldom_and_do_without_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elapsed, asked = [0.0], []
    monkeypatch.setattr(clock, "elapsed_seconds", lambda: elapsed[0])
    monkeypatch.setattr(clock, "_database_has_a_clock", lambda: True)

    def ask() -> datetime:
        asked.append(elapsed[0])
        if len(asked) == 3:
            raise OperationalError("server closed the connection unexpectedly")
        return datetime(2030, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(clock, "database_now", ask)
    for second in (0, 29, 30, 31, 61):
        elapsed[0] = float(second)
        clock.shared_now()
    assert asked == [0, 30, 61]
