"""Full refresh (claim, POST, parse, encrypt, commit per token, audit) against a bare pooled session on one endpoint."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection
from django.utils import timezone

from integrations.connections.batch import CALLS_PER_HOST, refresh_due
from integrations.models import TokenSchedule
from integrations.providers.custom import create_custom_provider
from tests.factories import make_connection, make_integration, make_workspace
from workspaces.audit import Actor

TOKENS = 400
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"


@pytest.fixture
def endpoint(settings: Any) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.endpoint"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    host = f"127.0.0.1:{process.stdout.readline().strip()}"
    settings.OUTBOUND_ALLOWED_HOSTS = [host]
    yield f"http://{host}/token"
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def _baseline(url: str) -> float:
    """Calls per second of bare sessions, one per thread, as many threads as the engine uses for one host."""
    local = threading.local()

    def call(number: int) -> int:
        session = local.__dict__.setdefault("session", requests.Session())
        answer = session.post(
            url,
            data={"grant_type": "refresh_token", "refresh_token": f"old-{number}"},
            auth=("client", "secret"),
            timeout=20,
        )
        assert answer.json()["access_token"]
        return int(answer.status_code)

    with ThreadPoolExecutor(CALLS_PER_HOST) as pool:
        started = time.perf_counter()
        assert set(pool.map(call, range(TOKENS))) == {200}
        return TOKENS / (time.perf_counter() - started)


def _product() -> float:
    TokenSchedule.objects.update(refresh_due_at=timezone.now() - timedelta(minutes=1))
    started = time.perf_counter()
    summary = refresh_due()
    seconds = time.perf_counter() - started
    assert summary.renewed == TOKENS
    return TOKENS / seconds


@pytest.mark.benchmark
@pytest.mark.django_db(transaction=True)
def test_full_refresh_against_bare_posts(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = make_workspace()
    definition = {
        "name": "bench",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": endpoint.replace("/token", "/authorize"),
        "token_endpoint": endpoint,
    }
    provider = create_custom_provider(workspace, definition, actor=Actor.operator())
    integration = make_integration(workspace, provider.provider_id)
    for number in range(TOKENS):
        make_connection(integration, f"c{number}", provider_version=1)
    rounds = [(_baseline(endpoint), _product()) for _ in range(ROUNDS)]
    result = {
        "what": "full refresh of rotating tokens, one process",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "database": connection.vendor,
        "tokens": TOKENS,
        "threads": CALLS_PER_HOST,
        "baseline_per_second": round(statistics.median(base for base, _ in rounds)),
        "product_per_second": round(statistics.median(ours for _, ours in rounds)),
        "ratio": round(statistics.median(ours / base for base, ours in rounds), 2),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"refresh-{connection.vendor}.json").write_text(json.dumps(result, indent=2) + "\n")
    with capsys.disabled():
        print("\n" + "\n".join(f"  {name:22} {value}" for name, value in result.items()))
