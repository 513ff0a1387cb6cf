"""What a file of the catalogue must keep to beyond `definition_rules`: what everybody is shown has to be right.

A workspace's own provider may break these: they are matters of care, not of safety.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from integrations.oauth.patterns import PatternRefused
from integrations.oauth.scopes import ScopeRefused, check_scopes, is_well_formed
from integrations.providers.base import CATEGORIES, CLIENT_ID, CLIENT_SECRET, ProviderSpec, ScopeDefinition
from integrations.providers.definition_rules import templates_of
from integrations.providers.helpers import HelperRefused, read_call
from integrations.providers.rendering import placeholders

type_Found = Iterator[tuple[str, str]]


def broken_catalogue_rules(spec: ProviderSpec) -> dict[str, list[str]]:
    """Every such rule that the definition breaks, as field → sentences."""
    errors: dict[str, list[str]] = {}
    for rule in (_category, _own_scopes, _descriptions, _unused_parameters):
        for field, sentence in rule(spec):
            errors.setdefault(field, []).append(sentence)
    return errors


def _category(spec: ProviderSpec) -> type_Found:
    if spec.category not in CATEGORIES:
        yield "category", f"Choose one of: {', '.join(CATEGORIES)}."


def _own_scopes(spec: ProviderSpec) -> type_Found:
    """The scopes that a file names fit the patterns that it names."""
    named = dict.fromkeys(scope for scopes in spec.scopes.values() for scope in scopes)
    yield from _against_patterns(spec, "scopes", named)
    yield from _against_patterns(spec, "suggested_scopes", spec.suggested_scopes)


def _against_patterns(spec: ProviderSpec, field: str, scopes: Iterable[ScopeDefinition]) -> type_Found:
    for name in dict.fromkeys(scope.name for scope in scopes):
        if not is_well_formed(name):
            continue  # said by definition_rules
        try:
            check_scopes([name], spec.allowed_scope_patterns, spec.denied_scope_patterns)
        except ScopeRefused as error:
            yield field, f"{error.message} Correct the scope, or the patterns of the file."
        except PatternRefused:  # said beside the pattern
            return


def _descriptions(spec: ProviderSpec) -> type_Found:
    for scope in spec.suggested_scopes:
        if not scope.description:
            yield "suggested_scopes", f"Describe “{scope.name}”: its description says what the scope permits."


def _unused_parameters(spec: ProviderSpec) -> type_Found:
    """Nobody is asked for what is sent nowhere. An optional one may be for a subclass (Google's `subject`)."""
    used = {key for _, text in templates_of(spec) for key in placeholders(text)}
    for item in spec.config_values:
        used.update(_inputs(item.helper))
    for parameter in spec.parameters:
        if not parameter.optional and parameter.key not in {CLIENT_ID, CLIENT_SECRET, *used}:
            yield "parameters", f"Remove “{parameter.key}”, or write {{{{{parameter.key}}}}} where its value belongs."


def _inputs(helper: str) -> tuple[str, ...]:
    try:
        return tuple(read_call(helper).inputs) if helper else ()
    except HelperRefused:  # said beside the config value
        return ()
