"""Finds what a path names, within the key's workspace; anything else is 404, someone else's included."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from integrations.api.authentication import Path
from integrations.api.problems import Problem
from integrations.models import Connection, CustomProvider, GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import ProviderNotFound, find_newest_spec, find_spec
from integrations.providers.setup import is_configured
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class ProviderTarget:
    """A provider; `custom` is its row, absent for built-in ones."""

    spec: ProviderSpec
    custom: CustomProvider | None


@dataclass(frozen=True, slots=True)
class IntegrationTarget:
    """A provider with a grant type that it supports; `integration` is absent until it is saved."""

    workspace: Workspace
    spec: ProviderSpec
    grant_type: GrantType
    integration: Integration | None

    def configured(self) -> Integration:
        """The integration. Raises Problem `not_configured` while its client credentials are not saved."""
        if self.integration is None or not is_configured(self.spec, self.integration):
            raise Problem(
                "not_configured",
                f"{self.spec.name} is not set up for this grant type. Save its client credentials first (PUT).",
            )
        return self.integration


def find_provider(workspace: Workspace, path: Path) -> ProviderTarget:
    """`{provider_id}`: built-in, or a custom one at its newest definition, drafts included."""
    try:
        spec = find_newest_spec(workspace, path["provider_id"])
    except ProviderNotFound as error:
        raise Problem("not_found") from error
    custom = workspace.custom_providers.filter(provider_id=spec.provider_id).first() if spec.custom else None
    return ProviderTarget(spec, custom)


def find_custom_provider(workspace: Workspace, path: Path) -> CustomProvider:
    """`{provider_id}` of a provider that may be changed. Raises Problem `builtin_provider` for the others."""
    target = find_provider(workspace, path)
    if target.custom is None:
        raise Problem("builtin_provider")
    return target.custom


def find_integration(workspace: Workspace, path: Path) -> IntegrationTarget:
    """`{provider_id}/{grant_type}`: there for every provider and grant type it supports, saved or not."""
    try:
        spec = find_spec(workspace, path["provider_id"])
    except ProviderNotFound as error:
        raise Problem("not_found") from error
    grant_type = path["grant_type"]
    if grant_type not in GrantType.values or not spec.supports(grant_type):
        raise Problem("not_found")
    integration = workspace.integrations.filter(provider_id=spec.provider_id, grant_type=grant_type).first()
    return IntegrationTarget(workspace, spec.under(grant_type), GrantType(grant_type), integration)


def find_saved_integration(workspace: Workspace, path: Path) -> Integration:
    """`{provider_id}/{grant_type}` of an integration that exists as a row."""
    integration = find_integration(workspace, path).integration
    if integration is None:
        raise Problem("not_found")
    return integration


def find_connection(workspace: Workspace, path: Path) -> Connection:
    """`{connection_id}`."""
    try:
        connection_id = UUID(str(path["connection_id"]))
    except ValueError as error:
        raise Problem("not_found") from error
    connection: Connection | None = (
        workspace.connections.select_related("integration", "token", "schedule", "workspace")
        .filter(pk=connection_id)
        .first()
    )
    if connection is None:
        raise Problem("not_found")
    return connection


def connection_named(integration: Integration, name: str | None) -> Connection | None:
    """The connection of that name, or the default one; None when there is none yet. Raises Problem `not_found`."""
    found = integration.connections.select_related("integration", "token", "schedule", "workspace")
    found = found.filter(is_default=True) if name is None else found.filter(name=name)
    connection = found.first()
    if connection is None and name not in (None, "default"):
        raise Problem("not_found", "The integration has no connection of this name.")
    return connection
