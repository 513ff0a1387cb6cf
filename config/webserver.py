"""Granian as we run it: worker processes that notice when their main process is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server

# A reader that waits for a token being renewed holds its thread: with 16 threads, 200 such readers kept unrelated
# requests waiting for seconds; with 256 they do not. Idle threads are given back after half a minute.
THREADS_PER_PROCESS = 256
STOP_SECONDS = 10

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"expected": {"()": "config.webserver.WithoutThreadAdvice"}},
    "formatters": {"line": {"format": "%(levelname)s granian %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["expected"]}},
    "loggers": {"_granian": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}


class WithoutThreadAdvice(logging.Filter):
    """Drops Granian's advice against many threads: ours wait for authorization servers, they do not compute."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep everything else."""
        return "Python threads, which seems quite high" not in record.getMessage()


def load_application(target: str) -> Callable[..., Any]:
    """Import `module:callable` in a worker process, which from then on stops when its main process is gone."""
    from importlib import import_module

    from config.supervisor.lifeline import watch_parent_process

    watch_parent_process()
    module, _, name = target.partition(":")
    application: Callable[..., Any] = getattr(import_module(module), name)
    return application


def run(target: str, *, host: str, port: int, processes: int, threads: int = THREADS_PER_PROCESS) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get `STOP_SECONDS`. A worker that dies is replaced."""
    import multiprocessing

    # Forked workers would inherit our threads' locks and database connections.
    multiprocessing.set_start_method("spawn", force=True)
    server = Server(
        target,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        # More than this waits in the listening socket's queue instead of in our memory.
        backpressure=threads * 2,
        backlog=1024,
        websockets=False,
        log_level=LogLevels.warning,
        log_dictconfig=LOGGING,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        workers_kill_timeout=STOP_SECONDS,
    )
    server.serve(target_loader=load_application)
