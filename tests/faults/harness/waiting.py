"""Waiting for other processes: by looking, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

type_Found = TypeVar("type_Found")


def wait_until(
    look: Callable[[], type_Found],
    what: str,
    *,
    seconds: float = 120.0,
    every: float = 0.1,
    or_say: Callable[[], object] = lambda: "",
) -> type_Found:
    """Look until there is something and return it; AssertionError with `what` and `or_say()` when there never is.

    The end is far away, because machines differ: only what has to be quick names a nearer one.
    """
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"after {seconds:.0f} s still waiting for: {what}. {or_say()}"
        time.sleep(every)
    return found
