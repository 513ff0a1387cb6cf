"""When tokens are renewed: pure arithmetic."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta

import pytest

from integrations.connections.schedule import (
    BACKOFF_CAP,
    BACKOFF_LEAST,
    backoff,
    due_at,
    jitter_for,
    margin_for,
)
from tests.connections.conftest import NOW

CONNECTION = uuid.UUID(int=7)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("lifetime", "margin"),
    [
        (seconds(70), seconds(14)),
        (seconds(120), seconds(24)),
        (seconds(3600), seconds(720)),
        (seconds(75 * 60), seconds(900)),
        (timedelta(days=90), seconds(900)),
    ],
)
def test_the_margin_is_the_smaller_of_15_minutes_and_a_fifth(lifetime: timedelta, margin: timedelta) -> None:
    assert margin_for(lifetime) == margin


def test_a_providers_own_margin_counts_but_never_more_than_half_the_lifetime() -> None:
    assert margin_for(seconds(3600), seconds(60)) == seconds(60)
    assert margin_for(seconds(120), seconds(600)) == seconds(60)


@pytest.mark.parametrize("lifetime", [20, 30, 45, 70, 90, 120, 300, 3600, 86400, 90 * 86400])
def test_it_is_due_after_the_floor_and_before_expiry(lifetime: int) -> None:
    for number in range(200):
        due = due_at(uuid.UUID(int=number), issued_at=NOW, expires_at=NOW + seconds(lifetime))
        assert due is not None
        assert NOW + min(seconds(60), seconds(lifetime / 2)) <= due < NOW + seconds(lifetime)


@pytest.mark.parametrize("lifetime", [70, 120])
def test_short_tokens_renew_unread_with_a_beat_of_ten_seconds(lifetime: int) -> None:
    for number in range(200):
        due = due_at(uuid.UUID(int=number), issued_at=NOW, expires_at=NOW + seconds(lifetime))
        assert due is not None
        assert due + seconds(10) < NOW + seconds(lifetime)


def test_jitter_is_the_same_for_the_same_token_and_spreads_over_connections() -> None:
    margin = seconds(720)
    drawn = [jitter_for(uuid.UUID(int=number), NOW, margin) for number in range(1000)]
    assert jitter_for(CONNECTION, NOW, margin) == drawn[7]
    assert min(drawn) >= timedelta()
    assert max(drawn) <= margin / 4
    assert sum(drawn, timedelta()) / 1000 == pytest.approx(margin / 8, rel=0.1)


@pytest.mark.parametrize("expires_at", [None, NOW, NOW + seconds(5)], ids=["unknown", "stale now", "too short"])
def test_without_a_usable_lifetime_there_is_no_schedule(expires_at: object) -> None:
    assert due_at(CONNECTION, issued_at=NOW, expires_at=expires_at) is None  # type: ignore[arg-type]


def test_backoff_doubles_with_full_jitter_up_to_its_cap() -> None:
    rng = random.Random(1)
    for attempts, ceiling in [(1, 10), (2, 20), (3, 40), (6, 320), (20, 600), (10_000, 600)]:
        drawn = [backoff(attempts, rng) for _ in range(300)]
        assert min(drawn) >= BACKOFF_LEAST
        assert max(drawn) <= min(seconds(ceiling), BACKOFF_CAP)
        assert max(drawn) > seconds(ceiling) * 0.9
        assert min(drawn) < seconds(ceiling) * 0.25
