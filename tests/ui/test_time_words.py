"""Moments and durations in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workspaces.time_words import (
    date_words,
    duration_words,
    exact_words,
    milliseconds_words,
    relative_words,
)

NOW = datetime(2026, 11, 23, 9, 38, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-4, "just now"),
        (-5, "5 s ago"),
        (40, "in 40 s"),
        (-59, "59 s ago"),
        (60, "in 1 min"),
        (-4 * 60 - 59, "4 min ago"),  # whole minutes only
        (3600, "in 1 h"),
        (-23 * 3600, "23 h ago"),
        (-86400, "1 day ago"),
        (12 * 86400, "in 12 days"),
        (-31 * 86400, "23 Oct 2026"),  # a date says more
    ],
)
def test_a_moment_is_said_by_how_far_it_is(seconds: int, words: str) -> None:
    """Past and future, in the largest whole unit."""
    assert relative_words(NOW + timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0, "0 seconds"),
        (-3, "0 seconds"),  # what has passed takes no time any more
        (1, "1 second"),
        (60, "1 minute"),
        (119, "119 seconds"),  # "1 minute" would hide half of it
        (48 * 60 + 12, "48 minutes"),
        (90 * 60, "90 minutes"),
        (3600, "1 hour"),
        (timedelta(hours=5), "5 hours"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=2000), "2,000 days"),
    ],
)
def test_a_duration_is_said_in_its_largest_whole_unit(duration: float, words: str) -> None:
    """Seconds or a timedelta."""
    assert duration_words(duration) == words


def test_exact_times_are_said_in_utc() -> None:
    """Whatever zone the moment carries."""
    moment = datetime.fromisoformat("2026-11-03T01:02:03+05:00")
    assert exact_words(moment) == "2 Nov 2026, 20:02:03 UTC"
    assert date_words(moment) == "2 Nov 2026"


@pytest.mark.parametrize(("value", "words"), [(182.6, "183 ms"), (999, "999 ms"), (1900, "1.9 s")])
def test_milliseconds_are_short(value: float, words: str) -> None:
    """Seconds from a thousand on."""
    assert milliseconds_words(value) == words
