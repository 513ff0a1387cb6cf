"""From a host name to addresses, all of them checked, within the deadline."""

from __future__ import annotations

import ipaddress
import socket
from concurrent.futures import Future
from threading import Thread

from integrations.outbound.addresses import IPAddress, Origin, check_address
from integrations.outbound.deadline import at_most
from integrations.outbound.errors import AddressRefused, DeadlineExceeded, HostUnresolvable

LOOKUP_SECONDS = 5.0
MAX_ADDRESSES = 16


def resolve_public(origin: Origin) -> tuple[IPAddress, ...]:
    """Return the host's addresses. One that is not public refuses them all: it is how rebinding begins.

    Raises AddressRefused, HostUnresolvable or DeadlineExceeded.
    """
    addresses = _lookup_within_deadline(origin)
    if not addresses:
        raise HostUnresolvable(f"{origin.host} has no address. Check the spelling of the host name.")
    for address in addresses:
        check_address(address, origin)
    return tuple(addresses[:MAX_ADDRESSES])


def _lookup_within_deadline(origin: Origin) -> list[IPAddress]:
    answer: Future[list[IPAddress]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(_lookup(origin))
        except BaseException as error:  # noqa: BLE001  # handed to the waiting thread, which raises it
            answer.set_exception(error)

    # getaddrinfo takes no timeout. A thread of its own, not a pool: a tenant's dead name server must not use
    # up a pool that others wait for.
    Thread(target=look_up, name=f"resolve {origin.host}", daemon=True).start()
    try:
        return answer.result(timeout=at_most(LOOKUP_SECONDS))
    except TimeoutError as error:
        raise DeadlineExceeded(f"The name server did not answer in time for {origin.host}.") from error


def _lookup(origin: Origin) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HostUnresolvable(f"{origin.host} could not be found. Check the spelling of the host name.") from error
    texts = dict.fromkeys(str(socket_address[0]) for *_, socket_address in found)
    try:
        return [ipaddress.ip_address(text) for text in texts]
    except ValueError as error:
        raise AddressRefused(f"{origin.host} leads to an address of an unknown kind.") from error
