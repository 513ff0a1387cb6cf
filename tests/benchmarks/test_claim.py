"""Claims of 500 among a million connections, one per cent of them due: how long, by which plan, and never twice."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

import pytest
from django.db import connection

from integrations.clock import database_now
from integrations.connections.lease import claim_due, due
from integrations.models import TokenSchedule
from tests.benchmarks.million import Million
from tests.benchmarks.report import at_most, record_result

CLAIM = 500
CLAIMERS = 4
# What a day does to the table: claims and renewals leave dead rows where the claim begins to read.
CHURN_ROUNDS = 10


@pytest.mark.benchmark
def test_claims_among_a_million(on_postgresql: None, million: Million, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), million.in_process():
        connection.ensure_connection()
        plan = due(database_now())[:CLAIM].explain()
        assert "schedule_due" in plan
        assert "Seq Scan" not in plan
        claim_due(1, database_now())  # plans, pages and the connection are warm from here on
        due_rows = due(database_now()).count()
        fresh = [_claim() for _ in range(min(8, due_rows // CLAIM // 2))]
        claimed, together = _claim_together()
        assert len(claimed) == len(set(claimed)), "a row was claimed twice"
        assert len(claimed) == due_rows - len(fresh) * CLAIM, "a row was left"
        churned = []
        for _ in range(CHURN_ROUNDS):
            _renew_all()
            _make_due(due_rows)
            churned += [_claim() for _ in range(2)]
        with connection.cursor() as cursor:
            # Measured from below: what PostgreSQL spends on a statement that commits and changes as little as can be.
            bare = [_bare(cursor) for _ in range(20)]
    record_result(
        "claim",
        what=f"claim of {CLAIM} among {million.rows:,}, 1 % due",
        method=(
            f"The product's own claim_due({CLAIM}), with transaction and commit, as a batch calls it. First on a table"
            f" that was just filled ({len(fresh)} claims), then {CLAIMERS} threads at once until nothing is due (no row"
            f" was claimed twice, none was left), then after each of {CHURN_ROUNDS} rounds in which every due row was"
            " claimed, renewed and made due again, with no VACUUM but autovacuum's. Measured is the median after the"
            " churn. The plan was an index scan on schedule_due."
        ),
        measured=statistics.median(churned),
        unit="ms",
        target=at_most(10),
        database="postgresql",
        product_ms=round(statistics.median(churned), 1),
        fresh_ms=round(statistics.median(fresh), 1),
        slowest_ms=round(max(fresh + churned), 1),
        four_at_once_ms=round(statistics.median(together), 1),
        one_row_update_and_commit_ms=round(statistics.median(bare), 1),
    )


def _claim() -> float:
    now = database_now()
    started = time.perf_counter()
    claimed = claim_due(CLAIM, now)
    seconds = time.perf_counter() - started
    assert len(claimed) == CLAIM
    return seconds * 1000


def _claim_together() -> tuple[list[Any], list[float]]:
    """Four claim until nothing is due; what they got, and how long each full claim took."""
    claimed: list[Any] = []
    times: list[float] = []
    start = threading.Barrier(CLAIMERS)

    def work() -> None:
        connection.ensure_connection()
        start.wait()
        try:
            empty = 0
            while empty < 20:  # what another is claiming is passed, so an empty claim may be too early
                now = database_now()
                started = time.perf_counter()
                leases = claim_due(CLAIM, now)
                if len(leases) == CLAIM:
                    times.append((time.perf_counter() - started) * 1000)
                empty = 0 if leases else empty + 1
                claimed.extend(lease.connection_id for lease in leases)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(CLAIMERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return claimed, times


def _renew_all() -> None:
    """What renewals do to the rows that are leased: due in an hour, no lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE integrations_tokenschedule SET refresh_due_at = now() + interval '1 hour' + random() * interval"
            " '1 hour', lease_id = NULL, lease_until = NULL, last_attempt_at = now() WHERE lease_id IS NOT NULL"
        )


def _make_due(count: int) -> None:
    """As many as before are due again, not the same ones. By now, and no longer: as time would have it."""
    ids = TokenSchedule.objects.filter(refresh_due_at__gt=database_now()).order_by("refresh_due_at")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE integrations_tokenschedule SET refresh_due_at = now() - random() * interval '1 minute'"
            " WHERE connection_id = ANY(%s)",
            [list(ids.values_list("connection_id", flat=True)[:count])],
        )


def _bare(cursor: Any) -> float:
    started = time.perf_counter()
    cursor.execute(
        "UPDATE integrations_tokenschedule SET attempts = attempts WHERE connection_id ="
        " (SELECT connection_id FROM integrations_tokenschedule LIMIT 1)"
    )
    return (time.perf_counter() - started) * 1000
