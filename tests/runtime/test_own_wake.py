"""Worker processes look for due tokens by themselves, whatever the broker does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.concurrency.solo import TaskPool as OneAfterTheOther
from celery.concurrency.thread import TaskPool

from config import own_wake
from integrations import tasks


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    threads = TaskPool(limit=2)
    threads.start()
    yield threads
    threads.stop()


def test_the_batch_runs_at_once_and_again_in_the_workers_pool(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = threading.Semaphore(0)
    monkeypatch.setattr(tasks, "refresh_due", runs.release)
    monkeypatch.setattr(own_wake, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(own_wake, "SPREAD_SECONDS", 0.0)
    stop = threading.Event()
    thread = own_wake.look_by_itself(pool, stop=stop)
    assert thread is not None
    assert all(runs.acquire(timeout=30) for _ in range(3))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_it_ends_when_the_worker_closes_its_pool(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "refresh_due", lambda: None)
    monkeypatch.setattr(own_wake, "EVERY_SECONDS", 0.01)
    pool.stop()
    thread = own_wake.look_by_itself(pool)
    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


def test_a_pool_without_threads_is_left_to_beat() -> None:
    assert own_wake.look_by_itself(OneAfterTheOther()) is None
