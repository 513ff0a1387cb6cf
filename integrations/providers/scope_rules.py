"""A connection's and an integration's scopes against a provider's rules (product rows 6 to 8)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from integrations.oauth.scopes import ScopeRefused, check_scopes
from integrations.providers.base import ProviderSpec
from integrations.providers.oauth_provider import provider_for

MAX_TOTAL_LENGTH = 500
_EVERYTHING = (".+", ".*")


class ScopesRefused(ValueError):
    """Additional scopes break the provider's rules. `message` names the first such scope and what is expected."""

    def __init__(self, message: str, scope: str = "", expected: tuple[str, ...] = ()) -> None:
        self.message = message
        self.scope = scope
        self.expected = expected
        super().__init__(message)


def how_to_ask_for_more(spec: ProviderSpec) -> str:
    """What to do about a scope that a connection may not add by itself."""
    if spec.additional_scopes_help:
        return spec.additional_scopes_help
    refused = next((str(pattern) for pattern in spec.denied_scope_patterns if pattern.pattern in _EVERYTHING), "")
    return f"{refused}." if refused else "Ask an admin of the workspace to add it to the integration."


def takes_scopes(spec: ProviderSpec) -> bool:
    """Whether there is any scope that an admin could add."""
    return not any(pattern.pattern in _EVERYTHING for pattern in spec.denied_scope_patterns)


def check_choice(spec: ProviderSpec, grant_type: str, chosen: Sequence[str] | None) -> None:
    """Raise ScopesRefused unless a connection may keep these of the provider's own; None keeps all.

    Required ones are requested whatever is chosen.
    """
    if chosen is None:
        return
    defined = spec.default_scopes(grant_type)
    for scope in chosen:
        if scope not in defined:
            expected = (f"one of {', '.join(defined)}",) if defined else ()
            among = f" Choose among: {', '.join(defined)}." if defined else ""
            raise ScopesRefused(f"“{scope[:80]}” is not a scope that {spec.name} defines.{among}", scope, expected)
    if not spec.allow_scope_customization and set(chosen) | set(spec.base_scopes(grant_type)) != set(defined):
        raise ScopesRefused(f"{spec.name} lets connections choose no scopes: all of its own are requested.")


def check_additional_scopes(
    spec: ProviderSpec, grant_type: str, scopes: Sequence[str], *, of_connection: bool = False
) -> None:
    """Raise ScopesRefused for the first scope that the provider does not take. Base scopes are exempt.

    In all at most 500 characters; a provider without rules of its own takes any well-formed scope (RFC 6749 §3.3).
    `of_connection`: those that whoever connects adds, which the provider may have none of.
    """
    if of_connection and scopes and not spec.allow_additional_scopes:
        raise ScopesRefused(
            f"{spec.name} lets connections request no scope of their own. {how_to_ask_for_more(spec)}", scopes[0]
        )
    if len(spec.scope_separator.join(scopes)) > MAX_TOTAL_LENGTH:
        raise ScopesRefused(f"The additional scopes have more than {MAX_TOTAL_LENGTH} characters in all. Remove some.")
    base = spec.base_scopes(grant_type)
    own = [scope for scope in scopes if scope not in base]
    if own and (problem := provider_for(spec, grant_type).additional_scope_problem(own)):
        raise ScopesRefused(problem, own[0])
    other = "," if spec.scope_input_delimiter == "space" else " "
    for scope in scopes:
        if scope.strip(other) != scope:
            name = "comma" if other == "," else "space"
            raise ScopesRefused(f"“{scope}” begins or ends with a {name}. {separate_scopes(spec)}", scope)
        if scope not in base and spec.scope_separator != " " and spec.scope_separator in scope:
            raise ScopesRefused(
                f"“{scope}” contains “{spec.scope_separator}”, which separates scopes at {spec.name}. "
                "Enter each scope by itself.",
                scope,
            )
    try:
        check_scopes(scopes, spec.allowed_scope_patterns, spec.denied_scope_patterns, base)
    except ScopeRefused as error:
        # A comma is a legal character of a scope (RFC 6749 §3.3), a space is none; either may be meant to separate.
        hint = f" {separate_scopes(spec)}" if re.search(r"[\s,]", error.scope) else ""
        raise ScopesRefused(error.message + hint, error.scope, error.expected) from error


def separate_scopes(spec: ProviderSpec) -> str:
    """How scopes that are typed are told apart."""
    return f"Separate scopes with {'commas' if spec.scope_input_delimiter == 'comma' else 'spaces'}."
