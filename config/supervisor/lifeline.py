"""A pipe between a process and its children: its end of file says that the parent is gone.

Process groups and exit handlers do not help when a parent is killed with SIGKILL. A pipe does: the parent alone holds
the write end, so the kernel closes it whatever happens, and every child, blocked in a read, wakes up and stops.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable

LIFELINE_FD = "GRANTRY_LIFELINE_FD"
# Long enough for a worker to finish its HTTP calls (20 s deadline), after which nothing may be left.
GRACE_SECONDS = 25.0


class Lifeline:
    """The parent's end: give `child_fd` to children (`pass_fds`) and `environment()` to their environment."""

    def __init__(self) -> None:
        self.child_fd, self._held_fd = os.pipe()

    def environment(self) -> dict[str, str]:
        """The variable by which a child finds its end."""
        return {LIFELINE_FD: str(self.child_fd)}

    def close(self) -> None:
        """Let go: children that are still there stop by themselves."""
        os.close(self._held_fd)
        os.close(self.child_fd)


def watch_lifeline() -> bool:
    """Stop this process when the one that started it is gone; False when it was not started by one of ours.

    The variable is taken out of the environment, because grandchildren do not inherit the descriptor.
    """
    value = os.environ.pop(LIFELINE_FD, "")
    if not value:
        return False
    descriptor = int(value)
    os.set_inheritable(descriptor, False)

    def wait_for_end() -> None:
        while os.read(descriptor, 1):  # nobody writes; the read returns at end of file
            pass

    _stop_after(wait_for_end)
    return True


def watch_parent_process() -> bool:
    """The same for a process made by multiprocessing (Granian's workers); False when there is no such parent."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return False
    _stop_after(parent.join)
    return True


def _stop_after(wait: Callable[[], object]) -> None:
    def run() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)  # the graceful way first
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=run, name="lifeline", daemon=True).start()
