"""Processes of the product, each with its log in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.supervisor.lifeline import Lifeline
from tests.faults.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """One process in a session of its own. It ends with this one, however that ends (lifeline)."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, lifeline: Lifeline
    ) -> None:
        self.name, self.log_path = name, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**environment, **lifeline.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lifeline.child_fd,),
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL for it and its children, as when its machine is switched off."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> bool:
        """Wait after SIGTERM as a supervisor does, which kills then; whether that was not needed."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def wait_for_line(self, text: str, *, seconds: float = 120.0) -> None:
        """Return once its log holds the text."""

        def logged_or_dead() -> bool:
            assert self.is_running() or text in self.log, f"{self.name} ended:\n{self.log[-3000:]}"
            return text in self.log

        wait_until(logged_or_dead, f"{self.name} to log {text!r}", seconds=seconds, or_say=lambda: self.log[-3000:])
