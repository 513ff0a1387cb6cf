"""Waking a worker: a hint, sent once the rows that hold the work are committed, and never relied upon."""

from __future__ import annotations

import logging

from celery import current_app
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

REFRESH_DUE = "integrations.refresh_due"
TIMEOUT_SECONDS = 1.0


def wake_worker() -> None:
    """Have due tokens renewed once the transaction is committed, instead of at the next beat.

    A broker that does not answer within a second is left alone: beat comes by within ten seconds anyway.
    """
    transaction.on_commit(_send, robust=True)


def _send() -> None:
    try:
        with current_app.connection_for_write(connect_timeout=TIMEOUT_SECONDS) as broker:
            broker.transport_options = {
                **(broker.transport_options or {}),
                "socket_timeout": TIMEOUT_SECONDS,
                "socket_connect_timeout": TIMEOUT_SECONDS,
            }
            current_app.send_task(REFRESH_DUE, connection=broker, retry=False, expires=settings.WAKE_UP_SECONDS)
    except Exception as error:  # noqa: BLE001 (whatever a broker's client raises: no request may fail by it)
        logger.warning("The worker could not be woken: %s", type(error).__name__)
