"""One authorization under an integration."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils import timezone

from integrations.fields import SealedQuerySet
from integrations.models.integration import GrantType, Integration
from integrations.models.parameter_values import WithParameters
from workspaces.models import Workspace


class ConnectionState(models.TextChoices):
    """What the last thing that happened to a connection left it in; `Connection.status_at` adds the clock."""

    CONFIGURED = "configured", "Configured"
    CONNECTED = "connected", "Connected"
    DEGRADED = "degraded", "Retrying"
    MISCONFIGURED = "misconfigured", "Misconfigured"
    RECONNECT_REQUIRED = "reconnect_required", "Expired – reconnect"


class ConnectionStatus(models.TextChoices):
    """The six statuses people and programs see (an integration without credentials is `not_configured`)."""

    NOT_CONFIGURED = "not_configured", "Not configured"
    CONFIGURED = "configured", "Configured"
    CONNECTED = "connected", "Connected"
    DEGRADED = "degraded", "Retrying"
    MISCONFIGURED = "misconfigured", "Misconfigured"
    RECONNECT_REQUIRED = "reconnect_required", "Expired – reconnect"


class Connection(WithParameters):
    """A name, parameter values, scopes, whose account it is, and its token (a table of its own)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="connections")
    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="connections")
    name = models.CharField(max_length=100, default="default")
    is_default = models.BooleanField(default=False)
    # Version of a custom provider's definition this was made with; null for built-in ones.
    provider_version = models.PositiveIntegerField(null=True, editable=False)
    state = models.CharField(
        max_length=20, choices=ConnectionState.choices, default=ConnectionState.CONFIGURED, editable=False
    )
    # Chosen among the provider's own where it lets connections choose; null: all of them.
    scopes = models.JSONField(null=True)
    additional_scopes = models.JSONField(default=list)
    requested_scopes = models.JSONField(default=list)
    granted_scopes = models.JSONField(default=list)
    # {"id": …, "label": …}: display only, never trusted for access.
    account = models.JSONField(default=dict)
    # The account that another one took the place of, until somebody says that this was meant.
    previous_account = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    # What the provider's answers said besides the token and its definition keeps (an instance's host); not secret.
    metadata = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    connected_at = models.DateTimeField(null=True, editable=False)
    connected_by = models.CharField(max_length=254, blank=True, editable=False)
    last_refreshed_at = models.DateTimeField(null=True, editable=False)
    last_error_code = models.CharField(max_length=64, blank=True, editable=False)
    last_error_message = models.CharField(max_length=500, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    last_error_reference = models.UUIDField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager[Connection]] = SealedQuerySet.as_manager()

    class Meta(WithParameters.Meta):
        ordering = ("-is_default", "name")
        indexes = (
            # The numbers of the health page: how many of each integration are in which state.
            models.Index(fields=["workspace", "integration", "state"], name="connection_by_state"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["integration", "name"],
                name="connection_name_unique_in_integration",
                violation_error_message="Another connection of this integration has this name.",
            ),
            models.UniqueConstraint(
                fields=["integration"], condition=models.Q(is_default=True), name="connection_one_default"
            ),
        )

    def __str__(self) -> str:
        return f"{self.integration} / {self.name}"

    @property
    def missing_scopes(self) -> list[str]:
        """Requested then and not granted, in the order requested."""
        granted = set(self.granted_scopes)
        return [scope for scope in self.requested_scopes if scope not in granted]

    def status_at(self, now: datetime) -> ConnectionStatus:
        """The honest status at `now`: a token that ran out, or grew older than the workspace allows, with nothing to
        renew it needs a person again.
        """
        state = ConnectionStatus(self.state)
        if state not in (ConnectionStatus.CONNECTED, ConnectionStatus.DEGRADED):
            return state
        token = getattr(self, "token", None)
        if token is None:
            return ConnectionStatus.CONFIGURED
        needs_a_person = self.integration.grant_type == GrantType.AUTHORIZATION_CODE and not token.has_refresh_token
        if needs_a_person and token.is_over(now, self.workspace.max_token_age):
            return ConnectionStatus.RECONNECT_REQUIRED
        if self.integration.client_error_code:
            return ConnectionStatus.MISCONFIGURED
        if self.integration.outage_since is not None and not needs_a_person:
            return ConnectionStatus.DEGRADED
        return state
