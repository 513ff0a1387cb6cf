"""Workspaces: the tenants of an installation, their people, keys and audit trail."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """Tenancy. Imports nothing of ours."""

    name = "workspaces"
    default_auto_field = "django.db.models.BigAutoField"
