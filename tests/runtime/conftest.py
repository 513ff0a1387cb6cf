"""Fixtures of the runtime tests."""

from tests.servers.sandbox import sandbox_server

__all__ = ["sandbox_server"]
