"""Which connections stand on which version of a workspace's own provider (product row 14).

What is published counts for every connection. While nothing newer is published than the draft that a connection was
made with, it stays on that one: the rule is `registry.find_spec`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from integrations.models import Connection, CustomProviderVersion
from integrations.providers.base import ProviderSpec
from integrations.providers.versions import Version
from workspaces.models import Workspace

SHOWN = 5  # connections that are named; of more the number is said


@dataclass(frozen=True, slots=True)
class Followers:
    """The connections on one version."""

    names: tuple[str, ...] = ()
    more: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.names) + self.more


def followers(workspace: Workspace, provider_id: str, versions: Iterable[Version]) -> dict[int, Followers]:
    """The connections of a provider by the number of the version they are on. One query."""
    known = list(versions)
    current = next(version for version in known if version.counts)
    numbers = {version.number for version in known}
    on: dict[int, list[str]] = defaultdict(list)
    rows = workspace.connections.filter(integration__provider_id=provider_id).order_by("name")
    for name, made_with in rows.values_list("name", "provider_version"):
        on[_number(made_with, current.number, current.draft, numbers)].append(name)
    return {number: Followers(tuple(names[:SHOWN]), len(names[SHOWN:])) for number, names in on.items()}


def _number(made_with: int | None, current: int, current_is_draft: bool, known: set[int]) -> int:
    stays = made_with is not None and (current_is_draft or current < made_with)
    return made_with if stays and made_with in known and made_with is not None else current


def version_note(spec: ProviderSpec, connection: Connection | None, workspace: Workspace) -> str:
    """What the page of a connection says about its definition; "" where there is nothing to say. One query."""
    if not spec.custom or connection is None:
        return ""
    rows = CustomProviderVersion.objects.filter(
        provider__workspace=workspace, provider__provider_id=spec.provider_id
    ).order_by("-number")
    found = list(rows.values_list("number", "draft")[:SHOWN])
    newest, newest_is_draft = found[0]
    on = _number(connection.provider_version, spec.version, spec.draft, {number for number, _ in found})
    if newest_is_draft and newest != on:
        return f"Version {on}. Version {newest} is a draft: this connection stays on {on} until it is published."
    return f"Version {on}{', a draft' if spec.draft else ''}"
