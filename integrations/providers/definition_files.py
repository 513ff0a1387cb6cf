"""A definition as a YAML file that people keep, read and send on: no secrets, keys in a fixed order.

    grantry_provider: 1
    name: Northwind ID
    …

What a definition leaves at its default is left out; whatever the file leaves out is at its default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from integrations.models import CustomProvider, GrantType
from integrations.providers.base import DEFAULT_PARAMETER_PATTERN, ProviderSpec
from integrations.providers.custom import create_custom_provider, update_custom_provider
from integrations.providers.definition import READ_ONLY_FIELDS, definition_of, spec_from_definition
from integrations.providers.registry import find_newest_spec
from integrations.providers.strict_yaml import UnreadableYAML, read_mapping
from workspaces.audit import Actor
from workspaces.models import User, Workspace

__all__ = [
    "DefinitionFile",
    "UnreadableYAML",
    "changes_from",
    "export_definition",
    "import_definition",
    "provider_named_in",
    "read_definition_file",
]

HEADER, FORMAT = "grantry_provider", 1
LINE_WIDTH = 100
# What goes without saying in an entry.
_USUAL = (
    *((name, "") for name in ("description", "help", "placeholder", "default")),
    ("required", False),
    ("type", "text"),
    ("visible", True),
    ("pattern", DEFAULT_PARAMETER_PATTERN),
)
# `base_scopes` says again which `scopes` are required.
_LEFT_OUT = (READ_ONLY_FIELDS - {"provider_id"}) | {"base_scopes"}


@dataclass(frozen=True, slots=True)
class DefinitionFile:
    """A file that was read; whether its definition can be used is not judged yet. `lines` are those of the keys."""

    definition: dict[str, Any]
    lines: dict[str, int]

    @property
    def provider_id(self) -> str:
        """The id that the file asks for, if any."""
        wanted = self.definition.get("provider_id")
        return wanted if isinstance(wanted, str) else ""


def export_definition(spec: ProviderSpec) -> str:
    """The file of a definition. Of a built-in provider it is what a copy begins with, without the id."""
    shape = definition_of(spec)
    usual = definition_of(spec_from_definition({"grant_types": shape["grant_types"]}))
    kept = {
        field: _compact(value)
        for field, value in shape.items()
        if field not in _LEFT_OUT and (field in ("name", "grant_types") or value != usual[field])
    }
    if not spec.custom:
        kept.pop("provider_id", None)
    elif kept.get("provider_id"):
        kept = {"provider_id": kept.pop("provider_id"), **kept}
    body = yaml.safe_dump(
        {HEADER: FORMAT, **kept}, sort_keys=False, allow_unicode=True, default_flow_style=False, width=LINE_WIDTH
    )
    secret = [item.key for item in spec.config_values if item.is_secret]
    if not secret:
        return body
    return f"# Secret values are not exported. Fill in the value of: {', '.join(secret)}\n{body}"


def _compact(value: Any) -> Any:
    """Entries of lists without what is at its default; a secret value stays, to be filled in."""
    if isinstance(value, dict) and set(value) <= set(GrantType.values):
        return {grant_type: _compact(entries) for grant_type, entries in value.items()}
    if not isinstance(value, list):
        return value
    return [
        {name: item for name, item in entry.items() if name == "value" or ((name, item) not in _USUAL and item != [])}
        if isinstance(entry, dict)
        else entry
        for entry in value
    ]


def read_definition_file(text: str) -> DefinitionFile:
    """Read a file. Raises UnreadableYAML."""
    read = read_mapping(text)
    values = dict(read.values)
    if HEADER not in values:
        raise UnreadableYAML(f"Begin the file with {HEADER}: {FORMAT}, so that it is known for what it is.")
    header = values.pop(HEADER)
    if header != FORMAT or isinstance(header, bool):
        raise UnreadableYAML(f"Only {HEADER}: {FORMAT} is read here.", read.lines[HEADER])
    return DefinitionFile(values, read.lines)


def import_definition(
    workspace: Workspace,
    file: DefinitionFile,
    *,
    actor: Actor,
    created_by: User | None = None,
    draft: bool = False,
    as_new: bool = False,
) -> tuple[CustomProvider, bool]:
    """Make a provider of a file, or a new version of the workspace's own whose id it names; True for a new one.

    Raises InvalidDefinition.
    """
    provider = None if as_new else provider_named_in(workspace, file)
    if provider is None:
        made = create_custom_provider(workspace, file.definition, actor=actor, created_by=created_by, draft=draft)
        return made, True
    changes = changes_from(file.definition, find_newest_spec(workspace, provider.provider_id))
    draft = draft or file.definition.get("draft") is True
    update_custom_provider(provider, changes, actor=actor, created_by=created_by, draft=draft)
    return provider, False


def provider_named_in(workspace: Workspace, file: DefinitionFile) -> CustomProvider | None:
    """The workspace's own provider whose id the file has."""
    return workspace.custom_providers.filter(provider_id=file.provider_id).first()


def changes_from(definition: dict[str, Any], newest: ProviderSpec) -> dict[str, Any]:
    """The definition as changes to the newest version: what it leaves out goes back to its default."""
    return {**dict.fromkeys(set(definition_of(newest)) - READ_ONLY_FIELDS), **definition}
