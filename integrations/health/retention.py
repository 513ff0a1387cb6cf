"""Notices and digests whose time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from integrations.models import Notice, NoticeDigest

KEPT = timedelta(days=90)
AT_ONCE = 5_000  # rows in one run, so that no transaction is long


def delete_old(now: datetime | None = None) -> int:
    """Delete notices and digests older than 90 days; returns how many rows went."""
    oldest = (now or timezone.now()) - KEPT
    deleted = 0
    # Ids rise with time: the oldest are at the beginning of the primary key.
    for rows in (
        Notice.objects.order_by("id").values_list("pk", "at"),
        NoticeDigest.objects.order_by("id").values_list("pk", "made_at"),
    ):
        old = [pk for pk, at in rows[:AT_ONCE] if at < oldest]
        deleted += rows.model.objects.filter(pk__in=old).delete()[0] if old else 0
    return deleted
