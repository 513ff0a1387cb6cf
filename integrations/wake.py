"""Waking a worker: a hint, sent once the rows that hold the work are committed, and never relied upon."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from celery import current_app
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

REFRESH_DUE = "integrations.refresh_due"
RESCHEDULE = "integrations.reschedule"
DELIVER_WEBHOOKS = "integrations.deliver_webhooks"
TIMEOUT_SECONDS = 1.0
# Hints of one kind that follow each other closely say nothing new, and a broker that is away costs a second each.
AT_MOST_EVERY_SECONDS = 1.0
AFTER_FAILURE_SECONDS = 30.0

_lock = threading.Lock()
_quiet_until: dict[str, float] = {}


def wake_worker(task: str = REFRESH_DUE) -> None:
    """Have due tokens renewed, or another task run, once the transaction is committed, instead of at the next beat.

    A broker that does not answer within a second is left alone: beat comes by anyway.
    """
    transaction.on_commit(partial(_send, task), robust=True)


def wake_webhooks() -> None:
    """Have new notices told once the transaction is committed: one hint a second, however many notices there are."""
    transaction.on_commit(_send_for_webhooks, robust=True)


def _send_for_webhooks() -> None:
    with _lock:
        if time.monotonic() < _quiet_until.get(DELIVER_WEBHOOKS, 0.0):
            return
        _quiet_until[DELIVER_WEBHOOKS] = time.monotonic() + AT_MOST_EVERY_SECONDS
    if not _send(DELIVER_WEBHOOKS):
        with _lock:
            _quiet_until[DELIVER_WEBHOOKS] = time.monotonic() + AFTER_FAILURE_SECONDS


def _send(task: str) -> bool:
    try:
        with current_app.connection_for_write(connect_timeout=TIMEOUT_SECONDS) as broker:
            broker.transport_options = {
                **(broker.transport_options or {}),
                "socket_timeout": TIMEOUT_SECONDS,
                "socket_connect_timeout": TIMEOUT_SECONDS,
            }
            current_app.send_task(task, connection=broker, retry=False, expires=settings.WAKE_UP_SECONDS)
    except Exception as error:  # noqa: BLE001 (whatever a broker's client raises: no request may fail by it)
        logger.warning("The worker could not be woken: %s", type(error).__name__)
        return False
    return True
