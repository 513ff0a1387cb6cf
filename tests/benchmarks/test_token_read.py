"""Token read over HTTP (key, scope, limits, audit) against a bare select and decrypt (FastAPI, SQLAlchemy, asyncpg)."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.benchmarks import load
from tests.benchmarks.load import Request
from tests.benchmarks.million import Million
from tests.benchmarks.report import at_least, record_result
from tests.benchmarks.web import bare_reader, grantry, missing_packages

PROCESSES = os.cpu_count() or 1
CONNECTIONS = 32
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS = 4
TARGET = 2.0

# wrk asks for the connections one after the other, each with its workspace's key.
LUA = """
local asked = {{{requests}}}
local position = 0
function request()
  position = position % #asked + 1
  return asked[position]
end
"""


def flood(port: int, requests: list[Request], folder: Path, seconds: float) -> tuple[float, int]:
    """Answers per second, and how many answers; each must be a 200. By wrk where it is installed."""
    host = f"localhost:{port}"  # PUBLIC_BASE_URL's, by default
    if shutil.which("wrk") is None:
        told = load.result_of(load.start("flood", port, host, requests, connections=CONNECTIONS, seconds=seconds))
        assert set(told["statuses"]) == {"200"}, told
        return told["statuses"]["200"] / told["seconds"], told["statuses"]["200"]
    script = folder / f"requests-{port}.lua"
    if not script.exists():
        encoded = ",".join("[[" + request.encode(host).decode().replace("\r\n", "\n") + "]]" for request in requests)
        script.write_text(LUA.format(requests=encoded).replace("local position", CRLF + "local position", 1))
    text = subprocess.run(
        [
            "wrk",
            "-t1",
            "--timeout",
            "30s",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Non-2xx" not in text, text
    assert "Socket errors" not in text, text
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", text)
    answers = re.search(r"(\d+) requests in", text)
    assert per_second is not None, text
    assert answers is not None, text
    return float(per_second.group(1)), int(answers.group(1))


# Line ends do not survive Lua's long brackets.
CRLF = 'for n = 1, #asked do asked[n] = asked[n]:gsub("\\n", "\\r\\n") end\n'


@pytest.mark.benchmark
def test_token_reads_against_a_bare_select_and_decrypt(million: Million, tmp_path: Path) -> None:
    if missing := missing_packages():
        pytest.fail(f"`make bench` installs what the baseline needs; missing: {', '.join(missing)}")
    requests = [Request(f"/api/v1/connections/{one.connection_id}/token", one.key) for one in million.readable]
    environment = million.environment
    trial = {}
    for server in ("uvicorn", "granian"):
        with bare_reader(server, environment, PROCESSES) as port:
            runs = [flood(port, requests, tmp_path, 2)[0] for _turn in range(4)]
            trial[server] = statistics.median(runs[1:])  # the first one warms
    server = max(trial, key=lambda name: trial[name])
    before = _recorded(million)
    rounds = []
    with bare_reader(server, environment, PROCESSES) as bare, grantry(environment, PROCESSES) as ours:
        flood(bare, requests, tmp_path, 2)
        answers = flood(ours, requests, tmp_path, 2)[1]
        for _turn in range(ROUNDS):
            base_per_second = flood(bare, requests, tmp_path, SECONDS)[0]
            per_second, answered = flood(ours, requests, tmp_path, SECONDS)
            rounds.append((base_per_second, per_second))
            answers += answered
    recorded = _recorded(million, at_least=before + answers)
    assert recorded - before >= answers  # each read is in the audit trail
    ratio = statistics.median(ours / base for base, ours in rounds)
    record_result(
        "token-read",
        what="token read over HTTP: key, scope check, rate limit, audit, against a bare select and decrypt",
        method=(
            f"{ROUNDS} rounds of {SECONDS} s, interleaved; {CONNECTIONS} client connections and {PROCESSES} server"
            f" processes on both sides, {million.rows:,} connections in the database. The baseline is FastAPI,"
            f" SQLAlchemy and asyncpg under {server}, the quicker of two servers. Rate limits count in"
            f" {'Redis' if million.environment.get('REDIS_URL') else 'the database'}."
        ),
        measured=ratio,
        target=at_least(TARGET),
        database="postgresql",
        baseline_per_second=round(statistics.median(base for base, _ in rounds)),
        product_per_second=round(statistics.median(ours for _, ours in rounds)),
        baseline_servers={name: round(per_second) for name, per_second in trial.items()},
        rounds=[round(ours / base, 2) for base, ours in rounds],
        audit_events=recorded - before,
    )


def _recorded(million: Million, at_least: int = 0) -> int:
    """Reads in the audit trail; web processes write their last ones while they stop."""
    give_up_at = time.monotonic() + 30
    while True:
        with psycopg.connect(million.url) as connection:
            found = connection.execute("SELECT count(*) FROM workspaces_auditevent WHERE action = 'token:read'")
            row = found.fetchone()
        assert row is not None
        if row[0] >= at_least or time.monotonic() > give_up_at:
            return int(row[0])
        time.sleep(0.5)
