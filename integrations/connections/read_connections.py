"""A few PostgreSQL connections of a process, for its shortest and most frequent query: the token read.

Django's own way costs more than the query: a connection is checked each time it is taken from the pool, and its cursors
cannot prepare a statement. Here a connection is taken and given back without a round trip, and one that broke meanwhile
(PostgreSQL was restarted) is replaced and asked once more, which a read may be. They only ever read.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as django_connection

WAIT_SECONDS = 10.0  # for a connection, as long as Django's pool waits
STATEMENT_TIMEOUT = "10s"  # PostgreSQL is up and does not answer: the request goes the other way and says so
# Of Django's parameters for a connection, those that are about its own cursors.
_DJANGOS_OWN = ("context", "cursor_factory", "prepare_threshold")


class NoConnection(Exception):
    """All of them are in use, and stayed so."""


class ReadConnections:
    """At most `size` connections, opened when first needed; the one used last is used next."""

    def __init__(self, size: int) -> None:
        self._slots = threading.BoundedSemaphore(size)
        self._idle: deque[psycopg.Connection[Any]] = deque()

    def fetch_one(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The first row of a prepared query. Raises psycopg.Error and NoConnection."""
        if not self._slots.acquire(timeout=WAIT_SECONDS):
            raise NoConnection
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._ask(_connect(), query, values)
            try:
                return self._ask(connection, query, values)
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
                self.close()  # the others broke with it
                return self._ask(_connect(), query, values)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close those that are idle."""
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _ask(self, connection: psycopg.Connection[Any], query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = connection.execute(query, values, prepare=True, binary=True).fetchone()
        except BaseException:
            if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()
            else:
                self._idle.append(connection)
            raise
        self._idle.append(connection)
        return row


def _connect() -> psycopg.Connection[Any]:
    wanted = {
        name: value for name, value in django_connection.get_connection_params().items() if name not in _DJANGOS_OWN
    }
    connection: psycopg.Connection[Any] = psycopg.connect(**wanted, autocommit=True)
    connection.execute("SET TIME ZONE 'UTC'")
    connection.execute("SET default_transaction_read_only = on")
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    return connection


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
