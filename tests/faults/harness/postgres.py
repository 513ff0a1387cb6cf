"""A PostgreSQL of our own that may be stopped, killed and frozen."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.faults.harness.ports import free_port

# Durability is what production pays for. Here the machine never crashes, only processes do, and for those a commit
# that reached the kernel is enough.
OPTIONS = "-c fsync=off -c max_connections=200 -c listen_addresses=127.0.0.1 -c track_activity_query_size=16384"


def find_tool(name: str) -> str | None:
    """A program of the newest PostgreSQL that is installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


class Postgres:
    """One instance in a folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.data = folder / "postgres"
        self.log = folder / "postgres.log"
        self._user = _unprivileged_user()
        self.data.mkdir()
        self.log.touch()
        if self._user:
            for path in (self.data, self.log):
                shutil.chown(path, self._user)
        self._run("initdb", "-U", "grantry", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")

    def url(self, database: str = "postgres") -> str:
        """As DATABASE_URL wants it."""
        return f"postgresql://grantry@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and return when it answers."""
        options = f"-p {self.port} -c unix_socket_directories={self.data} {OPTIONS}"
        self._run("pg_ctl", "-l", str(self.log), "-w", "-t", "60", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop as pg_ctl does: `immediate` is a crash, `fast` says goodbye to its clients."""
        self._run("pg_ctl", "-m", mode, "-w", "-t", "60", "stop")

    def is_running(self) -> bool:
        """Whether there is a postmaster."""
        return (self.data / "postmaster.pid").exists()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes in their tracks: connections stay open, and nothing answers."""
        pids = [self._postmaster(), *_children(self._postmaster())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def create(self, database: str, template: str = "template1") -> str:
        """Make a database as a copy of another; returns its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(statement.format(sql.Identifier(database), sql.Identifier(template)))
        return self.url(database)

    def execute(self, statement: Any, *values: Any, database: str = "postgres") -> list[Any]:
        """Run one statement outside any transaction; its rows, if any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def waiting_for_locks(self, database: str) -> list[tuple[int, str]]:
        """Backends that wait for a lock, with what they want to do."""
        return self.execute(
            "SELECT pid, query FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'", database
        )

    def cut_off(self, database: str, pids: list[int]) -> None:
        """End backends whose client was killed: a dead host sends nothing any more, not even what it has begun."""
        self.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", pids, database=database)

    def _postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def _run(self, tool: str, *arguments: str) -> None:
        program = find_tool(tool)
        assert program is not None
        command = [program, "-D", str(self.data), *arguments]
        if self._user:
            command = ["runuser", "-u", self._user, "--", *command]
        # Into a file: the server inherits it, so that the end of a pipe would never come.
        output = self.log.with_suffix(".out")
        with output.open("w") as file:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=90, check=False
            )
        assert done.returncode == 0, output.read_text() + self.log.read_text()[-2000:]


def _unprivileged_user() -> str:
    """PostgreSQL refuses to run as root; Debian's package brings a user."""
    if os.getuid() != 0:
        return ""
    return pwd.getpwnam("postgres").pw_name


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found
