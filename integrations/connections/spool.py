"""Answers that could not be committed for minutes: sealed files under `var/`, drained before the next claim.

A rotated refresh token that the provider has issued exists nowhere else. The file's content is bound to its name.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from integrations import crypto
from integrations.connections.commits import DatabaseAway
from integrations.connections.renewal import Renewed
from integrations.models import IssuedToken, TokenSecrets

logger = logging.getLogger(__name__)

SUFFIX = ".answer"
STUCK = ".stuck"  # could be read, and was not taken


def folder() -> Path:
    """Where the files are."""
    return Path(settings.VAR_DIR) / "spool"


def put(renewed: Renewed) -> Path:
    """Write an answer so that it survives the process: to a temporary name, synced, then renamed. Raises OSError.

    An answer that is there already is left as it is.
    """
    path = _path_of(renewed)
    if not path.exists():
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, crypto.seal(_to_json(renewed), _context(path)))
    return path


class Kept:
    """One answer's place in the spool, while its commit is tried."""

    def __init__(self, renewed: Renewed) -> None:
        self._renewed = renewed
        self._path: Path | None = None

    def put(self) -> bool:
        """Whether it is in the spool; False, and a loud line in the log, when it cannot be written."""
        if self._path is None:
            try:
                self._path = put(self._renewed)
            except OSError as error:
                logger.critical(
                    "The new token of connection %s can be stored neither in the database nor under var/ (%s). It is "
                    "kept in memory: free the disk, and do not kill this process.",
                    self._renewed.connection_id,
                    error.strerror or type(error).__name__,
                )
        return self._path is not None

    def forget(self) -> None:
        """It is in the database now."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def forget(renewed: Renewed) -> None:
    """An answer that may have been put here is in the database now."""
    _path_of(renewed).unlink(missing_ok=True)


def holds_answer_for(connection_id: UUID) -> bool:
    """Whether an answer for this connection waits here to be stored."""
    return any(folder().glob(f"{connection_id.hex}-*{SUFFIX}"))


def connections_waiting() -> set[UUID]:
    """Whose answers wait here to be stored."""
    names = (path.name.split("-")[0] for path in _files())
    return {UUID(name) for name in names if _is_hex_id(name)}


def count() -> tuple[int, int]:
    """How many answers wait to be stored, and how many of them need a person: unreadable, or refused."""
    paths = list(_files())
    unreadable = sum(1 for path in paths if _is_unreadable(path))
    stuck = sum(1 for _ in folder().glob(f"*{STUCK}"))
    return len(paths) - unreadable, unreadable + stuck


def reseal() -> int:
    """Encrypt kept answers anew under the first key (key rotation). Returns how many cannot be read."""
    unreadable = 0
    for path in _files():
        try:
            _write(path, crypto.reseal(path.read_bytes(), _context(path)))
        except FileNotFoundError:
            continue  # drained meanwhile
        except crypto.SealError:
            unreadable += 1
    return unreadable


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{uuid.uuid4().hex}.part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)  # a full disk has no room for half an answer
        raise
    _sync_folder()


def is_waiting() -> bool:
    """Whether any answer waits here to be stored, unreadable ones included."""
    return any(folder().glob(f"*{SUFFIX}"))


def drain(store: Callable[[Renewed], object]) -> int:
    """Hand every kept answer to `store`, which commits it, and remove it then. Returns how many.

    What cannot be read stays where it is, what cannot be stored is set aside. Raises DatabaseAway.
    Two processes may drain at once: the fence makes the second commit void.
    """
    drained = 0
    for path in _files():
        if (renewed := _read(path)) is None:
            continue
        try:
            store(renewed)
        except DatabaseAway:
            raise
        except Exception:
            logger.exception("The kept answer %s cannot be stored; it is set aside.", path.name)
            with suppress(FileNotFoundError):  # another process has drained it
                path.rename(path.with_suffix(STUCK))
            continue
        path.unlink(missing_ok=True)
        drained += 1
    return drained


def _files() -> Iterator[Path]:
    """Oldest first; another process may remove one at any time."""
    if folder().is_dir():
        yield from sorted(folder().glob(f"*{SUFFIX}"), key=_written_at)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _path_of(renewed: Renewed) -> Path:
    """The same for the same answer: whoever keeps it twice has it once."""
    answer = sha256(renewed.issued.secrets.access_token.encode()).hexdigest()[:12]
    return folder() / f"{renewed.connection_id.hex}-{renewed.version}-{answer}{SUFFIX}"


def _is_hex_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)


def _is_unreadable(path: Path) -> bool:
    try:
        crypto.open_sealed(path.read_bytes(), _context(path))
    except FileNotFoundError:
        return False
    except (crypto.SealError, OSError):
        return True
    return False


def _read(path: Path) -> Renewed | None:
    try:
        return _from_json(crypto.open_sealed(path.read_bytes(), _context(path)))
    except FileNotFoundError:
        return None  # another process has drained it
    except (crypto.SealError, ValueError, KeyError, TypeError, OSError):
        logger.exception("The kept answer %s cannot be read; it stays where it is.", path.name)
        return None


def _context(path: Path) -> str:
    return f"spool:{path.stem}"


def _sync_folder() -> None:
    descriptor = os.open(folder(), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(renewed: Renewed) -> str:
    return json.dumps(asdict(renewed), default=str)


def _from_json(text: str) -> Renewed:
    content: dict[str, Any] = json.loads(text)
    issued = content.pop("issued")
    return Renewed(
        **{
            **content,
            "connection_id": UUID(content["connection_id"]),
            "workspace_id": UUID(content["workspace_id"]),
            "integration_id": UUID(content["integration_id"]) if content.get("integration_id") else None,
            "due_at": _moment(content["due_at"]),
            "issued": IssuedToken(
                secrets=TokenSecrets(**issued["secrets"]),
                issued_at=datetime.fromisoformat(issued["issued_at"]),
                expires_at=_moment(issued["expires_at"]),
                refresh_token_expires_at=_moment(issued["refresh_token_expires_at"]),
                # Not in the files of an earlier release.
                refresh_token_end_moves=issued.get("refresh_token_end_moves"),
                consent_ends_at=_moment(issued.get("consent_ends_at")),
                consent_notice_due_at=_moment(issued.get("consent_notice_due_at")),
            ),
        }
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
