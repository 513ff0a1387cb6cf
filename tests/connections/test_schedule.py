"""When tokens are renewed: pure arithmetic."""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.connections.schedule import (
    BACKOFF_CAP,
    BACKOFF_LEAST,
    FLOOR,
    SHORTEST_SCHEDULED,
    DueTo,
    MarginFrom,
    Rules,
    backoff,
    due_at,
    jitter_for,
    margin_for,
    plan,
    spread,
)
from integrations.models import Integration
from integrations.providers.base import ProviderSpec
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


# --- odd inputs -----------------------------------------------------------------------------------------
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
# (lifetime, the provider's margin) → the earliest and the latest that may be due, counted from the issue
ODD: list[tuple[timedelta | None, timedelta | None, timedelta | None, timedelta | None]] = [
    (timedelta(), None, None, None),
    (-DAY, None, None, None),
    (SHORTEST_SCHEDULED - MICROSECOND, None, None, None),
    (SHORTEST_SCHEDULED, None, seconds(10), seconds(16)),
    (seconds(70), timedelta(), seconds(70), seconds(70)),
    (seconds(70), -DAY, seconds(70), seconds(70)),
    (seconds(70), DAY, seconds(35), seconds(60)),
    (seconds(3600), DAY, seconds(1350), seconds(1800)),
    (timedelta(days=36_525), None, timedelta(days=36_524), timedelta(days=36_525)),
    (None, DAY, None, None),
]


@pytest.mark.parametrize(("lifetime", "margin", "earliest", "latest"), ODD)
def test_odd_lifetimes_and_margins_are_due_within_bounds_or_never(
    lifetime: timedelta | None, margin: timedelta | None, earliest: timedelta | None, latest: timedelta | None
) -> None:
    expires_at = None if lifetime is None else NOW + lifetime
    due = due_at(CONNECTION, issued_at=NOW, expires_at=expires_at, provider_margin=margin)
    if earliest is None or latest is None:
        assert due is None
    else:
        assert due is not None
        assert NOW + earliest <= due <= NOW + latest


_SPANS = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=40_000))
_MAYBE = st.none() | _SPANS
_RULES = st.builds(
    Rules,
    provider_margin=_MAYBE,
    workspace_margin=_MAYBE,
    refuses_early=st.booleans(),
    max_age=_MAYBE,
    refresh_token_idle=_MAYBE,
)


@given(connection_id=st.uuids(), lifetime=_MAYBE, rules=_RULES, refresh_token_lives=_MAYBE)
def test_whatever_the_rules_are_it_is_due_between_the_floor_and_the_end_and_always_at_the_same_time(
    connection_id: uuid.UUID, lifetime: timedelta | None, rules: Rules, refresh_token_lives: timedelta | None
) -> None:
    facts: dict[str, Any] = {
        "issued_at": NOW,
        "expires_at": None if lifetime is None else NOW + lifetime,
        "rules": rules,
        "refresh_token_ends_at": None if refresh_token_lives is None else NOW + refresh_token_lives,
    }
    found = plan(connection_id, **facts)
    assert plan(connection_id, **facts) == found
    ends = [end for end in (lifetime, rules.max_age, rules.refresh_token_idle, refresh_token_lives) if end is not None]
    if rules.refuses_early and lifetime is not None:
        ends = [lifetime]
    if all(end < SHORTEST_SCHEDULED for end in ends):
        assert found is None
        return
    assert found is not None
    assert found.end - NOW in ends
    assert NOW + min(FLOOR, (found.end - NOW) / 2) <= found.at <= found.end
    if rules.refuses_early and lifetime is not None:
        assert found.at == found.end  # not a moment before


@given(lifetime=st.integers(30, 90 * 86_400))
def test_tokens_issued_together_are_not_due_together(lifetime: int) -> None:
    due = {due_at(uuid.UUID(int=number), issued_at=NOW, expires_at=NOW + seconds(lifetime)) for number in range(50)}
    assert len(due) == 50 or lifetime < 75  # the floor of short ones is the same for all


# --- whose margin counts --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rules", "margin", "said_by"),
    [
        (Rules(), None, MarginFrom.USUAL),
        (Rules(provider_margin=seconds(60)), seconds(60), MarginFrom.PROVIDER),
        (Rules(provider_margin=seconds(60), workspace_margin=seconds(300)), seconds(300), MarginFrom.WORKSPACE),
        (Rules(workspace_margin=seconds(300)), seconds(300), MarginFrom.WORKSPACE),
        (Rules(workspace_margin=seconds(300), refuses_early=True), seconds(0), MarginFrom.REFUSES_EARLY),
    ],
)
def test_a_refusal_of_early_renewals_comes_before_the_workspace_and_that_before_the_definition(
    rules: Rules, margin: timedelta | None, said_by: MarginFrom
) -> None:
    assert (rules.margin, rules.margin_from) == (margin, said_by)


# --- age and keep-alive ---------------------------------------------------------------------------------
def planned(lifetime: timedelta | None, refresh_token_ends_at: datetime | None = None, **rules: Any) -> Any:
    expires_at = None if lifetime is None else NOW + lifetime
    return plan(
        CONNECTION,
        issued_at=NOW,
        expires_at=expires_at,
        rules=Rules(**rules),
        refresh_token_ends_at=refresh_token_ends_at,
    )


def test_a_token_is_renewed_before_it_is_older_than_the_workspace_allows() -> None:
    for lifetime in (timedelta(hours=10), None):
        found = planned(lifetime, max_age=timedelta(hours=1))
        assert (found.due_to, found.end, found.margin) == (DueTo.MAX_AGE, NOW + timedelta(hours=1), seconds(720))
        assert NOW + timedelta(minutes=45) <= found.at <= NOW + timedelta(minutes=48)
    assert planned(timedelta(minutes=30), max_age=timedelta(hours=1)).due_to == DueTo.EXPIRY


def test_a_token_without_a_lifetime_is_renewed_before_its_refresh_token_dies_of_disuse() -> None:
    assert planned(None) is None
    found = planned(None, refresh_token_idle=90 * DAY)
    assert (found.due_to, found.margin) == (DueTo.KEEP_ALIVE, 7 * DAY)
    assert NOW + 81 * DAY <= found.at <= NOW + 83 * DAY
    short = planned(None, refresh_token_idle=5 * DAY)
    assert short.margin == DAY


def test_a_token_that_outlives_its_refresh_token_is_renewed_before_that_ends() -> None:
    assert planned(365 * DAY, refresh_token_idle=90 * DAY).due_to == DueTo.KEEP_ALIVE
    assert planned(365 * DAY, refresh_token_ends_at=NOW + 30 * DAY).at < NOW + 30 * DAY
    assert planned(timedelta(hours=1), refresh_token_idle=90 * DAY).due_to == DueTo.EXPIRY


def test_a_provider_that_refuses_early_renewals_is_left_alone_until_expiry_whatever_else_calls_for_one() -> None:
    found = planned(365 * DAY, refuses_early=True, max_age=DAY, refresh_token_idle=90 * DAY)
    assert (found.due_to, found.at) == (DueTo.EXPIRY, NOW + 365 * DAY)
    assert planned(None, refuses_early=True, refresh_token_idle=90 * DAY).due_to == DueTo.KEEP_ALIVE


def test_rules_are_read_from_the_definition_and_the_workspace(delegated: Integration) -> None:
    workspace = delegated.workspace
    workspace.max_token_age_seconds, workspace.refresh_margin_seconds = 3600, 600
    spec = ProviderSpec(
        provider_id="custom_x",
        name="X",
        token_endpoint="https://x.example/token",
        grant_types=(),
        refresh_margin_seconds=60,
        refresh_token_idle_seconds=86_400,
        refresh_token_lifetime_seconds=2 * 86_400,
    )
    assert Rules.of(spec, workspace) == Rules(
        provider_margin=seconds(60),
        workspace_margin=seconds(600),
        max_age=seconds(3600),
        refresh_token_idle=DAY,
        refresh_token_lifetime=2 * DAY,
    )


def test_a_spread_stays_within_its_window_and_is_the_same_for_the_same_connection() -> None:
    drawn = [spread(uuid.UUID(int=number), seconds(900)) for number in range(1000)]
    assert drawn[7] == spread(CONNECTION, seconds(900))
    assert timedelta() <= min(drawn) < seconds(30)
    assert seconds(870) < max(drawn) <= seconds(900)
