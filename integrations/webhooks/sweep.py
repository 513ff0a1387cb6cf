"""Rows whose time is over: old deliveries, and secrets whose overlap has ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks.outcomes import lock_endpoint

KEEP_DELIVERIES = timedelta(days=30)
AT_ONCE = 1000


def sweep(now: datetime | None = None) -> int:
    """Delete deliveries older than 30 days with their attempts, and forget old secrets. Returns how many rows went."""
    moment = now or timezone.now()
    deleted = 0
    old = WebhookDelivery.objects.filter(created_at__lt=moment - KEEP_DELIVERIES, next_attempt_at__isnull=True)
    while ids := list(old.values_list("pk", flat=True)[:AT_ONCE]):
        deleted += WebhookDelivery.objects.filter(pk__in=ids).delete()[0]
    for pk in list(WebhookEndpoint.objects.filter(previous_until__lt=moment).values_list("pk", flat=True)):
        _forget_previous_secret(pk, moment)
    return deleted


def _forget_previous_secret(pk: UUID, moment: datetime) -> None:
    with transaction.atomic():
        endpoint = lock_endpoint(pk)
        # Looked at again: a roll meanwhile has put another secret there.
        if endpoint is not None and endpoint.previous_until is not None and endpoint.previous_until < moment:
            forgotten = ("previous_secret", "previous_until")
            for name in forgotten:
                setattr(endpoint, name, None)
            endpoint.save(update_fields=forgotten)
