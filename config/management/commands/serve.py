"""`manage.py serve`: the web process alone."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from config import webserver
from config.supervisor.ports import is_free


class Command(BaseCommand):
    help = "Serves Grantry over HTTP (Granian). Needs nothing but `migrate`."
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (PORT, else 8000)")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0 in a container)")
        parser.add_argument("--processes", type=int, default=settings.WEB_PROCESSES)
        parser.add_argument("--threads", type=int, default=settings.WEB_THREADS)

    def handle(self, *_args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        if not is_free(host, port):
            raise CommandError(f"Port {port} is in use. Stop what listens there or choose another: --port {port + 10}.")
        # Worker processes read the settings anew: without a PUBLIC_BASE_URL of its own, theirs follows this port.
        os.environ["PORT"] = str(port)
        os.environ["WEB_THREADS"] = str(options["threads"])  # half of them may wait for renewals
        if settings.IS_HTTPS and not settings.TRUSTED_PROXY_COUNT:
            self.stderr.write(
                "PUBLIC_BASE_URL is https and TRUSTED_PROXY_COUNT is 0: every request will be redirected to https. "
                "Set TRUSTED_PROXY_COUNT to the number of proxies in front."
            )
        connections.close_all()  # the migrations check opened one that the main process never needs again
        self.stderr.write(f"Serving on http://{host}:{port}")
        webserver.run(
            "config.wsgi:application", host=host, port=port, processes=options["processes"], threads=options["threads"]
        )
