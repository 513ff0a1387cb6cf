"""What a failed renewal does: one policy per error class (docs/security.md has the table).

dead grant          a person must consent again; no automatic call ever again
client refused      one alarm for the integration; its siblings wait for an hourly probe or corrected credentials
refused for one     what this connection asks for is refused, or a client of its own: it alone is misconfigured, tried
                    again hourly
throttled           Retry-After binds the token endpoint and client, forced calls too
outage, transient,  degraded: the valid token is served on, backoff
malformed
unknown             the same, until there were too many in a row; then a person is asked to look
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F

from integrations.connections import schedule
from integrations.connections.errors import OUTCOME_UNKNOWN, message_of
from integrations.connections.lease import Lease, release
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    NoticeKind,
    ProviderPause,
    Token,
    TokenSchedule,
)
from integrations.notices import notice_of_connection, notice_of_integration
from integrations.oauth.errors import (
    ClientRefused,
    ConfigurationRefused,
    DeadGrant,
    InteractionRequired,
    OAuthError,
    Throttled,
    UnknownRefusal,
)
from workspaces.audit import WORKER, Actor, AuditAction, record
from workspaces.models import AuditResult

# Refusals of what one connection asks for, not of the client: its siblings go on.
CONNECTION_LEVEL_CODES = frozenset(
    {"invalid_scope", "invalid_target", "invalid_request", "invalid_resource", "subject_refused"}
)
ERROR_FIELDS = ("last_error_code", "last_error_message", "last_error_at", "last_error_reference")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state a failure leaves a connection in (None: as it was) and the next try by itself (None: never)."""

    state: ConnectionState | None
    due_at: datetime | None


def refuses_client(error: OAuthError, *, own_client: bool = False) -> bool:
    """Whether the provider refuses the client itself, for every connection of the integration.

    `own_client`: the connection brought its client along, so that its siblings have others.
    """
    return isinstance(error, ClientRefused) and error.code not in CONNECTION_LEVEL_CODES and not own_client


def judge(
    error: OAuthError,
    *,
    attempts: int,
    now: datetime,
    own_client: bool = False,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> Verdict:
    """The policy of an error's class. `attempts` counts failures in a row, this one included."""
    probe_at = now + schedule.PROBE_EVERY
    if isinstance(error, DeadGrant):
        return Verdict(ConnectionState.RECONNECT_REQUIRED, None)
    if refuses_client(error, own_client=own_client):
        return Verdict(None, probe_at)
    if isinstance(error, ClientRefused | ConfigurationRefused):
        return Verdict(ConnectionState.MISCONFIGURED, probe_at)
    if isinstance(error, UnknownRefusal) and attempts >= schedule.UNKNOWN_CAP:
        return Verdict(ConnectionState.MISCONFIGURED, probe_at)
    if (pause := pause_of(error)) is not None:
        return Verdict(ConnectionState.DEGRADED, schedule.after_pause(now + pause, rng))
    return Verdict(ConnectionState.DEGRADED, now + schedule.backoff(attempts, rng))


def as_known(error: OAuthError, *, outcome_unknown: bool) -> OAuthError:
    """The same error, told as what it is: a grant that died after an interrupted renewal most likely died of that."""
    if not outcome_unknown or not isinstance(error, DeadGrant) or isinstance(error, InteractionRequired):
        return error
    return DeadGrant(OUTCOME_UNKNOWN, error.description, error.uri, status=error.status)


def pause_of(error: OAuthError) -> timedelta | None:
    """How long the provider asked to be left alone; a throttled answer without Retry-After means a minute."""
    if error.retry_after is not None:
        return timedelta(seconds=error.retry_after)
    return schedule.DEFAULT_PAUSE if isinstance(error, Throttled) else None


def apply_failure(
    connection: Connection,
    lease: Lease | None,
    version: int,
    error: OAuthError,
    *,
    now: datetime,
    pause_key: str = "",
    own_client: bool = False,
    actor: Actor = WORKER,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> bool:
    """Apply the policy in one transaction; False when the row has moved on meanwhile and the verdict is void.

    The row is read again first: `invalid_grant` may only mean that somebody else has rotated the token.
    """
    with transaction.atomic():
        if (pause := pause_of(error)) is not None and pause_key:
            pause_provider(pause_key, now + pause, error.code)
        token = Token.objects.select_for_update().filter(pk=connection.pk).only("version").first()
        if token is None or token.version != version:
            if lease is not None:
                release(lease)
            return False
        schedule_row = TokenSchedule.objects.filter(pk=connection.pk)
        schedule_row.update(attempts=F("attempts") + 1, last_attempt_at=now, lease_id=None, lease_until=None)
        attempts = schedule_row.values_list("attempts", flat=True).get()
        verdict = judge(error, attempts=attempts, now=now, own_client=own_client, rng=rng)
        schedule_row.update(refresh_due_at=verdict.due_at)
        current = Connection.objects.select_related("integration").get(pk=connection.pk)
        for_all = refuses_client(error, own_client=own_client)
        if for_all:
            refuse_client(current.integration, error, now=now, actor=actor)
        _mark_failed(current, verdict, error, now=now, actor=actor, tell=not for_all)
    return True


def _mark_failed(
    connection: Connection, verdict: Verdict, error: OAuthError, *, now: datetime, actor: Actor, tell: bool
) -> None:
    """Write the error and, when it is news that nobody was told yet, its event and its notice."""
    before = connection.state
    is_news = connection.last_error_code != error.code or verdict.state not in (None, connection.state)
    if verdict.state is not None:
        connection.state = verdict.state
    note_error(connection, error, now)
    connection.save(update_fields=["state", "updated_at", *ERROR_FIELDS])
    if not (is_news and tell):
        return
    notice_of_connection(
        connection,
        before,
        at=now,
        code=connection.last_error_code,
        message=connection.last_error_message,
        reference=connection.last_error_reference,
    )
    dead = verdict.state == ConnectionState.RECONNECT_REQUIRED
    record(
        connection.workspace_id,
        AuditAction.CONNECTION_RECONNECT_REQUIRED if dead else AuditAction.CONNECTION_REFRESH_FAILED,
        actor,
        target=connection,
        result=AuditResult.FAILED,
        detail={"code": error.code, "reference": str(connection.last_error_reference)},
    )


def note_error(connection: Connection, error: OAuthError, now: datetime) -> UUID:
    """Set the last error on the instance; returns its reference."""
    connection.last_error_code = error.code[:64]
    connection.last_error_message = message_of(error)[:500]
    connection.last_error_at = now
    connection.last_error_reference = uuid.uuid4()
    return connection.last_error_reference


def clear_error(connection: Connection) -> None:
    """Forget the last error on the instance."""
    connection.last_error_code = connection.last_error_message = ""
    connection.last_error_at = connection.last_error_reference = None


def refuse_client(integration: Integration, error: OAuthError, *, now: datetime, actor: Actor) -> None:
    """Raise the alarm of a refused client, once: later refusals only move the next probe."""
    news = {
        "client_error_code": error.code[:64],
        "client_error_message": message_of(error)[:500],
        "client_error_at": now,
        "next_probe_at": now + schedule.PROBE_EVERY,
    }
    if Integration.objects.filter(pk=integration.pk, client_error_code="").update(**news):
        notice_of_integration(integration, NoticeKind.MISCONFIGURED, at=now, code=error.code, message=message_of(error))
        record(
            integration.workspace_id,
            AuditAction.INTEGRATION_CLIENT_REFUSED,
            actor,
            target=integration,
            result=AuditResult.FAILED,
            detail={"code": error.code},
        )
    else:
        Integration.objects.filter(pk=integration.pk).update(**news)


def recover_integration(integration: Integration, *, now: datetime, actor: Actor) -> None:
    """The provider accepts the client again: end the alarm and let the held siblings go at once."""
    if not integration.client_error_code:
        return
    refused = Integration.objects.filter(pk=integration.pk).exclude(client_error_code="")
    if not refused.update(client_error_code="", client_error_message="", client_error_at=None, next_probe_at=None):
        return
    # Whoever was held is due at the latest probe; those due by then anyway are renewed a little early.
    within_a_probe = now + schedule.PROBE_EVERY + timedelta(minutes=1)
    siblings = TokenSchedule.objects.filter(connection__integration=integration, lease_id__isnull=True)
    siblings.filter(refresh_due_at__gt=now, refresh_due_at__lte=within_a_probe).update(refresh_due_at=now)
    notice_of_integration(integration, NoticeKind.RECOVERED, at=now)
    record(integration.workspace_id, AuditAction.INTEGRATION_RECOVERED, actor, target=integration)


def pause_provider(key: str, until: datetime, code: str) -> None:
    """Remember a Retry-After; a longer one that stands already is kept."""
    pause, made = ProviderPause.objects.get_or_create(key=key, defaults={"until": until, "code": code[:64]})
    if not made and pause.until < until:
        ProviderPause.objects.filter(pk=key, until__lt=until).update(until=until, code=code[:64])
