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
MAX_WIDE_REPEATS = 2
MAX_REPEATS = 6
WIDE = 10
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
    repeats = list(_repeats(tree, inside_repeat=False))
    wide = [largest for largest in repeats if largest > WIDE]
    if len(wide) > MAX_WIDE_REPEATS or len(repeats) > MAX_REPEATS:
        raise PatternRefused(
            f"“{pattern}” has too many repetitions: at most {MAX_WIDE_REPEATS} open-ended ones such as * or +, "
            f"and {MAX_REPEATS} in all."
        )
    return compiled


def _repeats(tree: Iterable[tuple[Any, Any]], *, inside_repeat: bool) -> Iterable[int]:
    """Yield the upper bound of each repetition whose length may vary."""
    for operator, argument in tree:
        if operator in _PLAIN:
            continue
        if operator in _REPEATS:
            least, most, body = argument
            if inside_repeat and most > 1:
                raise PatternRefused("A repetition inside a repetition is not supported.")
            if least != most:
                yield int(most)
            yield from _repeats(body, inside_repeat=inside_repeat or most > 1)
        elif operator is _constants.BRANCH:
            if inside_repeat:
                raise PatternRefused("Alternatives inside a repetition are not supported.")
            for branch in argument[1]:
                yield from _repeats(branch, inside_repeat=False)
        elif operator is _constants.SUBPATTERN:
            yield from _repeats(argument[3], inside_repeat=inside_repeat)
        else:
            raise PatternRefused("Look-arounds, back-references and conditions are not supported.")
