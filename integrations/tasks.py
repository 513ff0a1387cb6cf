"""Every Celery task on one screen: ids in, one verb called. A task may run twice, late or never: rows hold the work."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import shared_task
from django.db import connections, transaction

from integrations.connections import refresh
from integrations.connections import sweep as sweeping
from integrations.connections.commits import DatabaseAway
from integrations.models import Connection

logger = logging.getLogger(__name__)

NUDGE_TIMEOUT_SECONDS = 1.0
_batch_runs = threading.Lock()


def _task(name: str) -> Callable[[Callable[..., None]], Any]:
    """Register a task whose failure is logged without its arguments' secrets (it has none) and tried by the next beat.

    Worker threads close their own database connections.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @shared_task(name=name, ignore_result=True)
        @functools.wraps(function)
        def run(*args: str) -> None:
            try:
                function(*args)
            except DatabaseAway as error:
                logger.error("%s stopped: %s", name, error)
            except Exception:
                logger.exception("%s failed; the next beat tries again.", name)
            finally:
                connections.close_all()

        return run

    return decorate


@_task("integrations.refresh_due")
def refresh_due() -> None:
    """Renew what is due. One batch per process: it goes on claiming until nothing is due, so a second adds nothing."""
    if not _batch_runs.acquire(blocking=False):
        return
    try:
        summary = refresh.refresh_due()
        if summary.claimed:
            logger.info("Refreshed: %s", summary)
    finally:
        _batch_runs.release()


@_task("integrations.refresh_connection")
def refresh_connection(connection_id: str) -> None:
    """Renew one connection now."""
    try:
        refresh.refresh_connection(UUID(connection_id), forced=True)
    except Connection.DoesNotExist:
        logger.info("Connection %s was deleted before it could be refreshed.", connection_id)


@_task("integrations.sweep")
def sweep() -> None:
    """Delete rows whose time is over."""
    sweeping.sweep()


def nudge() -> None:
    """Wake a worker once the transaction is committed, instead of at the next beat.

    A broker that does not answer within a second is left alone: beat comes by within ten seconds anyway.
    """
    transaction.on_commit(_send_nudge, robust=True)


def _send_nudge() -> None:
    try:
        with refresh_due.app.connection_for_write(connect_timeout=NUDGE_TIMEOUT_SECONDS) as broker:
            broker.transport_options = {
                **broker.transport_options,
                "socket_timeout": NUDGE_TIMEOUT_SECONDS,
                "socket_connect_timeout": NUDGE_TIMEOUT_SECONDS,
            }
            refresh_due.apply_async(connection=broker, retry=False, expires=30)
    except Exception as error:  # noqa: BLE001 (whatever a broker's client raises: no request may fail by it)
        logger.warning("The worker could not be nudged: %s", type(error).__name__)
