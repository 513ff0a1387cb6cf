"""Before the call: whether a leased connection may be renewed now; what may not is given back with its next time.

Uses the database and never the network.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from integrations.connections import schedule
from integrations.connections.choices import ChosenScopes
from integrations.connections.errors import OUTCOME_UNKNOWN, message_of, sentence
from integrations.connections.lease import Lease, release
from integrations.connections.parties import Known, Parties, parties_of
from integrations.connections.policies import apply_failure
from integrations.connections.renewal import Held, Job
from integrations.crypto import SealError
from integrations.models import (
    Connection,
    ConnectionState,
    GrantType,
    Integration,
    ProviderPause,
    Token,
    TokenSchedule,
)
from integrations.oauth.errors import ConfigurationRefused
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
    known: Known | None = None,
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
        parties = parties_of(connection.integration, connection, known=known)
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


def _scopes(connection: Connection, parties: Parties) -> tuple[str, ...]:
    if connection.integration.grant_type != GrantType.CLIENT_CREDENTIALS:
        return ()  # a refresh without scopes keeps what was granted (RFC 6749 §6)
    return ChosenScopes.of(connection, parties.spec).requested(parties.spec, connection.integration)
