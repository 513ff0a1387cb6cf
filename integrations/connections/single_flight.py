"""One renewal per connection within this process, whoever asks: the first does it, the others wait for its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

type_Outcome = TypeVar("type_Outcome")


class _Flight(Generic[type_Outcome]):
    def __init__(self) -> None:
        self.landed = threading.Event()
        self.outcome: type_Outcome | None = None


class SingleFlight(Generic[type_Outcome]):
    """Groups concurrent calls by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[UUID, _Flight[type_Outcome]] = {}

    def run(
        self, key: UUID, work: Callable[[], type_Outcome], *, wait_seconds: float, before_waiting: Callable[[], None]
    ) -> type_Outcome | None:
        """Do the work, or wait for whoever is doing it. None when that took too long or failed with an exception."""
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if not leads:
            before_waiting()
            flight.landed.wait(wait_seconds)
            return flight.outcome
        try:
            flight.outcome = work()
            return flight.outcome
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
