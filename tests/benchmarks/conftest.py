"""What several benchmarks share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.benchmarks import report
from tests.benchmarks.million import ROWS, Million, million_connections

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def million() -> Iterator[Million]:
    """A million connections on PostgreSQL, made once for all benchmarks of a run; BENCH_ROWS makes fewer, to try."""
    with million_connections(int(os.environ.get("BENCH_ROWS", ROWS))) as made:
        yield made


@pytest.fixture(scope="session")
def on_postgresql() -> None:
    """For benchmarks whose target speaks of PostgreSQL."""
    if connection.vendor != "postgresql":
        pytest.skip("measured on PostgreSQL only: set DATABASE_URL")


@pytest.fixture
def start_slow_endpoint(settings: Any) -> Iterator[Callable[..., str]]:
    """Start endpoints in processes of their own: `start_slow_endpoint(150)` answers after 150 ms. Returns host:port."""
    with ExitStack() as stack:

        def start(delay_ms: int) -> str:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.benchmarks.slow_endpoint", str(delay_ms)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert process.stdin is not None
            stack.callback(process.stdin.close)  # it ends with its standard input
            assert process.stdout is not None
            host = f"127.0.0.1:{process.stdout.readline().strip()}"
            settings.OUTBOUND_ALLOWED_HOSTS = [*settings.OUTBOUND_ALLOWED_HOSTS, host]
            return host

        yield start


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One table at the end of the run."""
    if results := report.recorded():
        terminalreporter.section("benchmarks")
        terminalreporter.write_line(report.machine())
        for line in report.table_lines(results):
            terminalreporter.write_line(line)
