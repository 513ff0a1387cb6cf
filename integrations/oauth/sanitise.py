"""Making a provider's extra fields fit for storage: nothing in them may make saving the tokens fail."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_EXTRA_CHARACTERS = 32 * 1024
MAX_DEPTH = 6
# PostgreSQL refuses NUL in text, UTF-8 has no lone surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


# Controls, line and paragraph separators, lone surrogates, and what makes text read otherwise than it is (bidi).
_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_plain_line(text: str) -> bool:
    """Whether a text can be stored, and is shown on one line as it is."""
    return _NOT_ON_A_LINE.search(text) is None


def sanitised_text(text: str) -> str:
    """Drop what neither PostgreSQL nor UTF-8 can hold."""
    return _UNSTORABLE.sub("", text)


def sanitised_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copy JSON fields that can be stored, in their order, while they fit into 32 KiB of JSON."""
    kept: dict[str, Any] = {}
    left = MAX_EXTRA_CHARACTERS
    for name, value in fields.items():
        clean_name, clean_value = sanitised_text(name), _sanitised(value, MAX_DEPTH)
        size = len(json.dumps({clean_name: clean_value}))
        if size <= left:
            kept[clean_name] = clean_value
            left -= size
    return kept


def _sanitised(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return sanitised_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict | list) and depth == 0:
        return None
    if isinstance(value, dict):
        return {sanitised_text(key): _sanitised(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_sanitised(item, depth - 1) for item in value]
    return value
