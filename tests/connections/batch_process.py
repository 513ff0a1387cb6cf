"""One batch in a process of its own, as a worker runs it: `python -m tests.connections.batch_process CAP SECONDS`.

CAP is the calls at once per host over all processes, SECONDS how long a share is reserved (half of it for sending).
Says "ready", runs when a line comes, and prints what it did.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import django

LIMIT = 12  # few at a time, so that every process has some

if __name__ == "__main__":
    django.setup()
    from integrations.connections import batch, call_queue, call_slots

    call_slots.CALLS_PER_HOST = int(sys.argv[1])
    call_slots.RESERVED = timedelta(seconds=float(sys.argv[2]))
    call_slots.SEND_WITHIN = call_slots.RESERVED / 2
    call_slots.RENEW_SECONDS = call_slots.RESERVED.total_seconds() / 10
    call_queue.SLOW_AFTER_SECONDS = 60.0  # a test machine may be slow
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{batch.refresh_due(LIMIT)}\n")
    sys.stdout.flush()
