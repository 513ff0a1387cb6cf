"""Cursor lists: `{"items": […], "next": cursor|null}`. A cursor holds the sort key of the last item, nothing secret."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from ninja import Query

from integrations.api.problems import Problem

DEFAULT_LIMIT = 100
MAX_LIMIT = 200
MAX_CURSOR = 500

Cursor = Annotated[str, Query(description="`next` of the previous answer; absent for the first page.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=f"Items per page, at most {MAX_LIMIT}.")]

T = TypeVar("T")


def encode_cursor(*key: str | int) -> str:
    """Pack the sort key of the last item served."""
    packed = json.dumps(key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> list[Any] | None:
    """Unpack a cursor, or None for an empty one. Raises Problem `invalid_cursor` unless the key has these types."""
    if not cursor:
        return None
    refusal = Problem("invalid_cursor")
    if len(cursor) > MAX_CURSOR:
        raise refusal
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise refusal from error
    if not isinstance(key, list) or [type(part) for part in key] != list(types):
        raise refusal
    if any(isinstance(part, str) and ("\x00" in part or not part.isprintable()) for part in key):
        raise refusal
    if any(isinstance(part, int) and not 0 <= part < 2**63 for part in key):
        raise refusal
    return key


def cut_page(rows: Iterable[T], limit: int, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Cut what was read with `limit + 1` to a page and the cursor of the next, if there is one."""
    read = list(rows)
    page = read[:limit]
    return page, key(page[-1]) if len(read) > limit else None
