"""Limits count across threads and processes, end with their window, and survive Redis going away."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.test import Client
from redis.exceptions import ConnectionError as RedisGone

from workspaces import rate_limits
from workspaces.errors import RateLimited
from workspaces.models import RateLimitWindow
from workspaces.rate_limits import hit

pytestmark = pytest.mark.django_db

START = 1_800_000_000.0  # a multiple of 60
WHO_A = hashlib.sha256(b"a").hexdigest()[:32]


@pytest.fixture(autouse=True)
def _limits_on(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMIT_SCALE = 1.0
    monkeypatch.setattr(rate_limits, "_prepaid", rate_limits._Prepaid())


@pytest.fixture(params=["table", "cache"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The two places where limits count; a local cache stands for Redis, whose interface it shares."""
    if request.param == "cache":
        local = LocMemCache(f"limits-{request.node.name}", {})
        monkeypatch.setattr(rate_limits, "caches", {"default": local})
        yield local
        local.clear()
    else:
        monkeypatch.setattr(rate_limits, "caches", {"default": DatabaseCache("cache", {})})
        yield None


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count in the table, whatever cache this run has."""
    monkeypatch.setattr(rate_limits, "caches", {"default": DatabaseCache("cache", {})})


def test_the_limit_is_how_many_pass(store: Any) -> None:
    for _ in range(3):
        hit("invite", "a", limit=3, seconds=60, now=START)
    with pytest.raises(RateLimited) as refused:
        hit("invite", "a", limit=3, seconds=60, now=START + 17)
    assert refused.value.retry_after == 43


def test_a_new_window_begins_anew(store: Any) -> None:
    hit("invite", "a", limit=1, seconds=60, now=START)
    with pytest.raises(RateLimited):
        hit("invite", "a", limit=1, seconds=60, now=START + 59.9)
    hit("invite", "a", limit=1, seconds=60, now=START + 60)


def test_in_blocks_exactly_the_limit_passes_with_few_counts(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    count = rate_limits._count
    monkeypatch.setattr(rate_limits, "_count", lambda *args, **more: counts.append(args[1]) or count(*args, **more))
    for _ in range(250):
        hit("api", "a", limit=250, seconds=60, now=START, in_blocks=True)
    assert counts == [2] * 125
    with pytest.raises(RateLimited) as refused:
        hit("api", "a", limit=250, seconds=60, now=START + 17, in_blocks=True)
    assert refused.value.retry_after == 43
    hit("api", "a", limit=250, seconds=60, now=START + 60, in_blocks=True)


def test_the_last_block_may_be_a_part(store: Any) -> None:
    rate_limits._count(f"rate:api:{int(START) // 60}:{WHO_A}", 299, ends_at=int(START) + 60, now=int(START))
    hit("api", "a", limit=300, seconds=60, now=START, in_blocks=True)
    with pytest.raises(RateLimited):
        hit("api", "a", limit=300, seconds=60, now=START, in_blocks=True)


def test_what_is_left_of_a_block_ends_with_its_window_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    prepaid = rate_limits._Prepaid()
    prepaid.put("api", "a", 1, 5)
    prepaid.put("api", "a", 1, 1)
    assert [prepaid.take("api", "a", 1) for _ in range(7)] == [True] * 6 + [False]
    prepaid.put("api", "a", 1, 5)
    assert not prepaid.take("api", "a", 2)
    assert not prepaid.take("api", "b", 1)
    monkeypatch.setattr(rate_limits, "MOST_PREPAID", 3)
    for number in range(100):
        prepaid.put("api", str(number), 1, 5)
    assert len(prepaid._left) <= 3


def test_names_and_keys_count_apart(store: Any) -> None:
    for name, key in (("invite", "a"), ("invite", "b"), ("test", "a")):
        hit(name, key, limit=1, seconds=60, now=START)


def test_any_text_may_be_a_key(store: Any) -> None:
    for key in ("", "x" * 10_000, "a b\n\x00", "ü\ud800"):
        hit("invite", key, limit=1, seconds=60, now=START)
        with pytest.raises(RateLimited):
            hit("invite", key, limit=1, seconds=60, now=START)


def test_the_scale_multiplies_and_zero_switches_off(store: Any, settings: Any) -> None:
    settings.RATE_LIMIT_SCALE = 2
    for _ in range(4):
        hit("invite", "a", limit=2, seconds=60, now=START)
    with pytest.raises(RateLimited):
        hit("invite", "a", limit=2, seconds=60, now=START)
    settings.RATE_LIMIT_SCALE = 0.001
    hit("invite", "b", limit=2, seconds=60, now=START)  # one try always stays possible
    settings.RATE_LIMIT_SCALE = 0
    hit("invite", "a", limit=2, seconds=60, now=START)


@pytest.mark.usefixtures("table")
def test_dead_windows_are_swept() -> None:
    hit("invite", "a", limit=9, seconds=60, now=START)
    hit("invite", "a", limit=9, seconds=60, now=START + 200)
    assert RateLimitWindow.objects.count() == 1


def test_without_redis_it_counts_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(LocMemCache):
        def add(self, *_arguments: Any, **_options: Any) -> bool:
            raise RedisGone

    monkeypatch.setattr(rate_limits, "caches", {"default": Gone("gone", {})})
    hit("invite", "a", limit=1, seconds=60, now=START)
    with pytest.raises(RateLimited):
        hit("invite", "a", limit=1, seconds=60, now=START)
    assert RateLimitWindow.objects.get().count == 2


@pytest.mark.usefixtures("table")
@pytest.mark.django_db(transaction=True)
def test_of_tries_at_once_none_is_lost() -> None:
    start, passed = threading.Barrier(4), []

    def go() -> None:
        start.wait(timeout=10)
        for _ in range(5):
            try:
                hit("invite", "a", limit=12, seconds=60, now=START)
                passed.append(1)
            except RateLimited:
                continue
        connection.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(passed) == 12
    assert RateLimitWindow.objects.get().count == 20


def test_invitations_are_limited_per_workspace(
    as_alice: Client, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspaces.views.members.INVITATIONS_PER_HOUR", 2)
    answers = [
        as_alice.post("/w/acme/members/invite/", {"email": f"p{n}@example.com", "role": "viewer"}) for n in range(4)
    ]
    assert [answer.status_code for answer in answers][:2] == [302, 302]
    assert answers[3].status_code == 422
    assert "Too many tries" in answers[3].content.decode()


def test_sign_in_is_limited(client: Client, alice: Any) -> None:
    for _ in range(6):
        page = client.post("/accounts/login/", {"login": "alice@example.com", "password": "wrong"})
    assert "Too many failed login attempts" in page.content.decode()
