"""When a token is renewed. Pure: times in, times out; randomness is a parameter."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

MAX_MARGIN = timedelta(minutes=15)
MARGIN_SHARE = 5  # a fifth of the lifetime
JITTER_SHARE = 4  # up to a quarter of the margin, so that tokens issued together are not renewed together
FLOOR = timedelta(seconds=60)
# Beat looks every ten seconds: shorter lives would be renewed without end, so they are renewed when they are read.
SHORTEST_SCHEDULED = timedelta(seconds=20)

BACKOFF_BASE = timedelta(seconds=10)
BACKOFF_CAP = timedelta(minutes=10)
BACKOFF_LEAST = timedelta(seconds=2)  # even the luckiest draw leaves the provider a moment
PROBE_EVERY = timedelta(hours=1)  # a refused client or configuration is tried again this often
UNKNOWN_CAP = 8  # refusals in a row with a code that nobody defined, before a person is asked to look
DEFAULT_PAUSE = timedelta(seconds=60)  # throttled without Retry-After

SYSTEM_RANDOM = random.SystemRandom()


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


def backoff(attempts: int, rng: random.Random = SYSTEM_RANDOM) -> timedelta:
    """The pause after `attempts` failures in a row (1 = the first): exponential, full jitter, at most ten minutes."""
    doublings = min(max(attempts, 1) - 1, 16)
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * (1 << doublings))
    return max(BACKOFF_LEAST, ceiling * rng.random())


def after_pause(until: datetime, rng: random.Random = SYSTEM_RANDOM) -> datetime:
    """A moment shortly after a pause is over, so that not everybody comes back at the same one."""
    return until + timedelta(seconds=10) * rng.random()
