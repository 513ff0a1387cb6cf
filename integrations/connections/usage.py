"""Who reads a token, how its renewals went, how tests ended: summaries of the audit trail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet

from integrations.models import Connection, Integration
from workspaces.audit import AuditAction
from workspaces.models import ActorKind, AuditEvent, AuditResult, Workspace

DAY = timedelta(hours=24)
MAX_READERS = 20
EVENTS_PER_PAGE = 50
MAX_RENEWALS = 2_000  # a two-minute token renews some 900 times a day
RENEWAL_ACTIONS = (AuditAction.CONNECTION_REFRESHED, AuditAction.CONNECTION_REFRESH_FAILED)


@dataclass(frozen=True, slots=True)
class Reader:
    """Someone or something that read a token, with its reads in the period."""

    kind: str
    label: str
    last_read: datetime
    reads: int

    @property
    def kind_label(self) -> str:
        """The kind in words."""
        return str(ActorKind(self.kind).label)


def readers(workspace: Workspace, connections: Iterable[Connection], since: datetime) -> list[Reader]:
    """Who read these connections' tokens since then, latest first; at most MAX_READERS."""
    rows = (
        _events_of(workspace, connections, (AuditAction.TOKEN_READ,))
        .filter(at__gte=since)
        .order_by()
        .values("actor_kind", "actor_id")
        .annotate(label=Max("actor_label"), last_read=Max("at"), reads=Count("id"))
        .order_by("-last_read")[:MAX_READERS]
    )
    return [Reader(row["actor_kind"], row["label"], row["last_read"], row["reads"]) for row in rows]


def reads_by_connection(workspace: Workspace, since: datetime) -> dict[str, tuple[datetime, int]]:
    """For each connection id read since then: the last read, and how many readers there were. One query."""
    rows = (
        AuditEvent.objects.filter(
            workspace=workspace, action=AuditAction.TOKEN_READ, target_kind="connection", at__gte=since
        )
        .order_by()
        .values("target_id")
        .annotate(last_read=Max("at"), readers=Count("actor_id", distinct=True))
    )
    return {row["target_id"]: (row["last_read"], row["readers"]) for row in rows}


@dataclass(frozen=True, slots=True)
class Renewals:
    """The renewals of a day: bars by hour, and the sums."""

    bars: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    renewed: int
    failed: int
    median_ms: int | None

    @property
    def total(self) -> int:
        """Renewals tried."""
        return self.renewed + self.failed


def renewals(workspace: Workspace, connection: Connection, now: datetime) -> Renewals:
    """The renewals of the last 24 hours, one bar an hour, oldest first."""
    events = list(
        _events_of(workspace, (connection,), RENEWAL_ACTIONS)
        .filter(at__gt=now - DAY)
        .values_list("at", "action", "detail")[:MAX_RENEWALS]
    )
    good, bad = [0] * 24, [0] * 24
    times: list[int] = []
    for at, action, detail in events:
        hour = 23 - min(int((now - at).total_seconds() // 3600), 23)
        if action == AuditAction.CONNECTION_REFRESHED:
            good[hour] += 1
            if isinstance(took := detail.get("duration_ms"), int | float):
                times.append(int(took))
        else:
            bad[hour] += 1
    bars = tuple((_hour_words(hour), (("good", good[hour]), ("bad", bad[hour]))) for hour in range(24))
    return Renewals(bars, sum(good), sum(bad), int(median(times)) if times else None)


def _hour_words(hour: int) -> str:
    """How long ago the hour began. Times of day would begin and end with the same one, and in nobody's time zone."""
    return f"{24 - hour} h ago" if hour < 23 else "last hour"


@dataclass(frozen=True, slots=True)
class EarlierTest:
    """A test that was made before."""

    at: datetime
    ok: bool
    code: str


def earlier_tests(
    workspace: Workspace, integration: Integration, connections: Iterable[Connection], limit: int = 4
) -> list[EarlierTest]:
    """The latest tests of an integration and its connections."""
    events = activity(workspace, integration, connections).filter(action=AuditAction.CONNECTION_TESTED)[:limit]
    return [EarlierTest(e.at, e.result == AuditResult.OK, str(e.detail.get("code", ""))) for e in events]


EVENT_WORDS = {
    AuditAction.INTEGRATION_CONFIGURED: "Configuration saved",
    AuditAction.INTEGRATION_DELETED: "Integration deleted",
    AuditAction.INTEGRATION_CLIENT_REFUSED: "The provider refused the client",
    AuditAction.INTEGRATION_RECOVERED: "The provider accepts the client again",
    AuditAction.CONNECTION_STARTED: "Sent to the consent page",
    AuditAction.CONNECTION_CONNECTED: "Connected",
    AuditAction.CONNECTION_FAILED: "Connecting failed",
    AuditAction.CONNECTION_TESTED: "Tested",
    AuditAction.CONNECTION_CHANGED: "Connection changed",
    AuditAction.CONNECTION_REFRESHED: "Token renewed",
    AuditAction.CONNECTION_REFRESH_FAILED: "Renewal failed",
    AuditAction.CONNECTION_RECONNECT_REQUIRED: "Consent is needed again",
    AuditAction.CONNECTION_DISCONNECTED: "Disconnected",
    AuditAction.CONNECTION_DELETED: "Connection deleted",
    AuditAction.CONNECT_LINK_CREATED: "Connect link created",
    AuditAction.TOKEN_READ: "Token read",
}


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """An event in words."""

    event: AuditEvent
    words: str
    connection_name: str
    code: str


def activity_page(
    workspace: Workspace,
    integration: Integration | None,
    connections: Sequence[Connection],
    before: int | None,
    size: int = EVENTS_PER_PAGE,
) -> tuple[list[ActivityRow], int | None]:
    """One page of an integration's events, newest first, and the cursor of the next page (None on the last)."""
    if integration is None:
        return [], None
    events = activity(workspace, integration, connections)
    if before is not None:
        events = events.filter(pk__lt=before)
    found = list(events[: size + 1])
    names = {str(connection.pk): connection.name for connection in connections}
    rows = [
        ActivityRow(
            event,
            EVENT_WORDS.get(AuditAction(event.action), event.action),
            names.get(event.target_id, ""),
            str(event.detail.get("code") or ""),
        )
        for event in found[:size]
    ]
    return rows, found[size - 1].pk if len(found) > size else None


def activity(workspace: Workspace, integration: Integration, connections: Iterable[Connection]) -> QuerySet[AuditEvent]:
    """Every event about an integration or one of its connections, newest first."""
    of_integration = Q(target_kind="integration", target_id=str(integration.pk))
    ids = [str(connection.pk) for connection in connections]
    of_connections = Q(target_kind="connection", target_id__in=ids)
    return AuditEvent.objects.filter(of_integration | of_connections, workspace=workspace)


def _events_of(
    workspace: Workspace, connections: Iterable[Connection | UUID], actions: Iterable[AuditAction]
) -> QuerySet[AuditEvent]:
    ids = [str(getattr(connection, "pk", connection)) for connection in connections]
    return AuditEvent.objects.filter(
        workspace=workspace, target_kind="connection", target_id__in=ids, action__in=[a.value for a in actions]
    )
