"""Rows whose time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from integrations.clock import database_now
from integrations.models import ClientKey, ConnectLink, PendingAuthorization, ProviderPause

# Until then the page of an expired link can say that it has expired.
KEEP_LINKS = timedelta(days=7)


def sweep(now: datetime | None = None) -> int:
    """Delete expired authorizations, old links, pauses that are over and retired keys. Returns how many rows went."""
    moment = now or database_now()
    deleted = 0
    for rows in (
        PendingAuthorization.objects.filter(expires_at__lte=moment),
        ConnectLink.objects.filter(expires_at__lt=moment - KEEP_LINKS),
        ProviderPause.objects.filter(until__lt=moment),
        ClientKey.objects.filter(retires_at__lte=moment),
    ):
        deleted += rows.delete()[0]
    return deleted
