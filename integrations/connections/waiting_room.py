"""How many threads of this process may wait for renewals at once.

Each waiting reader holds a web thread. Were all of them to wait for slow providers, readers of valid tokens would have
to wait, too; so half of the threads are kept for those, and whoever finds the room full is sent away for a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings


class WaitingRoom:
    """Counts those inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place for the length of the block; False when there is none."""
        with self._lock:
            is_inside = self._inside < max(1, settings.WEB_THREADS // 2)
            self._inside += is_inside
        try:
            yield is_inside
        finally:
            with self._lock:
                self._inside -= is_inside
