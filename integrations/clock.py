"""The database's clock: due and lease times are written by many machines and must be compared on one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone


def database_now() -> datetime:
    """The database's time: PostgreSQL's statement_timestamp(), this machine's on SQLite (one machine anyway)."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


class Clock:
    """The database's time without asking again: it is read once and advanced by this machine's monotonic clock.

    So a thread that calls a provider knows the time without holding a database connection.
    """

    def __init__(self, start: datetime, elapsed_seconds: Callable[[], float] | None = None) -> None:
        self._start = start
        begun = time.monotonic()
        self._elapsed = elapsed_seconds or (lambda: time.monotonic() - begun)

    def now(self) -> datetime:
        """The present time."""
        return self._start + timedelta(seconds=self._elapsed())

    @classmethod
    def standing_at(cls, moment: datetime) -> Clock:
        """A clock that does not move, for tests and for replaying one moment."""
        return cls(moment, elapsed_seconds=lambda: 0.0)


def start_clock(now: datetime | None = None) -> Clock:
    """A running clock by the database's time, or one that stands at the given moment."""
    return Clock(database_now()) if now is None else Clock.standing_at(now)
