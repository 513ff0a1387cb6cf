"""What several benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.million import Million, million_connections


@pytest.fixture(scope="session")
def million() -> Iterator[Million]:
    """A million connections on PostgreSQL, made once for all benchmarks of a run."""
    with million_connections() as made:
        yield made
