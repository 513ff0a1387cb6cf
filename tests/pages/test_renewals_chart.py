"""The bars of a day's renewals: which hour each stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from integrations.connections.usage import renewals
from integrations.models import Integration
from tests.factories import make_connection
from workspaces.audit import AuditAction
from workspaces.models import ActorKind, AuditEvent

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 2, 12, 30, tzinfo=UTC)


def test_bars_run_from_a_day_ago_to_the_last_hour_in_words_that_name_no_time_twice(delegated: Integration) -> None:
    connection = make_connection(delegated)
    for minutes in (5, 59, 61, 23 * 60 + 30):
        AuditEvent.objects.create(
            workspace_id=connection.workspace_id,
            at=NOW - timedelta(minutes=minutes),
            actor_kind=ActorKind.WORKER,
            action=AuditAction.CONNECTION_REFRESHED,
            target_kind="connection",
            target_id=str(connection.pk),
        )
    bars = renewals(connection.workspace, connection, NOW).bars
    names = [name for name, _ in bars]
    assert (names[0], names[22], names[23]) == ("24 h ago", "2 h ago", "last hour")
    assert len(set(names)) == 24
    amounts = {name: parts[0][1] for name, parts in bars}
    assert {name: amount for name, amount in amounts.items() if amount} == {"24 h ago": 1, "2 h ago": 1, "last hour": 2}
