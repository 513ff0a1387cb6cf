"""Reads request bodies and queries strictly: JSON as RFC 8259 has it, text that every database can store."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser

from integrations.api.problems import FieldError, Problem

MAX_BODY_BYTES = 256 * 1024


class UnusableBody(Exception):
    """Carries the problem through the framework, which turns whatever a parser raises into its own error."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.code)


def require_small_body(request: HttpRequest) -> None:
    """Refuse a body beyond the cap, or of unknown length, before it is read.

    Under WSGI, Django reads nothing without Content-Length: a chunked body would look like none.
    """
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower() and "Content-Length" not in request.headers:
        raise Problem("length_required")
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        length = 0
    if length > MAX_BODY_BYTES:
        raise Problem("body_too_large")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON.")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError("A name stands twice in one object.")
        result[name] = value
    return result


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _unstorable(value: Any, at: str = "") -> list[str]:
    """Paths of texts with NUL or lone surrogates. Depth is bounded by the JSON reader, size by the cap."""
    if isinstance(value, str):
        return [] if _is_storable(value) else [at]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [] if not isinstance(value, dict) or all(map(_is_storable, value)) else [at]
    for name, child in children:
        label = str(name) if _is_storable(str(name)) else "…"
        found += _unstorable(child, f"{at}.{label}" if at else label)
    return found


class StrictParser(Parser):
    """Refuses NaN, repeated names, NUL and lone surrogates; says where."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Read the body as JSON. Raises UnusableBody."""
        try:
            body = json.loads(request.body, parse_constant=_refuse_constant, object_pairs_hook=_unique_names)
            paths = _unstorable(body)
        except json.JSONDecodeError as error:
            where = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            raise UnusableBody(Problem("invalid_json", where)) from error
        except UnicodeDecodeError as error:
            raise UnusableBody(Problem("invalid_json", "The body is not UTF-8 text.")) from error
        except RecursionError as error:
            raise UnusableBody(Problem("invalid_json", "The body is nested too deeply.")) from error
        except ValueError as error:
            raise UnusableBody(Problem("invalid_json", f"The body is not usable: {error}")) from error
        if paths:
            message = "Remove the NUL or lone surrogate characters."
            errors = [FieldError(path, message) for path in paths[:20]]
            raise UnusableBody(Problem("invalid_request", message, errors=errors))
        return body

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        """Read the query. Raises Problem for text that no database stores."""
        found = super().parse_querydict(data, list_fields, request)
        bad = [name for name, value in found.items() if isinstance(value, str) and not _is_storable(value)]
        if bad:
            message = "Remove the NUL characters."
            raise Problem("invalid_request", message, errors=[FieldError(name, message, "query") for name in bad])
        return found
