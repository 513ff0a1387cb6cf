"""The only writer of notices: what begins or ends in the health of a connection or an integration, told once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from integrations.models import Connection, ConnectionState, Integration, Notice, NoticeKind
from integrations.wake import wake_webhooks

_OF_STATE = {
    ConnectionState.DEGRADED: NoticeKind.DEGRADED,
    ConnectionState.MISCONFIGURED: NoticeKind.MISCONFIGURED,
    ConnectionState.RECONNECT_REQUIRED: NoticeKind.RECONNECT_REQUIRED,
}


def notice_of_connection(
    connection: Connection,
    before: str,
    *,
    at: datetime,
    code: str = "",
    message: str = "",
    reference: UUID | None = None,
) -> Notice | None:
    """Tell that a connection's state is now another than `before`; None when that is no news.

    Only trouble that begins, changes or ends is news. Call within the transaction of the change, once the instance has
    its new state.
    """
    state = ConnectionState(connection.state)
    if state == before:
        return None
    kind = _OF_STATE.get(state)
    if kind is None:
        if state != ConnectionState.CONNECTED or before not in _OF_STATE:
            return None
        kind = NoticeKind.RECOVERED
    return _give(
        kind, connection.integration, connection=connection, at=at, code=code, message=message, reference=reference
    )


def notice_of_consent_ending(
    connection: Connection, ends_at: datetime, *, at: datetime, code: str = "", message: str = ""
) -> Notice:
    """Tell that a person has to consent again by `ends_at`, and why. The caller sees to it that this is told once."""
    kind, integration = NoticeKind.CONSENT_EXPIRING, connection.integration
    return _give(kind, integration, connection=connection, at=at, code=code, message=message, ends_at=ends_at)


def notice_of_integration(
    integration: Integration, kind: NoticeKind, *, at: datetime, code: str = "", message: str = ""
) -> Notice:
    """Tell something about all connections of an integration at once: one alarm, however many there are."""
    return _give(kind, integration, at=at, code=code, message=message)


def _give(
    kind: NoticeKind,
    integration: Integration,
    *,
    at: datetime,
    connection: Connection | None = None,
    code: str = "",
    message: str = "",
    reference: UUID | None = None,
    ends_at: datetime | None = None,
) -> Notice:
    wake_webhooks()
    return Notice.objects.create(
        workspace_id=integration.workspace_id,
        kind=kind,
        at=at,
        integration=integration,
        connection=connection,
        provider_id=integration.provider_id,
        grant_type=integration.grant_type,
        connection_name=connection.name if connection is not None else "",
        code=code[:64],
        message=message[:500],
        reference=reference,
        ends_at=ends_at,
    )
