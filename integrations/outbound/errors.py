"""What can go wrong on the way out. Each message is a sentence for people and carries no URL query.

OutboundError
├── AddressRefused      our rules forbid the URL or the address behind it; permanent
├── HostUnresolvable    the name has no address
├── ConnectFailed       nothing listens there, or the network is down
├── TLSFailed           the certificate was not accepted, or the handshake failed
├── DeadlineExceeded    no complete answer in time
├── ConnectionBroken    the answer broke off, or was no HTTP
└── ResponseTooLarge    more than the profile allows, after decoding
"""

from __future__ import annotations

from typing import ClassVar


class OutboundError(Exception):
    """A request that brought no complete answer."""

    code: ClassVar[str] = "unreachable"
    permanent: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class AddressRefused(OutboundError):
    """Our rules forbid the URL, or the address behind its host."""

    code = "address_refused"
    permanent = True


class HostUnresolvable(OutboundError):
    """The host name has no address."""

    code = "host_unresolvable"


class ConnectFailed(OutboundError):
    """Nobody answers at the address."""

    code = "unreachable"


class TLSFailed(OutboundError):
    """The handshake failed or the certificate was not accepted."""

    code = "tls_failed"


class DeadlineExceeded(OutboundError):
    """There was no complete answer in time."""

    code = "timeout"


class ConnectionBroken(OutboundError):
    """The answer broke off, or was no HTTP."""

    code = "connection_broken"


class ResponseTooLarge(OutboundError):
    """The answer is larger than the profile allows."""

    code = "too_large"
