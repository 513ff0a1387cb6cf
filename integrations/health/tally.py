"""How many connections of each integration are in which status. A fixed number of queries, however many there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, QuerySet

from integrations.models import Connection, ConnectionState, ConnectionStatus, GrantType, Integration
from integrations.providers.client_keys import public_keys
from workspaces.models import Workspace

_RENEWABLE = (ConnectionState.CONNECTED, ConnectionState.DEGRADED)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by integration; those never connected or disconnected are left out."""

    integrations: Mapping[UUID, Integration]
    by_integration: Mapping[UUID, Counter[ConnectionStatus]]

    def number(self, *statuses: ConnectionStatus) -> int:
        """How many connections have one of these statuses."""
        return sum(counts[status] for counts in self.by_integration.values() for status in statuses)

    def of(self, integration_id: UUID, status: ConnectionStatus) -> int:
        """How many connections of one integration have this status."""
        counts = self.by_integration.get(integration_id)
        return counts[status] if counts is not None else 0

    @property
    def connected(self) -> int:
        """Fine."""
        return self.number(ConnectionStatus.CONNECTED)

    @property
    def retrying(self) -> int:
        """Renewal fails and is tried again by itself."""
        return self.number(ConnectionStatus.DEGRADED)

    @property
    def need_person(self) -> int:
        """Somebody has to do something."""
        return self.number(ConnectionStatus.MISCONFIGURED, ConnectionStatus.RECONNECT_REQUIRED)

    @property
    def total(self) -> int:
        """All of these."""
        return sum(counts.total() for counts in self.by_integration.values())


def take_tally(workspace: Workspace, now: datetime) -> Tally:
    """Count as `Connection.status_at` judges, without loading connections."""
    rows = workspace.integrations.prefetch_related(public_keys(workspace))
    integrations = {integration.pk: integration for integration in rows}
    counts: dict[UUID, Counter[ConnectionStatus]] = defaultdict(Counter)
    states = (
        workspace.connections.exclude(state=ConnectionState.CONFIGURED)
        .order_by()
        .values_list("integration_id", "state")
        .annotate(count=Count("pk"))
    )
    for integration_id, state, count in states:
        counts[integration_id][ConnectionStatus(state)] += count
    ended = run_out(workspace, now).order_by().values_list("integration_id", "state").annotate(count=Count("pk"))
    for integration_id, state, count in ended:
        counts[integration_id][ConnectionStatus(state)] -= count
        counts[integration_id][ConnectionStatus.RECONNECT_REQUIRED] += count
    for integration_id, integration in integrations.items():
        if integration.client_error_code and integration_id in counts:
            _hold(counts[integration_id])
    return Tally(integrations, counts)


def _hold(counts: Counter[ConnectionStatus]) -> None:
    """The provider refuses the client: whatever would be renewed is held."""
    for status in (ConnectionStatus.CONNECTED, ConnectionStatus.DEGRADED):
        counts[ConnectionStatus.MISCONFIGURED] += counts.pop(status, 0)


def run_out(workspace: Workspace, now: datetime) -> QuerySet[Connection]:
    """Connections whose token ran out with nothing to renew it: they need a person, whatever their state says."""
    return workspace.connections.filter(
        state__in=_RENEWABLE,
        integration__grant_type=GrantType.AUTHORIZATION_CODE,
        schedule__refresh_due_at__isnull=True,
        token__has_refresh_token=False,
        token__expires_at__lte=now,
    )
