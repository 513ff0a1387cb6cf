"""`manage.py refresh_due [--once]`: the work of one beat tick, without Celery."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.connections.batch import BATCH, refresh_due
from integrations.connections.commits import DatabaseAway
from integrations.connections.stopping import THIS_PROCESS


class Command(BaseCommand):
    help = "Renew the tokens that are due, as a worker would: claim until nothing is due."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="claim a single batch")
        parser.add_argument("--limit", type=int, default=BATCH, help="rows in a claim (default: %(default)s)")

    def handle(self, *_args: Any, once: bool, limit: int, **_options: Any) -> None:
        if limit < 1:
            raise CommandError("--limit is at least 1.")
        _finish_on_signals()
        try:
            summary = refresh_due(limit, once=once)
        except DatabaseAway as error:
            raise CommandError(str(error)) from error
        self.stdout.write(", ".join(f"{name}: {count}" for name, count in asdict(summary).items()))


def _finish_on_signals() -> None:
    """SIGTERM and Ctrl-C: finish and store what is under way. A second Ctrl-C interrupts as ever."""
    if threading.current_thread() is not threading.main_thread():
        return  # called from within a program, which has its own handlers

    def stop(number: int, _frame: object) -> None:
        THIS_PROCESS.begin()
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
