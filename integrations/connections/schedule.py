"""When a token is renewed. Pure: times in, times out; randomness is a parameter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace

MAX_MARGIN = timedelta(minutes=15)
MARGIN_SHARE = 5  # a fifth of the lifetime
JITTER_SHARE = 4  # up to a quarter of the margin, so that tokens issued together are not renewed together
FLOOR = timedelta(seconds=60)
# Beat looks every ten seconds: shorter lives would be renewed without end, so they are renewed when they are read.
SHORTEST_SCHEDULED = timedelta(seconds=20)
# A refresh token is used this long before it would die of disuse, or a fifth of that time: room for long outages.
KEEP_ALIVE_MARGIN = timedelta(days=7)

BACKOFF_BASE = timedelta(seconds=10)
BACKOFF_CAP = timedelta(minutes=10)
BACKOFF_LEAST = timedelta(seconds=2)  # even the luckiest draw leaves the provider a moment
PROBE_EVERY = timedelta(hours=1)  # a refused client or configuration is tried again this often
UNKNOWN_CAP = 8  # refusals in a row with a code that nobody defined, before a person is asked to look
DEFAULT_PAUSE = timedelta(seconds=60)  # throttled without Retry-After

SYSTEM_RANDOM = random.SystemRandom()


class DueTo(StrEnum):
    """Why a token is renewed when it is."""

    EXPIRY = "expiry"
    MAX_AGE = "max_age"  # it grows older than its workspace allows
    KEEP_ALIVE = "keep_alive"  # its refresh token would die of disuse, or end


class MarginFrom(StrEnum):
    """Who says how long before the end."""

    USUAL = "usual"
    PROVIDER = "provider"
    WORKSPACE = "workspace"
    REFUSES_EARLY = "refuses_early"  # no margin: the provider renews only what has expired


@dataclass(frozen=True, slots=True)
class Rules:
    """What a provider's definition and a workspace's token policy say about renewal; None: nothing."""

    provider_margin: timedelta | None = None
    workspace_margin: timedelta | None = None
    refuses_early: bool = False
    max_age: timedelta | None = None
    refresh_token_idle: timedelta | None = None
    refresh_token_lifetime: timedelta | None = None

    @classmethod
    def of(cls, spec: ProviderSpec, workspace: Workspace) -> Rules:
        """Of one provider in one workspace."""
        return cls(
            provider_margin=_seconds(spec.refresh_margin_seconds),
            workspace_margin=_seconds(workspace.refresh_margin_seconds),
            refuses_early=spec.refuses_early_refresh,
            max_age=workspace.max_token_age,
            refresh_token_idle=_seconds(spec.refresh_token_idle_seconds),
            refresh_token_lifetime=_seconds(spec.refresh_token_lifetime_seconds),
        )

    @property
    def margin_from(self) -> MarginFrom:
        """A provider that refuses early renewals comes before the workspace, the workspace before the definition."""
        if self.refuses_early:
            return MarginFrom.REFUSES_EARLY
        if self.workspace_margin is not None:
            return MarginFrom.WORKSPACE
        return MarginFrom.USUAL if self.provider_margin is None else MarginFrom.PROVIDER

    @property
    def margin(self) -> timedelta | None:
        """The margin that counts; None: the usual one."""
        if self.refuses_early:
            return timedelta()
        return self.provider_margin if self.workspace_margin is None else self.workspace_margin


USUAL_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Renewal:
    """The next renewal by schedule: when, how long before `end` (jitter aside), and why then."""

    at: datetime
    end: datetime
    margin: timedelta
    due_to: DueTo


def margin_for(lifetime: timedelta, provider_margin: timedelta | None = None) -> timedelta:
    """How long before expiry a token is renewed: the smaller of 15 minutes and a fifth, or what the provider says.

    Never more than half the lifetime, or a fresh token would be due at once.
    """
    margin = min(MAX_MARGIN, lifetime / MARGIN_SHARE) if provider_margin is None else provider_margin
    return max(min(margin, lifetime / 2), timedelta())


def jitter_for(connection_id: UUID, issued_at: datetime, margin: timedelta) -> timedelta:
    """The same for the same token, spread evenly over connections."""
    digest = sha256(connection_id.bytes + str(issued_at.timestamp()).encode()).digest()
    return margin / JITTER_SHARE * (int.from_bytes(digest[:8]) / 2**64)


def due_at(
    connection_id: UUID,
    *,
    issued_at: datetime,
    expires_at: datetime | None,
    provider_margin: timedelta | None = None,
) -> datetime | None:
    """When a token is to be renewed by schedule; None when its lifetime is unknown or too short for a schedule.

    Never within the smaller of 60 s and half the lifetime after it was issued.
    """
    if expires_at is None:
        return None
    lifetime = expires_at - issued_at
    if lifetime < SHORTEST_SCHEDULED:
        return None
    margin = margin_for(lifetime, provider_margin)
    wanted = expires_at - margin - jitter_for(connection_id, issued_at, margin)
    return max(wanted, issued_at + min(FLOOR, lifetime / 2))


def plan(
    connection_id: UUID,
    *,
    issued_at: datetime,
    expires_at: datetime | None,
    rules: Rules = USUAL_RULES,
    refresh_token_ends_at: datetime | None = None,
) -> Renewal | None:
    """The next renewal of a token that can be renewed; None when nothing calls for one.

    `refresh_token_ends_at` is an end that a renewal may put off. Where expiry, age and the refresh token each call for
    a renewal, the earliest counts.
    """
    keep_alive_end = issued_at + rules.refresh_token_idle if rules.refresh_token_idle is not None else None
    if refresh_token_ends_at is not None:
        keep_alive_end = min(keep_alive_end or refresh_token_ends_at, refresh_token_ends_at)
    if rules.refuses_early and expires_at is not None:
        # Whatever else calls for it, a call before its expiry would be refused as if the grant were dead.
        found = [_planned(connection_id, issued_at, expires_at, timedelta(), DueTo.EXPIRY)]
    else:
        found = [_for_access_token(connection_id, issued_at, expires_at, rules)]
        if keep_alive_end is not None:
            margin = min(KEEP_ALIVE_MARGIN, (keep_alive_end - issued_at) / MARGIN_SHARE)
            found.append(_planned(connection_id, issued_at, keep_alive_end, margin, DueTo.KEEP_ALIVE))
    return min((one for one in found if one is not None), key=lambda one: one.at, default=None)


def _for_access_token(
    connection_id: UUID, issued_at: datetime, expires_at: datetime | None, rules: Rules
) -> Renewal | None:
    too_old_at = issued_at + rules.max_age if rules.max_age is not None else None
    if too_old_at is not None and (expires_at is None or too_old_at < expires_at):
        end, due_to = too_old_at, DueTo.MAX_AGE
    elif expires_at is not None:
        end, due_to = expires_at, DueTo.EXPIRY
    else:
        return None
    return _planned(connection_id, issued_at, end, margin_for(end - issued_at, rules.margin), due_to)


def _planned(
    connection_id: UUID, issued_at: datetime, end: datetime, margin: timedelta, due_to: DueTo
) -> Renewal | None:
    at = due_at(connection_id, issued_at=issued_at, expires_at=end, provider_margin=margin)
    return None if at is None else Renewal(at, end, margin, due_to)


def spread(connection_id: UUID, window: timedelta) -> timedelta:
    """A share of the window, the same for the same connection: for what would otherwise be due all at once."""
    return window * (int.from_bytes(sha256(connection_id.bytes).digest()[:8]) / 2**64)


def _seconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def backoff(attempts: int, rng: random.Random = SYSTEM_RANDOM) -> timedelta:
    """The pause after `attempts` failures in a row (1 = the first): exponential, full jitter, at most ten minutes."""
    doublings = min(max(attempts, 1) - 1, 16)
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * (1 << doublings))
    return max(BACKOFF_LEAST, ceiling * rng.random())


def after_pause(until: datetime, rng: random.Random = SYSTEM_RANDOM) -> datetime:
    """A moment shortly after a pause is over, so that not everybody comes back at the same one."""
    return until + timedelta(seconds=10) * rng.random()
