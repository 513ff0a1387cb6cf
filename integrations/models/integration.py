"""One provider with one grant type, set up in a workspace."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.db import models
from django.utils import timezone

from integrations.fields import SealedTextField
from integrations.models.parameter_values import WithParameters
from workspaces.models import Workspace

if TYPE_CHECKING:
    from integrations.models.client_key import ClientKey


class GrantType(models.TextChoices):
    """OAuth 2.0 grant types (RFC 6749 §4.1, §4.4) with the words people read."""

    AUTHORIZATION_CODE = "authorization_code", "Delegated user"
    CLIENT_CREDENTIALS = "client_credentials", "Service account"


class Integration(WithParameters):
    """Client credentials and chosen scopes. Identity everywhere: (workspace, provider_id, grant_type).

    `parameters` are those that an admin sets for every connection.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="integrations")
    provider_id = models.CharField(max_length=100)
    grant_type = models.CharField(max_length=32, choices=GrantType.choices)
    client_id = models.CharField(max_length=512, blank=True)
    client_secret = SealedTextField(null=True)
    # Empty: as the provider says.
    token_endpoint_auth_method = models.CharField(max_length=32, blank=True)
    additional_scopes = models.JSONField(default=list)
    # Of a provider that is a protected resource: the endpoints found for this workspace, from where and when, and what
    # the registration said; null until then (`providers.registration`).
    discovered = models.JSONField(null=True, editable=False)
    # Manages the registered client at the provider (RFC 7592).
    registration_access_token = SealedTextField(null=True, editable=False)
    # The provider refuses the client itself: one alarm, renewals pause until credentials change or a probe succeeds.
    client_error_code = models.CharField(max_length=64, blank=True, editable=False)
    client_error_message = models.CharField(max_length=500, blank=True, editable=False)
    client_error_at = models.DateTimeField(null=True, editable=False)
    next_probe_at = models.DateTimeField(null=True, editable=False)
    # The provider has not been answering since then (connections.breaker): one alarm, one connection at a time tries.
    outage_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(WithParameters.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=["workspace", "provider_id", "grant_type"], name="integration_once_per_provider_and_grant"
            ),
            models.CheckConstraint(
                condition=models.Q(grant_type__in=GrantType.values), name="integration_grant_type_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider_id} ({self.get_grant_type_display()})"

    @property
    def has_client_secret(self) -> bool:
        """Whether a secret is stored, without opening it."""
        return cast(SealedTextField, self._meta.get_field("client_secret")).is_stored(self)

    @property
    def client_key(self) -> ClientKey | None:
        """The newest key (private_key_jwt), whether or not it signs yet."""
        return next((key for key in self.client_keys.all() if key.is_current), None)

    def signing_client_key(self, now: datetime) -> ClientKey | None:
        """The key that signs at `now`: the newest whose time has come, else the newest."""
        begun = [key for key in self.client_keys.all() if key.is_published(now) and key.signs_from <= now]
        return max(begun, key=lambda key: key.signs_from, default=self.client_key)
