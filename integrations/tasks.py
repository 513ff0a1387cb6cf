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

from integrations.clock import database_now
from integrations.connections import batch, consent_notices, refresh, rescheduling
from integrations.connections import sweep as sweeping
from integrations.connections.commits import DatabaseAway
from integrations.health import gathering, mailing, retention
from integrations.models import Connection
from integrations.wake import DELIVER_WEBHOOKS, REFRESH_DUE, RESCHEDULE
from integrations.webhooks import deliverer
from integrations.webhooks import sweep as webhook_sweeping
from workspaces.audit_retention import delete_old_events

logger = logging.getLogger(__name__)

_batch_runs = threading.Lock()
_delivery_runs = threading.Lock()


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


@_task(RESCHEDULE)
def reschedule() -> None:
    """Make the schedules anew of workspaces whose rules have changed."""
    if changed := rescheduling.reschedule_stale():
        logger.info("Schedules made anew: %d", changed)


@_task("integrations.forecast_consents")
def forecast_consents() -> None:
    """Tell of consents that end soon or have ended."""
    if told := consent_notices.tell_consents_ending():
        logger.info("Notices of consents that end: %d", told)


@_task("integrations.send_digests")
def send_digests() -> None:
    """Mail the notices whose time has come, and what could not be sent before."""
    now = database_now()
    gathering.gather_digests(now)
    if sent := mailing.send_mails(now):
        logger.info("Notice mails sent: %s", sent)


@_task("integrations.sweep")
def sweep() -> None:
    """Delete rows whose time is over."""
    sweeping.sweep()
    webhook_sweeping.sweep()
    retention.delete_old()
    delete_old_events()


@_task(DELIVER_WEBHOOKS)
def deliver_webhooks() -> None:
    """Tell endpoints what happened. One run per process: it goes on until nothing is due."""
    if not _delivery_runs.acquire(blocking=False):
        return
    try:
        summary = deliverer.deliver_webhooks()
        if summary.sent or summary.made:
            logger.info("Webhooks: %s", summary)
    finally:
        _delivery_runs.release()
