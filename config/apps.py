"""App configuration of the project itself: its commands (`up`, `serve`, `worker`, `sandbox`) and system checks."""

from django.apps import AppConfig

from config.celery import app as celery_app

__all__ = ["GrantryConfig", "celery_app"]  # @shared_task binds to the app that has been imported by then


class GrantryConfig(AppConfig):
    """Registers the project as an app, so that its management commands and checks are found."""

    name = "config"
    label = "grantry"
    verbose_name = "Grantry"
