"""Whether this process was asked to stop: no new work then, and nobody waits for a database that is away."""

from __future__ import annotations

import time

LOOK_UP_SECONDS = 0.2


class Stopping:
    """A flag without a lock: it is set by signal handlers, which may interrupt whoever reads it."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """Finish what is under way and end."""
        self._begun = True

    def __bool__(self) -> bool:
        return self._begun

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until the process is asked to stop."""
        end = time.monotonic() + seconds
        while not self._begun and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_UP_SECONDS))


THIS_PROCESS = Stopping()
