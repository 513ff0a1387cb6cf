"""Reading the audit trail: filters, pages by cursor, and the CSV export."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q, QuerySet

from workspaces.models import AuditEvent, Workspace

PAGE_SIZE = 50
EXPORT_COLUMNS = (
    "at",
    "action",
    "result",
    "actor_kind",
    "actor_id",
    "actor_label",
    "target_kind",
    "target_id",
    "target_label",
    "request_id",
    "detail",
)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to look for; an empty field does not filter. Dates are whole days in UTC, both included."""

    action: str = ""
    actor: str = ""
    target: str = ""
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events, newest first, and the cursor of the next page (None on the last)."""

    events: list[AuditEvent]
    next_cursor: int | None


def find_events(workspace: Workspace, wanted: AuditFilter) -> QuerySet[AuditEvent]:
    """A workspace's events that match, newest first."""
    events = workspace.audit_events.all()
    if wanted.action:
        events = events.filter(action=wanted.action)
    if wanted.actor:
        events = events.filter(Q(actor_label__icontains=wanted.actor) | Q(actor_id=wanted.actor))
    if wanted.target:
        events = events.filter(Q(target_label__icontains=wanted.target) | Q(target_id=wanted.target))
    if wanted.since:
        events = events.filter(at__gte=_start_of(wanted.since))
    if wanted.until and wanted.until < date.max:
        events = events.filter(at__lt=_start_of(wanted.until + timedelta(days=1)))
    return events.order_by("-id")


def read_page(events: QuerySet[AuditEvent], before: int | None, size: int = PAGE_SIZE) -> AuditPage:
    """One page older than the cursor `before`. New events never shift it, unlike an offset."""
    if before is not None:
        events = events.filter(pk__lt=before)
    found = list(events[: size + 1])
    page = found[:size]
    return AuditPage(page, page[-1].pk if len(found) > size else None)


def export_csv(events: QuerySet[AuditEvent]) -> Iterator[str]:
    """The events as lines of CSV, read in chunks so that a long trail fits in memory."""
    writer = csv.writer(_Line())
    yield writer.writerow(EXPORT_COLUMNS)
    for event in events.iterator(chunk_size=1000):
        yield writer.writerow(_guarded(_row(event)))


class _Line:
    """A file for csv.writer whose `write` hands the finished line back."""

    def write(self, line: str) -> str:
        return line


def _row(event: AuditEvent) -> list[str]:
    values = {column: getattr(event, column) for column in EXPORT_COLUMNS}
    values["at"] = event.at.astimezone(UTC).isoformat()
    values["detail"] = json.dumps(event.detail, ensure_ascii=False, sort_keys=True)
    return ["" if value is None else str(value) for value in values.values()]


def _guarded(row: Iterable[str]) -> list[str]:
    """Spreadsheets run a cell that begins like a formula: a quote in front makes it text."""
    return [f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value for value in row]


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)
