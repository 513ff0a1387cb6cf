#!/usr/bin/env python
"""Grantry's command line: `manage.py help` lists the commands."""

import os
import secrets
import sys
from base64 import urlsafe_b64encode

from config.supervisor.lifeline import watch_lifeline


def main() -> None:
    """Run one management command under the project's settings."""
    if sys.argv[1:2] != ["sandbox"]:  # that one hands its place, and its lifeline, to another program
        watch_lifeline()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:
        from config.supervisor import launch

        launch.prepare(sys.argv[2:])
    if sys.argv[1:2] == ["makemigrations"]:
        # It reads models and writes files: in a fresh clone nothing is there that these could open or sign.
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(64))
        os.environ.setdefault("FERNET_KEYS", urlsafe_b64encode(secrets.token_bytes(32)).decode())
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
