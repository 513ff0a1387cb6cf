"""The tenant."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

validate_slug = RegexValidator(
    r"\A[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z",
    "Use lower-case letters, digits and hyphens, at most 50, beginning and ending with a letter or digit.",
)


class Workspace(models.Model):
    """Owns integrations, connections, keys and events; every query starts here."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(max_length=50, unique=True, validators=[validate_slug])
    name = models.CharField(max_length=100)
    # Where connect links may send people back to: exact origins plus path prefix, set by an admin (open redirect).
    return_urls = models.JSONField(default=list, blank=True)
    # The origin of its redirect URI and connect pages ("white label"); empty: PUBLIC_BASE_URL's.
    redirect_host = models.CharField(max_length=255, default="", db_default="", blank=True)
    # Token policy. Null: access tokens of any age are handed out; the margin is the provider's, or the usual one.
    max_token_age_seconds = models.PositiveIntegerField(null=True, blank=True)
    refresh_margin_seconds = models.PositiveIntegerField(null=True, blank=True)
    # Since when the schedules of its connections may be by older rules; a worker makes them anew and clears this.
    schedule_stale_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (
            # Also the index for finding the workspace that a request's Host names.
            models.UniqueConstraint(
                fields=["redirect_host"],
                condition=~models.Q(redirect_host=""),
                name="workspace_redirect_host_unique",
                violation_error_message="This host cannot be used. Choose another one.",
            ),
        )
        indexes = (
            # What a worker has still to schedule anew: few rows at any time.
            models.Index(
                fields=["schedule_stale_since"],
                name="workspace_schedule_stale",
                condition=models.Q(schedule_stale_since__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def max_token_age(self) -> timedelta | None:
        """How old an access token may be when it is handed out; None: its provider alone decides."""
        seconds = self.max_token_age_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def connect_base_url(self) -> str:
        """Where its redirect URI and connect links are: its redirect host, else PUBLIC_BASE_URL."""
        return self.redirect_host or settings.PUBLIC_BASE_URL
