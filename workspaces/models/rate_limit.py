"""Counters of `rate_limits`, used while there is no Redis."""

from __future__ import annotations

from django.db import models


class RateLimitWindow(models.Model):
    """How often something was tried within one window of time. Rows die with their window."""

    key = models.CharField(primary_key=True, max_length=128)
    count = models.PositiveIntegerField()
    ends_at = models.BigIntegerField(db_index=True)  # seconds since 1970; the index serves the clean-up

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"
