"""Custom providers: a workspace's own definitions, versioned. Built-in ones are files, not rows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from django.conf import settings
from django.db import models
from django.utils import timezone

from integrations.fields import SealedModel, SealedTextField
from workspaces.models import Workspace


class CustomProvider(models.Model):
    """A provider that a workspace defined; its definition stands in its versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="custom_providers")
    provider_id = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["workspace", "provider_id"], name="custom_provider_id_unique_in_workspace"),
            models.CheckConstraint(
                condition=models.Q(provider_id__startswith="custom_"), name="custom_provider_id_prefixed"
            ),
        )

    def __str__(self) -> str:
        return self.provider_id


class CustomProviderVersion(models.Model):
    """One definition, never changed once made: connections may stay on it while a newer one is a draft."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(CustomProvider, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField()
    draft = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(fields=["provider", "number"], name="custom_provider_version_number_unique"),
        )

    def __str__(self) -> str:
        return f"{self.provider} v{self.number}"


class ProviderVersionSecrets(SealedModel):
    """The secret config values of one version, by key. A definition itself is shown to members; these are not."""

    version = models.OneToOneField(
        CustomProviderVersion, primary_key=True, on_delete=models.CASCADE, related_name="secrets"
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    sealed_values = SealedTextField()  # JSON

    class Meta(SealedModel.Meta):
        pass

    def __str__(self) -> str:
        return f"secrets of {self.version_id}"

    @property
    def values(self) -> dict[str, str]:
        """The values. Raises crypto.SealError when no configured key opens them."""
        opened: dict[str, str] = json.loads(self.sealed_values)
        return opened

    @values.setter
    def values(self, values: Mapping[str, str]) -> None:
        self.sealed_values = json.dumps(dict(values))  # type: ignore[assignment] # text in, sealed when saved
