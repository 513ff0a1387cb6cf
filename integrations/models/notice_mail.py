"""Digests of notices, and their e-mails: an outbox that workers empty."""

from __future__ import annotations

from django.db import models

from workspaces.models import Membership, Workspace


class NoticeDigest(models.Model):
    """What one digest says, put together once for all who get it.

    Written in one transaction with its mails and with the mark on the notices that it carries.
    """

    id = models.BigAutoField(primary_key=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="notice_digests")
    made_at = models.DateTimeField()
    # [{"kind", "provider_id", "grant_type", …}]: see health.digests.Group. Names and codes, never a secret.
    groups = models.JSONField(default=list)

    class Meta:
        indexes = (
            # When the last one was made: the next waits for its hour.
            models.Index(fields=["workspace", "-made_at"], name="digest_by_workspace"),
        )

    def __str__(self) -> str:
        return f"digest {self.pk} of {self.made_at:%Y-%m-%d %H:%M:%S}"


class NoticeMail(models.Model):
    """One digest for one member. Gone with the membership: who was removed gets nothing."""

    id = models.BigAutoField(primary_key=True)
    digest = models.ForeignKey(NoticeDigest, on_delete=models.CASCADE, related_name="mails")
    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="+")
    # When a worker may send it next. Whoever sends it puts this off first (compare-and-swap), so that no two send one.
    # Null: sent, no longer wanted, or given up.
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["digest", "membership"], name="notice_mail_once_per_member"),)
        indexes = (
            # What is still to be sent, oldest first.
            models.Index(fields=["due_at"], name="notice_mail_due", condition=models.Q(due_at__isnull=False)),
        )

    def __str__(self) -> str:
        return f"mail of digest {self.digest_id} for {self.membership_id}"
