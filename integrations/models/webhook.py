"""Webhooks: who is told, what was told to whom, and what came back."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from integrations.fields import SealedModel, SealedTextField
from workspaces.models import Workspace


class WebhookEvent(models.TextChoices):
    """What can be told. Each but the last is the `event_type` of a notice."""

    CONNECTION_DEGRADED = "connection.degraded", "The renewal of a connection is failing"
    CONNECTION_MISCONFIGURED = "connection.misconfigured", "The provider refuses the client of a connection"
    CONNECTION_RECONNECT_REQUIRED = "connection.reconnect_required", "A person has to consent again"
    CONNECTION_CONSENT_EXPIRING = "connection.consent_expiring", "A consent ends soon"
    CONNECTION_RECOVERED = "connection.recovered", "A connection works again"
    INTEGRATION_DEGRADED = "integration.degraded", "Renewals of a whole integration are failing"
    INTEGRATION_MISCONFIGURED = "integration.misconfigured", "The provider refuses the client of an integration"
    INTEGRATION_RECONNECT_REQUIRED = (
        "integration.reconnect_required",
        "Every connection of an integration has to be made anew",
    )
    INTEGRATION_RECOVERED = "integration.recovered", "An integration works again"
    TEST = "webhook.test", "A test"


class DisabledBecause(models.TextChoices):
    """Why an endpoint gets nothing."""

    MEMBER = "member", "Disabled"
    FAILING = "failing", "Disabled: nothing could be delivered for days"
    GONE = "gone", "Disabled: it answered 410 Gone"


class WebhookEndpoint(SealedModel):
    """Where events of a workspace are sent.

    The whole URL is sealed: many receivers are addressed by a secret path or query. `origin` (scheme, host and port) is
    what everybody may see.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = SealedTextField()
    origin = models.CharField(max_length=300)
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=list)  # empty: all, also those that a later release adds
    secret = SealedTextField()  # whsec_…
    previous_secret = SealedTextField(null=True)  # signs too, until `previous_until`
    previous_until = models.DateTimeField(null=True)
    secret_set_at = models.DateTimeField(default=timezone.now)
    enabled = models.BooleanField(default=True)
    disabled_because = models.CharField(max_length=10, choices=DisabledBecause.choices, blank=True)
    disabled_at = models.DateTimeField(null=True)
    # Since when nothing but failures; null after a success.
    failing_since = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)  # in a row
    last_delivered_at = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(null=True)  # its Retry-After
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(SealedModel.Meta):
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return f"{self.description or 'webhook'} ({self.origin})"

    def wants(self, event_type: str) -> bool:
        """Whether this kind of event is sent there."""
        return not self.events or event_type in self.events

    def signing_secrets(self, now: datetime) -> list[str]:
        """The secrets that sign at `now`, the newest first. Raises crypto.SealError when no key opens one."""
        secrets = [str(self.secret)]
        if self.previous_until is not None and now < self.previous_until and self.previous_secret:
            secrets.append(str(self.previous_secret))
        return secrets


class DeliveryStatus(models.TextChoices):
    """How far a delivery is."""

    PENDING = "pending", "Waiting"
    FAILED = "failed", "Retrying"
    DELIVERED = "delivered", "Delivered"
    GIVEN_UP = "given_up", "Given up"


class WebhookDelivery(models.Model):
    """One event for one endpoint, with the very text that is signed and sent; never a secret.

    `next_attempt_at` is set as long as there is something to do. A worker takes a delivery by a lease, as it does with
    tokens, so that no lock is held while the receiver is called.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="webhook_deliveries")
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )  # the indexes below begin with it
    # `webhook-id`: the notice's public id, so that a receiver can tell what it has had already.
    event_id = models.UUIDField(default=uuid.uuid4)
    event_type = models.CharField(max_length=40, choices=WebhookEvent.choices)
    body = models.TextField()  # JSON as text: PostgreSQL's own JSON would not keep its order, and so its signature
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts_made = models.PositiveSmallIntegerField(default=0)  # since it was made or last replayed
    next_attempt_at = models.DateTimeField(null=True)
    lease_id = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=40, blank=True)
    last_message = models.CharField(max_length=300, blank=True)
    last_duration = models.DurationField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            # Two workers may look at one notice; an endpoint is told once.
            models.UniqueConstraint(fields=["endpoint", "event_id"], name="webhook_delivery_once"),
        )
        indexes = (
            # What waits, by endpoint, oldest first: claims look at one endpoint after the other.
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                name="webhook_delivery_due",
                condition=Q(next_attempt_at__isnull=False),
            ),
            # An endpoint's log.
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_delivery_log"),
            # The sweep.
            models.Index(fields=["created_at"], name="webhook_delivery_age"),
        )

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id}"

    @property
    def is_waiting(self) -> bool:
        """Whether another attempt will be made by itself."""
        return self.next_attempt_at is not None


class WebhookAttempt(models.Model):
    """One request and its answer, for the log. `response_body` is cut and holds no control characters."""

    id = models.BigAutoField(primary_key=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    signature = models.CharField(max_length=200)  # proves nothing to whoever lacks the secret
    response_status = models.PositiveSmallIntegerField(null=True)
    response_type = models.CharField(max_length=100, blank=True)
    response_body = models.CharField(max_length=1024, blank=True)
    error = models.CharField(max_length=40, blank=True)  # empty: delivered
    message = models.CharField(max_length=300, blank=True)
    duration = models.DurationField(default=timedelta)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.response_status or self.error}"
