#!/usr/bin/env python
"""Grantry's command line: `manage.py help` lists the commands."""

import os
import sys

from config.supervisor.lifeline import watch_lifeline


def main() -> None:
    """Run one management command under the project's settings."""
    if sys.argv[1:2] != ["sandbox"]:  # that one hands its place, and its lifeline, to another program
        watch_lifeline()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:
        from config.supervisor import launch

        launch.prepare(sys.argv[2:])
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
