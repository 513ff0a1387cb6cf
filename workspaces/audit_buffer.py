"""Audit events that may wait a second (token reads): one thread per process writes them together (COPY on PostgreSQL).

Nothing is dropped but what can never be stored (its workspace is gone, or the database refuses the row itself),
and that is logged. While the database is away events wait in memory and are tried again; when there are too many of
them, what they would tell of is refused instead.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import uuid
import weakref
from datetime import datetime
from multiprocessing import util as multiprocessing_util
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from workspaces.models import AuditEvent, Workspace

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5  # between the first event and its INSERT
LONGEST_PAUSE_SECONDS = 30.0  # between two tries while the database is away
LIMIT = 10_000  # beyond it a caller waits for the writer, so that memory stays bounded while reads outrun it
PATIENCE_SECONDS = 5.0  # …but not for ever: it may itself hold the lock that the writer needs
HARD_LIMIT = 2 * LIMIT  # nobody adds an event beyond it (about 20 MB)


class AuditBufferFull(Exception):
    """Events can't be written, and no more of them fit into memory: what was to be recorded must not happen."""


class BufferedEvent(NamedTuple):
    """An event as it is written: the columns of AuditEvent, without the id."""

    workspace_id: uuid.UUID
    at: datetime
    action: str
    result: str
    actor_kind: str
    actor_id: str
    actor_label: str
    target_kind: str
    target_id: str
    target_label: str
    request_id: uuid.UUID | None
    detail: dict[str, Any]


class AuditBuffer:
    """Thread-safe; survives a fork (the child starts empty: what was buffered is the parent's to write)."""

    def __init__(self) -> None:
        self._start_empty()
        buffer = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _start_empty(buffer))

    def _start_empty(self) -> None:
        self._events: list[BufferedEvent] = []
        self._changed = threading.Condition()
        self._writing = threading.Lock()  # held during the INSERT, so that a flush at exit waits for the thread's
        self._thread: threading.Thread | None = None

    def add(self, event: BufferedEvent) -> None:
        """Take one event; it is written within a second. Raises AuditBufferFull."""
        with self._changed:
            if settings.AUDIT_BACKGROUND_FLUSH:
                self._ensure_thread()
                if len(self._events) >= LIMIT:
                    self._changed.wait_for(lambda: len(self._events) < LIMIT, timeout=PATIENCE_SECONDS)
            if len(self._events) >= HARD_LIMIT:
                raise AuditBufferFull
            self._events.append(event)
            if len(self._events) == 1:  # the writer waits for the first one only
                self._changed.notify_all()

    def flush(self) -> int:
        """Write what is buffered now, and return how many events had to be kept for the next try."""
        with self._writing:
            with self._changed:
                events, self._events = self._events, []
            kept = events
            try:
                kept = _write(events) if events else []
            finally:  # whatever went wrong, an event is either written or still here
                with self._changed:
                    self._events = kept + self._events
                    self._changed.notify_all()
        return len(kept)

    def discard(self) -> None:
        """Forget what is buffered; for tests, whose rows vanish with their transaction."""
        with self._changed:
            self._events = []

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        if self._thread is None:  # once per process. Forked web workers end without atexit, hence the second way.
            atexit.register(self.flush)
            multiprocessing_util.Finalize(None, self.flush, exitpriority=10)
        self._thread = threading.Thread(target=self._run, name="audit-flush", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause = FLUSH_SECONDS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._events))
            threading.Event().wait(pause)  # gather
            try:
                kept = self.flush()
            except Exception:  # this thread's edge: the events are kept, the next turn tries again
                logger.exception("Audit events could not be written.")
                kept = 1
            connection.close()  # this thread's own; the next flush may be hours away
            pause = min(max(pause * 2, 1.0), LONGEST_PAUSE_SECONDS) if kept else FLUSH_SECONDS


def _start_empty(buffer: weakref.ref[AuditBuffer]) -> None:
    alive = buffer()
    if alive is not None:
        alive._start_empty()


def _write(events: list[BufferedEvent]) -> list[BufferedEvent]:
    """Write the events and return those to be tried again: all of them while the database is away."""
    try:
        storable = _of_existing_workspaces(events)
        _insert(storable)
    except (IntegrityError, DataError):
        return _write_one_by_one(events)
    except DatabaseError as error:
        logger.warning("%d audit events wait: the database does not take them (%s).", len(events), type(error).__name__)
        return events
    return []


def _write_one_by_one(events: list[BufferedEvent]) -> list[BufferedEvent]:
    """The slow way, when the database refuses some row: the others must not suffer for it."""
    for position, event in enumerate(events):
        try:
            _insert([event])
        except (IntegrityError, DataError):
            logger.exception("One audit event can never be stored: %s by %s.", event.action, event.actor_kind)
        except DatabaseError:
            return events[position:]
    return []


def _insert(events: list[BufferedEvent]) -> None:
    with transaction.atomic():
        if connection.vendor == "postgresql":
            _copy(events)
        else:
            AuditEvent.objects.bulk_create([AuditEvent(**event._asdict()) for event in events], batch_size=500)


def _copy(events: list[BufferedEvent]) -> None:
    """By COPY, without instances of the model: this thread's time is the readers' time, too."""
    columns = ", ".join(connection.ops.quote_name(name) for name in BufferedEvent._fields)
    table = connection.ops.quote_name(AuditEvent._meta.db_table)
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        for event in events:
            copy.write_row((*event[:-1], json.dumps(event.detail)))


def _of_existing_workspaces(events: list[BufferedEvent]) -> list[BufferedEvent]:
    wanted = {event.workspace_id for event in events}
    existing = set(Workspace.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    storable = [event for event in events if event.workspace_id in existing]
    if len(storable) < len(events):
        logger.info("%d audit events went with their deleted workspaces.", len(events) - len(storable))
    return storable
