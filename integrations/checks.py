"""System checks: what must hold before the process may start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

if TYPE_CHECKING:
    from integrations.providers.base import ProviderSpec


@register("catalogue")
def check_catalogue(app_configs: Sequence[AppConfig] | None, **_options: Any) -> list[CheckMessage]:
    """Refuse to start on a broken file of the provider catalogue, naming file, key and what to do."""
    del app_configs  # the catalogue belongs to no single app
    # Imported here: the app registry is complete only when checks run.
    from integrations.providers.catalogue import CatalogueError, catalogue

    try:
        specs = catalogue()
    except CatalogueError as error:
        return [
            Error(f"{problem.key}: {problem.message}", obj=problem.file, id="integrations.E001")
            for problem in error.problems
        ]
    return list(_classes_without_provider(specs))


def _classes_without_provider(specs: Mapping[str, ProviderSpec]) -> Iterator[CheckMessage]:
    """Subclasses that would never run, since no file offers what they are registered for."""
    from integrations.providers.oauth_provider import registered_classes

    for (provider_id, grant_type), registered in registered_classes().items():
        spec = specs.get(provider_id)
        if spec is not None and spec.supports(grant_type):
            continue
        if spec is not None:
            remedy = f"add {grant_type.value} to grant_types in catalogue/{provider_id}.yaml, or choose another base"
        elif meant := get_close_matches(provider_id, specs, n=1):
            remedy = f'there is no catalogue/{provider_id}.yaml. Write "{meant[0]}" if you meant that'
        else:
            remedy = f"add catalogue/{provider_id}.yaml, or correct the id"
        words = f'@register("{provider_id}") on {registered.__name__} ({grant_type.value}): {remedy}.'
        yield Error(words, obj=registered.__module__, id="integrations.E002")
