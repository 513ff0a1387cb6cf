"""Refusals that more than one package of this app raises."""

from __future__ import annotations

from collections.abc import Sequence


class HasDependants(Exception):
    """Something else would stop working; `dependants` names each. Force goes on."""

    def __init__(self, dependants: Sequence[str]) -> None:
        self.dependants = list(dependants)
        super().__init__(f"In use by: {', '.join(self.dependants)}.")
