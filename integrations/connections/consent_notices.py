"""Telling of consents that end: once some time before, and once when a token has run out with nothing to renew it.

What is to be told next, and when, stands in the token's row (`consent_notice_due_at`) and moves on in the transaction
of the notice: however often and wherever this runs, each is told once.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction

from integrations.clock import start_clock
from integrations.connections.forecast import FORESEEABLE_STATES, because, foreseen, next_notice_at
from integrations.connections.policies import ERROR_FIELDS, note_error
from integrations.connections.status import code_of_end
from integrations.models import Connection, ConnectionState, Token, TokenSchedule
from integrations.notices import notice_of_connection, notice_of_consent_ending
from integrations.oauth.errors import DeadGrant
from workspaces.audit import WORKER, AuditAction, record
from workspaces.models import AuditResult

logger = logging.getLogger(__name__)

BATCH = 200
AFTER_FAILURE = timedelta(hours=1)


def tell_consents_ending(now: datetime | None = None) -> int:
    """Give every notice that is due, in batches; returns how many were given."""
    clock = start_clock(now)
    told = 0
    while True:
        with transaction.atomic():
            found, given = _batch(clock.now())
        told += given
        if found < BATCH:
            return told


def _batch(now: datetime) -> tuple[int, int]:
    """How many rows were due, and how many notices were given. Others who do the same pass over locked rows."""
    rows = Token.objects.filter(consent_notice_due_at__lte=now).order_by("consent_notice_due_at")
    rows = rows.defer("ciphertext", "extra").select_for_update(skip_locked=True, of=("self",))
    tokens = {token.pk: token for token in rows[:BATCH]}
    connections = Connection.objects.filter(pk__in=tokens).select_related("workspace", "integration", "schedule")
    given = 0
    for connection in connections:
        token = tokens[connection.pk]
        connection.token = token
        try:
            with transaction.atomic():
                told, token.consent_notice_due_at = _tell(connection, token, now)
        except Exception:
            # One row that nobody foresaw must not keep the others from being told.
            logger.exception("The end of consent of connection %s could not be told.", connection.pk)
            told, token.consent_notice_due_at = False, now + AFTER_FAILURE
        given += told
    Token.objects.bulk_update(list(tokens.values()), ["consent_notice_due_at"])
    return len(tokens), given


def _tell(connection: Connection, token: Token, now: datetime) -> tuple[bool, datetime | None]:
    """Tell what is true now; whether there was anything to tell, and when to come back."""
    end = foreseen(connection)
    if end is None or connection.state not in FORESEEABLE_STATES:
        return False, None
    if end.at > now:
        words = because(end)
        message = f"{words[0].upper()}{words[1:]}."
        notice_of_consent_ending(connection, end.at, at=now, code=end.reason, message=message)
        return True, next_notice_at(end)
    if next_notice_at(end) is None:
        return False, None  # a renewal has found it out, or will
    if connection.state == ConnectionState.MISCONFIGURED:
        return False, None  # needs somebody already
    _require_consent(connection, token, now)
    return True, None


def _require_consent(connection: Connection, token: Token, now: datetime) -> None:
    before, connection.state = connection.state, ConnectionState.RECONNECT_REQUIRED
    reference = note_error(connection, DeadGrant(code_of_end(token, now)), now)
    connection.save(update_fields=["state", "updated_at", *ERROR_FIELDS])
    TokenSchedule.objects.filter(pk=connection.pk).update(refresh_due_at=None)
    code = connection.last_error_code
    notice_of_connection(
        connection, before, at=now, code=code, message=connection.last_error_message, reference=reference
    )
    record(
        connection.workspace_id,
        AuditAction.CONNECTION_RECONNECT_REQUIRED,
        WORKER,
        target=connection,
        result=AuditResult.FAILED,
        detail={"code": code, "reference": str(reference)},
    )
