"""What fails now: one row per integration and status, with its cause, what happens next, and the one next step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Max, Min, Q

from integrations.connections.integration_page import IntegrationPage, NextStep, make_page
from integrations.health.tally import Tally, run_out
from integrations.models import Connection, ConnectionState, ConnectionStatus, GrantType, ProviderOutage
from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace
from workspaces.roles import Permission
from workspaces.time_words import counted_words

ROWS = 20
RETRYING, PERSON = "retrying", "person"
STATUSES_OF: Mapping[str, tuple[ConnectionStatus, ...]] = {
    RETRYING: (ConnectionStatus.DEGRADED,),
    PERSON: (ConnectionStatus.MISCONFIGURED, ConnectionStatus.RECONNECT_REQUIRED),
}
_TROUBLED = (ConnectionState.MISCONFIGURED, ConnectionState.RECONNECT_REQUIRED, ConnectionState.DEGRADED)
WORST_FIRST = (ConnectionStatus.MISCONFIGURED, ConnectionStatus.RECONNECT_REQUIRED, ConnectionStatus.DEGRADED)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One row. A row of several connections names their number and leads to the list of them."""

    spec: ProviderSpec
    status: ConnectionStatus
    title: str  # the connection's name, or how many there are
    url: str
    cause: str
    step: NextStep
    since: datetime | None
    retry_at: datetime | None
    count: int = 1

    @property
    def about(self) -> str:
        """What the row is about: "Slack · team-7"."""
        return f"{self.spec.name} · {self.title}" if self.title else self.spec.name

    @property
    def sign(self) -> tuple[object, ...]:
        """What makes it another row than before, for pages that look again."""
        return (self.url, self.status, self.count, self.cause, self.since, self.retry_at)


@dataclass(frozen=True, slots=True)
class Troubles:
    """The rows shown, and how many there are."""

    rows: tuple[Trouble, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True)
class _Found:
    """Connections of one integration with one status, and one of them by its name."""

    integration_id: UUID
    status: ConnectionStatus
    count: int
    name: str
    since: datetime | None
    retry_at: datetime | None
    codes: frozenset[str] = frozenset()
    held: bool = False  # the whole integration: its client is refused, or its provider does not answer


def find_troubles(
    workspace: Workspace,
    tally: Tally,
    specs: Mapping[str, ProviderSpec],
    *,
    can: frozenset[Permission],
    now: datetime,
    only: str = "",
) -> Troubles:
    """What fails now, worst and oldest first; `only` is RETRYING, PERSON or empty for both.

    Four queries, five in an outage.
    """
    wanted = STATUSES_OF.get(only, WORST_FIRST)
    found = [one for one in _found(workspace, tally, now) if one.status in wanted]
    found.sort(key=lambda one: (WORST_FIRST.index(one.status), -one.count, one.since or now, one.name))
    shown = found[:ROWS]
    examples = _examples(workspace, shown)
    began = _began(workspace, examples.values())
    probes = next_probes(workspace) if any(one.held for one in shown) else {}
    rows = []
    for one in shown:
        integration = tally.integrations[one.integration_id]
        spec, example = specs.get(integration.provider_id), examples.get((one.integration_id, one.name))
        if spec is not None and example is not None:
            spec = spec.under(integration.grant_type)
            page = make_page(workspace, spec, GrantType(integration.grant_type), integration, (example,), now)
            rows.append(
                _row(
                    page,
                    example,
                    one,
                    can=can,
                    began=began.get(example.pk),
                    next_probe=probes.get(integration.provider_id),
                )
            )
    return Troubles(tuple(rows), len(found))


def next_probes(workspace: Workspace) -> dict[str, datetime]:
    """When one connection tries next whether its provider answers again, by provider id."""
    rows = ProviderOutage.objects.filter(workspace=workspace, opened_at__isnull=False).order_by()
    found = rows.values_list("provider_id").annotate(at=Min("next_probe_at"))
    return {provider_id: at for provider_id, at in found if at is not None}


def _found(workspace: Workspace, tally: Tally, now: datetime) -> list[_Found]:
    """Everything in trouble by integration and status; the numbers are the tally's."""
    held = tally.held()
    found: dict[tuple[UUID, ConnectionStatus], _Found] = {}
    for integration_id, state, name, since, retry_at, first, last in _by_state(workspace, set(held)):
        status = held[integration_id] if _is_held(integration_id, state, held) else ConnectionStatus(state)
        one = _Found(
            integration_id, status, tally.of(integration_id, status), name, since, retry_at,
            frozenset((first, last)), held=_is_held(integration_id, state, held),
        )  # fmt: skip
        found[integration_id, status] = _held_first(found.get((integration_id, status)), one)
    for integration_id, name, since in _run_out(workspace, now):
        key = (integration_id, ConnectionStatus.RECONNECT_REQUIRED)
        if key not in found:
            found[key] = _Found(*key, tally.of(*key), name, since, None)
    # One that came after the tally was taken is counted the next time.
    return [one for one in found.values() if one.count > 0 and one.integration_id in tally.integrations]


def _is_held(integration_id: UUID, state: str, held: Mapping[UUID, ConnectionStatus]) -> bool:
    return integration_id in held and state in (ConnectionState.CONNECTED, ConnectionState.DEGRADED)


def _held_first(one: _Found | None, other: _Found) -> _Found:
    """Of two rows for one integration and status, the one about the whole integration."""
    return one if one is not None and (one.held or not other.held) else other


def _by_state(workspace: Workspace, held: set[UUID]) -> Iterable[tuple[Any, ...]]:
    """Integration, state, a name, the oldest error, the next try, and the first and last code, of each group."""
    in_trouble = Q(state__in=_TROUBLED)
    waiting = Q(state=ConnectionState.CONNECTED, integration_id__in=held)
    rows = workspace.connections.filter(in_trouble | waiting if held else in_trouble)
    groups = (
        rows.order_by()
        .values("integration_id", "state")
        .annotate(
            a_name=Min("name"),
            since=Min("last_error_at"),
            retry_at=Min("schedule__refresh_due_at"),
            first_code=Min("last_error_code"),
            last_code=Max("last_error_code"),
        )
    )
    return [tuple(group.values()) for group in groups]


def _run_out(workspace: Workspace, now: datetime) -> Iterable[tuple[Any, ...]]:
    rows = run_out(workspace, now).order_by().values("integration_id")
    rows = rows.annotate(a_name=Min("name"), since=Min("token__expires_at"))
    return rows.values_list("integration_id", "a_name", "since")


def _examples(workspace: Workspace, shown: Iterable[_Found]) -> dict[tuple[UUID, str], Connection]:
    wanted = Q(pk__in=[])
    for one in shown:
        wanted |= Q(integration_id=one.integration_id, name=one.name)
    rows = workspace.connections.filter(wanted).select_related("integration", "token", "schedule")
    return {(row.integration_id, row.name): row for row in rows}


def _began(workspace: Workspace, connections: Iterable[Connection]) -> dict[UUID, datetime]:
    """When the trouble of each began: its last notice. `last_error_at` is only the last try."""
    ids = [connection.pk for connection in connections]
    told = workspace.notices.filter(connection_id__in=ids, kind__in=_TROUBLED).order_by("id")
    return {pk: at for pk, at in told.values_list("connection_id", "at") if pk is not None}


def _row(
    page: IntegrationPage,
    example: Connection,
    one: _Found,
    *,
    can: frozenset[Permission],
    began: datetime | None,
    next_probe: datetime | None,
) -> Trouble:
    refused = one.held and page.integration is not None and bool(page.integration.client_error_code)
    about = page.explanation(None if refused else example)
    listed = page.url("connections") + "?" + urlencode({"status": one.status.value})
    several = one.count > 1
    if one.held and page.integration is not None:
        since, retry_at = page.integration.client_error_at, page.integration.next_probe_at
        if not refused:
            since, retry_at = page.integration.outage_since, next_probe
        title, url, step = f"{counted_words(one.count, 'connection')}", page.url("detail"), page.next_step(can=can)
    elif several:
        since, retry_at = one.since if one.status != ConnectionStatus.DEGRADED else began, one.retry_at
        title, url = counted_words(one.count, "connection"), listed
        step = NextStep(f"Show all {one.count:,}", listed, "list-check")
    else:
        since, retry_at = began or one.since, one.retry_at
        title = "" if example.is_default and example.name == "default" else example.name
        url, step = page.url("connection", connection_id=example.pk), page.next_step(example, can=can)
    return Trouble(
        spec=page.spec,
        status=one.status,
        title=title,
        url=url,
        cause="They fail for different reasons." if several and len(one.codes) > 1 else about.cause,
        step=step,
        since=since,
        retry_at=retry_at if one.status != ConnectionStatus.RECONNECT_REQUIRED else None,
        count=one.count,
    )
