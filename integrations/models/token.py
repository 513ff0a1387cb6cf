"""Tokens and their schedule: two narrow tables beside the connection, so that claims touch no ciphertext."""

from __future__ import annotations

import json
import secrets as random_source
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from integrations import crypto
from integrations.fields import SealedModel, SealedQuerySet, SealedTextField
from integrations.models.connection import Connection
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class TokenSecrets:
    """What `Token.ciphertext` opens to. Its repr shows nothing."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    token_type: str = "Bearer"  # noqa: S105 (a name, not a token)

    def to_json(self) -> str:
        """The plaintext that is sealed."""
        return json.dumps(
            {
                "access_token": self.access_token,
                "refresh_token": self.refresh_token,
                "token_type": self.token_type,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> TokenSecrets:
        """Read what `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        return cls(content["access_token"], content.get("refresh_token"), content.get("token_type") or "Bearer")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A provider's answer as it is stored; times are the provider's words counted from before the request."""

    secrets: TokenSecrets
    issued_at: datetime
    expires_at: datetime | None
    refresh_token_expires_at: datetime | None = None
    refresh_token_end_moves: bool | None = None
    consent_ends_at: datetime | None = None
    consent_notice_due_at: datetime | None = None


def first_version() -> int:
    """Where the fence of a new row starts: at random, so that a disconnected and reconnected row never repeats it."""
    return random_source.randbelow(1 << 30) + 1


class Token(SealedModel):
    """What the provider issued. `ciphertext` opens to JSON: access_token, refresh_token, token_type.

    `version` is the fence: each stored answer raises it by one in a compare-and-swap, so a late answer can never
    overwrite a newer one. The fence does not cover `extra`, which is written after the tokens and may be lost.
    """

    connection = models.OneToOneField(Connection, primary_key=True, on_delete=models.CASCADE, related_name="token")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    ciphertext = SealedTextField()
    version = models.PositiveIntegerField(default=first_version, editable=False)
    has_refresh_token = models.BooleanField(default=False, editable=False)
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)  # null: unknown, never expires by invention
    refresh_token_expires_at = models.DateTimeField(null=True)
    # Whether a renewal put that end off (true), or left it where it was (false); null: not seen yet.
    refresh_token_end_moves = models.BooleanField(null=True, editable=False)
    # When a person has to consent again, whatever is renewed until then (connections/forecast.py); null: not foreseen.
    consent_ends_at = models.DateTimeField(null=True, editable=False)
    # When somebody is to be told next about that end; null: nothing to tell, or all told.
    consent_notice_due_at = models.DateTimeField(null=True, editable=False)
    extra = SealedTextField(null=True)  # other fields of the answer, as JSON

    class Meta(SealedModel.Meta):
        indexes = (
            # Whose consent ends soon, by workspace; and what is to be told of it, oldest first.
            models.Index(
                fields=["workspace", "consent_ends_at"],
                name="token_consent_ends",
                condition=models.Q(consent_ends_at__isnull=False),
            ),
            models.Index(
                fields=["consent_notice_due_at"],
                name="token_consent_notice_due",
                condition=models.Q(consent_notice_due_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"token of {self.connection_id}"

    def is_expired(self, now: datetime) -> bool:
        """Whether its known lifetime is over at `now`."""
        return self.expires_at is not None and self.expires_at <= now

    def ends_at(self, max_age: timedelta | None) -> datetime | None:
        """Until when it may be handed out: its own end, or that of the age its workspace allows, if that is earlier."""
        if max_age is None:
            return self.expires_at
        too_old_at = self.issued_at + max_age
        return too_old_at if self.expires_at is None else min(self.expires_at, too_old_at)

    def is_over(self, now: datetime, max_age: timedelta | None) -> bool:
        """Whether it must not be handed out at `now`: expired, or older than its workspace allows."""
        end = self.ends_at(max_age)
        return end is not None and end <= now

    @property
    def lifetime(self) -> timedelta | None:
        """How long the provider said it would live; None when it did not say."""
        return None if self.expires_at is None else self.expires_at - self.issued_at

    def open(self) -> TokenSecrets:
        """The secrets. Raises crypto.SealError when they cannot be opened."""
        return TokenSecrets.from_json(self.ciphertext)


def sealed_tokens(connection_id: UUID, workspace_id: UUID, issued: IssuedToken) -> bytes:
    """The ciphertext of a token for its row, for a statement that is written by hand."""
    column = Token._meta.get_field("ciphertext")
    return crypto.seal(issued.secrets.to_json(), column.context_of(workspace_id, connection_id))


def store_tokens(connection_id: UUID, workspace_id: UUID, expected_version: int, issued: IssuedToken) -> bool:
    """Replace a token if its version is still the expected one; False when another answer came first.

    The fence covers the columns of this row only; `extra` is saved later and may be lost.
    """
    fenced: SealedQuerySet = Token.objects.filter(version=expected_version)
    return fenced.replace_sealed(
        workspace_id=workspace_id,
        pk=connection_id,
        plaintexts={"ciphertext": issued.secrets.to_json()},
        version=models.F("version") + 1,
        has_refresh_token=issued.secrets.refresh_token is not None,
        issued_at=issued.issued_at,
        expires_at=issued.expires_at,
        refresh_token_expires_at=issued.refresh_token_expires_at,
        refresh_token_end_moves=issued.refresh_token_end_moves,
        consent_ends_at=issued.consent_ends_at,
        consent_notice_due_at=issued.consent_notice_due_at,
    )


class TokenSchedule(models.Model):
    """When the token is due, and who is renewing it now."""

    connection = models.OneToOneField(Connection, primary_key=True, on_delete=models.CASCADE, related_name="schedule")
    refresh_due_at = models.DateTimeField(null=True)  # null: nothing to renew, or a person is needed
    lease_id = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    # When somebody saw that the lease had run out; counts only after `lease_until` (see connections.lost).
    suspected_at = models.DateTimeField(null=True)
    # The token's version of which nobody knows whether it was renewed: whoever was renewing it was stopped.
    unknown_version = models.PositiveIntegerField(null=True)
    attempts = models.PositiveIntegerField(default=0)  # failures in a row, for the backoff
    last_attempt_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            # The claim: due rows, oldest first. Partial, so that it holds only rows that will ever be due.
            models.Index(
                fields=["refresh_due_at"],
                name="schedule_due",
                condition=models.Q(refresh_due_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"schedule of {self.connection_id}"
