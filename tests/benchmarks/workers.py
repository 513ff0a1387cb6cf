"""Real worker processes and what they use: `celery -A config worker` on the database of the test run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from config.management.commands.worker import celery_command

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_workers(count: int, **extra: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that find due tokens by themselves, with an embedded broker and a var/ of their own."""
    with tempfile.TemporaryDirectory(prefix="grantry-workers-") as folder:
        server = os.environ.get("DATABASE_URL", "").rpartition("/")[0]
        name = connection.settings_dict["NAME"]
        environment = {
            **os.environ,
            "VAR_DIR": folder,
            "DATABASE_URL": f"{'sqlite://' if connection.vendor == 'sqlite' else server}/{name}",
            "OUTBOUND_ALLOWED_HOSTS": ",".join(settings.OUTBOUND_ALLOWED_HOSTS),
            "LOG_LEVEL": "WARNING",
            **extra,
        }
        environment.pop("DJANGO_SETTINGS_MODULE", None)  # the real settings
        environment.pop("REDIS_URL", None)
        processes = [
            subprocess.Popen([sys.executable, *celery_command(number)[1:]], cwd=ROOT, env=environment)
            for number in range(1, count + 1)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(60)


def cpu_seconds(process: subprocess.Popen[Any]) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_megabytes(process: subprocess.Popen[Any]) -> tuple[float, float]:
    """Resident memory of a process: all of it, and its proportional share of pages that others use too (PSS)."""
    found = {}
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found["Rss"], found["Pss"]


def thread_count(process: subprocess.Popen[Any]) -> int:
    """Threads of a process."""
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))
