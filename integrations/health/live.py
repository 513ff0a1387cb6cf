"""The part of the page that changes by itself: the numbers, what fails and what will, and whether to look again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from integrations.health.coming import Forecast, forecast
from integrations.health.tally import Tally, take_tally
from integrations.health.trouble import Troubles, find_troubles
from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace
from workspaces.roles import Permission

POLL_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Live:
    """How things stand at one moment."""

    tally: Tally
    troubles: Troubles
    forecast: Forecast

    @property
    def is_under_way(self) -> bool:
        """Whether something is being tried again by itself, so that it is worth looking again soon."""
        return self.tally.retrying > 0 or any(one.client_error_code for one in self.tally.integrations.values())

    @property
    def sign(self) -> str:
        """The same for the same state: a page that shows it already is left alone."""
        numbers = (self.tally.connected, self.tally.retrying, self.tally.need_person, self.forecast.total)
        rows = [row.sign for row in self.troubles.rows], [row.sign for row in self.forecast.rows]
        return hashlib.sha256(repr((numbers, rows)).encode()).hexdigest()[:16]

    @property
    def trigger(self) -> str:
        """The htmx trigger with which the part looks again; empty while nothing is under way."""
        return f"every {POLL_SECONDS}s" if self.is_under_way else ""


def look(
    workspace: Workspace,
    specs: Mapping[str, ProviderSpec],
    *,
    can: frozenset[Permission],
    now: datetime,
    only: str = "",
) -> Live:
    """Take everything at one moment; a fixed number of queries."""
    tally = take_tally(workspace, now)
    return Live(
        tally=tally,
        troubles=find_troubles(workspace, tally, specs, can=can, now=now, only=only),
        forecast=forecast(workspace, specs, can=can, now=now),
    )
