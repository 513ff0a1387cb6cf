"""One-time links with which someone outside the workspace connects their account."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from integrations.models.integration import Integration
from integrations.models.parameter_values import WithParameters
from workspaces.models import ActorKind, Workspace


class ConnectLink(WithParameters):
    """Lives 24 hours, is used up by success and bound by cookie to the browser that posted first."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="connect_links")
    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="connect_links")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    connection_name = models.CharField(max_length=100, default="default")
    scopes = models.JSONField(null=True)  # as Connection.scopes
    additional_scopes = models.JSONField(default=list)
    # Whether another account may take the place of the one that the connection belongs to.
    confirm_account_change = models.BooleanField(default=False, db_default=False)
    return_url = models.URLField(max_length=2000, blank=True)
    browser_hash = models.CharField(max_length=64, blank=True, editable=False)
    created_by = models.CharField(max_length=254, blank=True, editable=False)
    # Whose power the link lends: it ends with theirs.
    creator_kind = models.CharField(max_length=16, choices=ActorKind.choices, default="", editable=False)
    creator_id = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, editable=False)

    class Meta(WithParameters.Meta):
        pass

    @property
    def made_by_person(self) -> str:
        """Who made it, if that was a person: outsiders see it, and a key's name is none of their business."""
        return self.created_by if self.creator_kind == ActorKind.MEMBER else ""

    def __str__(self) -> str:
        return f"connect link for {self.integration}"
