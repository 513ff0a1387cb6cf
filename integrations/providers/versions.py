"""The versions of a workspace's own provider: what changed from one to the next, in lines that people read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integrations.models import CustomProvider
from integrations.providers.base import ProviderSpec
from integrations.providers.definition import READ_ONLY_FIELDS, definition_of
from integrations.providers.provider_forms import ProviderForm
from integrations.providers.registry import spec_of

SHOWN = 50  # versions on a page; older ones stay in the database
_LABELS = {
    "scopes": "Scopes",
    "suggested_scopes": "Suggested scopes",
    "allowed_scope_patterns": "Allowed patterns",
    "denied_scope_patterns": "Denied patterns",
    "parameters": "Parameters",
    "config_values": "Config values",
    "metadata": "Kept values",
    "token_response": "Token answer",
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that is not as it was: lines that went and lines that came."""

    label: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A version as the page lists it."""

    number: int
    draft: bool
    counts: bool  # the one that connections follow
    created_at: datetime
    created_by: str
    changes: tuple[FieldChange, ...]
    is_first: bool


def versions_of(provider: CustomProvider) -> list[Version]:
    """The newest versions, newest first, each with what it changed. One query."""
    rows = list(provider.versions.select_related("provider", "secrets", "created_by").order_by("-number")[: SHOWN + 1])
    current = next((row.number for row in rows if not row.draft), rows[0].number)
    specs = [spec_of(row) for row in rows]
    before: list[ProviderSpec | None] = [*specs[1:], None]
    return [
        Version(
            number=row.number,
            draft=row.draft,
            counts=row.number == current,
            created_at=row.created_at,
            created_by=row.created_by.email if row.created_by else "",
            changes=changes_between(old, spec) if old else (),
            is_first=old is None,
        )
        for row, spec, old in zip(rows, specs, before, strict=True)
    ][:SHOWN]


def changes_between(before: ProviderSpec, after: ProviderSpec) -> tuple[FieldChange, ...]:
    """Every field that differs, in the definition's order. Secret values are only said to be others."""
    old, new = definition_of(before), definition_of(after)
    fields = [field for field in new if field not in READ_ONLY_FIELDS | {"base_scopes"}]
    found = [_change(label_of(field), old[field], new[field]) for field in fields if old[field] != new[field]]
    secrets = {item.key: item.value for item in before.config_values if item.is_secret}
    replaced = [
        item for item in after.config_values if item.is_secret and secrets.get(item.key, item.value) != item.value
    ]
    if replaced:
        names = tuple(f"{item.label}: another value" for item in replaced)
        found.append(FieldChange(label_of("config_values"), (), names))
    return tuple(found)


def label_of(field: str) -> str:
    """What the form calls a field of the definition."""
    form_field = ProviderForm.base_fields.get(field)
    return _LABELS.get(field) or (str(form_field.label) if form_field else field.replace("_", " ").capitalize())


def _change(label: str, old: Any, new: Any) -> FieldChange:
    before, after = _lines(old), _lines(new)
    removed = tuple(line for line in before if line not in after)
    added = tuple(line for line in after if line not in before)
    if not removed and not added:
        return FieldChange(label, (), ("the same entries in another order",))
    return FieldChange(label, removed, added)


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}: {_text(item)}" for name, item in value.items()]
    if isinstance(value, list):
        return [_text(item) for item in value]
    return [_text(value)] if value not in ("", None) else []


def _text(value: Any) -> str:
    """One entry on one line; what is empty goes without saying."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items() if item not in ("", None, [], False))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "; ".join(_text(item) for item in value)
    return repr(value) if isinstance(value, str) and value.isspace() else str(value)
