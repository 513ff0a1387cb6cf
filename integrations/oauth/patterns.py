"""Regular expressions that a workspace may state, refused when matching one could take for ever.

Python's `re` backtracks and holds the interpreter while it does: one `(a+)+b` in a tenant's provider would stop
everybody's web process. What is accepted here matches 500 characters in milliseconds at worst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

# The parser that `re.compile` itself uses; nothing public gives a pattern's tree.
from re import _constants, _parser  # type: ignore[attr-defined]  # isort: skip

MAX_PATTERN_LENGTH = 300
# The longest text that is ever matched; an open-ended repetition can end at each of its characters.
LONGEST_TEXT = 500
# Ways to match that the engine may have to try, roughly: two open-ended repetitions and a few alternatives.
MAX_WAYS = 4_000_000
_REPEATS = frozenset({_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT})
_PLAIN = frozenset({_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.AT})


class PatternRefused(ValueError):
    """A pattern that is no regular expression, or one that could take too long."""


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern. Raises PatternRefused with a sentence about what is wrong."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternRefused(f"A pattern has at most {MAX_PATTERN_LENGTH} characters.")
    try:
        compiled = re.compile(pattern, re.ASCII)
        tree = _parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternRefused(f"“{pattern}” is not a regular expression: {error}.") from error
    if _ways(tree, inside_repeat=False) > MAX_WAYS:
        raise PatternRefused(
            f"“{pattern}” could take too long: use at most two open-ended repetitions such as * or +, "
            "and few alternatives."
        )
    return compiled


def _ways(tree: Iterable[tuple[Any, Any]], *, inside_repeat: bool) -> int:
    """Estimate in how many ways a pattern can match. What varies inside a repetition has no such bound."""
    ways = 1
    for operator, argument in tree:
        if operator in _PLAIN:
            continue
        if operator in _REPEATS:
            least, most, body = argument
            if inside_repeat and least != most:
                raise PatternRefused(
                    "A repetition or option inside a repetition is not supported. Repeat one set of characters "
                    "instead: [a-z.]+ for ([a-z]+\\.?)+."
                )
            ways *= min(int(most), LONGEST_TEXT) - min(int(least), LONGEST_TEXT) + 1
            ways *= _ways(body, inside_repeat=inside_repeat or most > 1)
        elif operator is _constants.BRANCH:
            if inside_repeat:
                raise PatternRefused(
                    "Alternatives inside a repetition are not supported. Repeat one set of characters instead: "
                    "[a-z]+ for (read|write)+."
                )
            ways *= sum(_ways(branch, inside_repeat=False) for branch in argument[1])
        elif operator is _constants.SUBPATTERN:
            ways *= _ways(argument[3], inside_repeat=inside_repeat)
        else:
            raise PatternRefused(
                "Look-arounds, back-references and conditions are not supported. Write out what a value may look like."
            )
    return ways
