"""Claims: nobody ever gets a row that somebody else has."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db.models import Q

from integrations.connections import lease as lease_module
from integrations.connections.lease import LEASE, claim_due, claim_one, due, extend, release
from integrations.models import GrantType, TokenSchedule
from tests.connections.conftest import NOW
from tests.factories import make_connection, make_integration, make_workspace
from workspaces.models import Workspace


def make_due(workspace: Workspace, count: int) -> None:
    """`count` connections that are due, the first longest."""
    integration = make_integration(workspace, "github", GrantType.AUTHORIZATION_CODE)
    for number in range(count):
        make_connection(
            integration,
            f"c{number:03}",
            issued_at=NOW - timedelta(hours=1),
            due_at=NOW - timedelta(seconds=count - number),
        )


def test_it_claims_what_is_due_oldest_first_and_once(workspace: Workspace) -> None:
    make_due(workspace, 5)
    first = claim_due(3, NOW)
    names = TokenSchedule.objects.filter(pk__in=[lease.connection_id for lease in first])
    assert sorted(names.values_list("connection__name", flat=True)) == ["c000", "c001", "c002"]
    assert len(claim_due(3, NOW)) == 2
    assert claim_due(3, NOW) == []


def test_what_is_not_due_or_never_due_is_left(workspace: Workspace) -> None:
    integration = make_integration(workspace)
    make_connection(integration, "later", issued_at=NOW, due_at=NOW + timedelta(seconds=1))
    make_connection(integration, "never", issued_at=NOW, lifetime=None)
    assert claim_due(10, NOW) == []


def test_a_lease_that_ran_out_is_not_taken_for_that_alone(workspace: Workspace) -> None:
    make_due(workspace, 1)
    [lease] = claim_due(1, NOW)
    assert claim_one(lease.connection_id, NOW + LEASE) is None
    assert claim_due(1, NOW + timedelta(days=1)) == []


def test_a_lease_whose_holder_comes_back_this_moment_is_not_taken(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the row and the claim it was extended: the answer is here, and on its way."""
    make_due(workspace, 1)
    [held] = claim_due(1, NOW)
    later = NOW + timedelta(minutes=3)
    TokenSchedule.objects.update(suspected_at=later - timedelta(seconds=20))

    def come_back(_holder: object) -> uuid.UUID:
        assert extend(Q(lease_id=held.lease_id), later) == 1
        return uuid.uuid4()

    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "_new_id", come_back)
        assert claim_one(held.connection_id, later) is None
    assert TokenSchedule.objects.get().lease_id == held.lease_id


def test_a_call_is_not_sent_when_the_lease_could_end_before_the_answer(workspace: Workspace) -> None:
    make_due(workspace, 1)
    [lease] = claim_due(1, NOW)
    assert lease.may_still_send(NOW + timedelta(seconds=30))
    assert not lease.may_still_send(NOW + timedelta(seconds=31))


def test_one_connection_can_be_claimed_before_it_is_due(workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), issued_at=NOW)
    lease = claim_one(connection.pk, NOW)
    assert lease is not None
    assert claim_one(connection.pk, NOW) is None
    release(lease)
    assert claim_one(connection.pk, NOW) is not None


@pytest.mark.parametrize("due_in", [None, timedelta(hours=1), timedelta(seconds=5)])
def test_a_leased_row_is_found_among_the_due_and_a_released_one_keeps_its_time(
    workspace: Workspace, due_in: timedelta | None
) -> None:
    due_at = None if due_in is None else NOW + due_in
    connection = make_connection(make_integration(workspace), issued_at=NOW)
    row = TokenSchedule.objects.filter(pk=connection.pk)
    row.update(refresh_due_at=due_at)
    lease = claim_one(connection.pk, NOW)
    assert lease is not None
    leased = row.get()
    assert leased.refresh_due_at is not None
    assert leased.lease_until is not None
    assert leased.refresh_due_at <= leased.lease_until
    assert lease.due_without_it(leased) == due_at
    assert release(lease)
    assert row.get().refresh_due_at == due_at


def test_a_due_time_that_somebody_else_set_meanwhile_stays(workspace: Workspace) -> None:
    connection = make_connection(make_integration(workspace), issued_at=NOW)
    lease = claim_one(connection.pk, NOW)
    assert lease is not None
    row = TokenSchedule.objects.filter(pk=connection.pk)
    row.update(refresh_due_at=NOW)
    assert lease.due_without_it(row.get()) == NOW
    release(lease)
    assert row.get().refresh_due_at == NOW


@pytest.mark.django_db(transaction=True)
def test_concurrent_batches_never_claim_the_same_row() -> None:
    make_due(make_workspace(), 60)
    start, claimed, lock = threading.Barrier(6), [], threading.Lock()

    def work() -> None:
        start.wait()
        try:
            while leases := claim_due(7, NOW):
                with lock:
                    claimed.extend(lease.connection_id for lease in leases)
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(claimed) == len(set(claimed))
    # A batch passes rows that another one is claiming: what is left over is claimed by the next.
    rest = claim_due(100, NOW)
    assert len(claimed) + len(rest) == 60


@pytest.mark.django_db(transaction=True)
def test_the_claim_uses_the_partial_index() -> None:
    make_due(make_workspace(), 300)
    TokenSchedule.objects.filter(connection__name__gt="c010").update(refresh_due_at=NOW + timedelta(days=1))
    with database.cursor() as cursor:
        cursor.execute("ANALYZE integrations_tokenschedule")
        if database.vendor == "postgresql":
            # So few rows would be read one after the other.
            cursor.execute("SET enable_seqscan = off")
    plan = due(NOW)[:5].explain()
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            cursor.execute("SET enable_seqscan = on")
    assert "schedule_due" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.django_db(transaction=True)
def test_the_claim_itself_reads_by_the_index_and_writes_by_the_rows_place(
    django_assert_num_queries: Any,
) -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite has no statement that locks and claims")
    make_due(make_workspace(), 300)
    with django_assert_num_queries(1) as asked:
        assert len(claim_due(5, NOW)) == 5
    with database.cursor() as cursor:
        cursor.execute("ANALYZE integrations_tokenschedule")
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked.captured_queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("SET enable_seqscan = on")
    assert "Index Scan using schedule_due" in plan
    assert "Tid Scan on integrations_tokenschedule" in plan
