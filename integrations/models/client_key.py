"""Keys that an integration signs with instead of showing a secret (private_key_jwt)."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import cast

from django.db import models
from django.utils import timezone

from integrations.fields import SealedModel, SealedTextField
from integrations.models.integration import Integration
from integrations.oauth.client_assertion import SigningAlgorithm, SigningKey
from workspaces.models import Workspace


class ClientKeyAlgorithm(models.TextChoices):
    """Algorithms with the words people read."""

    RS256 = SigningAlgorithm.RS256.value, "RS256 (RSA, 2048 bits): every server knows it"
    ES256 = SigningAlgorithm.ES256.value, "ES256 (elliptic curve P-256): smaller and faster"


class ClientKey(SealedModel):
    """A key pair. The newest one has no `retires_at`; the one before it stays published until then.

    It signs from `signs_from` on: servers that keep the published keys for a while have to see it first.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="client_keys")
    kid = models.CharField(max_length=64)
    algorithm = models.CharField(max_length=8, choices=ClientKeyAlgorithm.choices)
    private_key = SealedTextField()  # PEM
    public_jwk = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    signs_from = models.DateTimeField(default=timezone.now)
    retires_at = models.DateTimeField(null=True)

    class Meta(SealedModel.Meta):
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=["integration"],
                condition=models.Q(retires_at__isnull=True),
                name="client_key_newest_once",
            ),
            models.UniqueConstraint(fields=["integration", "kid"], name="client_key_id_once"),
            models.CheckConstraint(
                condition=models.Q(algorithm__in=ClientKeyAlgorithm.values), name="client_key_algorithm_known"
            ),
        )
        indexes = (
            # The sweep. Partial, so that it holds only keys that are on their way out.
            models.Index(
                fields=["retires_at"], name="client_key_retiring", condition=models.Q(retires_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"client key {self.kid}"

    @property
    def is_current(self) -> bool:
        """Whether it is the newest of its integration."""
        return self.retires_at is None

    def is_published(self, now: datetime) -> bool:
        """Whether the key set shows it."""
        return self.retires_at is None or self.retires_at > now

    def signing_key(self) -> SigningKey:
        """The key as the protocol takes it. Raises crypto.SealError when no configured key opens it."""
        return SigningKey(self.kid, SigningAlgorithm(self.algorithm), cast(str, self.private_key))
