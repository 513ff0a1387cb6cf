"""`manage.py refresh_due [--once]`: the work of one beat tick, without Celery."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.connections.batch import BATCH, refresh_due
from integrations.connections.commits import DatabaseAway


class Command(BaseCommand):
    help = "Renew the tokens that are due, as a worker would: claim until nothing is due."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="claim a single batch")
        parser.add_argument("--limit", type=int, default=BATCH, help="rows in a claim (default: %(default)s)")

    def handle(self, *_args: Any, once: bool, limit: int, **_options: Any) -> None:
        if limit < 1:
            raise CommandError("--limit is at least 1.")
        try:
            summary = refresh_due(limit, once=once)
        except DatabaseAway as error:
            raise CommandError(str(error)) from error
        self.stdout.write(", ".join(f"{name}: {count}" for name, count in asdict(summary).items()))
