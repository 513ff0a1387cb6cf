"""The Integrations page: one entry per integration, and one per provider that could be set up; search and filters.

Loading takes a fixed number of queries; filtering happens in memory, over some dozens of entries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from integrations.connections.integration_page import NEEDS_ATTENTION, IntegrationPage, NextStep, make_page
from integrations.connections.overview import ScopeTable, due_at, scope_table, token_of
from integrations.connections.status import StatusExplanation
from integrations.connections.usage import reads_by_connection
from integrations.models import Connection, ConnectionStatus, GrantType
from integrations.providers.base import ProviderSpec
from integrations.providers.client_keys import public_keys
from integrations.providers.registry import specs_for
from workspaces.models import Workspace
from workspaces.roles import Permission

ATTENTION, CONNECTED, AVAILABLE = "attention", "connected", "available"
SECTIONS = {ATTENTION: "Needs attention", CONNECTED: "Connected", AVAILABLE: "Available"}
USAGE_DAYS = 7
FIRST_AVAILABLE = 9  # shown before "Show all"


@dataclass(frozen=True, slots=True)
class Entry:
    """A card: an integration, or a provider with the grant types that are not set up yet."""

    page: IntegrationPage
    grant_types: tuple[GrantType, ...]
    step: NextStep
    reads: tuple[datetime, int] | None = None

    @property
    def spec(self) -> ProviderSpec:
        """The provider."""
        return self.page.spec

    @property
    def status(self) -> ConnectionStatus:
        """The one status shown."""
        return self.page.status

    @property
    def url(self) -> str:
        """Where the card's name leads."""
        return self.page.url("detail" if self.page.is_configured else "configuration")

    @property
    def grants_label(self) -> str:
        """Which grant types the card stands for."""
        return "User or service account" if len(self.grant_types) > 1 else str(self.grant_types[0].label)

    @property
    def is_other_grant(self) -> bool:
        """Whether the provider is set up under its other grant type already."""
        return len(self.grant_types) < len(self.spec.grant_types)

    @property
    def section(self) -> str:
        """Where the card stands."""
        if self.status in NEEDS_ATTENTION:
            return ATTENTION
        return CONNECTED if self.status == ConnectionStatus.CONNECTED else AVAILABLE

    @property
    def explanation(self) -> StatusExplanation:
        """Cause and next step in words."""
        return self.page.explanation(None)

    @property
    def account(self) -> str:
        """Whose account it is: the label, or how many connections there are."""
        if len(self.page.connections) > 1:
            return f"{len(self.page.connections)} connections"
        return str(self.page.connections[0].account.get("label") or "") if self.page.connections else ""

    @property
    def is_new(self) -> bool:
        """Whether its oldest connection is younger than the days over which reads are counted."""
        since = self.page.now - timedelta(days=USAGE_DAYS)
        return all(c.connected_at is None or c.connected_at > since for c in self.page.connections)

    @property
    def renews_at(self) -> datetime | None:
        """The next renewal among its connections."""
        times = [due for connection in self.page.connections if (due := due_at(connection))]
        return min(times, default=None)

    @property
    def expires_at(self) -> datetime | None:
        """When the token ends that nothing renews; None when it renews itself or its end is unknown."""
        ends = [c.token.expires_at for c in self.page.connections if hasattr(c, "token") and c.token.expires_at]
        return None if self.renews_at else min(ends, default=None)

    @property
    def scope_tables(self) -> list[ScopeTable]:
        """Scopes of each connection with a token."""
        page = self.page
        return [
            scope_table(page.spec, page.grant_type, connection, page.needed_scopes(connection))
            for connection in page.connections
            if token_of(connection)
        ]

    @property
    def scope_note(self) -> str:
        """What the card says about scopes that are not granted, over its connections; empty when all are."""
        tables = self.scope_tables
        drifted, still = sum(table.drifted for table in tables), sum(table.open for table in tables)
        if drifted and drifted == still:
            return f"{drifted} new {'scope waits' if drifted == 1 else 'scopes wait'} for {self._what_grants}"
        return f"{still} of {sum(table.needed for table in tables)} scopes not granted" if still else ""

    @property
    def _what_grants(self) -> str:
        return "consent" if self.page.needs_person else "the next token"


@dataclass(frozen=True, slots=True)
class Filters:
    """What the URL asks for; empty means all."""

    q: str = ""
    status: str = ""
    category: str = ""
    grant: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether everything is shown."""
        return not (self.q or self.status or self.category or self.grant)

    def admits(self, entry: Entry, *, status: bool = True) -> bool:
        """Whether an entry is shown; without `status`, whether the other filters admit it."""
        needle = self.q.casefold()
        hay = f"{entry.spec.name} {entry.spec.provider_id} {entry.spec.category} {entry.spec.description}".casefold()
        return (
            all(word in hay for word in needle.split())
            and (not self.category or entry.spec.category == self.category)
            and (not self.grant or self.grant in entry.grant_types)
            and (not status or not self.status or entry.section == self.status)
        )


@dataclass(frozen=True, slots=True)
class Section:
    """A group of cards under one heading."""

    key: str
    title: str
    entries: Sequence[Entry]
    hidden: int = 0

    @property
    def count(self) -> int:
        """All of its cards, those not shown included."""
        return len(self.entries) + self.hidden


@dataclass(frozen=True, slots=True)
class Listing:
    """The page: sections, and the numbers beside the filters."""

    sections: Sequence[Section]
    total: int
    shown: int
    counts: dict[str, int] = field(default_factory=dict)
    categories: Sequence[tuple[str, int]] = ()
    grants: Sequence[tuple[str, int]] = ()


def load_entries(workspace: Workspace, can: frozenset[Permission], now: datetime) -> list[Entry]:
    """Every card of a workspace: what is set up, and what could be."""
    reads = reads_by_connection(workspace, now - timedelta(days=USAGE_DAYS))
    by_integration: dict[object, list[Connection]] = defaultdict(list)
    for connection in workspace.connections.select_related("integration", "token", "schedule"):
        by_integration[connection.integration_id].append(connection)
    rows = workspace.integrations.prefetch_related(public_keys(workspace))
    saved = {(row.provider_id, row.grant_type): row for row in rows}
    entries: list[Entry] = []
    for spec in specs_for(workspace):
        open_grants: list[GrantType] = []
        for grant_type in spec.grant_types:
            integration = saved.get((spec.provider_id, grant_type))
            connections = tuple(by_integration[integration.pk]) if integration else ()
            page = make_page(workspace, spec, grant_type, integration, connections, now)
            if page.status == ConnectionStatus.NOT_CONFIGURED:
                open_grants.append(grant_type)
            else:
                entries.append(Entry(page, (grant_type,), page.next_step(can=can), _latest(connections, reads)))
        if open_grants:
            page = make_page(workspace, spec, open_grants[0], None, (), now)
            entries.append(Entry(page, tuple(open_grants), page.next_step(can=can)))
    return sorted(entries, key=_order)


def _latest(connections: Iterable[Connection], reads: dict[str, tuple[datetime, int]]) -> tuple[datetime, int] | None:
    found = [reads[str(connection.pk)] for connection in connections if str(connection.pk) in reads]
    return (max(at for at, _ in found), sum(number for _, number in found)) if found else None


def _order(entry: Entry) -> tuple[int, bool, str]:
    """Worst first, what is half set up before what is not, then by name."""
    attention = NEEDS_ATTENTION.index(entry.status) if entry.status in NEEDS_ATTENTION else len(NEEDS_ATTENTION)
    return attention, entry.status == ConnectionStatus.NOT_CONFIGURED, entry.spec.name.casefold()


def _likely_first(entry: Entry) -> tuple[bool, bool, str]:
    """Before "Show all": what is half set up, then what most people look for."""
    return entry.status == ConnectionStatus.NOT_CONFIGURED, not entry.spec.popular, entry.spec.name.casefold()


def filtered(entries: Sequence[Entry], filters: Filters) -> Listing:
    """Sections and counts under the filters."""
    beside_status = [entry for entry in entries if filters.admits(entry, status=False)]
    shown = [entry for entry in beside_status if filters.admits(entry)]
    counts = Counter(entry.section for entry in beside_status)
    sections = []
    for key, title in SECTIONS.items():
        of_section = [entry for entry in shown if entry.section == key]
        if key == AVAILABLE and filters.is_empty:
            first = sorted(of_section, key=_likely_first)[:FIRST_AVAILABLE]
            sections.append(Section(key, title, first, len(of_section) - len(first)))
        elif of_section:
            sections.append(Section(key, title, of_section))
    categories = Counter(entry.spec.category for entry in entries)
    grants = Counter(grant.value for entry in entries for grant in entry.grant_types)
    return Listing(
        sections,
        total=len(beside_status),
        shown=len(shown),
        counts=dict(counts),
        categories=sorted(categories.items()),
        grants=[(grant.value, grants[grant.value]) for grant in GrantType if grants[grant.value]],
    )
