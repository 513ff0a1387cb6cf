"""What people and programs are told about the health of connections."""

from __future__ import annotations

import uuid

from django.db import models

from integrations.models.connection import Connection
from integrations.models.integration import Integration
from integrations.models.notice_mail import NoticeDigest
from workspaces.models import Workspace


class NoticeKind(models.TextChoices):
    """What happened. A status that begins or ends, never one that goes on."""

    DEGRADED = "degraded", "Renewal is failing"
    MISCONFIGURED = "misconfigured", "Check configuration"
    RECONNECT_REQUIRED = "reconnect_required", "Consent is needed again"
    CONSENT_EXPIRING = "consent_expiring", "Consent ends soon"
    RECOVERED = "recovered", "Recovered"


class Notice(models.Model):
    """One event in the life of a connection, or of its whole integration (a refused client, an outage).

    Written in the transaction of the change. Web pages show it; e-mail digests and webhooks are made of it later, by
    workers, each noting here that it has done its part. Never a secret.
    """

    id = models.BigAutoField(primary_key=True)
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, choices=NoticeKind.choices)
    at = models.DateTimeField()
    # What it is about; the names stay when the rows go.
    integration = models.ForeignKey(Integration, null=True, on_delete=models.SET_NULL, related_name="notices")
    connection = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL, related_name="notices")
    provider_id = models.CharField(max_length=100)
    grant_type = models.CharField(max_length=32)
    connection_name = models.CharField(max_length=100, blank=True)  # empty: the whole integration
    code = models.CharField(max_length=64, blank=True)
    message = models.CharField(max_length=500, blank=True)
    reference = models.UUIDField(null=True)
    # For CONSENT_EXPIRING: when a person has to consent again at the latest.
    ends_at = models.DateTimeField(null=True)
    webhooks_done_at = models.DateTimeField(null=True)
    # Dealt with by the digests: carried by one, or not worth a mail (a blip, or nobody wants any).
    mailed_at = models.DateTimeField(null=True)
    digest = models.ForeignKey(NoticeDigest, null=True, on_delete=models.SET_NULL, related_name="notices")

    class Meta:
        ordering = ("-id",)
        indexes = (
            # The list on the health page and the count in the header.
            models.Index(fields=["workspace", "-id"], name="notice_by_workspace"),
            # What a worker has still to turn into deliveries, oldest first.
            models.Index(fields=["id"], name="notice_for_webhooks", condition=models.Q(webhooks_done_at__isnull=True)),
            # What no digest has carried yet, by workspace.
            models.Index(
                fields=["workspace", "id"], name="notice_for_mail", condition=models.Q(mailed_at__isnull=True)
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.provider_id} / {self.grant_type} {self.connection_name}".rstrip()

    @property
    def event_type(self) -> str:
        """Its name for programs: `connection.degraded`, `integration.misconfigured`, …"""
        return f"{'connection' if self.connection_name else 'integration'}.{self.kind}"
