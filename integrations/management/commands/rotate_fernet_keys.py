"""`manage.py rotate_fernet_keys [--dry-run]`: re-encrypt everything under the first of FERNET_KEYS."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.connections import spool
from integrations.rotation import Progress, rotate


class Command(BaseCommand):
    help = (
        "Re-encrypt every stored secret under the first key of FERNET_KEYS, while the product runs. Safe to stop and "
        "to start again. Old keys may be removed once it ends without a complaint."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, change nothing")

    def handle(self, *_args: Any, dry_run: bool, **_options: Any) -> None:
        progress = rotate(dry_run=dry_run, report=self._report)
        done = "would be re-encrypted" if dry_run else "re-encrypted"
        self.stdout.write(
            f"{progress.seen} values: {progress.rotated} {done}, {progress.current} were under the first key already, "
            f"{progress.changed_meanwhile} changed meanwhile (they are under the first key)."
        )
        unreadable = progress.unreadable + (0 if dry_run else spool.reseal())
        if unreadable:
            raise CommandError(
                f"{unreadable} values cannot be opened with the configured keys and were left alone. "
                "Keep the old keys, and put the missing one back into FERNET_KEYS."
            )

    def _report(self, name: str, progress: Progress) -> None:
        self.stdout.write(f"{name}: {progress.seen} values seen so far")
