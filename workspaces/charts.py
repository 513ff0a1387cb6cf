"""Geometry of the small charts. Pure: numbers in, positions in percent out; templates draw SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from workspaces.time_words import duration_words


@dataclass(frozen=True, slots=True)
class LifeBar:
    """A token's life in percent of its lifetime, and the same in words."""

    past: float
    left_until: float
    margin_from: float | None
    label: str

    @property
    def left(self) -> float:
        """Width of what is left before the renewal margin (or before the end)."""
        return round(max(self.left_until - self.past, 0), 2)

    @property
    def margin_width(self) -> float:
        """Width of the margin in which the token is renewed; 0 without renewal."""
        return 0 if self.margin_from is None else round(100 - self.margin_from, 2)


def token_life_bar(issued_at: datetime, expires_at: datetime, renews_at: datetime | None, now: datetime) -> LifeBar:
    """Where now and the next renewal stand in a token's life.

    A token whose end is not after its beginning is shown as wholly past.
    """
    lifetime = (expires_at - issued_at).total_seconds()

    def percent(moment: datetime) -> float:
        if lifetime <= 0:
            return 100.0
        share = (moment - issued_at).total_seconds() / lifetime * 100
        return round(min(max(share, 0), 100), 2)

    margin_from = percent(renews_at) if renews_at is not None else None
    return LifeBar(
        past=percent(now),
        left_until=100.0 if margin_from is None else margin_from,
        margin_from=margin_from,
        label=_life_label(expires_at, renews_at, now),
    )


def _life_label(expires_at: datetime, renews_at: datetime | None, now: datetime) -> str:
    if expires_at <= now:
        return f"The token expired {duration_words(now - expires_at)} ago."
    words = f"The token is good for {duration_words(expires_at - now)}"
    if renews_at is None:
        return f"{words}. Nothing renews it."
    if renews_at <= now:
        return f"{words}; its renewal is due."
    return f"{words}; its next renewal is in {duration_words(renews_at - now)}."


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a bar: colour role, amount, and its place in percent from the top."""

    tone: str
    amount: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: its name, total, place in percent from the left, and parts."""

    name: str
    total: int
    x: float
    width: float
    segments: tuple[Segment, ...]


GAP = 0.3  # share of a column's room that stays empty


def stacked_bars(rows: Sequence[tuple[str, Sequence[tuple[str, int]]]], *, top: int = 0) -> list[Column]:
    """Bars side by side over the whole width; the tallest takes the whole height, unless `top` is what does."""
    highest = top or max((sum(amount for _, amount in parts) for _, parts in rows), default=0)
    room = 100 / len(rows) if rows else 0
    columns = []
    for index, (name, parts) in enumerate(rows):
        columns.append(
            Column(
                name=name,
                total=sum(amount for _, amount in parts),
                x=round(index * room + room * GAP / 2, 3),
                width=round(room * (1 - GAP), 3),
                segments=_segments(parts, highest),
            )
        )
    return columns


def _segments(parts: Sequence[tuple[str, int]], highest: int) -> tuple[Segment, ...]:
    """The parts of one bar, the first at the bottom."""
    segments = []
    top = 100.0
    for tone, amount in parts:
        height = amount / highest * 100 if highest else 0
        top -= height
        segments.append(Segment(tone, amount, round(top, 3), round(height, 3)))
    return tuple(segments)
