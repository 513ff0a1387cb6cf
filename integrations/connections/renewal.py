"""One renewal: its values, and the call itself, which uses the network and never the database.

`preparing` decides what may be called, `applying` stores what came of it: so no connection, lock or transaction is
held while a provider thinks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from integrations.clock import Clock
from integrations.connections import schedule
from integrations.connections.lease import Lease
from integrations.connections.parties import Parties
from integrations.models import Connection, GrantType, Integration, IssuedToken, TokenSecrets
from integrations.oauth.errors import DeadGrant, TransientFailure
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound

# How far a provider's clock may be behind ours.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Job:
    """One call that may be made now."""

    lease: Lease
    connection: Connection
    parties: Parties
    version: int
    scopes: tuple[str, ...]
    secrets: TokenSecrets = field(repr=False)
    outcome_unknown: bool = False  # whoever renewed this very token before was stopped, and may have used it up

    @property
    def integration(self) -> Integration:
        """Under which the connection was made."""
        return self.connection.integration


@dataclass(frozen=True, slots=True)
class Held:
    """No call now, and why."""

    code: str
    message: str
    retry_after: int | None = None


class Applied(StrEnum):
    """What became of an answer."""

    STORED = "stored"
    SUPERSEDED = "superseded"  # another answer came first, or a person reconnected
    GONE = "gone"  # disconnected or deleted during the call


@dataclass(frozen=True, slots=True)
class Renewed:
    """An answer on its way into the database: all that a commit needs, so that it can wait in memory or in a file."""

    connection_id: UUID
    workspace_id: UUID
    version: int
    issued: IssuedToken
    due_at: datetime | None
    requested_scopes: list[str] | None
    granted_scopes: list[str] | None
    duration_ms: int = 0
    label: str = ""  # the connection's name in the audit event
    integration_id: UUID | None = None  # None in files of earlier releases


def call(job: Job, clock: Clock) -> tuple[Renewed, TokenResponse]:
    """Ask the provider for a new token. Uses no database. Raises OAuthError."""
    started = time.perf_counter()
    http = outbound.session(outbound.TOKEN)
    requested_at = clock.now()
    provider, server, client = job.parties.provider, job.parties.server, job.parties.client
    if job.integration.grant_type == GrantType.CLIENT_CREDENTIALS:
        answer = provider.fetch_token(
            http, server, client, scopes=job.scopes, values=job.parties.values, now=requested_at
        )
    else:
        answer = _refresh(job, http, requested_at)
    duration_ms = round((time.perf_counter() - started) * 1000)
    return _renewed(job, answer, requested_at, duration_ms), answer


def _refresh(job: Job, http: HTTPClient, now: datetime) -> TokenResponse:
    """Use the refresh token. Raises OAuthError.

    Just after expiry, by our clock, a provider that refuses early refreshes may still take the token for alive: what
    looks like a dead grant is tried again then.
    """
    provider, server, client = job.parties.provider, job.parties.server, job.parties.client
    try:
        return provider.refresh_token(http, server, client, refresh_token=job.secrets.refresh_token or "", now=now)
    except DeadGrant as error:
        expires_at = job.connection.token.expires_at
        if job.parties.spec.refuses_early_refresh and expires_at is not None and now < expires_at + CLOCK_SKEW:
            raise TransientFailure("too_early", error.description, status=error.status) from error
        raise


def issued_token(answer: TokenResponse, issued_at: datetime) -> IssuedToken:
    """A provider's answer as it is stored."""
    lives = answer.refresh_token_expires_in
    return IssuedToken(
        secrets=TokenSecrets(answer.access_token, answer.refresh_token, answer.token_type),
        issued_at=issued_at,
        expires_at=answer.expires_at,
        refresh_token_expires_at=None if lives is None else issued_at + timedelta(seconds=lives),
    )


def due_at_for(connection_id: UUID, issued: IssuedToken, parties: Parties, grant_type: str) -> datetime | None:
    """When the schedule renews a token; None without a lifetime, or without anything to renew it with."""
    if issued.secrets.refresh_token is None and grant_type != GrantType.CLIENT_CREDENTIALS:
        return None
    return schedule.due_at(
        connection_id, issued_at=issued.issued_at, expires_at=issued.expires_at, provider_margin=parties.margin
    )


def _renewed(job: Job, answer: TokenResponse, requested_at: datetime, duration_ms: int) -> Renewed:
    issued = issued_token(answer, requested_at)
    service = job.integration.grant_type == GrantType.CLIENT_CREDENTIALS
    requested = list(job.scopes) if service else job.connection.requested_scopes
    scope = job.parties.provider.granted_scopes(requested, answer)
    granted = list(scope) if scope is not None else (requested if service else None)
    return Renewed(
        connection_id=job.connection.pk,
        workspace_id=job.connection.workspace_id,
        version=job.version,
        issued=issued,
        due_at=due_at_for(job.connection.pk, issued, job.parties, job.integration.grant_type),
        requested_scopes=requested if service else None,
        granted_scopes=granted,
        duration_ms=duration_ms,
        label=str(job.connection),
        integration_id=job.integration.pk,
    )
