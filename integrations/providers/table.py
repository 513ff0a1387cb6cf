"""The table of built-in providers in docs/providers.md, made of the catalogue's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from integrations.models import GrantType
from integrations.providers.base import ProviderSpec

BEGIN = "<!-- providers: begin (manage.py provider_table --write) -->"
END = "<!-- providers: end -->"
HEAD = ("id", "name", "category", "grant types", "base scopes", "client authentication", "PKCE", "notes")
# Of more scopes the first are shown; the page and the API have all.
MOST_SCOPES = 4


class NoTable(ValueError):
    """A document has no place for the table: the two marks are missing or in the wrong order."""


def table_of(specs: Iterable[ProviderSpec]) -> str:
    """A Markdown table, one row for each provider, by id."""
    rows = [HEAD, ("---",) * len(HEAD), *(_row(spec) for spec in sorted(specs, key=lambda spec: spec.provider_id))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_table(document: str, specs: Mapping[str, ProviderSpec]) -> str:
    """The document with the table between its two marks replaced. Raises NoTable."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoTable(f"Write {BEGIN} and {END} where the table belongs.")
    return f"{before}{BEGIN}\n\n{len(specs)} providers.\n\n{table_of(specs.values())}\n\n{END}{after}"


def _row(spec: ProviderSpec) -> tuple[str, ...]:
    grants = [f"{GrantType(grant).label}" for grant in spec.grant_types]
    return (
        f"`{spec.provider_id}`",
        spec.name.replace("|", "\\|"),
        spec.category,
        ", ".join(grants),
        _base_scopes(spec),
        _authentication(spec),
        spec.pkce,
        _notes(spec),
    )


def _base_scopes(spec: ProviderSpec) -> str:
    by_grant = {grant: spec.base_scopes(grant) for grant in spec.grant_types}
    texts = {grant: _scopes(names) for grant, names in by_grant.items() if names}
    if len(set(by_grant.values())) <= 1:
        return next(iter(texts.values()), "")
    return "; ".join(f"{GrantType(grant).label}: {text}" for grant, text in texts.items())


def _scopes(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:MOST_SCOPES])
    return f"{shown} and {len(names) - MOST_SCOPES} more" if len(names) > MOST_SCOPES else shown


def _authentication(spec: ProviderSpec) -> str:
    if all(spec.uses_service_account_key(grant) for grant in spec.grant_types):
        return "JSON key"
    if spec.resource:
        return "as registered"
    own = f"`{spec.token_endpoint_auth_method.value}`"
    return f"{own}, JSON key" if any(spec.uses_service_account_key(grant) for grant in spec.grant_types) else own


def _notes(spec: ProviderSpec) -> str:
    asked = ", ".join(parameter.label for parameter in spec.parameters if not parameter.optional)
    notes = [
        f"asks for {asked}" if asked else "",
        "endpoints are discovered" if spec.resource else "",
        "unverified" if spec.unverified else "",
    ]
    return "; ".join(note for note in notes if note)
