"""A few PostgreSQL connections of a process, for its shortest and most frequent query: the token read.

Django's own way costs more than the query: a connection is checked each time it is taken from the pool, and its cursors
cannot prepare a statement. Here a connection is taken and given back without a round trip, libpq is asked directly, and
a connection that broke meanwhile (PostgreSQL was restarted) is replaced and the query sent once more, which a read may
be. They only ever read.
"""

from __future__ import annotations

import queue
import threading
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as django_connection
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus, Format

WAIT_SECONDS = 10.0  # for a connection, as long as Django's pool waits
# PostgreSQL is up and does not answer, or the network is gone: the request goes the other way and says so.
STATEMENT_TIMEOUT = "10s"
TCP_TIMEOUT_MS = 10_000
# Of Django's parameters for a connection, those that are about its own cursors.
_DJANGOS_OWN = ("context", "cursor_factory", "prepare_threshold")


class NoConnection(Exception):
    """All of them are in use, and stayed so."""


class ReadConnections:
    """At most `size` connections, each opened when it is first needed."""

    def __init__(self, size: int) -> None:
        # None stands for one that is not open. The queue is written in C: waiting for it costs next to nothing.
        self._free: queue.SimpleQueue[_Open | None] = queue.SimpleQueue()
        self._size = size
        for _ in range(size):
            self._free.put(None)

    def fetch_one(self, query: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        """The first row of a prepared query ($1, $2 …). Raises psycopg.Error and NoConnection."""
        try:
            opened = self._free.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            raise NoConnection from None
        try:
            if opened is not None:
                try:
                    return opened.fetch_one(query, values)
                except psycopg.OperationalError:
                    if not opened.is_broken:
                        raise
            opened = _Open()
            return opened.fetch_one(query, values)
        finally:
            self._free.put(opened if opened is not None and not opened.is_broken else None)

    def close(self) -> None:
        """Close those that nobody uses at the moment."""
        for _ in range(self._size):
            try:
                opened = self._free.get_nowait()
            except queue.Empty:
                return
            if opened is not None:
                opened.close()
            self._free.put(None)


class _Open:
    """One connection with the names of its prepared statements."""

    def __init__(self) -> None:
        parameters = django_connection.get_connection_params()
        wanted = {name: value for name, value in parameters.items() if name not in _DJANGOS_OWN}
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            **{"tcp_user_timeout": TCP_TIMEOUT_MS, **wanted}, autocommit=True
        )
        self._connection.execute("SET TIME ZONE 'UTC'")
        self._connection.execute("SET default_transaction_read_only = on")
        self._connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        self._names: dict[str, bytes] = {}

    @property
    def is_broken(self) -> bool:
        """Whether it is no use any more."""
        return self._connection.closed

    def fetch_one(self, query: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        """The first row. psycopg's own cursors took twice the processor time for it."""
        name = self._names.get(query) or self._prepare(query)
        result = self._connection.pgconn.exec_prepared(name, [value.encode() for value in values], None, Format.BINARY)
        if result.status != ExecStatus.TUPLES_OK:
            raise _error_of(result)
        if not result.ntuples:
            return None
        reader = Transformer(self._connection)
        reader.set_pgresult(result, format=Format.BINARY)
        row: tuple[Any, ...] = reader.load_row(0, tuple)
        return row

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _prepare(self, query: str) -> bytes:
        name = b"read_%d" % len(self._names)
        result = self._connection.pgconn.prepare(name, query.encode())
        if result.status != ExecStatus.COMMAND_OK:
            raise _error_of(result)
        self._names[query] = name
        return name


def _error_of(result: Any) -> psycopg.Error:
    """As psycopg's cursors would raise it. A lost connection has no SQLSTATE."""
    state = result.error_field(DiagnosticField.SQLSTATE)
    kind = psycopg.errors.lookup(state.decode()) if state else psycopg.OperationalError
    return kind(result.get_error_message())


_lock = threading.Lock()
_connections: ReadConnections | None = None


def read_connections() -> ReadConnections | None:
    """This process's; None without PostgreSQL, or where the operator wants none (PgBouncer)."""
    global _connections
    size: int = settings.DATABASE_READ_CONNECTIONS
    if size < 1 or django_connection.vendor != "postgresql":
        return None
    if _connections is None:
        with _lock:
            _connections = _connections or ReadConnections(size)
    return _connections
