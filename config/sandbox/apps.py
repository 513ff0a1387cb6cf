"""App configuration of the sandbox."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """The sandbox's own app: one table of notes behind the protected API."""

    name = "config.sandbox"
    label = "sandbox"
    default_auto_field = "django.db.models.BigAutoField"
