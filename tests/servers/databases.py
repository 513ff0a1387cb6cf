"""A database of its own for a product under test, of the kind the test run uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql


@contextmanager
def fresh_database_url() -> Iterator[dict[str, str]]:
    """DATABASE_URL and REDIS_URL for a product under test; empty means its embedded defaults.

    The PostgreSQL database is created anew and dropped at the end. Redis database 9 is flushed first: it is ours.
    """
    url = os.environ.get("DATABASE_URL", "")
    services = {}
    if redis_url := os.environ.get("REDIS_URL"):
        services["REDIS_URL"] = urlunsplit(urlsplit(redis_url)._replace(path="/9"))
        import redis

        with redis.Redis.from_url(services["REDIS_URL"]) as client:
            client.flushdb()
    if not url.startswith("postgres"):
        yield services
        return
    name = f"grantry_product_{uuid.uuid4().hex[:10]}"
    _execute(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield {**services, "DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
    finally:
        _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
