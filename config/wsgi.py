"""WSGI entry point; Granian (`manage.py serve`) and any other WSGI server load `application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()

from config.quick_reads import QuickReads  # noqa: E402 (it needs what the line above sets up)
from integrations.connections import spool_watch  # noqa: E402 (so does this)

application = QuickReads(_django)
# A renewal that a reader began may be in a file, and no worker need be on this host.
spool_watch.watch()
