"""`create_workspace`: the first owner of an installation, and of every workspace, comes from here."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from workspaces.addresses import find_user
from workspaces.audit import Actor
from workspaces.errors import WorkspaceError
from workspaces.http import public_url
from workspaces.models import User
from workspaces.workspaces import create_workspace


class Command(BaseCommand):
    help = (
        "Make a workspace and its owner, and print both as JSON. An e-mail address that has an account gains the "
        "membership and keeps its password; a new one counts as verified."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what people see, for example “Acme Corp”")
        parser.add_argument("--owner", required=True, metavar="EMAIL", help="the owner's e-mail address")
        parser.add_argument("--slug", default="", help="its part of every URL; made from the name if left out")
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            help="read the new owner's password from standard input (one line); ignored if the account exists",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        existing = find_user(options["owner"])
        password = self._read_password(options["owner"]) if options["password_stdin"] else None
        try:
            workspace, owner = create_workspace(
                options["name"],
                owner_email=options["owner"],
                slug=options["slug"],
                password=password,
                actor=Actor.operator(),
            )
        except (ValidationError, WorkspaceError) as error:
            raise CommandError(_words_of(error)) from error
        self.stdout.write(json.dumps({"workspace": workspace.slug, "owner": owner.email}))
        self._say_how_to_sign_in(owner, existed=existing is not None, password_given=password is not None)

    def _read_password(self, email: str) -> str | None:
        password = sys.stdin.readline().rstrip("\r\n")
        if find_user(email) is not None:
            return None
        if not password:
            raise CommandError("Standard input holds no password. Pipe one line into the command.")
        try:
            validate_password(password, User(email=email))
        except ValidationError as error:
            raise CommandError(_words_of(error)) from error
        return password

    def _say_how_to_sign_in(self, owner: User, *, existed: bool, password_given: bool) -> None:
        if existed:
            self.stderr.write(f"{owner.email} has an account already and keeps its password.")
        elif not password_given:
            self.stderr.write(
                f"{owner.email} has no password yet: set one with a link by e-mail at "
                f"{public_url('/accounts/password/reset/')}, or with `manage.py changepassword {owner.email}`."
            )


def _words_of(error: Exception) -> str:
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
