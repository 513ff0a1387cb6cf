"""Waking a worker: a hint, sent once the rows that hold the work are committed, and never relied upon."""

from __future__ import annotations

import logging
from functools import partial

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

REFRESH_DUE = "integrations.refresh_due"
RESCHEDULE = "integrations.reschedule"
TIMEOUT_SECONDS = 1.0
EXPIRES_SECONDS = 30


def wake_worker(task: str = REFRESH_DUE) -> None:
    """Have due tokens renewed, or another task run, once the transaction is committed, instead of at the next beat.

    A broker that does not answer within a second is left alone: beat comes by anyway.
    """
    transaction.on_commit(partial(_send, task), robust=True)


def _send(task: str) -> None:
    try:
        with current_app.connection_for_write(connect_timeout=TIMEOUT_SECONDS) as broker:
            broker.transport_options = {
                **(broker.transport_options or {}),
                "socket_timeout": TIMEOUT_SECONDS,
                "socket_connect_timeout": TIMEOUT_SECONDS,
            }
            current_app.send_task(task, connection=broker, retry=False, expires=EXPIRES_SECONDS)
    except Exception as error:  # noqa: BLE001 (whatever a broker's client raises: no request may fail by it)
        logger.warning("The worker could not be woken: %s", type(error).__name__)
