"""Locks that a test takes in PostgreSQL, so that a process stands still at a known place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.faults.harness.installation import Installation
from tests.faults.harness.processes import Process
from tests.faults.harness.waiting import wait_until


@contextmanager
def locked(installation: Installation, statement: Any, *values: Any) -> Iterator[None]:
    """Hold what the statement locks for the time of the block."""
    with psycopg.connect(installation.database_url) as connection:
        connection.execute(statement, values)
        yield
        connection.rollback()


def kill_at_lock(installation: Installation, victim: Process, wants: str) -> None:
    """Kill the victim when it waits for a lock with a statement that holds `wants`, and whatever it had begun."""

    def waiting() -> list[int]:
        found = installation.services.postgres.waiting_for_locks(installation.database)
        return [pid for pid, query in found if wants in query]

    pids = wait_until(waiting, f"{victim.name} to stand before {wants}", seconds=30, or_say=lambda: victim.log)
    victim.kill()
    installation.services.postgres.cut_off(installation.database, pids)
