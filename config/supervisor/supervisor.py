"""Starts children in process groups of their own, passes their lines on, restarts them, and stops them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from config.supervisor.lifeline import Lifeline

TICK_SECONDS = 0.1
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 15.0
# A child that dies this often within this time will not get better by itself.
MAX_DEATHS = 6
DEATH_WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class ChildSpec:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    # After SIGTERM it gets this long before its whole group is killed.
    stop_seconds: float = 10.0
    # Lower ones are stopped first: beat before workers, the sandbox after those who call it.
    stop_order: int = 0


def backoff_seconds(deaths: int) -> float:
    """How long to wait before a child that died this many times lately is started again."""
    return min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** max(0, deaths - 1))


class Child:
    """A spec and its current process."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self.deaths: deque[float] = deque()

    def start(self, lifeline: Lifeline, *, captured: bool) -> None:
        """Start it in a group and session of its own, so that Ctrl-C reaches us alone and we stop it in order."""
        self.process = subprocess.Popen(  # noqa: S603 # our own commands
            list(self.spec.command),
            env={**os.environ, **self.spec.environment, **lifeline.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.STDOUT if captured else None,
            pass_fds=(lifeline.child_fd,),
            start_new_session=True,
        )

    def is_running(self) -> bool:
        """Whether its main process lives."""
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Ask the main process alone: it passes the word on to its own children, once."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    def kill_group(self) -> None:
        """Kill whatever is left of its group, also when its main process is gone already."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def note_death(self, now: float) -> int:
        """Count a death and return how many there were lately."""
        self.deaths.append(now)
        while self.deaths and now - self.deaths[0] > DEATH_WINDOW_SECONDS:
            self.deaths.popleft()
        return len(self.deaths)


class Supervisor:
    """Runs children until it is told to stop, or until one of them will not stay up."""

    def __init__(self, specs: Sequence[ChildSpec], *, prefixed: bool = True) -> None:
        self._children = [Child(spec) for spec in specs]
        self._prefixed = prefixed
        self._width = max((len(spec.name) for spec in specs), default=0)
        self._lifeline = Lifeline()
        self._output_lock = threading.Lock()
        self._stop_requests = 0
        self._failed = ""

    def run(
        self,
        *,
        is_ready: Callable[[], bool] | None = None,
        on_ready: Callable[[], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Start everything, call `on_ready` once `is_ready` says so, and stay until stopped. Returns the exit code."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_signal)
        try:
            self._watch(is_ready, on_ready, should_stop)
        finally:
            if self._prefixed:
                self._say("Stopping …")
            self._stop_all()
            self._lifeline.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._failed or self._prefixed:
            self._say(self._failed or "Stopped.")
        return 1 if self._failed else 0

    def _watch(
        self,
        is_ready: Callable[[], bool] | None,
        on_ready: Callable[[], None] | None,
        should_stop: Callable[[], bool],
    ) -> None:
        waiting = is_ready is not None
        while not self._stop_requests and not self._failed and not should_stop():
            now = time.monotonic()
            for child in self._children:
                self._look_after(child, now)
            if waiting and is_ready is not None and is_ready():
                waiting = False
                if on_ready is not None:
                    on_ready()
            time.sleep(TICK_SECONDS)

    def _look_after(self, child: Child, now: float) -> None:
        if child.is_running():
            return
        if child.process is not None:
            self._bury(child, now)
        elif now >= child.start_at and not self._stop_requests:
            child.start(self._lifeline, captured=self._prefixed)
            if self._prefixed:
                self._pass_lines_on(child)

    def _bury(self, child: Child, now: float) -> None:
        """Clear away what a dead child left behind and plan its return."""
        assert child.process is not None  # noqa: S101 (it was opened as a pipe) # for the type checker
        code = child.process.returncode
        child.kill_group()
        child.process = None
        deaths = child.note_death(now)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if deaths > MAX_DEATHS:
            self._failed = (
                f"{child.spec.name} {how} for the {deaths}th time within {DEATH_WINDOW_SECONDS:.0f} s. "
                "Stopped everything; its lines above say why."
            )
            return
        wait = backoff_seconds(deaths)
        child.start_at = now + wait
        self._say(f"{child.spec.name} {how}; starting it again in {wait:g} s.")

    def _stop_all(self) -> None:
        """SIGTERM in order, then SIGKILL for the group of whatever did not listen; a second request skips the wait."""
        for order in sorted({child.spec.stop_order for child in self._children}):
            group = [child for child in self._children if child.spec.stop_order == order]
            for child in group:
                child.terminate()
            started = time.monotonic()
            while any(self._may_still_stop(child, started) for child in group):
                time.sleep(TICK_SECONDS / 2)
            for child in group:
                child.kill_group()

    def _may_still_stop(self, child: Child, started: float) -> bool:
        in_time = time.monotonic() - started < child.spec.stop_seconds
        return child.is_running() and in_time and self._stop_requests < 2

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop_requests += 1

    def _pass_lines_on(self, child: Child) -> None:
        assert child.process is not None  # noqa: S101 (it was opened as a pipe) # for the type checker
        assert child.process.stdout is not None  # noqa: S101 (it was opened as a pipe)
        threading.Thread(
            target=self._copy_lines, args=(child.spec.name, child.process.stdout), name=child.spec.name, daemon=True
        ).start()

    def _copy_lines(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                self._write(f"{name:<{self._width}} | {raw.decode(errors='replace').rstrip()}")

    def _say(self, message: str) -> None:
        self._write(f"{'up':<{self._width}} | {message}" if self._prefixed else message)

    def _write(self, line: str) -> None:
        with self._output_lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except (BrokenPipeError, ValueError):
                # Nobody reads us any more (`make run | head`): that is a request to stop.
                self._stop_requests += 1
