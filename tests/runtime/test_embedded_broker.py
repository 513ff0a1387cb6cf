"""The broker without Redis loses no message and ends no worker, whatever reads while another process writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from config import embedded_broker
from config.celery import app


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Any]:
    folders = {"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path)}
    with Connection("filesystem://localhost/", transport_options=folders) as connection:
        yield connection.channel()


def test_celery_uses_it_wherever_redis_is_missing(channel: Any) -> None:
    assert isinstance(channel, embedded_broker.Channel)
    with app.connection_for_write("filesystem://localhost/") as connection:
        assert connection.transport_cls.endswith("Transport") or connection.transport_cls == "filesystem"
        assert isinstance(connection.transport, embedded_broker.Transport)


def test_a_message_is_not_there_before_it_is_complete(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_early: list[Any] = []
    replace = os.replace

    def look_first(source: Path, target: Path) -> None:
        """What another worker would find at the worst moment: everything written, nothing named."""
        with pytest.raises(Empty):
            seen_early.append(channel._get("celery"))
        replace(source, target)

    monkeypatch.setattr(embedded_broker.os, "replace", look_first)
    channel._put("celery", {"body": "wake"})
    assert seen_early == []
    assert channel._get("celery") == {"body": "wake"}
    with pytest.raises(Empty):
        channel._get("celery")


def test_a_full_disk_leaves_nothing_half_written(channel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded_broker.os, "replace", refuse)
    with pytest.raises(ChannelError, match="cannot be written"):
        channel._put("celery", {"body": "wake"})
    assert list(tmp_path.iterdir()) == []
