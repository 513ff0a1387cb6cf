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

    def held(self) -> dict[UUID, ConnectionStatus]:
        """Integrations that are in trouble as a whole, and the status that this gives to what would be renewed."""
        held: dict[UUID, ConnectionStatus] = {}
        for pk, integration in self.integrations.items():
            if integration.client_error_code:
                held[pk] = ConnectionStatus.MISCONFIGURED
            elif integration.outage_since is not None:
                held[pk] = ConnectionStatus.DEGRADED
        return held

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
    tally = Tally(integrations, counts)
    _hold(workspace, tally, now)
    return tally


def _hold(workspace: Workspace, tally: Tally, now: datetime) -> None:
    """The provider refuses the client, or does not answer: whatever would be renewed is held."""
    held = tally.held()
    for integration_id in held.keys() & tally.by_integration.keys():
        counts = tally.by_integration[integration_id]
        if held[integration_id] == ConnectionStatus.MISCONFIGURED:
            for status in (ConnectionStatus.CONNECTED, ConnectionStatus.DEGRADED):
                counts[ConnectionStatus.MISCONFIGURED] += counts.pop(status, 0)
        else:
            counts[ConnectionStatus.DEGRADED] += counts.pop(ConnectionStatus.CONNECTED, 0)
    out = [pk for pk, status in held.items() if status == ConnectionStatus.DEGRADED]
    if not out:
        return
    untouched = not_renewable(workspace, out, now).order_by().values_list("integration_id").annotate(count=Count("pk"))
    for integration_id, count in untouched:
        tally.by_integration[integration_id][ConnectionStatus.DEGRADED] -= count
        tally.by_integration[integration_id][ConnectionStatus.CONNECTED] += count


def not_renewable(workspace: Workspace, integrations: list[UUID], now: datetime) -> QuerySet[Connection]:
    """Connections whose token works on and would not be renewed anyway: an outage is nothing to them."""
    return workspace.connections.filter(
        integration_id__in=integrations,
        state=ConnectionState.CONNECTED,
        integration__grant_type=GrantType.AUTHORIZATION_CODE,
        token__has_refresh_token=False,
    ).exclude(token__expires_at__lte=now)


def run_out(workspace: Workspace, now: datetime) -> QuerySet[Connection]:
    """Connections whose token ran out with nothing to renew it: they need a person, whatever their state says."""
    return workspace.connections.filter(
        state__in=_RENEWABLE,
        integration__grant_type=GrantType.AUTHORIZATION_CODE,
        schedule__refresh_due_at__isnull=True,
        token__has_refresh_token=False,
        token__expires_at__lte=now,
    )
