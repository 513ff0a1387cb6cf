"""System checks: what must hold before the process may start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register


@register("catalogue")
def check_catalogue(app_configs: Sequence[AppConfig] | None, **_options: Any) -> list[CheckMessage]:
    """Refuse to start on a broken file of the provider catalogue, naming file, key and what to do."""
    del app_configs  # the catalogue belongs to no single app
    # Imported here: the app registry is complete only when checks run.
    from integrations.providers.catalogue import CatalogueError, catalogue

    try:
        catalogue()
    except CatalogueError as error:
        return [
            Error(f"{problem.key}: {problem.message}", obj=problem.file, id="integrations.E001")
            for problem in error.problems
        ]
    return []
