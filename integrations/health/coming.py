"""What will fail: connections whose consent ends within days, soonest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from integrations.connections.forecast import connections_needing_consent
from integrations.connections.integration_page import NextStep, make_page
from integrations.models import Connection, GrantType
from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace
from workspaces.roles import Permission

AHEAD = timedelta(days=30)
ROWS = 20


@dataclass(frozen=True, slots=True)
class Coming:
    """One connection that a person has to see to by `ends_at`."""

    spec: ProviderSpec
    title: str
    url: str
    ends_at: datetime
    step: NextStep

    @property
    def about(self) -> str:
        """What the row is about: "Slack · team-7"."""
        return f"{self.spec.name} · {self.title}" if self.title else self.spec.name

    @property
    def sign(self) -> tuple[object, ...]:
        """What makes it another row than before."""
        return (self.url, self.ends_at)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rows shown, and how many connections there are."""

    rows: tuple[Coming, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


def forecast(
    workspace: Workspace, specs: Mapping[str, ProviderSpec], *, can: frozenset[Permission], now: datetime
) -> Forecast:
    """Whose consent ends within AHEAD. Two queries."""
    ending = connections_needing_consent(workspace, AHEAD, now)
    rows = []
    for connection in ending[:ROWS]:
        spec, ends_at = specs.get(connection.integration.provider_id), connection.token.consent_ends_at
        if spec is not None and ends_at is not None:
            spec = spec.under(connection.integration.grant_type)
            rows.append(_row(workspace, spec, connection, ends_at, can=can, now=now))
    return Forecast(tuple(rows), ending.count())


def _row(
    workspace: Workspace,
    spec: ProviderSpec,
    connection: Connection,
    ends_at: datetime,
    *,
    can: frozenset[Permission],
    now: datetime,
) -> Coming:
    grant_type = GrantType(connection.integration.grant_type)
    page = make_page(workspace, spec, grant_type, connection.integration, (connection,), now)
    url = page.url("connection", connection_id=connection.pk)
    if Permission.CONNECTION_USE in can:
        step = NextStep(
            "Reconnect with OAuth", page.url("connect"), "plug-connected", post=True, leaves=True,
            connection_id=connection.pk,
        )  # fmt: skip
    else:
        step = NextStep("View", url, "eye")
    title = "" if connection.is_default and connection.name == "default" else connection.name
    return Coming(spec, title, url, ends_at, step)
