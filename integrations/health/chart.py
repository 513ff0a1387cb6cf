"""The chart of renewals by hour: bars on a scale of round numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from integrations.health.renewals import Day, Sums
from workspaces.charts import Column, stacked_bars

LINES = 4
_ROUND = (1, 2, 3, 5, 10)
_EVERY_HOURS = 3  # an hour has a label under it


@dataclass(frozen=True, slots=True)
class Hour:
    """One bar's hour, for the labels below and the table behind."""

    at: datetime
    sums: Sums
    is_labelled: bool
    is_current: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws."""

    columns: tuple[Column, ...]
    hours: tuple[Hour, ...]
    ticks: tuple[int, ...]  # from the top down to 0
    lines: tuple[float, ...]  # in percent from the top
    label: str


def renewal_chart(day: Day) -> Chart:
    """The bars of a day, the current hour in a paler colour."""
    step = round_step(max((sums.total for _, sums in day.hours), default=0))
    last = len(day.hours) - 1
    return Chart(
        columns=tuple(stacked_bars(day.bars, top=step * LINES)),
        hours=tuple(
            Hour(at, sums, index % _EVERY_HOURS == last % _EVERY_HOURS, index == last)
            for index, (at, sums) in enumerate(day.hours)
        ),
        ticks=tuple(step * line for line in range(LINES, -1, -1)),
        lines=tuple(100 * line / LINES for line in range(LINES + 1)),
        label=f"Refreshes per hour in the last 24 hours: {day.renewed:,} of {day.total:,} renewed",
    )


def round_step(highest: int) -> int:
    """The smallest round number that, LINES times, is not below the highest bar."""
    power = 1
    while True:
        for factor in _ROUND:
            if factor * power * LINES >= highest:
                return factor * power
        power *= 10
