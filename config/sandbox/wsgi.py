"""WSGI entry point of the sandbox."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "config.sandbox.settings"

application = get_wsgi_application()
