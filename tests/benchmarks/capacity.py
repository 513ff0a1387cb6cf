"""How many connections a worker process keeps alive, from how many renewals it makes in a second."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from integrations.connections.schedule import due_at

LIFETIMES = {"15 min": 900, "1 h": 3600, "8 h": 8 * 3600, "24 h": 24 * 3600}
# What is planned with: the rest is for failures, for catching up after an outage, and for what else the machine does.
PLANNED_SHARE = 0.5
SAMPLE = 200


def seconds_between_renewals(lifetime_seconds: int) -> float:
    """The mean over connections of the time from one renewal to the next, by the product's own schedule."""
    issued_at = datetime(2030, 1, 1, tzinfo=UTC)
    expires_at = issued_at + timedelta(seconds=lifetime_seconds)
    total = 0.0
    for number in range(SAMPLE):
        due = due_at(uuid.uuid5(uuid.NAMESPACE_OID, str(number)), issued_at=issued_at, expires_at=expires_at)
        assert due is not None
        total += (due - issued_at).total_seconds()
    return total / SAMPLE


def capacity_table(per_second: float) -> str:
    """Rows of lifetimes, columns of worker processes, as Markdown; `per_second` is what one process reached."""
    planned = per_second * PLANNED_SHARE
    lines = [
        f"One worker process renewed {per_second:.0f} tokens a second (two processes on two cores, 150 ms endpoint;"
        f" see [performance.md](performance.md)). Planned with {PLANNED_SHARE:.0%} of that, {planned:.0f} a second:",
        "",
        "| access tokens live | renewed every | connections per worker | workers for 1,000,000 | renewals/s then |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in LIFETIMES.items():
        between = seconds_between_renewals(seconds)
        rate = 1_000_000 / between
        workers = -(-rate // planned)
        lines.append(f"| {name} | {between / 60:,.1f} min | {planned * between:,.0f} | {workers:,.0f} | {rate:,.0f} |")
    return "\n".join(lines)
