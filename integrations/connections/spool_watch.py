"""Each process stores what its `var/` keeps as soon as the database answers, without waiting for a wake-up.

A beat's wake-up goes to any worker. Drained by that alone, a spool could still be full when another host takes the
rows whose leases ran out meanwhile, and spends their tokens again; and what a web process kept would wait for a worker
on the same `var/`.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from django.db import connections

from integrations.clock import start_clock
from integrations.connections import spool
from integrations.connections.commits import AWAY, DatabaseAway, Patience
from integrations.connections.settling import store_kept
from integrations.connections.stopping import THIS_PROCESS, Stopping

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# What cannot be read stays, and need not be tried every second.
LONGEST_SECONDS = 60.0


def watch(stopping: Stopping = THIS_PROCESS) -> None:
    """Look every second, in a thread, until the process is asked to stop."""
    threading.Thread(target=_run, args=(stopping,), name="spool", daemon=True).start()


def store_what_is_kept() -> bool:
    """Store every kept answer; whether another look is worth it soon."""
    if not spool.is_waiting():
        return True
    try:
        drained = spool.drain(partial(store_kept, clock=start_clock(), patience=Patience(0)))
    except (DatabaseAway, *AWAY):
        return True
    if drained:
        logger.info("Stored %d answers that had been kept while the database was away.", drained)
    return not spool.is_waiting()


def _run(stopping: Stopping) -> None:
    pause = LOOK_SECONDS
    while not stopping:
        stopping.sleep(pause)
        try:
            is_worth_it = store_what_is_kept()
        except Exception:
            # The thread's outermost frame: one bad look must not be the last.
            logger.exception("The spool could not be drained; the next batch tries too.")
            is_worth_it = False
        finally:
            connections.close_all()
        pause = LOOK_SECONDS if is_worth_it else min(pause * 2, LONGEST_SECONDS)
