"""A usable access token, for whoever may read it. An expired one is never handed out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from integrations.clock import shared_now
from integrations.connections.commits import AWAY, DatabaseAway
from integrations.connections.errors import (
    MISCONFIGURED,
    NOT_CONNECTED,
    RECONNECT_REQUIRED,
    TEMPORARILY_UNAVAILABLE,
    TokenUnavailable,
    sentence,
)
from integrations.connections.preparing import why_not_renewable
from integrations.connections.refresh import WAIT_FOR_OTHERS_SECONDS, RefreshOutcome, refresh_connection
from integrations.connections.status import code_of_end
from integrations.connections.waiting_room import WaitingRoom
from integrations.crypto import SealError
from integrations.models import Connection, ConnectionStatus, Token, TokenSecrets
from workspaces.audit import Actor, AuditAction, AuditBufferFull, record_soon
from workspaces.models import Workspace

DEFAULT_MIN_TTL = 60
# For a renewal that somebody else is at, while the token still is valid.
WAIT_WITH_VALID_TOKEN_SECONDS = 2.0
AWAY_RETRY_AFTER = 10  # seconds, while the database is away

_room = WaitingRoom()


@dataclass(frozen=True, slots=True)
class UsableToken:
    """What a reader gets. Its repr shows no token.

    `expires_at` is when the token is to be asked for again: its end, or that of the age its workspace allows; None when
    there is neither.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: datetime | None
    scopes: list[str]
    connection_id: UUID
    warning: str | None = None


def find_connection(
    workspace: Workspace, provider_id: str, grant_type: str, name: str | None = None
) -> Connection | None:
    """A connection of the workspace by its integration and name; without a name the default one."""
    rows = Connection.objects.filter(
        workspace=workspace, integration__provider_id=provider_id, integration__grant_type=grant_type
    ).select_related("workspace", "integration", "token", "schedule")
    return rows.filter(is_default=True).first() if name is None else rows.filter(name=name).first()


def usable_token(
    connection: Connection, *, min_ttl: int = DEFAULT_MIN_TTL, actor: Actor, now: datetime | None = None
) -> UsableToken:
    """An access token with at least `min_ttl` seconds to live (at most half its lifetime), renewed first if need be.

    A valid token that cannot be renewed is served with a warning. Raises TokenUnavailable. Readers of a token that
    lives long enough never wait. One that is valid, but not for `min_ttl`, is renewed by the first who asks; whoever
    finds that under way waits for two seconds. Readers of an expired one wait for one renewal, without a database
    connection.
    """
    moment = now or shared_now()
    token = _token_of(connection, moment)
    warning = None
    max_age = connection.workspace.max_token_age
    if not _lives(token, min_ttl, moment, max_age):
        connection, token, warning = _renewed(connection, token, min_ttl, moment, now)
    secrets = _open(token)
    _record(connection, actor, warning)
    return UsableToken(
        access_token=secrets.access_token,
        token_type=secrets.token_type,
        expires_at=token.ends_at(max_age),
        scopes=list(connection.granted_scopes),
        connection_id=connection.pk,
        warning=warning,
    )


def _record(connection: Connection, actor: Actor, warning: str | None) -> None:
    """A read that cannot be recorded is none."""
    try:
        record_soon(
            connection.workspace_id,
            AuditAction.TOKEN_READ,
            actor,
            target_kind="connection",
            target_id=str(connection.pk),
            target_label=str(connection),
            detail={"warning": warning} if warning else None,
        )
    except AuditBufferFull as error:
        words = "Reads cannot be recorded at the moment, so no token is handed out."
        raise TokenUnavailable(TEMPORARILY_UNAVAILABLE, words, retry_after=AWAY_RETRY_AFTER) from error


def _token_of(connection: Connection, now: datetime) -> Token:
    """The stored token, unless the connection's status says that nobody may have it."""
    token: Token | None = getattr(connection, "token", None)
    status = connection.status_at(now)
    if status == ConnectionStatus.RECONNECT_REQUIRED:
        words = connection.last_error_message or sentence(code_of_end(token, now) if token else RECONNECT_REQUIRED)
        raise TokenUnavailable(RECONNECT_REQUIRED, words)
    if token is None or status == ConnectionStatus.CONFIGURED:
        raise TokenUnavailable(NOT_CONNECTED, sentence(NOT_CONNECTED))
    return token


def _open(token: Token) -> TokenSecrets:
    try:
        return token.open()
    except SealError as error:
        raise TokenUnavailable(TEMPORARILY_UNAVAILABLE, sentence("undecryptable"), retry_after=60) from error


def _lives(token: Token, min_ttl: int, now: datetime, max_age: timedelta | None) -> bool:
    """Whether it may be handed out long enough: `min_ttl`, capped at half of the time it may be at all."""
    end = token.ends_at(max_age)
    if end is None:
        return True
    wanted = min(timedelta(seconds=max(min_ttl, 0)), (end - token.issued_at) / 2)
    return now < end and end - now >= wanted


def _renewed(
    connection: Connection, token: Token, min_ttl: int, moment: datetime, now: datetime | None
) -> tuple[Connection, Token, str | None]:
    if why_not_renewable(connection) is not None:
        # Valid still, or `_token_of` would have refused it.
        return connection, token, "The token expires soon and cannot be renewed without a person."
    max_age = connection.workspace.max_token_age
    is_valid = not token.is_over(moment, max_age)
    wait_seconds = WAIT_WITH_VALID_TOKEN_SECONDS if is_valid else WAIT_FOR_OTHERS_SECONDS
    try:
        with _room.place() as has_place:
            if not has_place:
                return connection, token, _sent_away(is_valid)
            outcome = refresh_connection(
                connection.pk, forced=False, now=now, seen_version=token.version, wait_seconds=wait_seconds
            )
    except (DatabaseAway, *AWAY) as error:
        if is_valid and not token.is_over(now or shared_now(), max_age):
            return connection, token, "The token could not be renewed and expires soon. The database is away."
        words = sentence(TEMPORARILY_UNAVAILABLE)
        raise TokenUnavailable(TEMPORARILY_UNAVAILABLE, words, retry_after=AWAY_RETRY_AFTER) from error
    except Connection.DoesNotExist as error:
        raise TokenUnavailable(NOT_CONNECTED, sentence(NOT_CONNECTED)) from error
    renewed = getattr(outcome.connection, "token", None)
    moment = now or shared_now()
    if renewed is None:
        raise TokenUnavailable(NOT_CONNECTED, sentence(NOT_CONNECTED))
    if renewed.is_over(moment, max_age):
        raise _unavailable(outcome, moment)
    if _lives(renewed, min_ttl, moment, max_age):
        return outcome.connection, renewed, None
    if outcome.refreshed:
        return outcome.connection, renewed, "Even a fresh token of this provider does not live as long as asked for."
    return outcome.connection, renewed, f"The token could not be renewed and expires soon. {outcome.message}".strip()


def _sent_away(is_valid: bool) -> str:
    """The warning that goes with a token that still lives. Raises TokenUnavailable for one that does not."""
    if is_valid:
        return "The token expires soon, and too many requests wait for renewals at the moment."
    words = "Too many requests wait for renewals at the moment."
    raise TokenUnavailable(TEMPORARILY_UNAVAILABLE, words, retry_after=1)


def _unavailable(outcome: RefreshOutcome, now: datetime) -> TokenUnavailable:
    """Why there is no valid token, by the status that the renewal left."""
    connection = outcome.connection
    status = connection.status_at(now)
    message = outcome.message or connection.last_error_message
    if status == ConnectionStatus.RECONNECT_REQUIRED:
        return TokenUnavailable(RECONNECT_REQUIRED, message or sentence(RECONNECT_REQUIRED))
    if status == ConnectionStatus.CONFIGURED:
        return TokenUnavailable(NOT_CONNECTED, sentence(NOT_CONNECTED))
    if status == ConnectionStatus.MISCONFIGURED:
        client = connection.integration.client_error_message
        return TokenUnavailable(MISCONFIGURED, client or message or sentence("invalid_client"))
    words = message or sentence("temporarily_unavailable")
    return TokenUnavailable(TEMPORARILY_UNAVAILABLE, words, outcome.retry_after or 5)
