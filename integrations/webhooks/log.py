"""The delivery log: pages of an endpoint's deliveries, newest first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from integrations.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint

PAGE = 50


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some deliveries; `next_before` is the id after which the older ones begin, empty on the last page."""

    deliveries: Sequence[WebhookDelivery]
    next_before: str


def find_deliveries(endpoint: WebhookEndpoint, status: str = "") -> QuerySet[WebhookDelivery]:
    """An endpoint's deliveries, newest first; bodies are left out."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint).defer("body").order_by("-created_at", "-pk")
    return rows.filter(status=status) if status in DeliveryStatus.values else rows


def older_than(rows: QuerySet[WebhookDelivery], endpoint: WebhookEndpoint, before: UUID) -> QuerySet[WebhookDelivery]:
    """Those after a delivery in that order; nothing when the endpoint has none of this id (swept meanwhile)."""
    last = WebhookDelivery.objects.filter(endpoint=endpoint, pk=before).values_list("created_at", flat=True).first()
    if last is None:
        return rows.none()
    return rows.filter(Q(created_at__lt=last) | Q(created_at=last, pk__lt=before))


def read_page(endpoint: WebhookEndpoint, status: str, before: str) -> LogPage:
    """One page. A `before` that is no id counts as none."""
    rows = find_deliveries(endpoint, status)
    with contextlib.suppress(ValueError):
        rows = older_than(rows, endpoint, UUID(before)) if before else rows
    found = list(rows[: PAGE + 1])
    return LogPage(found[:PAGE], str(found[PAGE - 1].pk) if len(found) > PAGE else "")
