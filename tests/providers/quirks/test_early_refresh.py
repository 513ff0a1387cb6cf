"""A provider that refuses to renew what still lives: it is asked at the expiry, and its refusal ends nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from integrations.connections.batch import refresh_due
from integrations.connections.renewal import CLOCK_SKEW
from integrations.connections.testing import test_connection as run_test
from integrations.connections.tokens import usable_token
from integrations.models import Connection, ConnectionState
from tests.api.client import ApiClient, make_key
from tests.factories import make_connection
from tests.providers.quirks.conftest import NOW, Flow, answer
from workspaces.models import Workspace

EXPIRY = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)
REFUSED = {"error": "invalid_grant", "error_description": "token not expired"}


@pytest.fixture
def flow(own: Callable[..., Flow]) -> Flow:
    """Connected until EXPIRY; the next answers are the test's."""
    made = own(refuses_early_refresh=True)
    made.server.answer("/token", json=answer("a-1", "r-1"))
    made.connect()
    made.server.forget()
    return made


@pytest.fixture
def connection(flow: Flow) -> Connection:
    return flow.again(Connection.objects.get().pk)


def test_it_is_due_at_its_expiry_and_not_before(flow: Flow, connection: Connection) -> None:
    assert connection.schedule.refresh_due_at == EXPIRY
    flow.server.answer("/token", json=answer("a-2", "r-2"))
    assert refresh_due(now=EXPIRY - SECOND).claimed == 0
    assert refresh_due(now=EXPIRY).renewed == 1


def test_a_forced_refresh_before_its_expiry_is_held(flow: Flow, connection: Connection) -> None:
    outcome = flow.refresh(connection, now=EXPIRY - timedelta(minutes=10))
    assert (outcome.refreshed, outcome.code, outcome.retry_after) == (False, "too_early", 600)
    assert "only once it has expired" in outcome.message
    assert flow.server.requests == []
    held = flow.again(connection.pk)
    assert (held.state, held.last_error_code) == (ConnectionState.CONNECTED, "")
    assert (held.schedule.refresh_due_at, held.schedule.lease_id) == (EXPIRY, None)


def test_a_forced_refresh_after_its_expiry_is_made(flow: Flow, connection: Connection) -> None:
    flow.server.answer("/token", json=answer("a-2", "r-2"))
    assert flow.refresh(connection, now=EXPIRY).refreshed


def test_the_test_says_that_it_is_too_early_instead_of_asking(flow: Flow, connection: Connection) -> None:
    result = run_test(flow.integration, connection, actor=flow.actor, now=NOW)
    assert (result.ok, result.code) == (False, "too_early")
    assert flow.server.requests == []


def test_the_api_says_when_to_try_again(own: Callable[..., Flow], workspace: Workspace) -> None:
    flow = own(refuses_early_refresh=True)
    connection = make_connection(flow.integration, lifetime=timedelta(minutes=10))
    refused = ApiClient(make_key(workspace)).post(f"/connections/{connection.pk}/refresh")
    assert (refused.status_code, refused.json()["code"]) == (503, "temporarily_unavailable")
    assert 590 <= int(refused.headers["Retry-After"]) <= 600
    assert "only once it has expired" in refused.json()["detail"]
    assert flow.server.requests == []


def test_a_reader_who_wants_more_time_is_served_the_valid_token_with_a_warning(
    flow: Flow, connection: Connection
) -> None:
    token = usable_token(connection, min_ttl=300, actor=flow.actor, now=EXPIRY - timedelta(minutes=1))
    assert token.access_token == "a-1"
    assert "only once it has expired" in str(token.warning)
    assert flow.server.requests == []


def test_a_reader_of_the_expired_token_gets_a_new_one(flow: Flow, connection: Connection) -> None:
    flow.server.answer("/token", json=answer("a-2", "r-2"))
    assert usable_token(connection, actor=flow.actor, now=EXPIRY).access_token == "a-2"


@pytest.mark.parametrize("behind", [timedelta(), CLOCK_SKEW - SECOND])
def test_a_refusal_while_the_providers_clock_may_be_behind_is_tried_again(
    flow: Flow, connection: Connection, behind: timedelta
) -> None:
    flow.server.answer("/token", status=400, json=REFUSED)
    flow.server.answer("/token", json=answer("a-2", "r-2"))
    outcome = flow.refresh(connection, now=EXPIRY + behind)
    assert (outcome.refreshed, outcome.code) == (False, "too_early")
    waiting = flow.again(connection.pk)
    assert waiting.state == ConnectionState.DEGRADED
    assert waiting.schedule.refresh_due_at is not None
    assert flow.refresh(connection, now=EXPIRY + behind + timedelta(minutes=1)).refreshed
    assert flow.again(connection.pk).state == ConnectionState.CONNECTED


def test_a_refusal_long_after_the_expiry_is_a_dead_grant(flow: Flow, connection: Connection) -> None:
    flow.server.answer("/token", status=400, json=REFUSED)
    assert flow.refresh(connection, now=EXPIRY + CLOCK_SKEW).code == "invalid_grant"
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED


def test_without_the_knob_a_refusal_is_a_dead_grant_at_once(own: Callable[..., Flow]) -> None:
    flow = own()
    flow.server.answer("/token", json=answer("a-1", "r-1"))
    flow.server.answer("/token", status=400, json=REFUSED)
    connection = flow.connect()
    assert flow.refresh(connection, now=EXPIRY - SECOND).code == "invalid_grant"
    assert flow.again(connection.pk).state == ConnectionState.RECONNECT_REQUIRED
