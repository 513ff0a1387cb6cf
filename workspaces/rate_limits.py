"""Fixed-window counters shared by all processes: in Redis, else (or while Redis is away) in a table."""

from __future__ import annotations

import hashlib
import logging
import time

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import connections, router
from redis.exceptions import RedisError

from workspaces.errors import RateLimited
from workspaces.models import RateLimitWindow

__all__ = ["RateLimited", "hit"]

logger = logging.getLogger(__name__)


def hit(name: str, key: str, *, limit: int, seconds: int, now: float | None = None) -> None:
    """Count one try of `name` by `key`. Raises RateLimited when there were more than `limit` in this window.

    `settings.RATE_LIMIT_SCALE` multiplies every limit (one try always stays possible); 0 switches them off.
    Windows have fixed ends, so that up to twice the limit may pass around one. Call it outside a transaction:
    without Redis the count would be rolled back with it.
    """
    scale = settings.RATE_LIMIT_SCALE
    if scale <= 0:
        return
    now = time.time() if now is None else now
    window, elapsed = divmod(int(now), seconds)
    # Hashed: the key may be an address or anybody's text, and stored names are short and plain.
    who = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    count = _count(f"rate:{name}:{window}:{who}", ends_at=(window + 1) * seconds, now=int(now))
    if count > max(1, round(limit * scale)):
        raise RateLimited(retry_after=seconds - elapsed)


def _count(key: str, *, ends_at: int, now: int) -> int:
    shared: BaseCache = caches["default"]
    if isinstance(shared, BaseDatabaseCache):  # its incr() reads, then writes: two at once would count as one
        return _count_in_table(key, ends_at, now)
    try:
        return _count_in_cache(shared, key, timeout=ends_at - now + 1)
    except RedisError as error:
        logger.warning("Rate limits count in the database: Redis does not answer (%s).", type(error).__name__)
        return _count_in_table(key, ends_at, now)


def _count_in_cache(shared: BaseCache, key: str, *, timeout: int) -> int:
    if shared.add(key, 1, timeout):
        return 1
    try:
        return int(shared.incr(key))
    except ValueError:  # it expired between the two calls: a new window has begun
        shared.add(key, 1, timeout)
        return 1


def _count_in_table(key: str, ends_at: int, now: int) -> int:
    """One statement counts and answers, on PostgreSQL and SQLite alike; the ORM has no words for it."""
    connection = connections[router.db_for_write(RateLimitWindow)]
    table = connection.ops.quote_name(RateLimitWindow._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (key, count, ends_at) VALUES (%s, 1, %s) "  # noqa: S608 (our own table's name)
            f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + 1 RETURNING count",
            [key, ends_at],
        )
        count = int(cursor.fetchone()[0])
    if count == 1:
        RateLimitWindow.objects.filter(ends_at__lt=now).delete()
    return count
