"""Authorization requests under way (RFC 6749 §4.1): what the callback must match."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from integrations.fields import SealedTextField
from integrations.models.connect_link import ConnectLink
from integrations.models.connection import Connection
from integrations.models.integration import Integration
from integrations.models.parameter_values import WithParameters
from workspaces.models import Workspace


class PendingAuthorization(WithParameters):
    """The whole tuple, so that editing the provider or client invalidates flows under way (mix-up, RFC 9700 §4.4)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="pending_authorizations")
    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="pending_authorizations")
    # The connection being reconnected; null for a new one.
    connection = models.ForeignKey(Connection, null=True, on_delete=models.CASCADE, related_name="+")
    connection_name = models.CharField(max_length=100)
    # Exactly one of user and connect_link.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    connect_link = models.ForeignKey(ConnectLink, null=True, on_delete=models.CASCADE, related_name="+")
    state_hash = models.CharField(max_length=64, unique=True)
    session_hash = models.CharField(max_length=64)
    code_verifier = SealedTextField(null=True)
    redirect_uri = models.CharField(max_length=500)
    issuer = models.CharField(max_length=500, blank=True)
    # With parameters filled in, which may be passwords.
    authorization_endpoint = SealedTextField(null=True)
    token_endpoint = SealedTextField(null=True)
    client_id = models.CharField(max_length=512)
    provider_version = models.PositiveIntegerField(null=True)
    requested_scopes = models.JSONField(default=list)
    scopes = models.JSONField(null=True)  # as Connection.scopes
    additional_scopes = models.JSONField(default=list)
    request_id = models.UUIDField(default=uuid.uuid4)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    consumed_at = models.DateTimeField(null=True)
    # When the workspace's redirect host saw the browser that began, and with which answer (`connections.recognition`).
    browser_seen_at = models.DateTimeField(null=True)
    seen_query_hash = models.CharField(max_length=64, default="", db_default="", blank=True)
    # What a second hit shows: {"ok": bool, "code": str, "message": str, "connection_id": str|null}
    outcome = models.JSONField(null=True)

    class Meta(WithParameters.Meta):
        constraints = (
            models.CheckConstraint(
                condition=models.Q(user__isnull=False, connect_link__isnull=True)
                | models.Q(user__isnull=True, connect_link__isnull=False),
                name="pending_authorization_for_one_of_user_or_link",
            ),
        )
        indexes = (models.Index(fields=["expires_at"], name="pending_expiry"),)  # the sweep

    def __str__(self) -> str:
        return f"authorization {self.id}"
