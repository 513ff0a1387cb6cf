"""Where the parts of the small charts stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workspaces.charts import stacked_bars, token_life_bar

ISSUED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
EXPIRES = ISSUED + timedelta(minutes=60)
RENEWS = ISSUED + timedelta(minutes=48)


def test_a_life_bar_shows_past_left_and_margin() -> None:
    """12 of 60 minutes have passed, 36 are left until the margin of 12."""
    bar = token_life_bar(ISSUED, EXPIRES, RENEWS, ISSUED + timedelta(minutes=12))
    assert (bar.past, bar.left, bar.margin_from, bar.margin_width) == (20.0, 60.0, 80.0, 20.0)
    assert bar.label == "The token is good for 48 minutes; its next renewal is in 36 minutes."


def test_a_token_in_its_margin_has_nothing_left_before_it() -> None:
    """The marker stands inside the margin."""
    bar = token_life_bar(ISSUED, EXPIRES, RENEWS, ISSUED + timedelta(minutes=50))
    assert bar.left == 0
    assert bar.label == "The token is good for 10 minutes; its renewal is due."


def test_a_token_that_nothing_renews_has_no_margin() -> None:
    """Its whole life is left."""
    bar = token_life_bar(ISSUED, EXPIRES, None, ISSUED)
    assert (bar.past, bar.left, bar.margin_width) == (0.0, 100.0, 0)
    assert bar.label == "The token is good for 1 hour. Nothing renews it."


def test_an_expired_token_says_since_when() -> None:
    """And the bar does not run over its end."""
    bar = token_life_bar(ISSUED, EXPIRES, RENEWS, EXPIRES + timedelta(hours=3))
    assert bar.past == 100.0
    assert bar.label == "The token expired 3 hours ago."


def test_a_token_without_a_lifetime_is_wholly_past() -> None:
    """`expires_in: 0` must not divide by zero."""
    assert token_life_bar(ISSUED, ISSUED, None, ISSUED).past == 100.0


def test_the_tallest_bar_takes_the_whole_height() -> None:
    """Parts are stacked from the bottom."""
    columns = stacked_bars([("09:00", [("good", 3), ("bad", 1)]), ("10:00", [("good", 2)])])
    first, second = columns
    assert (first.total, second.total) == (4, 2)
    assert [(part.y, part.height) for part in first.segments] == [(25.0, 75.0), (0.0, 25.0)]
    assert second.segments[0].y == 50.0
    assert second.x + second.width < 100


def test_a_chart_of_nothing_is_empty() -> None:
    """No rows, or only zeros."""
    assert stacked_bars([]) == []
    assert stacked_bars([("09:00", [("good", 0)])])[0].segments[0].height == 0
