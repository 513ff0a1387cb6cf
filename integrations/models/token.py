"""Tokens and their schedule: two narrow tables beside the connection, so that claims touch no ciphertext."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from integrations.fields import SealedQuerySet, SealedTextField
from integrations.models.connection import Connection
from workspaces.models import Workspace


class Token(models.Model):
    """What the provider issued. `ciphertext` opens to JSON: access_token, refresh_token, token_type.

    `version` is the fence: each stored answer raises it by one in a compare-and-swap, so a late answer can never
    overwrite a newer one. The fence does not cover `extra`, which is written after the tokens and may be lost.
    """

    connection = models.OneToOneField(Connection, primary_key=True, on_delete=models.CASCADE, related_name="token")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    ciphertext = SealedTextField()
    version = models.PositiveIntegerField(default=1, editable=False)
    has_refresh_token = models.BooleanField(default=False, editable=False)
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)  # null: unknown, never expires by invention
    refresh_token_expires_at = models.DateTimeField(null=True)
    extra = SealedTextField(null=True)  # other fields of the answer, as JSON

    objects: ClassVar[Any] = SealedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"token of {self.connection_id}"

    def is_expired(self, now: datetime) -> bool:
        """Whether its known lifetime is over at `now`."""
        return self.expires_at is not None and self.expires_at <= now


class TokenSchedule(models.Model):
    """When the token is due, and who is renewing it now."""

    connection = models.OneToOneField(Connection, primary_key=True, on_delete=models.CASCADE, related_name="schedule")
    refresh_due_at = models.DateTimeField(null=True)  # null: nothing to renew, or a person is needed
    lease_id = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)  # failures in a row, for the backoff
    last_attempt_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            # The claim: due rows, oldest first. Partial, so that it holds only rows that will ever be due.
            models.Index(
                fields=["refresh_due_at"],
                name="schedule_due",
                condition=models.Q(refresh_due_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"schedule of {self.connection_id}"
