"""The project: settings, URLs, WSGI and Celery entry points, supervisor and sandbox."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
