"""Answers that could not be committed for minutes: sealed files under `var/`, drained before the next claim.

A rotated refresh token that the provider has issued exists nowhere else. The file's content is bound to its name.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
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


def folder() -> Path:
    """Where the files are."""
    return Path(settings.VAR_DIR) / "spool"


def put(renewed: Renewed) -> Path:
    """Write an answer so that it survives the process: to a temporary name, synced, then renamed. Raises OSError."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder() / f"{uuid.uuid4().hex}{SUFFIX}"
    _write(path, crypto.seal(_to_json(renewed), _context(path)))
    return path


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
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    _sync_folder()


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
            path.rename(path.with_suffix(".stuck"))
            continue
        path.unlink(missing_ok=True)
        drained += 1
    return drained


def _files() -> Iterator[Path]:
    if folder().is_dir():
        yield from sorted(folder().glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)


def _read(path: Path) -> Renewed | None:
    try:
        return _from_json(crypto.open_sealed(path.read_bytes(), _context(path)))
    except FileNotFoundError:
        return None  # another process has drained it
    except (crypto.SealError, ValueError, KeyError):
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
