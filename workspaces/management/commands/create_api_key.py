"""`create_api_key`: a key for a program, made by an operator."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workspaces.api_keys import create_api_key
from workspaces.audit import Actor
from workspaces.errors import KeyRefused
from workspaces.models import Workspace
from workspaces.roles import KeyScope


class Command(BaseCommand):
    help = (
        "Make an API key and print it as JSON, once: only a digest is kept. It acts for the operator, with the role "
        "of an admin at most. Scopes: " + ", ".join(KeyScope) + "."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="the workspace's slug, as in its URLs")
        parser.add_argument("--name", required=True, help="what people see in the list of keys")
        parser.add_argument(
            "--scope", action="append", dest="scopes", required=True, metavar="SCOPE", help="may be given many times"
        )
        parser.add_argument("--expires-in-days", type=int, metavar="DAYS", help="never expires if left out")

    def handle(self, *_args: Any, **options: Any) -> None:
        workspace = Workspace.objects.filter(slug=options["workspace"]).first()
        if workspace is None:
            raise CommandError(f"There is no workspace “{options['workspace']}”.")
        days = options["expires_in_days"]
        try:
            new = create_api_key(
                workspace,
                name=options["name"],
                scopes=options["scopes"],
                actor=Actor.operator(),
                created_by=None,
                expires_at=timezone.now() + timedelta(days=days) if days is not None else None,
            )
        except KeyRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps({"key": new.key, "prefix": new.api_key.prefix}))
