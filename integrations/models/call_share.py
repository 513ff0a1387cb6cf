"""How many calls each worker process may have under way at each token endpoint's host."""

from __future__ import annotations

import uuid

from django.db import models


class CallShare(models.Model):
    """One row per batch that runs somewhere, so that the cap of a host holds across all workers.

    `lanes` maps a lane (`call_slots.Lane.key`) to [calls it may have under way, calls it would like]. A row counts
    until `until`: a process that was killed takes its share along for that long only. Nothing refers to these rows.
    """

    holder = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    lanes = models.JSONField(default=dict)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"call share of {self.holder}"
