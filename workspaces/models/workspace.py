"""The tenant."""

from __future__ import annotations

import uuid

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

    def __str__(self) -> str:
        return self.name

    @property
    def connect_base_url(self) -> str:
        """Where its redirect URI and connect links are: its redirect host, else PUBLIC_BASE_URL."""
        return self.redirect_host or settings.PUBLIC_BASE_URL
