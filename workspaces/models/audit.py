"""The append-only audit trail."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone

from workspaces.models.workspace import Workspace


class ActorKind(models.TextChoices):
    """Who acted."""

    MEMBER = "member", "Member"
    API_KEY = "api_key", "API key"
    WORKER = "worker", "Worker"
    OPERATOR = "operator", "Operator"
    CONNECT_LINK = "connect_link", "Connect link"
    SYSTEM = "system", "Grantry"


class AuditResult(models.TextChoices):
    """How it went."""

    OK = "ok", "Done"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"


# What ends an attempt to renew a token (values of `audit.AuditAction`).
RENEWALS = ("connection:refreshed", "connection:refresh_failed", "connection:reconnect_required")


def action_label(action: str) -> str:
    """An action as people read it, "Connection: reconnect required"; also one that is no longer recorded."""
    subject, _, verb = action.partition(":")
    words = subject.replace("_", " ").capitalize().replace("Api key", "API key")
    return f"{words}: {verb.replace('_', ' ')}" if verb else words


class AppendOnlyError(Exception):
    """An audit event was about to be changed or deleted."""


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Reads and appends; deletes only with the whole workspace."""

    def update(self, **kwargs: Any) -> int:  # noqa: ARG002
        """Refused: events are append-only."""
        raise AppendOnlyError("Audit events are append-only.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:  # noqa: ARG002
        """Refused: events are append-only."""
        raise AppendOnlyError("Audit events are append-only.")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Refused: events go with their workspace, or when the operator's retention ends."""
        raise AppendOnlyError("Audit events are append-only.")

    def delete_oldest(self, before: datetime, limit: int) -> int:
        """Delete those among the first `limit` ever written that are older than `before`; for audit_retention alone.

        The time has no index: ids follow it closely enough, and the key's index leads to the oldest.
        """
        oldest = self.model._default_manager.order_by("pk").values_list("pk", "at")[:limit]
        ended = [pk for pk, at in oldest if at < before]
        if not ended:
            return 0
        rows = self.model._default_manager.filter(pk__in=ended)
        # Nothing refers to events, so there is nothing to collect first.
        return int(rows._raw_delete(rows.db))


class AuditEvent(models.Model):
    """Who did what (`subject:action`) to what, with what result. Never a secret."""

    id = models.BigAutoField(primary_key=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="audit_events")
    at = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=64)
    result = models.CharField(max_length=8, choices=AuditResult.choices, default=AuditResult.OK)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    actor_id = models.CharField(max_length=64, blank=True)
    actor_label = models.CharField(max_length=254, blank=True)
    target_kind = models.CharField(max_length=32, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(max_length=254, blank=True)
    request_id = models.UUIDField(null=True, default=None)
    detail = models.JSONField(default=dict)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            # The audit page and export: newest first within a workspace.
            models.Index(fields=["workspace", "-id"], name="audit_by_workspace"),
            # An object's activity tab.
            models.Index(fields=["workspace", "target_kind", "target_id", "-id"], name="audit_by_target"),
            # The renewals of a time, for the health page; among a workspace's events they may be few or nearly all.
            models.Index(fields=["workspace", "at"], name="audit_renewals", condition=models.Q(action__in=RENEWALS)),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_label} {self.action} {self.target_label}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert once; a second save is refused."""
        if not self._state.adding:
            raise AppendOnlyError("Audit events are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:  # noqa: ARG002
        """Refused: events go only with their workspace."""
        raise AppendOnlyError("Audit events are append-only.")

    @property
    def action_label(self) -> str:
        """The action as people read it."""
        return action_label(self.action)


def new_request_id() -> uuid.UUID:
    """A reference id that ties a page's error to its events and log lines."""
    return uuid.uuid4()
