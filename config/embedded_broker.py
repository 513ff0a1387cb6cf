"""The broker without Redis: kombu's file-system transport, with messages that appear whole.

Kombu's own opens a message's file before it writes it. Another process may take the empty file in between, cannot read
it, and its worker ends. Here the file gets its name when it is complete.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

ALIAS = "filesystem"


class Channel(filesystem.Channel):
    """A folder of messages; see the module."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override] # its parents disagree
        """Write a message under a name that nobody looks for, then give it the one that its queue is read by."""
        del kwargs  # of no use to a folder
        folder = Path(self.data_folder_out)
        written = folder / f".{uuid.uuid4()}"
        named = folder / f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        try:
            written.write_bytes(dumps(payload).encode())
            os.replace(written, named)
        except OSError as error:
            written.unlink(missing_ok=True)
            raise ChannelError(f"A message cannot be written to {folder}.") from error


class Transport(filesystem.Transport):
    """What `filesystem://` means to Celery here."""

    Channel = Channel


def use() -> None:
    """Take the place of kombu's own transport."""
    TRANSPORT_ALIASES[ALIAS] = f"{__name__}:Transport"
