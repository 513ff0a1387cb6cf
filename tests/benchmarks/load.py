"""A lean HTTP client for measuring, in a process of its own: `python -m tests.benchmarks.load`, one JSON task on stdin.

`flood`: as many requests as so many connections carry for so many seconds, the next as soon as the answer is there.
`paced`: so many a second, however long answers take; a latency counts from when its request was to be sent.
`burst`: one request on each of so many open connections, all at the same moment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A GET with a key."""

    path: str
    key: str

    def encode(self, host: str) -> bytes:
        return f"GET {self.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.key}\r\n\r\n".encode()


class _Connection(asyncio.Protocol):
    """One request at a time on one connection."""

    def __init__(self) -> None:
        self._received = b""
        self._waiter: asyncio.Future[int] | None = None
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if len(body) >= int(length.group(1) if length else 0) and self._waiter is not None:
            self._received, self.body = b"", body
            waiter, self._waiter = self._waiter, None
            waiter.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError())

    async def ask(self, request: bytes) -> int:
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        self._transport.close()


async def _connect(task: dict[str, Any]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Connection, "127.0.0.1", task["port"]) for _ in range(task["connections"])]
    return [connection for _transport, connection in made]


async def _flood(task: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    connections, statuses = await _connect(task), Counter[int]()
    started = time.perf_counter()
    ends_at = started + task["seconds"]

    async def go_on(connection: _Connection, position: int) -> None:
        while time.perf_counter() < ends_at:
            position = (position + 1) % len(requests)
            statuses[await connection.ask(requests[position])] += 1

    await asyncio.gather(*(go_on(connection, n * 37) for n, connection in enumerate(connections)))
    return {"statuses": dict(statuses), "seconds": time.perf_counter() - started}


async def _paced(task: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    idle, statuses, latencies = await _connect(task), Counter[int](), []
    started = time.time() - time.perf_counter()
    begin = time.perf_counter()

    async def ask(due: float, request: bytes) -> None:
        while not idle:
            await asyncio.sleep(0.0005)
        connection = idle.pop()
        statuses[await connection.ask(request)] += 1
        latencies.append((started + due, 1000 * (time.perf_counter() - due)))
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(int(task["seconds"] * task["per_second"])):
            due = begin + number / task["per_second"]
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(due, requests[number % len(requests)]))
    return {"statuses": dict(statuses), "latencies": latencies}


async def _burst(task: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    connections = await _connect(task)
    await asyncio.sleep(task["after_seconds"])
    sent_at = time.time()
    statuses = await asyncio.gather(
        *(connection.ask(requests[n % len(requests)]) for n, connection in enumerate(connections))
    )
    bodies = {connection.body.decode() for connection in connections}
    return {"statuses": dict(Counter(statuses)), "sent_at": sent_at, "ended_at": time.time(), "bodies": sorted(bodies)}


def start(kind: str, port: int, host: str, requests: list[Request], **task: Any) -> subprocess.Popen[str]:
    """Start a client; `result_of` waits for what it has to tell."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    asked = [[request.path, request.key] for request in requests]
    process.stdin.write(json.dumps({"kind": kind, "port": port, "host": host, "requests": asked, **task}))
    process.stdin.close()
    return process


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the client measured, once it has ended."""
    assert process.stdout is not None
    text = process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 0
    result: dict[str, Any] = json.loads(text)
    return result


if __name__ == "__main__":
    given = json.load(sys.stdin)
    encoded = [Request(*one).encode(given["host"]) for one in given["requests"]]
    gc.disable()
    print(json.dumps(asyncio.run({"flood": _flood, "paced": _paced, "burst": _burst}[given["kind"]](given, encoded))))
