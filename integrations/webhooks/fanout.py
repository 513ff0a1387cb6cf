"""Notices become deliveries: one for each endpoint of the workspace that wants the event, exactly once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from integrations.models import Notice, WebhookDelivery, WebhookEndpoint
from integrations.webhooks.events import body_of_notice

BATCH = 200
MOST_BATCHES = 5  # at a time: whoever sends must see to what is under way, before its leases run out


def fan_out(now: datetime) -> int:
    """Turn notices that were not looked at yet into deliveries that are due; returns how many they are.

    The oldest thousand at most: after a flood of one workspace's, call it again.
    """
    made = 0
    for _ in range(MOST_BATCHES):
        looked_at, deliveries = _fan_out_batch(now)
        made += deliveries
        if not looked_at:
            break
    return made


def _fan_out_batch(now: datetime) -> tuple[int, int]:
    """One transaction: the deliveries and the mark on the notices stand or fall together.

    PostgreSQL passes notices that another worker is looking at; on SQLite the transaction is IMMEDIATE, so that the
    second worker finds the first one's marks.
    """
    with transaction.atomic():
        rows = Notice.objects.filter(webhooks_done_at__isnull=True).select_related("workspace").order_by("pk")
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True, of=("self",))
        notices = list(rows[:BATCH])
        if not notices:
            return 0, 0
        deliveries = _deliveries_of(notices, now)
        WebhookDelivery.objects.bulk_create(deliveries, ignore_conflicts=True)
        Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(webhooks_done_at=now)
    return len(notices), len(deliveries)


def _deliveries_of(notices: Iterable[Notice], now: datetime) -> list[WebhookDelivery]:
    endpoints = _endpoints_by_workspace({notice.workspace_id for notice in notices})
    return [
        WebhookDelivery(
            workspace_id=notice.workspace_id,
            endpoint=endpoint,
            event_id=notice.public_id,
            event_type=notice.event_type,
            body=body,
            # Oldest first, as far as that goes: the order is not promised.
            next_attempt_at=min(notice.at, now),
            created_at=min(notice.at, now),
        )
        for notice in notices
        if (wanting := [e for e in endpoints[notice.workspace_id] if _is_told(e, notice)])
        for body in [body_of_notice(notice)]
        for endpoint in wanting
    ]


def _is_told(endpoint: WebhookEndpoint, notice: Notice) -> bool:
    """An endpoint hears of what happens after it was made."""
    return endpoint.created_at <= notice.at and endpoint.wants(notice.event_type)


def _endpoints_by_workspace(ids: Iterable[UUID]) -> dict[UUID, list[WebhookEndpoint]]:
    found: dict[UUID, list[WebhookEndpoint]] = defaultdict(list)
    for endpoint in WebhookEndpoint.objects.filter(workspace_id__in=ids, enabled=True):
        found[endpoint.workspace_id].append(endpoint)
    return found
