"""The database's clock: due and lease times are written by many machines and must be compared on one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

# How long a process goes by the database's time as it asked it last, before it asks again.
ASK_AGAIN_SECONDS = 30.0


def elapsed_seconds() -> float:
    """Seconds since some moment, not set by anybody, and counted on while the machine sleeps.

    Linux's monotonic clock stands still in a suspended virtual machine: a worker that woke up would take a lease that
    ran out long ago for its own, and an expired token for a good one.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # counts sleep on macOS


def database_now() -> datetime:
    """The database's time: PostgreSQL's statement_timestamp(), this machine's on SQLite (one machine anyway)."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


class Clock:
    """The database's time without asking again: it is read once and advanced by this machine's elapsed seconds.

    So a thread that calls a provider knows the time without holding a database connection.
    """

    def __init__(self, start: datetime, elapsed: Callable[[], float] | None = None) -> None:
        self._start = start
        begun = elapsed_seconds()
        self._elapsed = elapsed or (lambda: elapsed_seconds() - begun)

    @property
    def age_seconds(self) -> float:
        """How long ago the database was asked."""
        return self._elapsed()

    def now(self) -> datetime:
        """The present time."""
        return self._start + timedelta(seconds=self._elapsed())

    @classmethod
    def standing_at(cls, moment: datetime) -> Clock:
        """A clock that does not move, for tests and for replaying one moment."""
        return cls(moment, elapsed=lambda: 0.0)


def start_clock(now: datetime | None = None) -> Clock:
    """A running clock by the database's time, or one that stands at the given moment."""
    return Clock(database_now()) if now is None else Clock.standing_at(now)


_shared: Clock | None = None


def shared_now() -> datetime:
    """The database's time for readers, who come often: asked every half a minute, whatever this machine's clock says.

    A machine whose clock is minutes off must neither hand out an expired token nor refuse a good one.
    """
    global _shared
    if connection.vendor != "postgresql":
        return timezone.now()
    clock = _shared
    if clock is None or clock.age_seconds >= ASK_AGAIN_SECONDS:
        _shared = clock = start_clock()
    return clock.now()
