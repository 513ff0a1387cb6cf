"""Integrations: providers, connections and the tokens that stay fresh."""

from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    """Registers system checks (catalogue, guarded fields) when the app is ready."""

    name = "integrations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the modules that register themselves."""
        from integrations import checks  # noqa: F401 (registers system checks)
        from integrations.providers import deviations  # noqa: F401 (registers subclasses)
