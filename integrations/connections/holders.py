"""Proof of life for whoever holds leases: a file under `var/` that is locked for as long as its holder runs.

The kernel frees the lock when the process is gone, however it went, so that another process on the same `var/` knows
for certain, and at once, that nobody will bring an answer any more; or that somebody still may. A lease id begins with
its holder's name. Of a holder on another host nothing is known.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from uuid import UUID

from django.conf import settings

logger = logging.getLogger(__name__)

NAME_BYTES = 8
SUFFIX = ".lock"


class Life(Enum):
    """What is known about a holder."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"  # on another host, or ended in good order


class Holder:
    """One run that takes leases: a batch, or one refresh. Use it as a context manager.

    Its file is made with the first lease, and removed at the end unless leases were left: then it stays behind
    without a lock, as after a kill, and whoever looks next frees them.
    """

    def __init__(self) -> None:
        self.name = secrets.token_bytes(NAME_BYTES)
        self.leaves_leases = False
        self._descriptor: int | None = None
        self._begun = False

    def new_lease_id(self) -> UUID:
        """An id for a claim, which names this holder."""
        if not self._begun:
            self._begun = True
            self._lock_file()
        return UUID(bytes=self.name + secrets.token_bytes(16 - NAME_BYTES))

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is None:
            return
        if kind is None and not self.leaves_leases:
            _path(self.name).unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def _lock_file(self) -> None:
        """Locked before it has its name, so that nobody ever finds it unlocked while we live."""
        path = _path(self.name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = path.with_suffix(".new")
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unfinished.rename(path)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            # Leases that are left then run out by time.
            logger.warning("There is no proof of life under var/: %s", type(error).__name__)
        else:
            self._descriptor = descriptor


def life_of(lease_id: UUID) -> Life:
    """Whether the holder of a lease still runs, as far as that is known here."""
    return _life(_path(lease_id.bytes[:NAME_BYTES]))


def dead_holders() -> Iterator[bytes]:
    """Names of holders that were stopped, or left leases behind, on this `var/`."""
    if not folder().is_dir():
        return
    for path in folder().glob(f"*{SUFFIX}"):
        name = _name_in(path)
        if name is not None and _life(path) is Life.DEAD:
            yield name


def forget(name: bytes) -> None:
    """Remove a dead holder's file, once its leases are free."""
    _path(name).unlink(missing_ok=True)


def lease_ids(name: bytes) -> tuple[UUID, UUID]:
    """The first and the last lease id that a holder can give."""
    rest = 16 - NAME_BYTES
    return UUID(bytes=name + b"\x00" * rest), UUID(bytes=name + b"\xff" * rest)


def folder() -> Path:
    """Where the files are."""
    return Path(settings.VAR_DIR) / "holders"


def _path(name: bytes) -> Path:
    return folder() / f"{name.hex()}{SUFFIX}"


def _name_in(path: Path) -> bytes | None:
    try:
        name = bytes.fromhex(path.stem)
    except ValueError:
        return None
    return name if len(name) == NAME_BYTES else None


def _life(path: Path) -> Life:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return Life.UNKNOWN
    try:
        # Shared: two that look at the same moment do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Life.ALIVE
    except OSError:
        return Life.UNKNOWN  # a file system without locks
    finally:
        os.close(descriptor)
    return Life.DEAD
