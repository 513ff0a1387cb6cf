"""A token endpoint in a process of its own that thinks before it answers: `slow_endpoint 150` for 150 ms.

Each answer rotates the refresh token. One thread and an event loop, so that a thousand calls can wait at once and the
rest of the machine is left to the caller. Says its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

_numbers = itertools.count(1)


class TokenEndpoint(asyncio.Protocol):
    """HTTP/1.1 with connections kept alive: as much as a token request needs."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay = delay_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, start = self._received[:end].lower(), end + 4
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._received) < start + length:
                return
            self._received = self._received[start + length :]
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        number = next(_numbers)
        token = {"access_token": f"a-{number}", "refresh_token": f"r-{number}"}
        body = json.dumps({**token, "token_type": "Bearer", "expires_in": 3600}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head.encode() + body)


async def serve(delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TokenEndpoint(delay_seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.0))
