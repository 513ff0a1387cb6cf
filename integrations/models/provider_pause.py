"""Pauses that a provider asked for (`Retry-After`)."""

from __future__ import annotations

from django.db import models


class ProviderPause(models.Model):
    """No automatic or forced refresh for (token endpoint, client_id) before `until`. `key` is a digest of the pair."""

    key = models.CharField(primary_key=True, max_length=64)
    until = models.DateTimeField()
    code = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"pause until {self.until:%Y-%m-%d %H:%M:%S}"
