"""`manage.py sandbox`: the sandbox authorization server, in a process of its own."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.environment import PROJECT_DIR
from config.supervisor.local_env import generate_missing


class Command(BaseCommand):
    help = "Serves the sandbox authorization server (own settings, own SQLite file under var/)."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT + 1)
        parser.add_argument("--host", default="127.0.0.1")

    def handle(self, *_args: Any, **options: Any) -> None:
        generate_missing(settings.VAR_DIR, os.environ)
        host, port = options["host"], options["port"]
        os.environ.setdefault("SANDBOX_BASE_URL", f"http://localhost:{port}")
        # This machine's other name too, so that a redirect host can be tried without DNS and certificate.
        bases = dict.fromkeys(
            (settings.PUBLIC_BASE_URL, settings.PUBLIC_BASE_URL.replace("//localhost:", "//127.0.0.1:"))
        )
        os.environ.setdefault("SANDBOX_REDIRECT_URIS", ",".join(f"{base}/oauth/callback" for base in bases))
        os.environ["VAR_DIR"] = str(settings.VAR_DIR)
        # In place of this process, so that none of Grantry's settings, models or connections come along.
        command = [sys.executable, "-m", "config.sandbox", "--port", str(port), "--host", host]
        os.chdir(PROJECT_DIR)
        os.execv(sys.executable, command)  # noqa: S606 (our own module, no shell)
