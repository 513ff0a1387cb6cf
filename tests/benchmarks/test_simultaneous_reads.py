"""200 simultaneous reads of one expired token: one provider call, and readers of other tokens notice nothing.

Idle spells and bursts take turns. The provider takes a second to answer; all the while a client in a process of its own
reads valid tokens at a steady pace, and its latencies count from when each read was to be sent.
"""

from __future__ import annotations

import json
import os
import statistics
import time

import pytest

from tests.benchmarks import load
from tests.benchmarks.load import Request
from tests.benchmarks.million import Million, run_in
from tests.benchmarks.report import at_most, record_result
from tests.benchmarks.web import grantry
from tests.servers.scripted import Answer, Received, scripted_server

PROCESSES = os.cpu_count() or 1
READERS = 200
BURSTS = int(os.environ.get("BENCH_ROUNDS", "8"))
PER_SECOND = 100
PROVIDER_SECONDS = 1.0
TARGET_MS = 10.0


def _expired(environment: dict[str, str], token_endpoint: str) -> list[Request]:
    made = json.loads(run_in(environment, "-m", "tests.benchmarks.expired", token_endpoint, str(BURSTS)))
    return [Request(f"/api/v1/connections/{one}/token", made["key"]) for one in made["ids"]]


def _slowly(received: Received) -> Answer:
    time.sleep(PROVIDER_SECONDS)
    spent = received.form["refresh_token"]
    body = f'{{"access_token":"new-for-{spent}","token_type":"Bearer","expires_in":3600,"refresh_token":"next"}}'
    return Answer(200, body.encode(), {"Content-Type": "application/json"})


@pytest.mark.benchmark
def test_two_hundred_readers_of_one_expired_token_disturb_nobody(
    million: Million,
) -> None:
    valid = [Request(f"/api/v1/connections/{one.connection_id}/token", one.key) for one in million.readable]
    idle: list[float] = []
    during: list[float] = []
    bursts = []
    with scripted_server() as provider:
        provider.respond("/token", _slowly)
        environment = {**million.environment, "OUTBOUND_ALLOWED_HOSTS": provider.host}
        expired = _expired(environment, f"{provider.url}/token")
        with grantry(environment, PROCESSES) as port:
            host = f"localhost:{port}"
            load.result_of(load.start("flood", port, host, valid, connections=16, seconds=3))  # warm
            for request in expired:
                # In one run: three idle seconds, then the burst. A connection of a client may wait for nobody's burst.
                paced = load.start("paced", port, host, valid, connections=32, seconds=7, per_second=PER_SECOND)
                burst = load.start("burst", port, host, [request], connections=READERS, after_seconds=3.5)
                met, told = load.result_of(burst), load.result_of(paced)
                assert set(told["statuses"]) == {"200"}, told["statuses"]
                assert met["statuses"] == {"200": READERS}, met["statuses"]
                assert len({body.partition('"access_token": "')[2][:20] for body in met["bodies"]}) == 1
                bursts.append(met["ended_at"] - met["sent_at"])
                for due, latency in told["latencies"]:
                    if met["sent_at"] <= due <= met["ended_at"]:
                        during.append(latency)
                    elif due < met["sent_at"] - 0.5 and latency:
                        idle.append(latency)
        calls = [request.form["refresh_token"] for request in provider.to("/token")]
    assert sorted(calls) == sorted(f"old-{number}" for number in range(BURSTS))  # one call each
    idle_p99, during_p99 = _p99(idle), _p99(during)
    record_result(
        "simultaneous-reads",
        what=f"{READERS} simultaneous reads of one expired token: how much p99 of other reads rises",
        method=(
            f"{BURSTS} bursts while {PER_SECOND} reads a second of other, valid tokens go on; the provider takes"
            f" {PROVIDER_SECONDS:g} s and was called once per burst; {PROCESSES} web processes."
        ),
        measured=during_p99 - idle_p99,
        unit="ms",
        target=at_most(TARGET_MS),
        database="postgresql",
        provider_calls_per_burst=len(calls) / BURSTS,
        burst_seconds=round(statistics.median(bursts), 2),
        idle_p50_ms=round(statistics.median(idle), 1),
        during_p50_ms=round(statistics.median(during), 1),
        idle_p99_ms=round(idle_p99, 1),
        during_p99_ms=round(during_p99, 1),
        samples=[len(idle), len(during)],
    )


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100, method="inclusive")[98]
