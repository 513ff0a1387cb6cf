"""Celery application: tasks are idempotent wake-ups, the database holds the work."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("grantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
