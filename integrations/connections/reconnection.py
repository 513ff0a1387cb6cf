"""Asking a person to consent again, although the provider has not."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from integrations.clock import start_clock
from integrations.connections.policies import ERROR_FIELDS, note_error
from integrations.models import Connection, ConnectionState, GrantType, Token, TokenSchedule
from integrations.notices import notice_of_connection
from integrations.oauth.errors import DeadGrant
from workspaces.audit import Actor, AuditAction, record


def require_reconnection(connection: Connection, *, actor: Actor, now: datetime | None = None) -> bool:
    """Stop a connection until a person consents again; False where nobody can (client_credentials, no token).

    The token stays, unserved, to be revoked by a disconnect. Its version rises, so that the answer of a refresh under
    way does not bring the connection back.
    """
    moment = start_clock(now).now()
    if connection.integration.grant_type != GrantType.AUTHORIZATION_CODE:
        return False
    with transaction.atomic():
        if not Token.objects.filter(pk=connection.pk).update(version=F("version") + 1):
            return False
        TokenSchedule.objects.filter(pk=connection.pk).update(
            refresh_due_at=None, lease_id=None, lease_until=None, attempts=0
        )
        current = Connection.objects.select_related("integration").get(pk=connection.pk)
        before, current.state = current.state, ConnectionState.RECONNECT_REQUIRED
        note_error(current, DeadGrant("required_by_operator"), moment)
        current.save(update_fields=["state", "updated_at", *ERROR_FIELDS])
        notice_of_connection(
            current,
            before,
            at=moment,
            code=current.last_error_code,
            message=current.last_error_message,
            reference=current.last_error_reference,
        )
        detail = {"code": "required_by_operator"}
        action = AuditAction.CONNECTION_RECONNECT_REQUIRED
        record(current.workspace_id, action, actor, target=current, detail=detail)
    return True
