"""Ports that stay ours while a service is stopped and started again."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """A port that is free now, below the range from which the system takes ports for everybody else."""
    for _ in range(200):
        port = random.randrange(10_000, 19_999)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("No free port was found.")
