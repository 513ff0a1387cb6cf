"""What the overview says about a connection: a headline to act on, scopes side by side, when to look again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from integrations.connections.forecast import RefreshTokenEnd, because, forecast
from integrations.connections.renewal import schedule_of as schedule_of_token
from integrations.connections.schedule import MARGIN_SHARE, DueTo, MarginFrom, Renewal, Rules
from integrations.models import Connection, ConnectionState, ConnectionStatus, GrantType, Token, TokenSchedule
from integrations.providers.base import ProviderSpec
from workspaces.time_words import duration_words

POLL_SECONDS = 2  # while a renewal is under way
WATCH_AHEAD = timedelta(minutes=15)  # a page that stays open longer than this before the renewal is not woken for it
FIRST_SCOPES = 4


@dataclass(frozen=True, slots=True)
class Headline:
    """The first line of the access token's card, and what stands beside it."""

    title: str
    note: str = ""
    tone: str = ""
    verb: str = ""  # what happens at `expires_at`
    expires_at: datetime | None = None
    is_near: bool = False  # the time of day says enough


def shown_parameters(spec: ProviderSpec, connection: Connection, *, passwords: bool = True) -> list[tuple[str, str]]:
    """Label and value of the connection's own parameters. Of a password it is said at most that there is one; a
    parameter that the definition no longer has may have been a password.
    """
    values = connection.readable_parameters
    return [
        (parameter.label, "stored" if parameter.type == "password" else str(values[parameter.key]))
        for parameter in spec.parameters
        if values.get(parameter.key) and (passwords or parameter.type != "password")
    ]


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """One scope: what it is for, and whether it is needed now, was requested then, and was granted."""

    name: str
    description: str
    base: bool
    needed: bool
    requested: bool
    granted: bool

    @property
    def state(self) -> str:
        """granted; missing (asked and not granted), new (not asked then); unused: not granted and not needed."""
        if self.granted:
            return "granted"
        return "unused" if not self.needed else "missing" if self.requested else "new"

    @property
    def is_open(self) -> bool:
        """Whether a person would have to consent to it."""
        return self.state in ("missing", "new")

    @property
    def stem(self) -> str:
        """The beginning that all scopes of a provider share: everything up to the last slash of a URL's host."""
        head, separator, tail = self.name.partition("://")
        host, slash, _ = tail.partition("/")
        return f"{head}{separator}{host}{slash}" if separator and slash else ""

    @property
    def leaf(self) -> str:
        """The part that tells it from the others."""
        return self.name[len(self.stem) :]


@dataclass(frozen=True, slots=True)
class ScopeTable:
    """Needed, requested and granted scopes side by side; the order in which they were granted means nothing."""

    rows: tuple[ScopeRow, ...]

    @property
    def needed(self) -> int:
        """How many are needed now."""
        return sum(row.needed for row in self.rows)

    @property
    def granted(self) -> int:
        """How many of those were granted."""
        return sum(row.needed and row.granted for row in self.rows)

    @property
    def open(self) -> int:
        """How many are needed and not granted."""
        return sum(row.is_open for row in self.rows)

    @property
    def drifted(self) -> int:
        """How many of those nobody was asked for yet."""
        return sum(row.state == "new" for row in self.rows)

    @property
    def first(self) -> tuple[ScopeRow, ...]:
        """Those shown at once: everything open, and a few granted ones."""
        return self.rows[: max(self.open, FIRST_SCOPES)]

    @property
    def rest(self) -> tuple[ScopeRow, ...]:
        """Those behind "show all"."""
        return self.rows[len(self.first) :]


def scope_table(
    spec: ProviderSpec, grant_type: GrantType, connection: Connection | None, needed: Iterable[str]
) -> ScopeTable:
    """Compare what is needed now with what was requested and granted then (scope drift); open ones first."""
    known = {scope.name: scope.description for scope in (*spec.suggested_scopes, *spec.scopes_for(grant_type))}
    base = set(spec.base_scopes(grant_type))
    requested = connection.requested_scopes if connection else []
    granted = set(connection.granted_scopes) if connection else set()
    needed = list(needed)
    rows = [
        ScopeRow(
            name,
            known.get(name, ""),
            base=name in base,
            needed=name in needed,
            requested=name in requested,
            granted=name in granted,
        )
        for name in dict.fromkeys([*needed, *requested, *sorted(granted)])
    ]
    return ScopeTable(tuple(sorted(rows, key=lambda row: (not row.is_open, not row.needed, not row.base))))


def token_of(connection: Connection | None) -> Token | None:
    """The connection's token, if it has one."""
    return getattr(connection, "token", None) if connection else None


def schedule_of(connection: Connection | None) -> TokenSchedule | None:
    """The connection's schedule, if it has one."""
    return getattr(connection, "schedule", None) if connection else None


def due_at(connection: Connection | None) -> datetime | None:
    """When the token is renewed next; None when nothing will renew it, or not before something is mended."""
    schedule = schedule_of(connection)
    if connection is None or schedule is None or token_of(connection) is None:
        return None
    renews = connection.state in (ConnectionState.CONNECTED, ConnectionState.DEGRADED)
    return schedule.refresh_due_at if renews and not connection.integration.client_error_code else None


def headline(connection: Connection | None, now: datetime) -> Headline:
    """Say how long the token is good for, or why there is none."""
    token = token_of(connection)
    if connection is None or token is None:
        return Headline("Disconnected" if connection and connection.connected_at else "No token yet", tone="idle")
    status = connection.status_at(now)
    end = token.ends_at(connection.workspace.max_token_age)
    if end is None:
        if status == ConnectionStatus.RECONNECT_REQUIRED:
            return Headline("Consent is needed again", tone="bad")
        return Headline("Good until revoked", "the provider announced no end")
    verb = _verb(end, token.expires_at, now)
    is_near = abs(end - now) < timedelta(hours=12)
    if status == ConnectionStatus.RECONNECT_REQUIRED:
        return Headline("Consent is needed again", "", "bad", verb, end, is_near)
    if end <= now:
        renewing = status == ConnectionStatus.CONNECTED and due_at(connection) is not None
        title, tone = ("Being renewed", "waiting") if renewing else ("Expired", "bad")
        return Headline(title, "", tone, verb, end, is_near)
    tone = "" if status == ConnectionStatus.CONNECTED else "waiting"
    return Headline(f"Good for {duration_words(end - now)}", "", tone, verb, end, is_near)


def _verb(end: datetime, expires_at: datetime | None, now: datetime) -> str:
    if end == expires_at:
        return "expires" if end > now else "expired"
    return "too old" if end > now else "too old since"


def planned_renewal(spec: ProviderSpec, connection: Connection | None) -> Renewal | None:
    """The next renewal as the rules want it; None when nothing calls for one. A backoff may have put it off."""
    token = token_of(connection)
    if connection is None or token is None:
        return None
    return schedule_of_token(
        connection.pk,
        grant_type=connection.integration.grant_type,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        has_refresh_token=token.has_refresh_token,
        refresh_token=RefreshTokenEnd(token.refresh_token_expires_at, token.refresh_token_end_moves),
        rules=Rules.of(spec, connection.workspace),
    )


_MARGIN_WORDS = {
    MarginFrom.PROVIDER: "as the provider’s definition says",
    MarginFrom.WORKSPACE: "by the workspace’s token policy",
    MarginFrom.REFUSES_EARLY: "the provider renews only what has expired",
}
_DUE_WORDS = {
    DueTo.MAX_AGE: "before it is older than the workspace allows",
    DueTo.KEEP_ALIVE: "so that the refresh token does not die of disuse",
}


def margin_words(rules: Rules, renewal: Renewal, issued_at: datetime) -> str:
    """Why the margin is what it is."""
    usual = MARGIN_SHARE * renewal.margin >= renewal.end - issued_at
    if renewal.due_to == DueTo.KEEP_ALIVE or rules.margin_from == MarginFrom.USUAL:
        return "a fifth of its life" if usual else "the usual one"
    return _MARGIN_WORDS[rules.margin_from]


def due_words(renewal: Renewal) -> str:
    """Why it is renewed then; "" when it is because the token expires."""
    return _DUE_WORDS.get(renewal.due_to, "")


def renewal_context(spec: ProviderSpec, connection: Connection | None, now: datetime) -> dict[str, Any]:
    """What the overview says about the next renewal, the refresh token and the next consent."""
    token, renewal, due = token_of(connection), planned_renewal(spec, connection), due_at(connection)
    if connection is None or token is None:
        return {"life_end": None, "margin": None, "keep_alive_until": None, "consent": None}
    rules = Rules.of(spec, connection.workspace)
    shows_margin = renewal is not None and due is not None and due <= renewal.end and renewal.margin > timedelta()
    uses_refresh_token = token.has_refresh_token and connection.integration.grant_type == GrantType.AUTHORIZATION_CODE
    idle = rules.refresh_token_idle if uses_refresh_token else None
    return {
        "life_end": token.ends_at(connection.workspace.max_token_age),
        "margin": renewal.margin if renewal is not None and shows_margin else None,
        "margin_words": margin_words(rules, renewal, token.issued_at) if renewal is not None else "",
        "due_words": due_words(renewal) if renewal is not None else "",
        "keep_alive_until": token.issued_at + idle if idle is not None else None,
        "consent": (end := forecast(connection, now)),
        "consent_because": because(end) if end is not None else "",
    }


def is_renewing(connection: Connection | None, now: datetime) -> bool:
    """Whether a renewal is under way, or due and about to be picked up."""
    schedule, due = schedule_of(connection), due_at(connection)
    if schedule is None or due is None:
        return False
    leased = schedule.lease_until is not None and schedule.lease_until > now
    return leased or due <= now


def look_again(connection: Connection | None, now: datetime) -> str:
    """The htmx trigger with which the page refreshes itself: often while renewing, once when due, else never."""
    if is_renewing(connection, now):
        return f"load delay:{POLL_SECONDS}s"
    due = due_at(connection)
    if due is None or due - now > WATCH_AHEAD:
        return ""
    return f"load delay:{int((due - now).total_seconds()) + 1}s"
