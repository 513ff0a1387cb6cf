"""Threads that store answers, so that no commit waits for another one's disk.

A commit ends when the disk has it: a few milliseconds, more on a busy machine. One thread would add those waits up, a
few overlap them, each with a database connection of its own. SQLite has one writer, and a transaction belongs to the
thread that began it: there whoever hands work in does it.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from django.db import connection, connections

COMMITTERS = 12
KEPT_FOR_OTHERS = 2  # connections of a small pool that committers leave alone: the claim's, and a spare one

type_Work = TypeVar("type_Work")


def committers_wanted() -> int:
    """How many threads may commit beside this one; 0 where this one has to do it."""
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return 0
    wrapper: Any = connection
    return COMMITTERS if wrapper.pool is None else max(0, min(COMMITTERS, wrapper.pool.max_size - KEPT_FOR_OTHERS))


class Committers(Generic[type_Work]):
    """Does work in `count` threads that begin when they are needed, or with 0 in the caller's.

    `do` must not raise.
    """

    def __init__(self, do: Callable[[type_Work], None], count: int) -> None:
        self._do = do
        self._count = count
        self._threads: list[Thread] = []
        self._queue: SimpleQueue[type_Work | None] = SimpleQueue()

    def give(self, work: type_Work) -> None:
        """Have a piece of work done."""
        if not self._count:
            self._do(work)
            return
        self._queue.put(work)
        if len(self._threads) < self._count:
            thread = Thread(target=self._run, name=f"commit-{len(self._threads) + 1}")
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Wait until everything is done, and give the database connections back."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        try:
            while (work := self._queue.get()) is not None:
                self._do(work)
        finally:
            connections.close_all()
