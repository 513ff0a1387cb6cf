"""`manage.py provider_table`: the table of built-in providers for docs/providers.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations.providers.catalogue import catalogue
from integrations.providers.table import NoTable, table_of, with_table


class Command(BaseCommand):
    """Print the table, or write it into the document."""

    help = "Print the table of built-in providers as Markdown, or write it into docs/providers.md (--write)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--write", action="store_true", help="replace the table in docs/providers.md")

    def handle(self, **options: Any) -> None:
        """Do it. Raises CommandError when the document has no place for the table."""
        # The sandbox is there only while it is configured; the document names it elsewhere.
        specs = {name: spec for name, spec in catalogue().items() if name != "sandbox"}
        if not options["write"]:
            self.stdout.write(table_of(specs.values()))
            return
        document = Path(settings.BASE_DIR) / "docs" / "providers.md"
        try:
            document.write_text(with_table(document.read_text(), specs))
        except NoTable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{document.name}: {len(specs)} providers.")
