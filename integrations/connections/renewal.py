"""One renewal: its values, and the call itself, which uses the network and never the database.

`preparing` decides what may be called, `applying` stores what came of it: so no connection, lock or transaction is
held while a provider thinks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from integrations.clock import Clock
from integrations.connections import schedule
from integrations.connections.forecast import (
    ConsentEnd,
    RefreshTokenEnd,
    consent_end,
    end_to_keep_off,
    notice_due_at,
    refresh_token_end,
)
from integrations.connections.lease import Lease
from integrations.connections.parties import Parties
from integrations.models import Connection, GrantType, Integration, IssuedToken, Token, TokenSecrets
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


def issued_token(
    answer: TokenResponse,
    issued_at: datetime,
    *,
    connection_id: UUID,
    grant_type: str,
    rules: schedule.Rules,
    before: Token | None = None,
    rotated: bool = True,
) -> tuple[IssuedToken, datetime | None]:
    """A provider's answer as it is stored, and when the schedule renews it.

    `before` is the token that was renewed, None at a consent; `rotated` says whether its refresh token was replaced.
    """
    lives = answer.refresh_token_expires_in
    refresh_token = RefreshTokenEnd(None)
    if answer.refresh_token is not None:
        refresh_token = refresh_token_end(
            issued_at=issued_at,
            named=None if lives is None else timedelta(seconds=lives),
            lifetime=rules.refresh_token_lifetime,
            before=before,
            rotated=rotated,
        )
    due_at, end = planned(
        connection_id,
        grant_type=grant_type,
        issued_at=issued_at,
        expires_at=answer.expires_at,
        has_refresh_token=answer.refresh_token is not None,
        refresh_token=refresh_token,
        rules=rules,
    )
    issued = IssuedToken(
        secrets=TokenSecrets(answer.access_token, answer.refresh_token, answer.token_type),
        issued_at=issued_at,
        expires_at=answer.expires_at,
        refresh_token_expires_at=refresh_token.at,
        refresh_token_end_moves=refresh_token.moves,
        consent_ends_at=None if end is None else end.at,
        consent_notice_due_at=notice_due_at(end, issued_at, before),
    )
    return issued, due_at


def planned(
    connection_id: UUID,
    *,
    grant_type: str,
    issued_at: datetime,
    expires_at: datetime | None,
    has_refresh_token: bool,
    refresh_token: RefreshTokenEnd,
    rules: schedule.Rules,
) -> tuple[datetime | None, ConsentEnd | None]:
    """When the schedule renews a token, and when a person has to consent again; None where there is no such time."""
    renewal = schedule_of(
        connection_id,
        grant_type=grant_type,
        issued_at=issued_at,
        expires_at=expires_at,
        has_refresh_token=has_refresh_token,
        refresh_token=refresh_token,
        rules=rules,
    )
    due_at = None if renewal is None else renewal.at
    end = consent_end(
        grant_type=grant_type,
        issued_at=issued_at,
        expires_at=expires_at,
        has_refresh_token=has_refresh_token,
        refresh_token=refresh_token,
        max_age=rules.max_age,
        renews_at=due_at,
    )
    return due_at, end


def schedule_of(
    connection_id: UUID,
    *,
    grant_type: str,
    issued_at: datetime,
    expires_at: datetime | None,
    has_refresh_token: bool,
    refresh_token: RefreshTokenEnd,
    rules: schedule.Rules,
) -> schedule.Renewal | None:
    """The next renewal of a token; None when nothing calls for one, or there is nothing to renew it with."""
    if grant_type == GrantType.CLIENT_CREDENTIALS:
        rules = replace(rules, refresh_token_idle=None)  # fetched anew: no refresh token is used
        keep_off = None
    elif has_refresh_token:
        keep_off = end_to_keep_off(refresh_token)
    else:
        return None
    return schedule.plan(
        connection_id, issued_at=issued_at, expires_at=expires_at, rules=rules, refresh_token_ends_at=keep_off
    )


def _renewed(job: Job, answer: TokenResponse, requested_at: datetime, duration_ms: int) -> Renewed:
    issued, due_at = issued_token(
        answer,
        requested_at,
        connection_id=job.connection.pk,
        grant_type=job.integration.grant_type,
        rules=schedule.Rules.of(job.parties.spec, job.connection.workspace),
        before=job.connection.token,
        rotated=answer.refresh_token != job.secrets.refresh_token,
    )
    service = job.integration.grant_type == GrantType.CLIENT_CREDENTIALS
    requested = list(job.scopes) if service else job.connection.requested_scopes
    scope = job.parties.provider.granted_scopes(requested, answer)
    granted = list(scope) if scope is not None else (requested if service else None)
    return Renewed(
        connection_id=job.connection.pk,
        workspace_id=job.connection.workspace_id,
        version=job.version,
        issued=issued,
        due_at=due_at,
        requested_scopes=requested if service else None,
        granted_scopes=granted,
        duration_ms=duration_ms,
        label=str(job.connection),
        integration_id=job.integration.pk,
    )
