"""A worker process looks for due tokens by itself, besides what beat and the broker tell it.

A wake-up goes to one process: with a hundred thousand tokens due the others would stay idle, and with Redis away all of
them. So each process has its own, which costs one indexed query when nothing is due. It runs in the worker's pool, like
a task, and is waited for like one when the worker stops.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import Any

from celery.concurrency.thread import TaskPool

logger = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
SPREAD_SECONDS = 2.0  # so that processes that were started together do not stay together


def look_by_itself(pool: Any, *, stop: threading.Event | None = None) -> threading.Thread | None:
    """Run the batch task in this worker's pool at once and every ten seconds. Nothing where the pool has no threads."""
    if not isinstance(pool, TaskPool):
        return None  # its children would have to be told one by one: beat wakes them
    thread = threading.Thread(target=_look, args=(pool, stop or threading.Event()), name="own-wake", daemon=True)
    thread.start()
    return thread


def _look(pool: TaskPool, stop: threading.Event) -> None:
    from integrations.tasks import refresh_due  # not before Django is set up

    while True:
        try:
            pool.apply_async(refresh_due, callback=_ignore)
        except RuntimeError:  # the pool is closed: the worker stops
            return
        # Not for secrets: it spreads processes over time.
        if stop.wait(EVERY_SECONDS + random.uniform(0, SPREAD_SECONDS)):  # noqa: S311 (spreads processes)
            return


def _ignore(_result: object) -> None:
    """The task has no result."""
