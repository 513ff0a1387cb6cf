"""`python -m config.sandbox --port N`: migrate, seed, serve. `manage.py sandbox` ends up here."""

from __future__ import annotations

import argparse
import os
import sys

from config.supervisor.lifeline import watch_lifeline
from config.supervisor.ports import is_free


def main() -> None:
    """Run the sandbox until SIGTERM or SIGINT."""
    watch_lifeline()
    parser = argparse.ArgumentParser(prog="manage.py sandbox")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    if not is_free(options.host, options.port):
        sys.exit(f"Port {options.port} is in use. Stop what listens there or choose another one.")
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.sandbox.settings"
    prepare()

    from config import webserver

    webserver.run("config.sandbox.wsgi:application", host=options.host, port=options.port, processes=1, threads=32)


def prepare() -> None:
    """Bring the sandbox's own database up to date."""
    import django

    django.setup()

    from django.core.management import call_command
    from django.db import connections

    from config.sandbox.seed import seed

    call_command("migrate", verbosity=0, interactive=False)
    seed()
    connections.close_all()


if __name__ == "__main__":
    main()
