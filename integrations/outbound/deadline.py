"""Sockets that obey a deadline by the clock.

A socket's own timeout starts anew with each read: a server that sends one byte every few seconds could hold a
thread for hours. Here each read gets what is left of the whole call's time, if that is less.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_deadline: ContextVar[float | None] = ContextVar("outbound_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound everything inside to this many seconds; an outer deadline that ends sooner stays in force."""
    outer = _deadline.get()
    end = time.monotonic() + seconds
    token = _deadline.set(end if outer is None else min(outer, end))
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining() -> float | None:
    """Seconds left of the current deadline, None without one. Raises TimeoutError when none are left."""
    end = _deadline.get()
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def at_most(seconds: float) -> float:
    """Return these seconds, or what is left of the deadline. Raises TimeoutError when nothing is."""
    left = remaining()
    return seconds if left is None else min(seconds, left)


def _tighten(sock: socket.socket) -> None:
    left = remaining()
    if left is None:
        return
    current = sock.gettimeout()
    if current is None or left < current:
        sock.settimeout(left)


class DeadlineSocket(socket.socket):
    """A TCP socket each of whose reads and writes obeys the current deadline."""

    @classmethod
    def adopt(cls, sock: socket.socket) -> DeadlineSocket:
        """Take a connected socket over."""
        timeout = sock.gettimeout()
        adopted = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        adopted.settimeout(timeout)
        return adopted

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Read, within the deadline."""
        _tighten(self)
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Write, within the deadline."""
        _tighten(self)
        super().sendall(*args, **kwargs)


class DeadlineSSLSocket(ssl.SSLSocket):
    """The same under TLS; the handshake too."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Read, within the deadline."""
        _tighten(self)
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Write one piece, within the deadline; `sendall` of the parent calls this."""
        _tighten(self)
        return super().send(*args, **kwargs)

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, within the deadline."""
        _tighten(self)
        super().do_handshake(block)
