"""The one way in which audit events end besides with their workspace: the operator's AUDIT_RETENTION_DAYS.

Events are deleted oldest first, by the key in which they were written, in short transactions: neither the size of the
table nor a backlog makes one of them long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from workspaces.models import AuditEvent

logger = logging.getLogger(__name__)

BATCH = 10_000
SECONDS_PER_RUN = 60.0  # what is left then goes in the next run


def delete_old_events(now: datetime | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> int:
    """Delete events older than AUDIT_RETENTION_DAYS; nothing when that is 0. Returns how many went."""
    days = settings.AUDIT_RETENTION_DAYS
    if days <= 0:
        return 0
    before = (now or timezone.now()) - timedelta(days=days)
    end, deleted = monotonic() + SECONDS_PER_RUN, 0
    while went := AuditEvent.objects.delete_oldest(before, BATCH):
        deleted += went
        if monotonic() >= end:
            break
    if deleted:
        logger.info("%d audit events older than %d days were deleted.", deleted, days)
    return deleted
