"""Where providers come from: the catalogue, and a workspace's own.

Of a workspace's own provider the latest published version counts; where none was published yet, the newest draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from django.db.models import OuterRef, QuerySet, Subquery

from integrations.crypto import SealError
from integrations.models import CustomProviderVersion
from integrations.providers.base import ProviderNotFound, ProviderSpec
from integrations.providers.catalogue import catalogue
from integrations.providers.definition import spec_from_definition
from workspaces.models import Workspace

__all__ = ["ProviderNotFound", "builtin_specs", "find_newest_spec", "find_spec", "specs_for"]

CURRENT_FIRST = ("draft", "-number")  # published ones before drafts, the newest of them first


def builtin_specs() -> Mapping[str, ProviderSpec]:
    """The catalogue by id; the sandbox is in it only while SANDBOX_BASE_URL is set. Raises CatalogueError."""
    return catalogue()


def specs_for(workspace: Workspace) -> list[ProviderSpec]:
    """Every provider that the workspace can set up, by name. One query."""
    own = [spec_of(version) for version in _current_versions(workspace)]
    return sorted([*builtin_specs().values(), *own], key=lambda spec: (spec.name.casefold(), spec.provider_id))


def find_spec(workspace: Workspace, provider_id: str, *, version: int | None = None) -> ProviderSpec:
    """The definition that counts. Raises ProviderNotFound, for another workspace's provider too.

    `version` is the one a connection was made with: it stays on that one until a newer one is published.
    """
    if (builtin := builtin_specs().get(provider_id)) is not None:
        return builtin
    versions = _versions_of(workspace, provider_id)
    current = _first(versions.order_by(*CURRENT_FIRST), provider_id)
    if version is not None and (current.draft or current.number < version):
        return spec_of(versions.filter(number=version).first() or current)
    return spec_of(current)


def find_newest_spec(workspace: Workspace, provider_id: str) -> ProviderSpec:
    """The newest definition, drafts included: what is edited. Raises ProviderNotFound."""
    if (builtin := builtin_specs().get(provider_id)) is not None:
        return builtin
    return spec_of(_first(_versions_of(workspace, provider_id).order_by("-number"), provider_id))


def current_version(versions: Iterable[CustomProviderVersion]) -> CustomProviderVersion:
    """The version that counts among one provider's versions (there is always one)."""
    newest_first = sorted(versions, key=lambda version: -version.number)
    return next((version for version in newest_first if not version.draft), newest_first[0])


def spec_of(version: CustomProviderVersion) -> ProviderSpec:
    """The definition that a version holds."""
    spec = spec_from_definition(version.definition, _secrets_of(version))
    return replace(
        spec, provider_id=version.provider.provider_id, version=version.number, draft=version.draft, custom=True
    )


def _secrets_of(version: CustomProviderVersion) -> dict[str, str | None]:
    """Values of secret config values by key; None for those that no key opens."""
    try:
        return dict(version.secrets.values)
    except CustomProviderVersion.secrets.RelatedObjectDoesNotExist:
        return {}
    except SealError:
        return {item["key"]: None for item in version.definition.get("config_values", ())}


def _current_versions(workspace: Workspace) -> Iterable[CustomProviderVersion]:
    """The version that counts of each provider; the others, of which there may be thousands, stay where they are."""
    of_one = CustomProviderVersion.objects.filter(provider=OuterRef("pk")).order_by(*CURRENT_FIRST).values("pk")[:1]
    current = workspace.custom_providers.annotate(current=Subquery(of_one)).values("current")
    return CustomProviderVersion.objects.filter(pk__in=current).select_related("provider", "secrets")


def _versions_of(workspace: Workspace, provider_id: str) -> QuerySet[CustomProviderVersion]:
    found = CustomProviderVersion.objects.filter(provider__workspace=workspace, provider__provider_id=provider_id)
    return found.select_related("provider", "secrets")


def _first(versions: QuerySet[CustomProviderVersion], provider_id: str) -> CustomProviderVersion:
    version = versions.first()
    if version is None:
        raise ProviderNotFound(f"This workspace has no provider “{provider_id[:100]}”.")
    return version
