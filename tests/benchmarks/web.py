"""Web servers under measurement: real processes on free ports, stopped by SIGTERM."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
BARE_PACKAGES = ("fastapi", "sqlalchemy", "asyncpg", "uvicorn", "uvloop", "httptools")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; it answers when the block begins, and has stopped when it is over."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            _wait_until_it_answers(process, port)
            yield process
        except BaseException:
            log.seek(0)
            sys.stdout.write(log.read()[-5000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@contextmanager
def grantry(environment: dict[str, str], processes: int) -> Iterator[int]:
    """`manage.py serve` as it is; the port."""
    port = free_port()
    command = ["manage.py", "serve", "--port", str(port), "--processes", str(processes)]
    with serving(command, port, {**environment, "PORT": str(port)}):
        yield port


@contextmanager
def bare_reader(server: str, environment: dict[str, str], processes: int) -> Iterator[int]:
    """The baseline under Uvicorn or Granian; the port."""
    port = free_port()
    if server == "uvicorn":
        command = ["-m", "uvicorn", "--workers", str(processes), "--no-access-log", "--log-level", "warning"]
    else:
        command = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--workers", str(processes), "--no-ws"]
    command += ["--port", str(port), "tests.benchmarks.bare_reader:app"]
    with serving(command, port, {**environment, "BARE_POOL_SIZE": "10"}):
        yield port


def missing_packages() -> list[str]:
    """What the baseline needs and this environment lacks."""
    return [name for name in BARE_PACKAGES if importlib.util.find_spec(name) is None]


def _wait_until_it_answers(process: subprocess.Popen[str], port: int) -> None:
    give_up_at = time.monotonic() + 90
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                time.sleep(1.0)  # the other processes of the server
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("The server did not start.")
