"""Two real worker processes and endpoints that think for 150 ms: is waiting hidden, and what memory does it take?"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from integrations.connections.call_slots import CALLS_PER_HOST
from integrations.models import TokenSchedule
from integrations.providers.custom import create_custom_provider
from tests.benchmarks.report import at_least, at_most, record_result
from tests.benchmarks.workers import cpu_seconds, memory_megabytes, running_workers, thread_count
from tests.factories import make_connection, make_integration, make_workspace
from workspaces.audit import Actor

LATENCY_MS = 150
WORKERS = 2
MEMORY_MEGABYTES = 150
PATIENCE_SECONDS = 300.0  # of a slow machine


@pytest.mark.benchmark
@pytest.mark.django_db(transaction=True)
# One host: 64 calls over both processes. Two: 128, which is 64 threads in each.
@pytest.mark.parametrize(("hosts", "tokens"), [(1, 2000), (2, 4000)])
def test_two_workers_and_a_slow_endpoint(
    on_postgresql: None, start_slow_endpoint: Callable[..., str], hosts: int, tokens: int
) -> None:
    for number in range(hosts):
        _make_due(start_slow_endpoint(LATENCY_MS), tokens // hosts, f"bench{number}")
    calls = CALLS_PER_HOST * hosts
    with running_workers(WORKERS) as workers:
        # Measured between the first and the last tenth, where all threads have work.
        _wait_until_left(tokens * 9 // 10)
        written = _written()
        started, cpu_before = time.perf_counter(), [cpu_seconds(worker) for worker in workers]
        _wait_until_left(tokens // 2)
        threads, memory = max(map(thread_count, workers)), [memory_megabytes(worker) for worker in workers]
        _wait_until_left(tokens // 10)
        seconds = time.perf_counter() - started
        cpu = [cpu_seconds(worker) - before for worker, before in zip(workers, cpu_before, strict=True)]
        written = {name: after - written[name] for name, after in _written().items()}
        _wait_until_left(0)
        memory += [memory_megabytes(worker) for worker in workers]
    renewed = tokens * 8 / 10
    ideal, rate = calls / (LATENCY_MS / 1000), renewed / seconds
    record_result(
        f"slow-endpoint-{calls}-calls",
        what=f"{LATENCY_MS} ms endpoint, {WORKERS} worker processes, {calls} calls at once",
        method=(
            f"{tokens:,} due tokens that rotate, {hosts} token endpoint(s) in processes of their own that answer after"
            f" {LATENCY_MS} ms, {WORKERS} real `celery -A config worker` processes on the same machine. The baseline is"
            f" what {calls} threads reach if nothing but the latency takes time: {calls} ÷ {LATENCY_MS / 1000:g} s."
            " Counted between the first and the last tenth. “cpu bound per second” is what the workers' own CPU time"
            " per renewal allows on two cores if nothing else runs there."
        ),
        measured=rate / ideal,
        target=at_least(0.80),
        baseline_per_second=round(ideal),
        product_per_second=round(rate),
        cpu_ms_per_renewal=round(sum(cpu) * 1000 / renewed, 2),
        cpu_bound_per_second=round(2 * renewed / sum(cpu)),
        cores_used_by_workers=round(sum(cpu) / seconds, 2),
        **{f"{name}_per_renewal": round(count / renewed, 2) for name, count in written.items()},
    )
    if hosts == 2:
        rss, pss = max(memory, key=lambda pair: pair[1])
        record_result(
            "memory",
            what="memory per worker process, 64 calls at once",
            method=(
                f"PSS of the larger of the {WORKERS} worker processes above, half-way (64 calls under way in each,"
                f" {threads} threads in all) and after {tokens:,} renewals; the higher of these."
            ),
            measured=pss,
            unit="MB",
            target=at_most(MEMORY_MEGABYTES),
            pss_megabytes=round(pss, 1),
            rss_megabytes=round(rss, 1),
            threads=threads,
        )


def _written() -> dict[str, int]:
    """What PostgreSQL has written so far: bytes of WAL, and commits in this database."""
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, xact_commit FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
        wal_bytes, commits = cursor.fetchone()
        return {"wal_bytes": wal_bytes, "commits": commits}


def _make_due(host: str, count: int, name: str) -> None:
    workspace = make_workspace()
    definition = {
        "name": name,
        "grant_types": ["authorization_code"],
        "authorization_endpoint": f"http://{host}/authorize",
        "token_endpoint": f"http://{host}/token",
    }
    provider = create_custom_provider(workspace, definition, actor=Actor.operator())
    integration = make_integration(workspace, provider.provider_id)
    long_ago = timezone.now() - timedelta(hours=1)
    for number in range(count):
        make_connection(integration, f"c{number}", provider_version=1, issued_at=long_ago, due_at=long_ago)


def _wait_until_left(count: int) -> None:
    """Wait until so few tokens are due still."""
    end = time.monotonic() + PATIENCE_SECONDS
    while TokenSchedule.objects.filter(refresh_due_at__lte=timezone.now()).count() > count:
        assert time.monotonic() < end, f"too slow on {connection.vendor}"
        time.sleep(0.05)
