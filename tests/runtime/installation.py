"""An installation started by `manage.py up` in a folder of its own, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.product import ROOT, clean_environment

START_SECONDS = 90


class Installation:
    """One run of `manage.py up`."""

    def __init__(self, var_dir: Path, port: int, *arguments: str) -> None:
        self.var_dir, self.port = var_dir, port
        self.lines: list[str] = []
        self._announced = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port), *arguments],
            cwd=ROOT,
            env=clean_environment(var_dir, ENV_FILE=""),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                self._announced.set()

    def wait_until_announced(self) -> None:
        """Until the address and the sign-in have been printed."""
        end = time.monotonic() + START_SECONDS
        while not self._announced.wait(0.1):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("It did not start:\n" + "\n".join(self.lines))

    def printed(self, prefix: str) -> list[str]:
        """What followed the prefix on lines that begin with it."""
        return [line.removeprefix(prefix) for line in self.lines if line.startswith(prefix)]

    def processes(self) -> dict[int, str]:
        """Living processes of this folder by pid, whoever their parent is by now."""
        return processes_of(self.var_dir)

    def pid_of(self, *words: str) -> int:
        """The first process whose command line has all the words."""
        return next(pid for pid, command in sorted(self.processes().items()) if all(w in command for w in words))

    def end(self) -> None:
        """Whatever a test left."""
        for pid in (self.process.pid, *self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def processes_of(var_dir: Path) -> dict[int, str]:
    """Found by VAR_DIR in their environment, which every descendant inherits."""
    marker = f"VAR_DIR={var_dir}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:  # a zombie has none
                    found[int(folder.name)] = command
    return found


@contextmanager
def installation(var_dir: Path, port: int, *arguments: str) -> Iterator[Installation]:
    """Start one, wait for its lines, and leave nothing behind."""
    started = Installation(var_dir, port, *arguments)
    try:
        started.wait_until_announced()
        yield started
    finally:
        started.end()


def eventually(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
