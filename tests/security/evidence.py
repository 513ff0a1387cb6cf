"""Everything that a run leaves behind or hands out, as text: logs, tables, sessions, queues, files, pages, answers."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client

from config.logs import RedactingFormatter, logging_settings


class Notes(logging.Handler):
    """Every record, both as it was logged and as the product prints it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.raw: list[str] = []
        self.printed: list[str] = []
        self._plain = logging.Formatter("%(name)s %(message)s")
        self._ours = RedactingFormatter("%(name)s [%(request_id)s] %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.raw.append(self._plain.format(record))
        record.exc_text = None  # the formatter above has cached it
        self.printed.append(self._ours.format(record))
        record.exc_text = None


@contextmanager
def noted_logs() -> Iterator[Notes]:
    """The product's loggers as they are with LOG_LEVEL=DEBUG."""
    notes = Notes()
    names = [None, *logging_settings("DEBUG")["loggers"]]
    levels = {name: logging.getLogger(name).level for name in names}
    for name, wanted in logging_settings("DEBUG")["loggers"].items():
        if "level" in wanted:
            logging.getLogger(name).setLevel(wanted["level"])
    # Loggers that another test's configuration switched off would look as if they kept their secrets.
    silent = [logger for logger in logging.Logger.manager.loggerDict.values() if getattr(logger, "disabled", False)]
    for logger in silent:
        logger.disabled = False  # type: ignore[union-attr]
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(notes)
    try:
        yield notes
    finally:
        root.removeHandler(notes)
        for logger in silent:
            logger.disabled = True  # type: ignore[union-attr]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@dataclass
class Seen:
    """What a browser or program was shown: who, where, the whole answer with its headers."""

    answers: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, who: str, address: str, answer: HttpResponseBase) -> None:
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
        head = "\n".join(f"{name}: {value}" for name, value in answer.items())
        cookies = "\n".join(morsel.OutputString() for morsel in answer.cookies.values())
        self.answers.append(
            (who, address, f"{answer.status_code}\n{head}\n{cookies}\n{body.decode('utf-8', 'replace')}")
        )


class Watched(Client):
    """A browser whose every answer is noted."""

    def __init__(self, seen: Seen, who: str, **options: Any) -> None:
        super().__init__(**options)
        self.seen, self.who = seen, who

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        self.seen.note(self.who, request.get("PATH_INFO", ""), answer)
        return answer


def database_text() -> Iterator[tuple[str, str]]:
    """Every column of every row of every table."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 (our own tables)
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(names, row, strict=True):
                    yield f"{table}.{name}", _text(value)


def session_text() -> Iterator[tuple[str, str]]:
    """Sessions, opened: at rest they are compressed."""
    for session in Session.objects.all():
        yield "session", repr(session.get_decoded())


def file_text(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder, the database and the embedded broker's messages included."""
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            yield str(path.relative_to(folder)), text
            # A message's body is base64 within JSON.
            for word in text.replace('"', " ").split():
                if len(word) > 40:
                    yield f"{path.name}, opened", _unpacked(word)


def redis_text() -> Iterator[tuple[str, str]]:
    """Every key of the Redis in use."""
    if not settings.REDIS_URL:
        return
    import redis

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        for key in client.scan_iter():
            kind = client.type(key).decode()
            read = {
                "string": lambda key: [client.get(key)],
                "list": lambda key: client.lrange(key, 0, -1),
                "hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
                "zset": lambda key: client.zrange(key, 0, -1),
                "set": lambda key: list(client.smembers(key)),
            }[kind]
            for value in [key, *read(key)]:
                text = _text(value)
                yield f"redis {key!r}", text
                for word in text.replace('"', " ").split():
                    if len(word) > 40:
                        yield f"redis {key!r}, opened", _unpacked(word)


def spellings(secret: str) -> list[str]:
    """A secret as it might be written: plain, quoted, in base64 at any offset."""
    found = {secret, quote(secret, safe=""), secret.encode().hex()}
    for offset in range(3):
        packed = base64.b64encode(b"x" * offset + secret.encode()).decode()
        found.add(packed[(offset * 4 + 2) // 3 + 1 : -4])
    return [spelling for spelling in found if len(spelling) >= 12]


def _text(value: Any) -> str:
    if isinstance(value, memoryview | bytes | bytearray):
        return bytes(value).decode("latin-1")
    return str(value)


def _unpacked(word: str) -> str:
    try:
        return base64.b64decode(word).decode("latin-1")
    except ValueError:
        return ""
