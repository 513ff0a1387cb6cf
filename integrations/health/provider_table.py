"""One row per integration: its connections, its renewals of the last 24 hours, and what it is waiting for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from integrations.connections.parties import pause_key
from integrations.health.renewals import Day, Sums
from integrations.health.tally import Tally
from integrations.health.trouble import WORST_FIRST, next_probes
from integrations.models import ConnectionStatus, GrantType, Integration, ProviderPause
from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace

ROWS = 50


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """An integration that has connections, or had renewals."""

    spec: ProviderSpec
    grant_type: str
    url: str
    status: ConnectionStatus
    connections: int
    sums: Sums
    note: str = ""  # why nothing is renewed at the moment
    until: datetime | None = None  # when it is tried again

    @property
    def succeeded(self) -> float | None:
        """Share of renewals that went well, in percent; None without any."""
        return 100 * self.sums.renewed / self.sums.total if self.sums.total else None


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """The rows shown, worst first, and how many there are."""

    rows: tuple[ProviderRow, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


def provider_table(
    workspace: Workspace, tally: Tally, day: Day, specs: Mapping[str, ProviderSpec], now: datetime
) -> ProviderTable:
    """Every integration with connections. One query, for pauses, and one more in an outage."""
    pauses = _pauses(specs, tally.integrations.values(), now)
    in_outage = any(integration.outage_since is not None for integration in tally.integrations.values())
    probes = next_probes(workspace) if in_outage else {}
    rows = []
    for integration in tally.integrations.values():
        spec = specs.get(integration.provider_id)
        counts = tally.by_integration.get(integration.pk, Counter())
        sums = day.by_integration.get((integration.provider_id, integration.grant_type), Sums())
        if spec is not None and (counts.total() or sums.total):
            rows.append(_row(workspace, spec, integration, counts, sums, pauses, probes))
    rows.sort(key=lambda row: (_rank(row.status), row.spec.name.casefold(), row.grant_type))
    return ProviderTable(tuple(rows[:ROWS]), len(rows))


def _row(
    workspace: Workspace,
    spec: ProviderSpec,
    integration: Integration,
    counts: Counter[ConnectionStatus],
    sums: Sums,
    pauses: Mapping[str, datetime],
    probes: Mapping[str, datetime],
) -> ProviderRow:
    note, until = "", None
    if integration.client_error_code:
        note, until = "Client refused; next try", integration.next_probe_at
    elif integration.outage_since is not None:
        note, until = "Does not answer; next try", probes.get(integration.provider_id)
    elif (paused_until := pauses.get(_pause_key(spec, integration))) is not None:
        note, until = "Asked for a pause; goes on", paused_until
    base = {"workspace": workspace.slug, "provider_id": spec.provider_id, "grant_type": integration.grant_type}
    return ProviderRow(
        spec=spec,
        grant_type=integration.grant_type,
        url=reverse("integrations:detail", kwargs=base),
        status=next((status for status in WORST_FIRST if counts[status]), _at_rest(counts)),
        connections=counts.total(),
        sums=sums,
        note=note,
        until=until,
    )


def _at_rest(counts: Counter[ConnectionStatus]) -> ConnectionStatus:
    return ConnectionStatus.CONNECTED if counts[ConnectionStatus.CONNECTED] else ConnectionStatus.CONFIGURED


def _rank(status: ConnectionStatus) -> int:
    return WORST_FIRST.index(status) if status in WORST_FIRST else len(WORST_FIRST)


def _pauses(
    specs: Mapping[str, ProviderSpec], integrations: Iterable[Integration], now: datetime
) -> dict[str, datetime]:
    """Pauses that providers asked for and that are not over, by key."""
    keys = {_pause_key(specs[one.provider_id], one) for one in integrations if one.provider_id in specs}
    return dict(ProviderPause.objects.filter(pk__in=keys, until__gt=now).values_list("key", "until"))


def _pause_key(spec: ProviderSpec, integration: Integration) -> str:
    """The key for an endpoint that is the same for every connection; others have pauses of their own."""
    return pause_key(spec.under(GrantType(integration.grant_type)).token_endpoint or "", integration.client_id)
