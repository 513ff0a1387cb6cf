"""GET /notices: for programs that ask instead of being called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from integrations.models import Connection, ConnectionState, Integration, Notice, NoticeKind
from integrations.notices import notice_of_connection, notice_of_consent_ending, notice_of_integration
from tests.api.client import ApiClient

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture
def three(github: Integration, connection: Connection) -> list[Notice]:
    """A refused client, a dead grant, and consent that ends."""
    refused = notice_of_integration(github, NoticeKind.MISCONFIGURED, at=NOON, code="invalid_client")
    connection.state = ConnectionState.RECONNECT_REQUIRED
    dead = notice_of_connection(connection, "connected", at=later(1), code="invalid_grant", message="It has expired.")
    assert dead is not None
    return [refused, dead, notice_of_consent_ending(connection, later(60), at=later(2))]


def test_a_notice_says_what_happened_to_what(api: ApiClient, three: list[Notice], connection: Connection) -> None:
    items = api.get("/notices").json()["items"]
    assert [item["type"] for item in items] == [
        "connection.consent_expiring",
        "connection.reconnect_required",
        "integration.misconfigured",
    ]
    assert items[1] == {
        "id": str(three[1].public_id),
        "type": "connection.reconnect_required",
        "kind": "reconnect_required",
        "at": "2026-11-26T12:01:00Z",
        "provider_id": "github",
        "grant_type": "authorization_code",
        "connection_id": str(connection.pk),
        "connection_name": "default",
        "code": "invalid_grant",
        "message": "It has expired.",
        "reference": None,
        "ends_at": None,
    }
    assert items[0]["ends_at"] == "2026-11-26T13:00:00Z"
    assert (items[2]["connection_id"], items[2]["connection_name"]) == (None, "")


def test_notices_come_a_page_at_a_time(api: ApiClient, three: list[Notice]) -> None:
    first = api.get("/notices", limit=2).json()
    second = api.get("/notices", limit=2, cursor=first["next"]).json()
    found = [item["id"] for item in (*first["items"], *second["items"])]
    assert found == [str(notice.public_id) for notice in reversed(three)]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"kind": "misconfigured"}, ["misconfigured"]),
        ({"since": "2026-11-26T12:01:00Z"}, ["consent_expiring", "reconnect_required"]),
        ({"since": "2026-11-26T14:02:00+02:00", "kind": "consent_expiring"}, ["consent_expiring"]),
        ({"since": "2030-01-01T00:00:00Z"}, []),
        # Moments that UTC does not have.
        ({"since": "9999-12-31T23:59:59-14:00"}, []),
        ({"since": "0001-01-01T00:00:00+14:00", "kind": "misconfigured"}, ["misconfigured"]),
    ],
)
def test_notices_can_be_cut_to_a_kind_and_to_a_time(
    api: ApiClient, three: list[Notice], query: dict[str, str], kinds: list[str]
) -> None:
    assert [item["kind"] for item in api.get("/notices", **query).json()["items"]] == kinds


@pytest.mark.parametrize("query", [{"kind": "weather"}, {"since": "yesterday"}, {"since": "2026-11-26T12:00:00"}])
def test_filters_that_mean_nothing_are_refused(api: ApiClient, query: dict[str, str]) -> None:
    response = api.get("/notices", **query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == next(iter(query))


def test_a_connection_that_is_gone_leaves_its_name(api: ApiClient, three: list[Notice], connection: Connection) -> None:
    connection.delete()
    item = api.get("/notices", kind="reconnect_required").json()["items"][0]
    assert (item["connection_id"], item["connection_name"]) == (None, "default")
