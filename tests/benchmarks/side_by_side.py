"""Renewals by the engine and bare POSTs by pooled sessions, in turns, on one endpoint with as many threads each.

The bare loop parses no lifetime, checks no address, stores nothing. CPU time is this process's own, so that it says
what a renewal costs even while other programs keep the machine busy.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
from django.db import connection
from django.utils import timezone

from integrations.connections.batch import refresh_due
from integrations.connections.call_slots import CALLS_PER_HOST
from integrations.models import GrantType, TokenSchedule
from integrations.providers.custom import create_custom_provider
from tests.benchmarks.report import at_least, record_result
from tests.factories import make_connection, make_integration, make_workspace
from workspaces.audit import Actor

TOKENS = 600
ROUNDS = 7


@contextmanager
def endpoint_process() -> Iterator[str]:
    """The URL of a token endpoint in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.endpoint"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/token"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


@dataclass(frozen=True)
class Run:
    """One round of one side."""

    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return TOKENS / self.seconds

    @property
    def cpu_ms(self) -> float:
        return self.cpu_seconds / TOKENS * 1000


def _timed(work: Callable[[], None]) -> Run:
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return Run(time.perf_counter() - started, time.process_time() - cpu)


def seed(url: str, grant_type: GrantType) -> None:
    """Connections with a token each, as they are in production: committed for good, statistics known."""
    workspace = make_workspace()
    definition = {
        "name": "bench",
        "grant_types": [grant_type.value],
        "authorization_endpoint": url.replace("/token", "/authorize"),
        "token_endpoint": url,
    }
    provider = create_custom_provider(workspace, definition, actor=Actor.operator())
    integration = make_integration(workspace, provider.provider_id, grant_type)
    refresh_token = None if grant_type == GrantType.CLIENT_CREDENTIALS else "refresh-token-1"
    for number in range(TOKENS):
        make_connection(integration, f"c{number}", provider_version=1, refresh_token=refresh_token)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA synchronous=FULL")  # as in production; the tests' settings switch it off


class Baseline:
    """Bare sessions, one per thread, as many threads as the engine uses for one host."""

    def __init__(self, url: str, form: dict[str, str]) -> None:
        self._url, self._form = url, form
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(CALLS_PER_HOST)

    def run(self) -> None:
        assert set(self._pool.map(self._call, range(TOKENS))) == {200}

    def _call(self, number: int) -> int:
        session = self._local.__dict__.setdefault("session", requests.Session())
        form = {name: value.format(number) for name, value in self._form.items()}
        answer = session.post(self._url, data=form, auth=("client", "secret"), timeout=20)
        assert answer.json()["access_token"]
        return int(answer.status_code)


def _product() -> None:
    assert refresh_due().renewed == TOKENS


def _make_due() -> None:
    TokenSchedule.objects.update(refresh_due_at=timezone.now() - timedelta(minutes=1))


def measure(name: str, what: str, url: str, form: dict[str, str], target: float) -> dict[str, Any]:
    """Run both sides in turns, the first turn for warming up, and keep the medians as a result."""
    baseline = Baseline(url, form)
    rounds: list[tuple[Run, Run]] = []
    for _ in range(ROUNDS + 1):
        _make_due()
        rounds.append((_timed(baseline.run), _timed(_product)))
    rounds = rounds[1:]
    ratio = statistics.median(ours.per_second / base.per_second for base, ours in rounds)
    return record_result(
        name,
        what=what,
        method=(
            f"{ROUNDS} rounds of {TOKENS} tokens, in turns, {CALLS_PER_HOST} threads and one process on both sides. The"
            " baseline is a loop of bare `requests.Session`s, one per thread, that only reads the token."
        ),
        measured=ratio,
        target=at_least(target),
        baseline_per_second=round(statistics.median(base.per_second for base, _ in rounds)),
        product_per_second=round(statistics.median(ours.per_second for _, ours in rounds)),
        baseline_cpu_ms=round(statistics.median(base.cpu_ms for base, _ in rounds), 2),
        product_cpu_ms=round(statistics.median(ours.cpu_ms for _, ours in rounds), 2),
        rounds=[round(ours.per_second / base.per_second, 2) for base, ours in rounds],
    )
