"""`manage.py worker`: one Celery worker process per core."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.environment import PROJECT_DIR
from config.supervisor.supervisor import ChildSpec, Supervisor

# Longer than the 20 s that one HTTP call may take: a refresh under way is finished and stored.
STOP_SECONDS = 23.0


class Command(BaseCommand):
    help = "Runs Celery workers, one process per core, each with WORKER_THREADS threads."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--processes", type=int, default=settings.WORKER_PROCESSES or core_count())

    def handle(self, *_args: Any, **options: Any) -> None:
        specs = [
            ChildSpec(f"worker-{number}", celery_command(number), stop_seconds=STOP_SECONDS)
            for number in range(1, max(1, options["processes"]) + 1)
        ]
        code = Supervisor(specs, prefixed=False).run()
        if code:
            sys.exit(code)


def core_count() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def celery_command(number: int) -> list[str]:
    """One worker process. Gossip, mingle and heartbeats tell workers about each other, which none of ours asks."""
    command = [sys.executable, "-m", "celery", "--workdir", str(PROJECT_DIR), "-A", "config", "--quiet", "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*command, "--hostname", f"worker{number}@%h", *quiet]
