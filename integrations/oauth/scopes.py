"""Scopes: splitting, joining, comparing, and checking them against a provider's rules (RFC 6749 §3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.oauth.patterns import compile_pattern

MAX_SCOPE_LENGTH = 500
# scope-token = 1*( %x21 / %x23-5B / %x5D-7E ), RFC 6749 §3.3
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def split_scopes(text: str, separator: str = " ") -> tuple[str, ...]:
    """Split text by exactly this separator; empty pieces and repetitions fall away, the order stays."""
    pieces = text.split() if separator == " " else text.split(separator)
    return ordered_union([piece.strip() for piece in pieces if piece.strip()])


def join_scopes(scopes: Iterable[str], separator: str = " ") -> str:
    """Join scopes as the provider wants them separated."""
    return separator.join(scopes)


def ordered_union(*lists: Iterable[str]) -> tuple[str, ...]:
    """Merge lists of scopes; each scope keeps its first place."""
    return tuple(dict.fromkeys(scope for scopes in lists for scope in scopes))


def is_well_formed(scope: str) -> bool:
    """Tell whether this is one scope-token of RFC 6749 §3.3 and at most 500 characters."""
    return len(scope) <= MAX_SCOPE_LENGTH and _SCOPE_TOKEN.fullmatch(scope) is not None


def missing_scopes(required: Iterable[str], granted: Iterable[str] | None) -> tuple[str, ...]:
    """Return what is required and was not granted. None means granted as requested: nothing is missing."""
    if granted is None:
        return ()
    present = set(granted)
    return tuple(scope for scope in ordered_union(required) if scope not in present)


@dataclass(frozen=True)
class ScopeComparison:
    """How a provider's answer names the scopes that were requested.

    `aliases` leads from a name in answers to the one that is requested. `prefix` may stand before a name or be left
    out. `not_echoed` are never named in an answer and count as granted. `implied` leads from a scope to the narrower
    ones that it includes, which answers leave out.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    ignore_case: bool = False
    not_echoed: frozenset[str] = frozenset()
    implied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def granted(self, requested: Sequence[str], answered: Iterable[str]) -> tuple[str, ...]:
        """The answered scopes under the names that were requested; what was not requested keeps its own name."""
        wanted = {self._plain(scope): scope for scope in reversed(requested)}
        named = [wanted.get(self._plain(scope), scope) for scope in answered]
        included = self._included_in(named)
        more = [s for s in requested if s in self.not_echoed or self._plain(s) in included]
        return ordered_union(named, more)

    def _included_in(self, scopes: Iterable[str]) -> set[str]:
        found: set[str] = set()
        to_look_at = [*scopes]
        while to_look_at:
            for scope in self.implied.get(to_look_at.pop(), ()):
                if self._plain(scope) not in found:
                    found.add(self._plain(scope))
                    to_look_at.append(scope)
        return found

    def _plain(self, scope: str) -> str:
        name = self.aliases.get(scope, scope).removeprefix(self.prefix)
        return name.casefold() if self.ignore_case else name


@dataclass(frozen=True)
class ScopePattern:
    """A regular expression that a scope matches over its whole length, and what it means to a person."""

    pattern: str
    description: str = ""

    @classmethod
    def from_mapping(cls, value: dict[str, Any]) -> ScopePattern:
        """Read the shape `{"pattern", "description"}` of the API and the catalogue."""
        return cls(str(value["pattern"]), str(value.get("description") or ""))

    def matches(self, scope: str) -> bool:
        """Tell whether the whole scope matches. Raises PatternRefused for a pattern that cannot be used."""
        return compile_pattern(self.pattern).fullmatch(scope) is not None

    def __str__(self) -> str:
        return self.description or self.pattern


class ScopeRefused(ValueError):
    """A scope that the provider's rules do not allow; `expected` describes what they do allow."""

    def __init__(self, scope: str, message: str, expected: tuple[str, ...] = ()) -> None:
        self.scope = scope
        self.expected = expected
        self.message = message
        super().__init__(message)


def check_scopes(
    scopes: Iterable[str],
    allowed_patterns: Sequence[ScopePattern],
    denied_patterns: Sequence[ScopePattern],
    base: Iterable[str] = (),
) -> None:
    """Raise ScopeRefused for the first scope that breaks the rules.

    A scope must be well-formed, match some allowed pattern (if there are any) and no denied one, each over
    its whole length. Base scopes are exempt.
    """
    exempt = set(base)
    for scope in scopes:
        if scope not in exempt:
            _check_scope(scope, allowed_patterns, denied_patterns)


def _check_scope(scope: str, allowed: Sequence[ScopePattern], denied: Sequence[ScopePattern]) -> None:
    shown = scope if scope.isprintable() and len(scope) <= 80 else ascii(scope[:80])
    expected = tuple(str(pattern) for pattern in allowed)
    hint = f" Expected: {'; '.join(expected)}." if expected else ""
    if not is_well_formed(scope):
        raise ScopeRefused(
            scope,
            f"“{shown}” is not a scope: up to {MAX_SCOPE_LENGTH} ASCII characters without spaces, "
            f"quotation marks and backslashes are.{hint}",
            expected,
        )
    for pattern in denied:
        if pattern.matches(scope):
            raise ScopeRefused(scope, f"The scope “{shown}” is not permitted: {pattern}.{hint}", expected)
    if allowed and not any(pattern.matches(scope) for pattern in allowed):
        raise ScopeRefused(scope, f"The scope “{shown}” is not one this provider allows.{hint}", expected)
