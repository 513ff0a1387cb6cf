"""Fixed-window counters shared by all processes: in Redis, else (or while Redis is away) in a table."""

from __future__ import annotations

import hashlib
import logging
import threading
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

MOST_PREPAID = 10_000  # keys with tries left in this process's memory
SHARE_AT_ONCE = 100  # with `in_blocks`, a hundredth of the limit is counted at once


def hit(name: str, key: str, *, limit: int, seconds: int, now: float | None = None, in_blocks: bool = False) -> None:
    """Count one try of `name` by `key`. Raises RateLimited when there were more than `limit` in this window.

    `settings.RATE_LIMIT_SCALE` multiplies every limit (one try always stays possible); 0 switches them off.
    Windows have fixed ends, so that up to twice the limit may pass around one. Call it outside a transaction:
    without Redis the count would be rolled back with it.

    `in_blocks` is for what happens a thousand times a second: a process counts a hundredth of the limit at once and
    lets that many pass from memory. Never more than the limit pass; up to a hundredth per process may pass fewer.
    """
    scale = settings.RATE_LIMIT_SCALE
    if scale <= 0:
        return
    now = time.time() if now is None else now
    window, elapsed = divmod(int(now), seconds)
    if in_blocks and _prepaid.take(name, key, window):
        return
    limit = max(1, round(limit * scale))
    tries = max(1, limit // SHARE_AT_ONCE) if in_blocks else 1
    # Hashed: the key may be an address or anybody's text, and stored names are short and plain.
    who = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    count = _count(f"rate:{name}:{window}:{who}", tries, ends_at=(window + 1) * seconds, now=int(now))
    granted = tries - max(0, count - limit)
    if granted < 1:
        raise RateLimited(retry_after=seconds - elapsed)
    if granted > 1:
        _prepaid.put(name, key, window, granted - 1)


class _Prepaid:
    """Tries that are counted already and not used yet, by name and key, for one window each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[tuple[str, str], tuple[int, int]] = {}

    def take(self, name: str, key: str, window: int) -> bool:
        """Use one; False when there is none for this window."""
        with self._lock:
            of_window, left = self._left.get((name, key), (window, 0))
            if of_window != window or left < 1:
                return False
            self._left[name, key] = (window, left - 1)
            return True

    def put(self, name: str, key: str, window: int, tries: int) -> None:
        """Add tries. What is left of other windows is forgotten; so is everything once there is too much of it."""
        with self._lock:
            if len(self._left) >= MOST_PREPAID:
                self._left.clear()
            of_window, left = self._left.get((name, key), (window, 0))
            self._left[name, key] = (window, tries + (left if of_window == window else 0))


_prepaid = _Prepaid()


def _count(key: str, tries: int, *, ends_at: int, now: int) -> int:
    shared: BaseCache = caches["default"]
    if isinstance(shared, BaseDatabaseCache):  # its incr() reads, then writes: two at once would count as one
        return _count_in_table(key, tries, ends_at, now)
    try:
        return _count_in_cache(shared, key, tries, timeout=ends_at - now + 1)
    except RedisError as error:
        logger.warning("Rate limits count in the database: Redis does not answer (%s).", type(error).__name__)
        return _count_in_table(key, tries, ends_at, now)


def _count_in_cache(shared: BaseCache, key: str, tries: int, *, timeout: int) -> int:
    if shared.add(key, tries, timeout):
        return tries
    try:
        return int(shared.incr(key, tries))
    except ValueError:  # it expired between the two calls: a new window has begun
        shared.add(key, tries, timeout)
        return tries


def _count_in_table(key: str, tries: int, ends_at: int, now: int) -> int:
    """One statement counts and answers, on PostgreSQL and SQLite alike; the ORM has no words for it."""
    connection = connections[router.db_for_write(RateLimitWindow)]
    table = connection.ops.quote_name(RateLimitWindow._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (key, count, ends_at) VALUES (%s, %s, %s) "  # noqa: S608 (our own table's name)
            f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + excluded.count RETURNING count",
            [key, tries, ends_at],
        )
        count = int(cursor.fetchone()[0])
    if count == tries:
        RateLimitWindow.objects.filter(ends_at__lt=now).delete()
    return count
