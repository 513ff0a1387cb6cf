"""Additional scopes against a provider's rules (product row 7)."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.oauth.scopes import ScopeRefused, check_scopes
from integrations.providers.base import ProviderSpec
from integrations.providers.oauth_provider import provider_for

MAX_TOTAL_LENGTH = 500


class ScopesRefused(ValueError):
    """Additional scopes break the provider's rules. `message` names the first such scope and what is expected."""

    def __init__(self, message: str, scope: str = "", expected: tuple[str, ...] = ()) -> None:
        self.message = message
        self.scope = scope
        self.expected = expected
        super().__init__(message)


def check_connection_scopes(
    spec: ProviderSpec, grant_type: str, chosen: Sequence[str] | None, additional: Sequence[str]
) -> None:
    """Raise ScopesRefused unless one connection may have these (product rows 6 and 8).

    `chosen` are those kept of the provider's own; None keeps all. Required ones are requested whatever is chosen.
    """
    if chosen is not None:
        _check_choice(spec, grant_type, chosen)
    if additional and not spec.allow_additional_scopes:
        more = spec.additional_scopes_help or "Ask an admin to add it to the integration."
        raise ScopesRefused(f"{spec.name} lets connections request no scope of their own. {more}", additional[0])
    check_additional_scopes(spec, grant_type, additional)


def _check_choice(spec: ProviderSpec, grant_type: str, chosen: Sequence[str]) -> None:
    defined = spec.default_scopes(grant_type)
    if not spec.allow_scope_customization:
        if set(chosen) | set(spec.base_scopes(grant_type)) == set(defined):
            return  # everything, in other words
        raise ScopesRefused(f"{spec.name} lets connections choose no scopes: all of its own are requested.")
    for scope in chosen:
        if scope not in defined:
            expected = (f"one of {', '.join(defined)}",) if defined else ()
            raise ScopesRefused(f"“{scope[:80]}” is not a scope that {spec.name} defines.", scope, expected)


def check_additional_scopes(spec: ProviderSpec, grant_type: str, scopes: Sequence[str]) -> None:
    """Raise ScopesRefused for the first scope that the provider does not take. Base scopes are exempt.

    In all at most 500 characters; a provider without rules of its own takes any well-formed scope (RFC 6749 §3.3).
    """
    if len(spec.scope_separator.join(scopes)) > MAX_TOTAL_LENGTH:
        raise ScopesRefused(f"The additional scopes have more than {MAX_TOTAL_LENGTH} characters in all. Remove some.")
    base = spec.base_scopes(grant_type)
    own = [scope for scope in scopes if scope not in base]
    if own and (problem := provider_for(spec, grant_type).additional_scope_problem(own)):
        raise ScopesRefused(problem, own[0])
    for scope in scopes:
        if scope not in base and spec.scope_separator != " " and spec.scope_separator in scope:
            raise ScopesRefused(
                f"“{scope}” contains “{spec.scope_separator}”, which separates scopes at {spec.name}. "
                "Enter each scope by itself.",
                scope,
            )
    try:
        check_scopes(scopes, spec.allowed_scope_patterns, spec.denied_scope_patterns, base)
    except ScopeRefused as error:
        raise ScopesRefused(error.message, error.scope, error.expected) from error
