"""Providers that do not answer, as a workspace's connections found them."""

from __future__ import annotations

from django.db import models

from workspaces.models import Workspace


class ProviderOutage(models.Model):
    """Failures in a row at one place: a workspace's provider at one origin. Gone with the first answer.

    `key` is a digest of the three; `provider_key` is the same for every workspace that uses this built-in provider at
    this origin. `failing` are the ids of the connections that failed; with enough of them the outage is open, and one
    call at a time tries.
    """

    key = models.CharField(primary_key=True, max_length=64)
    provider_key = models.CharField(max_length=64, db_index=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    provider_id = models.CharField(max_length=100)
    origin = models.CharField(max_length=300)
    failing = models.JSONField(default=list)
    code = models.CharField(max_length=64)
    last_failure_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)
    next_probe_at = models.DateTimeField(null=True)
    probes = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.provider_id} at {self.origin}: {'outage' if self.opened_at else 'failures'}"
