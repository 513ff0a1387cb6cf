"""Rows whose time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from integrations.models import ConnectLink, PendingAuthorization, ProviderPause

# Until then the page of an expired link can say that it has expired.
KEEP_LINKS = timedelta(days=7)


def sweep(now: datetime | None = None) -> int:
    """Delete expired authorizations, old connect links and pauses that are over. Returns how many rows went."""
    moment = now or timezone.now()
    deleted = 0
    for rows in (
        PendingAuthorization.objects.filter(expires_at__lte=moment),
        ConnectLink.objects.filter(expires_at__lt=moment - KEEP_LINKS),
        ProviderPause.objects.filter(until__lt=moment),
    ):
        deleted += rows.delete()[0]
    return deleted
