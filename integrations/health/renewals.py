"""The renewals of the last 24 hours, by hour and by integration, summed up from the audit trail.

A workspace with a hundred thousand connections renews millions of times a day. So the database sums up, by the index
of renewals, and hours that are over are kept in the cache: a page sums up the current hour alone.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Count, FloatField, IntegerField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Floor, Greatest, Ln, StrIndex, Substr, TruncHour

from integrations.models import GrantType
from workspaces.audit import AuditAction
from workspaces.models import Workspace
from workspaces.models.audit import RENEWALS

HOURS = 24
SETTLED = timedelta(minutes=5)  # an event may be committed a little later than its time says
_KEPT_SECONDS = 25 * 3600
_STEPS = 20  # durations are counted in steps of e^(1/20): a median is true to 3 %

# (integration as the trail names it, renewed or not, step of duration or None, how many)
Sum = tuple[str, bool, int | None, int]


@dataclass(slots=True)
class Sums:
    """Renewals of some hours."""

    renewed: int = 0
    failed: int = 0
    steps: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Renewals that were tried."""
        return self.renewed + self.failed

    @property
    def median_ms(self) -> float | None:
        """The median duration of those that went well, true to 3 %; None without any."""
        return median_of_steps(self.steps)

    def add(self, renewed: bool, step: int | None, count: int) -> None:
        """Count some more."""
        if not renewed:
            self.failed += count
            return
        self.renewed += count
        if step is not None:
            self.steps[step] += count


@dataclass(frozen=True, slots=True)
class Day:
    """24 hours, the current one last and not over yet."""

    hours: tuple[tuple[datetime, Sums], ...]
    by_integration: Mapping[tuple[str, str], Sums]  # by provider id and grant type

    @property
    def renewed(self) -> int:
        """How many went well."""
        return sum(sums.renewed for _, sums in self.hours)

    @property
    def total(self) -> int:
        """How many were tried."""
        return sum(sums.total for _, sums in self.hours)

    @property
    def bars(self) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
        """For the chart: one bar an hour."""
        last = len(self.hours) - 1
        return tuple(
            (
                f"{hour:%H:%M}",
                (("current" if index == last else "good", sums.renewed), ("bad", sums.failed)),
            )
            for index, (hour, sums) in enumerate(self.hours)
        )


def renewals_of_day(workspace: Workspace, now: datetime) -> Day:
    """The last 23 whole hours and the current one. One look into the cache, one query."""
    current = now.replace(minute=0, second=0, microsecond=0)
    wanted = [current - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    kept = _kept(workspace)
    missing = [hour for hour in wanted if hour not in kept]
    counted = _count(workspace, missing[0], now) if missing else {}
    settled = {hour: counted.get(hour, []) for hour in missing if hour + timedelta(hours=1) + SETTLED <= now}
    if settled:
        keep = {hour: rows for hour, rows in kept.items() if hour in wanted}
        cache.set(_key(workspace), keep | settled, _KEPT_SECONDS)
    return _add_up(wanted, kept | {hour: counted.get(hour, []) for hour in missing})


def _key(workspace: Workspace) -> str:
    return f"renewals:{workspace.pk}"


def _kept(workspace: Workspace) -> dict[datetime, list[Sum]]:
    found: dict[datetime, list[Sum]] | None = cache.get(_key(workspace))
    return found or {}


def _count(workspace: Workspace, since: datetime, now: datetime) -> dict[datetime, list[Sum]]:
    """Sums by hour since then, in one statement."""
    took = Greatest(Cast(KeyTextTransform("duration_ms", "detail"), FloatField()), Value(1.0))
    rows = (
        workspace.audit_events.filter(at__gte=since, at__lte=now, action__in=RENEWALS)
        .order_by()
        .annotate(
            hour=TruncHour("at"),
            # The label begins with the integration: "github (Delegated user) / default".
            whose=Substr("target_label", 1, Greatest(StrIndex("target_label", Value(" / ")) - 1, 0)),
            step=Cast(Floor(Ln(took) * _STEPS), IntegerField()),
        )
        .values_list("hour", "whose", "action", "step")
        .annotate(count=Count("pk"))
    )
    sums: dict[datetime, list[Sum]] = defaultdict(list)
    for hour, whose, action, step, count in rows:
        renewed = action == AuditAction.CONNECTION_REFRESHED
        sums[hour].append((whose, renewed, step if renewed else None, count))
    return sums


def _add_up(hours: Iterable[datetime], rows: Mapping[datetime, Iterable[Sum]]) -> Day:
    by_hour = {hour: Sums() for hour in hours}
    by_integration: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for hour, sums in by_hour.items():
        for whose, renewed, step, count in rows[hour]:
            sums.add(renewed, step, count)
            by_integration[integration_of_label(whose)].add(renewed, step, count)
    return Day(tuple(by_hour.items()), by_integration)


_GRANT_OF_WORDS = {str(grant.label): grant.value for grant in GrantType}


def integration_of_label(label: str) -> tuple[str, str]:
    """Provider id and grant type of an integration as the audit trail names it: "github (Delegated user)"."""
    provider_id, _, words = label.rpartition(" (")
    return provider_id, _GRANT_OF_WORDS.get(words.removesuffix(")"), "")


def median_of_steps(steps: Mapping[int, int]) -> float | None:
    """The middle of the step in which the median lies."""
    half = sum(steps.values()) / 2
    reached = 0
    for step, count in sorted(steps.items()):
        reached += count
        if reached >= half:
            return math.exp((step + 0.5) / _STEPS)
    return None
