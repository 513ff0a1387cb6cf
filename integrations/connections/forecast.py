"""When a person has to consent again, as far as it can be foreseen: ends that no renewal puts off.

The functions are pure, but for the query at the end. What is foreseen stands in the token's row, where queries and
notices find it; pages and programs are told by the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import QuerySet

from integrations.models import Connection, ConnectionState, GrantType, Token
from workspaces.models import Workspace

NOTICE_BEFORE = timedelta(days=7)
NOTICE_SHARE = 5  # a fifth of the time there is, where that is less
# A shorter notice than this is none: nobody would have read it before the end.
LEAST_NOTICE = timedelta(hours=1)
SAME_END = timedelta(minutes=1)  # two answers name one end this far apart: seconds are rounded, calls take time
LEAST_ELAPSED = timedelta(seconds=10)  # two answers in quick succession say nothing about an end
# A connection in another state needs a person already, or has no token.
FORESEEABLE_STATES = (ConnectionState.CONNECTED, ConnectionState.DEGRADED, ConnectionState.MISCONFIGURED)


class ConsentReason(StrEnum):
    """Why consent ends."""

    NOTHING_TO_RENEW = "nothing_to_renew"  # the access token expires, and there is no refresh token
    MAX_AGE = "max_age"  # it grows older than the workspace allows, and there is no refresh token
    REFRESH_TOKEN_ENDS = "refresh_token_ends"  # noqa: S105 (a name)


@dataclass(frozen=True, slots=True)
class ConsentEnd:
    """From `at` on a person has to consent again."""

    at: datetime
    reason: ConsentReason


@dataclass(frozen=True, slots=True)
class RefreshTokenEnd:
    """When a refresh token ends (None: nobody said so), and whether renewals put that off (None: not seen yet)."""

    at: datetime | None
    moves: bool | None = None


def refresh_token_end(
    *,
    issued_at: datetime,
    named: timedelta | None,
    lifetime: timedelta | None,
    before: Token | None,
    rotated: bool,
) -> RefreshTokenEnd:
    """The end of the refresh token that an answer leaves us with.

    `named` is what the answer said (`refresh_token_expires_in`), `lifetime` what the provider is known for; `before` is
    the token that was renewed, None at a consent. An answer that names no end: a refresh token that stays keeps its
    end, a new one does not inherit it.
    """
    if named is not None:
        at: datetime | None = issued_at + named
    elif before is not None and not rotated:
        at = before.refresh_token_expires_at
    else:
        at = issued_at + lifetime if lifetime is not None else None
    if before is None or at is None or before.refresh_token_expires_at is None:
        return RefreshTokenEnd(at)
    if named is None and not rotated:
        return RefreshTokenEnd(at, False)
    elapsed = issued_at - before.issued_at
    if elapsed < LEAST_ELAPSED:
        return RefreshTokenEnd(at, before.refresh_token_end_moves)
    shift = at - before.refresh_token_expires_at
    if shift > elapsed / 2:
        return RefreshTokenEnd(at, True)
    return RefreshTokenEnd(before.refresh_token_expires_at if abs(shift) <= SAME_END else at, False)


def end_to_keep_off(end: RefreshTokenEnd) -> datetime | None:
    """The end of a refresh token if a renewal before it may put it off."""
    return None if end.moves is False else end.at


def consent_end(
    *,
    grant_type: str,
    issued_at: datetime,
    expires_at: datetime | None,
    has_refresh_token: bool,
    refresh_token: RefreshTokenEnd,
    max_age: timedelta | None,
    renews_at: datetime | None,
) -> ConsentEnd | None:
    """When and why a person has to consent again; None when that is not to be foreseen.

    `renews_at` is the next renewal by schedule. What that may put off is no end of consent.
    """
    if grant_type != GrantType.AUTHORIZATION_CODE:
        return None
    too_old_at = issued_at + max_age if max_age is not None else None
    is_aged_out = too_old_at is not None and (expires_at is None or too_old_at < expires_at)
    end = too_old_at if is_aged_out else expires_at
    if end is None:
        return None  # a token without an end is served on, even when nothing renews it any more
    if not has_refresh_token:
        return ConsentEnd(end, ConsentReason.MAX_AGE if is_aged_out else ConsentReason.NOTHING_TO_RENEW)
    if refresh_token.at is None:
        return None
    may_move = refresh_token.moves is not False and renews_at is not None and renews_at < refresh_token.at
    return None if may_move else ConsentEnd(max(refresh_token.at, end), ConsentReason.REFRESH_TOKEN_ENDS)


def notice_due_at(end: ConsentEnd | None, issued_at: datetime, before: Token | None = None) -> datetime | None:
    """When somebody is told of an end of consent: a week before, or a fifth of the time there is.

    An end that the token `before` had as well is not told twice. Where it would be told too late to be read, only the
    end itself is told, and only if no renewal will find it out.
    """
    if end is None:
        return None
    notice = _notice(end.at - issued_at)
    known = before.consent_ends_at if before is not None else None
    if before is not None and known is not None and abs(end.at - known) <= notice:
        return before.consent_notice_due_at
    if notice >= LEAST_NOTICE:
        return end.at - notice
    return end.at if end.reason != ConsentReason.REFRESH_TOKEN_ENDS else None


def next_notice_at(end: ConsentEnd) -> datetime | None:
    """After the early notice: the end itself, if no renewal will find it out."""
    return end.at if end.reason != ConsentReason.REFRESH_TOKEN_ENDS else None


def _notice(time_left: timedelta) -> timedelta:
    return min(NOTICE_BEFORE, time_left / NOTICE_SHARE)


# --- of a connection that is stored ---------------------------------------------------------------------
def foreseen(connection: Connection) -> ConsentEnd | None:
    """The end of a connection's consent; its workspace, integration, token and schedule have to be loaded with it."""
    token: Token | None = getattr(connection, "token", None)
    if token is None or connection.state not in FORESEEABLE_STATES:
        return None
    row = getattr(connection, "schedule", None)
    return consent_end(
        grant_type=connection.integration.grant_type,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        has_refresh_token=token.has_refresh_token,
        refresh_token=RefreshTokenEnd(token.refresh_token_expires_at, token.refresh_token_end_moves),
        max_age=connection.workspace.max_token_age,
        renews_at=row.refresh_due_at if row is not None else None,
    )


def forecast(connection: Connection, now: datetime) -> ConsentEnd | None:
    """The same as long as it lies ahead: what is over shows in the connection's status."""
    end = foreseen(connection)
    return end if end is not None and end.at > now else None


_BECAUSE = {
    ConsentReason.NOTHING_TO_RENEW: "the access token expires then, and the provider issued nothing to renew it with",
    ConsentReason.MAX_AGE: (
        "the access token is older than the workspace allows then, and the provider issued nothing to renew it with"
    ),
    ConsentReason.REFRESH_TOKEN_ENDS: "the refresh token ends then, and renewing does not put that off",
}


def because(end: ConsentEnd) -> str:
    """The reason as the end of a sentence: "Needs consent again on 12 March, because …"."""
    return _BECAUSE[end.reason]


def connections_needing_consent(workspace: Workspace, within: timedelta, now: datetime) -> QuerySet[Connection]:
    """Connections of the workspace whose consent ends between `now` and `now + within`, soonest first.

    Their integration, token, schedule and workspace are loaded with them, as `forecast` wants them.
    """
    return (
        Connection.objects.filter(
            workspace=workspace,
            state__in=FORESEEABLE_STATES,
            token__workspace=workspace,
            token__consent_ends_at__gt=now,
            token__consent_ends_at__lte=now + within,
        )
        .select_related("workspace", "integration", "token", "schedule")
        .order_by("token__consent_ends_at", "pk")
    )
