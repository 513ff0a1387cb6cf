"""After the call: what a provider's answer does to the rows. Uses the database and never the network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from integrations.connections.commits import AWAY
from integrations.connections.parties import after_answer
from integrations.connections.policies import ERROR_FIELDS, clear_error, recover_integration
from integrations.connections.quick_apply import store_healthy
from integrations.connections.renewal import Applied, Job, Renewed
from integrations.crypto import SealError
from integrations.models import Connection, ConnectionState, Token, TokenSchedule, store_tokens
from integrations.notices import notice_of_connection
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import Actor, AuditAction, record

logger = logging.getLogger(__name__)


def apply_renewal(renewed: Renewed, *, now: datetime, actor: Actor) -> Applied:
    """Store an answer in one transaction, fenced by the token's version.

    May be called again with the same answer when it is unknown whether the first commit arrived.
    """
    if apply_together([renewed], now=now, actor=actor):
        return Applied.STORED
    return _apply_step_by_step(renewed, now, actor)


def apply_together(renewals: Sequence[Renewed], *, now: datetime, actor: Actor) -> set[UUID]:
    """Store those of many answers that are of connections without trouble, in one transaction; returns their ids.

    The others are as they were before, for `apply_renewal`.
    """
    named = [renewed for renewed in renewals if renewed.label]  # not in files of older releases
    try:
        return store_healthy(named, now=now, actor=actor) if named else set()
    except AWAY:
        raise
    except Exception:
        # Nothing of it was stored. What one row has that the short way cannot take, the general way may.
        logger.exception("%d answers could not be stored the short way.", len(named))
        return set()


def _apply_step_by_step(renewed: Renewed, now: datetime, actor: Actor) -> Applied:
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
    before, connection.state = connection.state, ConnectionState.CONNECTED
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
    notice_of_connection(connection, before, at=now)


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
        # The token is stored; what came beside it is worth no failed renewal.
        logger.exception("The extra fields of connection %s could not be stored.", connection.pk)
