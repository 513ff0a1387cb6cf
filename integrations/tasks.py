"""Every Celery task on one screen: ids in, one verb called. A task may run twice, late or never: rows hold the work."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import shared_task
from django.db import connections

from integrations.connections import batch, refresh
from integrations.connections import sweep as sweeping
from integrations.connections.commits import DatabaseAway
from integrations.models import Connection
from integrations.wake import REFRESH_DUE
from workspaces.audit_retention import delete_old_events

logger = logging.getLogger(__name__)

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


@_task(REFRESH_DUE)
def refresh_due() -> None:
    """Renew what is due. One batch per process: it goes on claiming until nothing is due, so a second adds nothing."""
    if not _batch_runs.acquire(blocking=False):
        return
    try:
        summary = batch.refresh_due()
        if summary.claimed:
            logger.info("Tokens %s", summary)
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
    delete_old_events()
