"""Words for unusable values: which field, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from integrations.api.problems import FieldError
from integrations.api.schemas.base import LIST, OBJECT, TEXT

_WORDS = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field. Check its spelling or leave it out.",
    "string_type": "Send text.",
    "list_type": "Send a list.",
    "dict_type": "Send an object.",
    "model_type": "Send an object.",
    "model_attributes_type": "Send an object.",
    "bool_type": "Send true or false.",
    "bool_parsing": "Send true or false.",
    "int_type": "Send a whole number.",
    "int_parsing": "Send a whole number.",
    "int_from_float": "Send a whole number.",
    "uuid_parsing": "Send a UUID.",
}
_LIMITS = {
    "string_too_short": ("min_length", "Send at least {} characters."),
    "string_too_long": ("max_length", "Send at most {} characters."),
    "too_long": ("max_length", "Send at most {} entries."),
    "too_short": ("min_length", "Send at least {} entries."),
    "greater_than_equal": ("ge", "Send {} or more."),
    "less_than_equal": ("le", "Send {} or less."),
    "literal_error": ("expected", "Send one of {}."),
    "enum": ("expected", "Send one of {}."),
    "string_pattern_mismatch": ("pattern", "The value does not match the pattern {}."),
}
# The names of the endpoints' body arguments, which no caller knows.
_BODY_ARGUMENTS = frozenset({"body"})
# Parts of a path that name no field: alternative forms, and that a key itself is wrong.
_NO_FIELDS = frozenset({TEXT, LIST, OBJECT, "[key]"})


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Translate the framework's validation errors; never repeats a value."""
    return [_field_error(error) for error in errors]


def _field_error(error: Mapping[str, Any]) -> FieldError:
    location, *path = [str(part) for part in error["loc"] if part not in _NO_FIELDS]
    if location == "body" and path and path[0] in _BODY_ARGUMENTS:
        path = path[1:]
    return FieldError(".".join(path), _message(error), location)


def _message(error: Mapping[str, Any]) -> str:
    kind = str(error["type"])
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return words.format(error.get("ctx", {}).get(name, "the allowed values"))
    return str(error.get("msg", "This value is not usable."))


def verb_errors(errors: Mapping[str, Sequence[str] | str]) -> list[FieldError]:
    """The errors of a verb (`{field: [messages]}`) as the API says them."""
    return [
        FieldError("" if name == "__all__" else name, message)
        for name, messages in errors.items()
        for message in ([messages] if isinstance(messages, str) else messages)
    ]
