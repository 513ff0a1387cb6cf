"""Moments and durations in words. Pure: the present time is passed in.

`static/js/times.js` uses the same words, so that nothing changes when it takes over.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MINUTE, HOUR, DAY = 60, 3600, 86400
JUST_NOW = 5  # seconds
LONGEST_RELATIVE = 31 * DAY  # beyond this a date says more


def counted(amount: int, unit: str) -> str:
    """The amount with its unit: "1 day", "12 days", but "2 h" (short units have no plural)."""
    plural = "s" if amount != 1 and unit in {"second", "minute", "hour", "day"} else ""
    return f"{amount:,} {unit}{plural}"


def counted_words(amount: int, noun: str) -> str:
    """The amount with a noun whose plural takes an s: "1 connection", "1,214 connections"."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def relative_words(moment: datetime, now: datetime) -> str:
    """How far the moment is from now: "just now", "4 min ago", "in 36 min", else its date."""
    seconds = round((moment - now).total_seconds())
    size = abs(seconds)
    if size < JUST_NOW:
        return "just now"
    if size >= LONGEST_RELATIVE:
        return date_words(moment)
    unit, length = next(
        (unit, length)
        for limit, unit, length in (
            (MINUTE, "s", 1),
            (HOUR, "min", MINUTE),
            (DAY, "h", HOUR),
            (LONGEST_RELATIVE, "day", DAY),
        )
        if size < limit
    )
    words = counted(size // length, unit)
    return f"in {words}" if seconds > 0 else f"{words} ago"


def duration_words(duration: float | timedelta) -> str:
    """A duration (seconds, or a timedelta) in its largest whole unit: "48 minutes", "1 hour"."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    size = round(max(seconds, 0))
    for unit, length in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        # Two of a unit, or exactly one: "90 minutes" says more than "1 hour".
        if size >= 2 * length or size == length:
            return counted(size // length, unit)
    return counted(size, "second")


def milliseconds_words(milliseconds: float) -> str:
    """A short duration given in milliseconds: "183 ms", "1.9 s"."""
    if milliseconds < 1000:
        return f"{round(milliseconds)} ms"
    return f"{milliseconds / 1000:.1f} s"


def date_words(moment: datetime) -> str:
    """The day in UTC: "3 Nov 2026"."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y}"


def exact_words(moment: datetime) -> str:
    """Day and time in UTC, to the second: "23 Nov 2026, 09:38:12 UTC"."""
    return f"{date_words(moment)}, {moment.astimezone(UTC):%H:%M:%S} UTC"
