"""Where providers come from: the catalogue, and a workspace's own.

Of a workspace's own provider the latest published version counts; where none was published yet, the newest draft.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from integrations.models import CustomProviderVersion
from integrations.providers.base import ProviderNotFound, ProviderSpec
from integrations.providers.catalogue import catalogue
from integrations.providers.definition import spec_from_definition
from workspaces.models import Workspace

__all__ = ["ProviderNotFound", "builtin_specs", "find_newest_spec", "find_spec", "specs_for"]


def builtin_specs() -> Mapping[str, ProviderSpec]:
    """The catalogue by id; the sandbox is in it only while SANDBOX_BASE_URL is set. Raises CatalogueError."""
    return catalogue()


def specs_for(workspace: Workspace) -> list[ProviderSpec]:
    """Every provider that the workspace can set up, by name. One query."""
    versions: dict[str, list[CustomProviderVersion]] = {}
    for version in _versions(workspace):
        versions.setdefault(version.provider.provider_id, []).append(version)
    own = [spec_of(current_version(of_one)) for of_one in versions.values()]
    return sorted([*builtin_specs().values(), *own], key=lambda spec: (spec.name.casefold(), spec.provider_id))


def find_spec(workspace: Workspace, provider_id: str, *, version: int | None = None) -> ProviderSpec:
    """The definition that counts. Raises ProviderNotFound, for another workspace's provider too.

    `version` is the one a connection was made with: it stays on that one until a newer one is published.
    """
    if (builtin := builtin_specs().get(provider_id)) is not None:
        return builtin
    versions = _versions_of(workspace, provider_id)
    current = current_version(versions)
    if version is not None and (current.draft or current.number < version):
        return spec_of(next((made for made in versions if made.number == version), current))
    return spec_of(current)


def find_newest_spec(workspace: Workspace, provider_id: str) -> ProviderSpec:
    """The newest definition, drafts included: what is edited. Raises ProviderNotFound."""
    if (builtin := builtin_specs().get(provider_id)) is not None:
        return builtin
    return spec_of(_versions_of(workspace, provider_id)[0])


def current_version(versions: Iterable[CustomProviderVersion]) -> CustomProviderVersion:
    """The version that counts among one provider's versions (there is always one)."""
    newest_first = sorted(versions, key=lambda version: -version.number)
    return next((version for version in newest_first if not version.draft), newest_first[0])


def spec_of(version: CustomProviderVersion) -> ProviderSpec:
    """The definition that a version holds."""
    spec = spec_from_definition(version.definition)
    return replace(
        spec, provider_id=version.provider.provider_id, version=version.number, draft=version.draft, custom=True
    )


def _versions(workspace: Workspace) -> Iterable[CustomProviderVersion]:
    return CustomProviderVersion.objects.filter(provider__workspace=workspace).select_related("provider")


def _versions_of(workspace: Workspace, provider_id: str) -> list[CustomProviderVersion]:
    found = CustomProviderVersion.objects.filter(provider__workspace=workspace, provider__provider_id=provider_id)
    versions = list(found.select_related("provider").order_by("-number"))
    if not versions:
        raise ProviderNotFound(f"This workspace has no provider “{provider_id[:100]}”.")
    return versions
