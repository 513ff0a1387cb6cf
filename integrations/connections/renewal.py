"""One renewal: what is prepared before the call, the call itself, and what its answer does to the rows.

`prepare` and the `apply_…` functions use the database and never the network; `call` uses the network and never the
database. So no connection, lock or transaction is held while a provider thinks.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from integrations.clock import Clock
from integrations.connections import schedule
from integrations.connections.choices import ChosenScopes
from integrations.connections.errors import message_of, sentence
from integrations.connections.lease import Lease, release
from integrations.connections.parties import Parties, after_answer, parties_of, type_Specs
from integrations.connections.policies import ERROR_FIELDS, apply_failure, clear_error, recover_integration
from integrations.crypto import SealError
from integrations.models import (
    Connection,
    ConnectionState,
    GrantType,
    Integration,
    IssuedToken,
    ProviderPause,
    Token,
    TokenSchedule,
    TokenSecrets,
    store_tokens,
)
from integrations.oauth.errors import ConfigurationRefused, DeadGrant, TransientFailure
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound
from workspaces.audit import Actor, AuditAction, record

logger = logging.getLogger(__name__)

# How far a provider's clock may be behind ours.
CLOCK_SKEW = timedelta(minutes=5)
RENEWABLE_STATES = (ConnectionState.CONNECTED, ConnectionState.DEGRADED, ConnectionState.MISCONFIGURED)


@dataclass(frozen=True, slots=True)
class Job:
    """One call that may be made now."""

    lease: Lease
    connection: Connection
    parties: Parties
    version: int
    scopes: tuple[str, ...]
    secrets: TokenSecrets = field(repr=False)

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


# --- before the call ------------------------------------------------------------------------------------
def load(connection_ids: list[UUID]) -> dict[UUID, Connection]:
    """Load connections with all that a renewal needs, in one query."""
    rows = Connection.objects.filter(pk__in=connection_ids).select_related(
        "workspace", "integration", "integration__workspace", "token", "schedule"
    )
    return {row.pk: row for row in rows}


def active_pauses(now: datetime) -> dict[str, datetime]:
    """Every pause that a provider asked for and that is not over."""
    return dict(ProviderPause.objects.filter(until__gt=now).values_list("key", "until"))


def prepare(
    connection: Connection,
    lease: Lease,
    pauses: Mapping[str, datetime],
    now: datetime,
    *,
    forced: bool,
    specs: type_Specs | None = None,
) -> Job | Held:
    """Decide whether a leased connection may be renewed now; whatever is held is given back with its next time.

    A forced renewal goes past backoff and past a refused client, but never past a provider's Retry-After.
    """
    token: Token | None = getattr(connection, "token", None)
    if (reason := why_not_renewable(connection)) is not None or token is None:
        return _stop(lease, reason or "not_connected")
    try:
        secrets = token.open()
    except SealError:
        logger.error("The token of connection %s cannot be decrypted; it is left alone.", connection.pk)
        return _hold(connection, lease, "undecryptable", now + schedule.PROBE_EVERY)
    try:
        parties = parties_of(connection.integration, connection, specs=specs)
    except ConfigurationRefused as error:
        apply_failure(connection, lease, token.version, error, now=now)
        return Held(error.code, message_of(error))
    if (until := pauses.get(parties.pause_key)) is not None and until > now:
        retry_after = seconds_until(until, now)
        return _hold(connection, lease, "throttled", schedule.after_pause(until), retry_after)
    if (held := _hold_until_expiry(connection, token, parties, lease, now)) is not None:
        return held
    if not forced and (held := _hold_for_refused_client(connection, lease, now)):
        return held
    scopes = _scopes(connection, parties)
    return Job(lease, connection, parties, token.version, scopes, secrets)


def why_not_renewable(connection: Connection) -> str | None:
    """The code that says why no call without a person can bring a new token; None when one can."""
    token: Token | None = getattr(connection, "token", None)
    if connection.state == ConnectionState.RECONNECT_REQUIRED:
        return "reconnect_required"
    if token is None or connection.state not in RENEWABLE_STATES:
        return "not_connected"
    if token.has_refresh_token or connection.integration.grant_type == GrantType.CLIENT_CREDENTIALS:
        return None
    return "nothing_to_refresh"


def seconds_until(moment: datetime, now: datetime) -> int:
    """Whole seconds, at least one, for Retry-After."""
    return max(1, -int(-(moment - now).total_seconds() // 1))


def _stop(lease: Lease, code: str) -> Held:
    """Give the lease back; nothing happens by itself any more."""
    held = TokenSchedule.objects.filter(pk=lease.connection_id, lease_id=lease.lease_id)
    held.update(lease_id=None, lease_until=None, refresh_due_at=None)
    return Held(code, sentence(code))


def _hold(
    connection: Connection, lease: Lease, code: str, not_before: datetime, retry_after: int | None = None
) -> Held:
    """Give the lease back; the schedule may only move later, and is not made where there is none."""
    scheduled = connection.schedule.refresh_due_at
    release(lease, due_at=None if scheduled is None else max(scheduled, not_before))
    return Held(code, sentence(code), retry_after)


def _hold_until_expiry(
    connection: Connection, token: Token, parties: Parties, lease: Lease, now: datetime
) -> Held | None:
    """Some providers refuse to renew what still lives, as if the grant were dead: nobody asks them before its time."""
    expires_at = token.expires_at
    if not parties.spec.refuses_early_refresh or expires_at is None or expires_at <= now:
        return None
    return _hold(connection, lease, "too_early", expires_at, seconds_until(expires_at, now))


def _hold_for_refused_client(connection: Connection, lease: Lease, now: datetime) -> Held | None:
    """While the provider refuses the client, one connection an hour is let through as a probe."""
    integration = connection.integration
    if not integration.client_error_code:
        return None
    probe_due = Q(next_probe_at__isnull=True) | Q(next_probe_at__lte=now)
    next_probe_at = now + schedule.PROBE_EVERY
    if Integration.objects.filter(probe_due, pk=integration.pk).update(next_probe_at=next_probe_at):
        return None
    waits_until = max(integration.next_probe_at or next_probe_at, now)
    return _hold(connection, lease, integration.client_error_code, schedule.after_pause(waits_until))


def _scopes(connection: Connection, parties: Parties) -> tuple[str, ...]:
    if connection.integration.grant_type != GrantType.CLIENT_CREDENTIALS:
        return ()  # a refresh without scopes keeps what was granted (RFC 6749 §6)
    return ChosenScopes.of(connection, parties.spec).requested(parties.spec, connection.integration)


# --- the call -------------------------------------------------------------------------------------------
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
    )


# --- after the call -------------------------------------------------------------------------------------
def apply_renewal(renewed: Renewed, *, now: datetime, actor: Actor) -> Applied:
    """Store an answer in one transaction, fenced by the token's version.

    May be called again with the same answer when it is unknown whether the first commit arrived.
    """
    with transaction.atomic():
        if not store_tokens(renewed.connection_id, renewed.workspace_id, renewed.version, renewed.issued):
            return _why_not_stored(renewed)
        TokenSchedule.objects.filter(pk=renewed.connection_id).update(
            refresh_due_at=renewed.due_at, lease_id=None, lease_until=None, attempts=0, last_attempt_at=now
        )
        connection = Connection.objects.select_related("integration").get(pk=renewed.connection_id)
        _mark_renewed(connection, renewed, now)
        recover_integration(connection.integration, now=now, actor=actor)
        detail = {"duration_ms": renewed.duration_ms}
        record(renewed.workspace_id, AuditAction.CONNECTION_REFRESHED, actor, target=connection, detail=detail)
    return Applied.STORED


def _mark_renewed(connection: Connection, renewed: Renewed, now: datetime) -> None:
    connection.state = ConnectionState.CONNECTED
    connection.last_refreshed_at = now
    clear_error(connection)
    if renewed.requested_scopes is not None:
        connection.requested_scopes = renewed.requested_scopes
    if renewed.granted_scopes is not None:
        connection.granted_scopes = renewed.granted_scopes
    connection.save(
        update_fields=[
            "state", "last_refreshed_at", "requested_scopes", "granted_scopes", "updated_at", *ERROR_FIELDS
        ]
    )  # fmt: skip


def _why_not_stored(renewed: Renewed) -> Applied:
    token = Token.objects.filter(pk=renewed.connection_id).first()
    if token is None:
        return Applied.GONE
    try:
        ours = token.open().access_token == renewed.issued.secrets.access_token
    except SealError:
        ours = False
    # Ours already: the first commit arrived, only its confirmation was lost.
    return Applied.STORED if ours else Applied.SUPERSEDED


def save_metadata(job: Job, answer: TokenResponse) -> None:
    """Follow a provider that tells another host or id than before; what does not fit leaves the old one."""
    if not job.parties.spec.metadata:
        return
    _, kept = after_answer(job.parties, job.integration, job.connection.metadata, answer)
    if kept != job.connection.metadata:
        Connection.objects.filter(pk=job.connection.pk).update(metadata=kept)


def save_extra(renewed_version: int, connection: Connection, extra: Mapping[str, Any]) -> None:
    """Keep the answer's other fields, after the tokens: a failure here costs nothing but them."""
    extra = {name: value for name, value in extra.items() if name != "token_type"}  # kept with the token
    if not extra:
        return
    try:
        with transaction.atomic():
            Token.objects.filter(version=renewed_version + 1).replace_sealed(
                workspace_id=connection.workspace_id, pk=connection.pk, plaintexts={"extra": json.dumps(dict(extra))}
            )
    except Exception:
        logger.exception("The extra fields of connection %s could not be stored.", connection.pk)
