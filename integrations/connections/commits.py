"""Commits that must not be lost: tried again from memory while the database is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from integrations.connections.stopping import THIS_PROCESS, Stopping

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction: a standby, or what was the primary until a failover
PATIENCE_SECONDS = 300.0
FIRST_PAUSE_SECONDS = 0.1
# Short: once the database is back, answers have lease.GRACE to land before others take their rows.
LONGEST_PAUSE_SECONDS = 2.0

type_Result = TypeVar("type_Result")


class DatabaseAway(Exception):
    """The database did not come back within the patience."""


def is_away(error: Exception) -> bool:
    """Whether an error says that nothing can be committed at the moment, whatever it is that would be committed."""
    if isinstance(error, AWAY):
        return True
    return isinstance(error, DatabaseError) and getattr(error.__cause__, "sqlstate", None) == READ_ONLY


def give_back_connection() -> None:
    """Close this thread's database connection before waiting for something else; the next query opens one.

    Within a transaction nothing is closed: the caller's work would be lost.
    """
    if not connection.in_atomic_block:
        connection.close()


class Patience:
    """How long commits are tried again while the database is away: one budget for all of a batch.

    Every success gives the whole budget back, so that only an outage in one piece uses it up. A process that was asked
    to stop has none. `meanwhile` is called before each wait: for what else must not be lost. `when_back` is called
    after the first success that follows an outage.
    """

    def __init__(
        self,
        seconds: float = PATIENCE_SECONDS,
        *,
        sleep: Callable[[float], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        stopping: Stopping = THIS_PROCESS,
    ) -> None:
        self.was_tried = False  # the database was away at least once
        self.meanwhile: Callable[[], None] = lambda: None
        self.when_back: Callable[[], None] = lambda: None
        self._seconds = seconds
        self._sleep = sleep or stopping.sleep
        self._monotonic = monotonic
        self._stopping = stopping
        self._lost_at: float | None = None

    @property
    def is_tried(self) -> bool:
        """Whether some commit is waiting for the database at this moment."""
        return self._lost_at is not None

    def commit(self, work: Callable[[], type_Result], *, keep: Callable[[], bool] | None = None) -> type_Result:
        """Run `work`, which commits one transaction, until it succeeds. Raises DatabaseAway when patience ends.

        `work` may have committed although its confirmation was lost: it has to recognise its own outcome. `keep` puts
        what would be committed into a safe place, and says whether it is there: patience does not end before.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            if self._stopping and self._lost_at is not None and (keep is None or keep()):
                raise DatabaseAway("The database is away, and the process is to stop.")
            try:
                result = work()
            except Exception as error:
                # Which errors mean "away" is not told by their class alone; all others go on.
                if not is_away(error):
                    self._lost_at = None  # it answered; whoever still waits will say so again
                    raise
                is_kept = keep is None or keep()
                self._give_up_or_wait(error, pause, is_kept)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if self._lost_at is not None:
                    self._lost_at = None
                    self.when_back()
                return result

    def _give_up_or_wait(self, error: Exception, pause: float, is_kept: bool) -> None:
        self.was_tried = True
        now = self._monotonic()
        if self._lost_at is None:
            self._lost_at = now
            logger.warning("The database is away; the answer is kept in memory: %s", type(error).__name__)
        give_back_connection()
        self.meanwhile()
        if is_kept and (self._stopping or now - self._lost_at >= self._seconds):
            raise DatabaseAway(f"The database was away for {now - self._lost_at:.0f} seconds.") from error
        if self._stopping:
            time.sleep(FIRST_PAUSE_SECONDS)  # nowhere to put it: memory is all there is, until we are killed
        else:
            self._sleep(pause)
