"""A Redis of our own that may be stopped and flushed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import redis

from tests.faults.harness.ports import free_port
from tests.faults.harness.waiting import wait_until


def find_server() -> str | None:
    """Redis, if it is installed."""
    return shutil.which("redis-server")


class Redis:
    """One instance; it keeps nothing on disk, so that stopping it is losing everything."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, number: int = 0) -> str:
        """As REDIS_URL wants it."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> None:
        """Start, and return when it answers."""
        program = find_server()
        assert program is not None
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, "Redis", seconds=20)

    def stop(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url()) as client:
            client.flushall()

    def answers(self) -> bool:
        """Whether it can be talked to."""
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
