"""Before the call: whether a leased connection may be renewed now; what may not is given back with its next time.

Uses the database and never the network.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from integrations.connections import breaker, schedule
from integrations.connections.choices import ChosenScopes
from integrations.connections.errors import OUTCOME_UNKNOWN, PROVIDER_OUTAGE, message_of, sentence
from integrations.connections.lease import Lease, release
from integrations.connections.parties import Known, Parties, parties_of
from integrations.connections.policies import apply_failure, pause_of, refuses_client
from integrations.connections.renewal import Held, Job
from integrations.crypto import SealError
from integrations.models import (
    Connection,
    ConnectionState,
    GrantType,
    Integration,
    ProviderOutage,
    ProviderPause,
    Token,
    TokenSchedule,
)
from integrations.oauth.errors import ConfigurationRefused, OAuthError
from workspaces.audit import WORKER, AuditAction, record
from workspaces.models import AuditResult

logger = logging.getLogger(__name__)

RENEWABLE_STATES = (ConnectionState.CONNECTED, ConnectionState.DEGRADED, ConnectionState.MISCONFIGURED)


def load(connection_ids: list[UUID]) -> dict[UUID, Connection]:
    """Load connections with all that a renewal needs, in two queries.

    Those of one integration share its instance: it is made, and its secrets are opened, once.
    """
    rows = Connection.objects.filter(pk__in=connection_ids).select_related("token", "schedule").defer("token__extra")
    loaded = {row.pk: row for row in rows}
    integrations = Integration.objects.select_related("workspace").in_bulk({row.integration_id for row in rows})
    for row in rows:
        if (integration := integrations.get(row.integration_id)) is None:  # deleted this moment, with the connection
            del loaded[row.pk]
        else:
            row.integration, row.workspace = integration, integration.workspace
    return loaded


@dataclass(slots=True)
class Barriers:
    """What keeps calls from being made for a while: pauses that providers asked for, outages, and refused clients.

    Which clients are refused stands with each integration as it was loaded; here are those that were found since.
    """

    pauses: dict[str, datetime] = field(default_factory=dict)
    outages: dict[str, ProviderOutage] = field(default_factory=dict)
    refused: dict[UUID, str] = field(default_factory=dict)

    @classmethod
    def load(cls, now: datetime, workspace_id: UUID | None = None) -> Barriers:
        """All there are now; outages of one workspace only, if it is given."""
        pauses = dict(ProviderPause.objects.filter(until__gt=now).values_list("key", "until"))
        return cls(pauses, breaker.load_outages(workspace_id))

    def learn(self, job: Job, error: OAuthError, now: datetime) -> bool:
        """Whether one answer has put up a barrier that calls which wait already must not pass."""
        learnt = False
        if (pause := pause_of(error)) is not None:
            until = max(now + pause, self.pauses.get(job.parties.pause_key, now))
            learnt = self.pauses.get(job.parties.pause_key) != until
            self.pauses[job.parties.pause_key] = until
        if refuses_client(error, own_client=job.parties.spec.asks_credentials):
            learnt = learnt or job.integration.pk not in self.refused
            self.refused[job.integration.pk] = error.code
        key = breaker.Place.of(job.integration, job.parties).key
        if not breaker.counts(error) or self._is_open(key):
            return learnt
        if (outage := ProviderOutage.objects.filter(key=key, opened_at__isnull=False).first()) is not None:
            self.outages[key], learnt = outage, True
        return learnt

    def _is_open(self, key: str) -> bool:
        return key in self.outages and self.outages[key].opened_at is not None

    def hold(self, job: Job, now: datetime) -> Held | None:
        """Give a job that waits back if a barrier stands in its way by now."""
        if (code := self.refused.get(job.integration.pk)) is not None:
            return _hold(job.connection, job.lease, code, schedule.after_pause(now + schedule.PROBE_EVERY))
        return _hold_while_paused(job.connection, job.parties, job.lease, self, now) or _hold_for_outage(
            job.connection, job.parties, job.lease, self, now
        )


def prepare(
    connection: Connection,
    lease: Lease,
    barriers: Barriers,
    now: datetime,
    *,
    forced: bool,
    known: Known | None = None,
) -> Job | Held:
    """Decide whether a leased connection may be renewed now; whatever is held is given back with its next time.

    A forced renewal goes past backoff, a refused client and an outage, but never past a provider's Retry-After.
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
        parties = parties_of(connection.integration, connection, known=known)
    except ConfigurationRefused as error:
        apply_failure(connection, lease, token.version, error, now=now)
        return Held(error.code, message_of(error))
    if (held := _hold_while_paused(connection, parties, lease, barriers, now)) is not None:
        return held
    if (held := _hold_until_expiry(connection, token, parties, lease, now)) is not None:
        return held
    if not forced and (held := _hold_for_refused_client(connection, lease, now)):
        return held
    if not forced and (held := _hold_for_outage(connection, parties, lease, barriers, now)):
        return held
    if lease.outcome_unknown and token.has_refresh_token:
        _note_unknown_outcome(connection, token.version)
    unknown = connection.schedule.unknown_version == token.version
    return Job(lease, connection, parties, token.version, _scopes(connection, parties), secrets, unknown)


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


def _note_unknown_outcome(connection: Connection, version: int) -> None:
    """Whoever had the lease was stopped without an outcome: the provider may have renewed this very token.

    Noted by the token's version, so that the note ends by itself with the next token.
    """
    row = connection.schedule
    if row.unknown_version == version:
        return
    row.unknown_version = version
    with transaction.atomic():
        TokenSchedule.objects.filter(pk=connection.pk).update(unknown_version=version)
        record(
            connection.workspace_id,
            AuditAction.CONNECTION_REFRESH_INTERRUPTED,
            WORKER,
            target=connection,
            result=AuditResult.FAILED,
            detail={"code": OUTCOME_UNKNOWN},
        )


def _stop(lease: Lease, code: str) -> Held:
    """Give the lease back; nothing happens by itself any more."""
    held = TokenSchedule.objects.filter(pk=lease.connection_id, lease_id=lease.lease_id)
    held.update(lease_id=None, lease_until=None, refresh_due_at=None)
    return Held(code, sentence(code))


def _hold(
    connection: Connection, lease: Lease, code: str, not_before: datetime, retry_after: int | None = None
) -> Held:
    """Give the lease back; the schedule may only move later, and is not made where there is none."""
    scheduled = lease.due_without_it(connection.schedule)
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


def _hold_while_paused(
    connection: Connection, parties: Parties, lease: Lease, barriers: Barriers, now: datetime
) -> Held | None:
    until = barriers.pauses.get(parties.pause_key)
    if until is None or until <= now:
        return None
    return _hold(connection, lease, "throttled", schedule.after_pause(until), seconds_until(until, now))


def _hold_for_outage(
    connection: Connection, parties: Parties, lease: Lease, barriers: Barriers, now: datetime
) -> Held | None:
    """While the provider does not answer, one call an interval is let through as a probe."""
    outage = barriers.outages.get(breaker.Place.of(connection.integration, parties).key)
    if outage is None or outage.next_probe_at is None or breaker.may_probe(outage, now):
        return None
    # Somebody else may have taken the probe since the outage was read.
    waits_until = outage.next_probe_at if outage.next_probe_at > now else now + breaker.FIRST_PROBE
    return _hold(connection, lease, PROVIDER_OUTAGE, schedule.after_pause(waits_until), seconds_until(waits_until, now))


def _scopes(connection: Connection, parties: Parties) -> tuple[str, ...]:
    if connection.integration.grant_type != GrantType.CLIENT_CREDENTIALS:
        return ()  # a refresh without scopes keeps what was granted (RFC 6749 §6)
    return ChosenScopes.of(connection, parties.spec).requested(parties.spec, connection.integration)
