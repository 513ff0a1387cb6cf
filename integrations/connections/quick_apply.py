"""Answers for connections without trouble, stored by as few statements as the database allows.

Nearly every renewal is of a connection that was connected before and stays so: token, schedule, connection and audit
event change, nobody is told anything. The general way (`applying`) reads and writes these rows one after another
through the ORM, at several times the cost of the provider's call. Here PostgreSQL gets one statement, which is its own
transaction, and SQLite four in one transaction, for one answer or for many. What they do not store is left exactly as
it was, for the general way: a moved version, a connection or an integration in trouble, rows that are gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from integrations.connections.renewal import Renewed
from integrations.models import Connection, ConnectionState, Integration, Token, TokenSchedule, sealed_tokens
from workspaces import audit
from workspaces.models import AuditEvent

MOST_AT_ONCE = 500
_TABLES = {
    "token": Token._meta.db_table,
    "schedule": TokenSchedule._meta.db_table,
    "connection": Connection._meta.db_table,
    "integration": Integration._meta.db_table,
    "event": AuditEvent._meta.db_table,
    "connected": f"'{ConnectionState.CONNECTED.value}'",
}
_EVENT_FIELDS = [field for field in AuditEvent._meta.concrete_fields if not field.primary_key]
_EVENT_COLUMNS = [str(field.column) for field in _EVENT_FIELDS]

# The rows are locked in the order of every other writer, token first, so that none waits for another in a circle; and
# they are judged as they stand under the lock, not as the statement's snapshot saw them. One JSON parameter carries all
# rows: a list per column costs more to send. Fernet's ciphertext is ASCII. The limit tells the planner how many rows
# there are: it guesses a hundred otherwise, and would read a table of ten thousand rows from end to end for one.
_POSTGRESQL = """
WITH given AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%s::json) AS given(
    id uuid, workspace_id uuid, version int, ciphertext text, has_refresh_token bool, issued_at timestamptz,
    expires_at timestamptz, refresh_token_expires_at timestamptz, refresh_token_end_moves bool,
    consent_ends_at timestamptz, consent_notice_due_at timestamptz, due_at timestamptz, requested jsonb, granted jsonb,
    at timestamptz, written_at timestamptz, event json)
  LIMIT {most}
), held AS MATERIALIZED (
  SELECT given.* FROM given JOIN {token} t
    ON t.connection_id = given.id AND t.workspace_id = given.workspace_id AND t.version = given.version
  FOR NO KEY UPDATE OF t
), healthy AS MATERIALIZED (
  SELECT held.* FROM held JOIN {connection} c ON c.id = held.id JOIN {integration} i ON i.id = c.integration_id
  WHERE c.state = {connected} AND i.client_error_code = ''
  FOR NO KEY UPDATE OF c
), token AS (
  UPDATE {token} t SET ciphertext = convert_to(healthy.ciphertext, 'UTF8'), version = t.version + 1,
    has_refresh_token = healthy.has_refresh_token, issued_at = healthy.issued_at, expires_at = healthy.expires_at,
    refresh_token_expires_at = healthy.refresh_token_expires_at,
    refresh_token_end_moves = healthy.refresh_token_end_moves, consent_ends_at = healthy.consent_ends_at,
    consent_notice_due_at = healthy.consent_notice_due_at
  FROM healthy WHERE t.connection_id = healthy.id
), schedule AS (
  UPDATE {schedule} s SET refresh_due_at = healthy.due_at, lease_id = NULL, lease_until = NULL, attempts = 0,
    last_attempt_at = healthy.at
  FROM healthy WHERE s.connection_id = healthy.id
), event AS (
  INSERT INTO {event} ({event_columns}) SELECT {event_values}
  FROM healthy CROSS JOIN LATERAL json_populate_record(NULL::{event}, healthy.event) e
)
UPDATE {connection} c SET last_refreshed_at = healthy.at, updated_at = healthy.written_at, last_error_code = '',
  last_error_message = '', last_error_at = NULL, last_error_reference = NULL,
  requested_scopes = COALESCE(healthy.requested, c.requested_scopes),
  granted_scopes = COALESCE(healthy.granted, c.granted_scopes)
FROM healthy WHERE c.id = healthy.id
RETURNING c.id
"""

_SQLITE_FENCED = """
UPDATE {token} SET ciphertext = %s, version = version + 1, has_refresh_token = %s, issued_at = %s, expires_at = %s,
  refresh_token_expires_at = %s, refresh_token_end_moves = %s, consent_ends_at = %s, consent_notice_due_at = %s
WHERE connection_id = %s AND workspace_id = %s AND version = %s AND EXISTS (
  SELECT 1 FROM {connection} c JOIN {integration} i ON i.id = c.integration_id
  WHERE c.id = {token}.connection_id AND c.state = {connected} AND i.client_error_code = '')
"""
_SQLITE_SCHEDULE = """
UPDATE {schedule} SET refresh_due_at = %s, lease_id = NULL, lease_until = NULL, attempts = 0, last_attempt_at = %s
WHERE connection_id = %s
"""
_SQLITE_CONNECTION = """
UPDATE {connection} SET last_refreshed_at = %s, updated_at = %s, last_error_code = '', last_error_message = '',
  last_error_at = NULL, last_error_reference = NULL, requested_scopes = COALESCE(%s, requested_scopes),
  granted_scopes = COALESCE(%s, granted_scopes)
WHERE id = %s
"""
_SQLITE_EVENT = "INSERT INTO {event} ({event_columns}) VALUES ({event_values})"


def store_healthy(renewals: Sequence[Renewed], *, now: datetime, actor: audit.Actor) -> set[UUID]:
    """Store those answers whose fence holds and whose connection is out of trouble, in one transaction.

    Returns the ids of their connections; the others' rows are untouched. At most MOST_AT_ONCE, none of them twice.
    """
    if database.vendor == "postgresql":
        return _store_in_postgresql(renewals, now, actor)
    return _store_in_sqlite(renewals, now, actor)


def _event(renewed: Renewed, actor: audit.Actor) -> AuditEvent:
    return audit.unwritten(
        renewed.workspace_id,
        audit.AuditAction.CONNECTION_REFRESHED,
        actor,
        target_kind="connection",
        target_id=str(renewed.connection_id),
        target_label=renewed.label,
        detail={"duration_ms": renewed.duration_ms},
    )


# --- PostgreSQL -----------------------------------------------------------------------------------------
def _store_in_postgresql(renewals: Sequence[Renewed], now: datetime, actor: audit.Actor) -> set[UUID]:
    from psycopg import Cursor  # installed where PostgreSQL is used

    written_at = timezone.now()
    rows = json.dumps([_row(renewed, now, written_at, actor) for renewed in renewals], default=str)
    wrapper: Any = database
    wrapper.ensure_connection()
    with wrapper.wrap_database_errors:
        # Django's cursors put values into the text. Planning costs more than running this statement; behind a pooler
        # of connections (then we have no pool) nothing can be prepared.
        cursor = Cursor(wrapper.connection)
        cursor.execute(_postgresql(1 if len(renewals) == 1 else MOST_AT_ONCE), [rows], prepare=wrapper.pool is not None)
        return {row[0] for row in cursor.fetchall()}


def _row(renewed: Renewed, now: datetime, written_at: datetime, actor: audit.Actor) -> dict[str, Any]:
    issued, event = renewed.issued, _event(renewed, actor)
    return {
        "id": renewed.connection_id,
        "workspace_id": renewed.workspace_id,
        "version": renewed.version,
        "ciphertext": sealed_tokens(renewed.connection_id, renewed.workspace_id, issued).decode("ascii"),
        "has_refresh_token": issued.secrets.refresh_token is not None,
        "issued_at": issued.issued_at,
        "expires_at": issued.expires_at,
        "refresh_token_expires_at": issued.refresh_token_expires_at,
        "refresh_token_end_moves": issued.refresh_token_end_moves,
        "consent_ends_at": issued.consent_ends_at,
        "consent_notice_due_at": issued.consent_notice_due_at,
        "due_at": renewed.due_at,
        "requested": renewed.requested_scopes,
        "granted": renewed.granted_scopes,
        "at": now,
        "written_at": written_at,
        "event": {field.column: getattr(event, field.attname) for field in _EVENT_FIELDS},
    }


@cache
def _postgresql(most: int) -> bytes:
    columns = ", ".join(_EVENT_COLUMNS)
    values = ", ".join(f"e.{column}" for column in _EVENT_COLUMNS)
    return _POSTGRESQL.format(**_TABLES, most=most, event_columns=columns, event_values=values).encode()


# --- SQLite ---------------------------------------------------------------------------------------------
def _store_in_sqlite(renewals: Sequence[Renewed], now: datetime, actor: audit.Actor) -> set[UUID]:
    with transaction.atomic(), database.cursor() as cursor:
        return {renewed.connection_id for renewed in renewals if _store_one_in_sqlite(cursor, renewed, now, actor)}


def _store_one_in_sqlite(cursor: Any, renewed: Renewed, now: datetime, actor: audit.Actor) -> bool:
    token, schedule, connection, event = _sqlite()
    issued, pk, at = renewed.issued, renewed.connection_id.hex, _moment(now)
    cursor.execute(
        token,
        [
            sealed_tokens(renewed.connection_id, renewed.workspace_id, issued),
            issued.secrets.refresh_token is not None,
            _moment(issued.issued_at),
            _moment(issued.expires_at),
            _moment(issued.refresh_token_expires_at),
            issued.refresh_token_end_moves,
            _moment(issued.consent_ends_at),
            _moment(issued.consent_notice_due_at),
            pk,
            renewed.workspace_id.hex,
            renewed.version,
        ],
    )
    if cursor.rowcount != 1:
        return False
    requested, granted = _scopes(renewed.requested_scopes), _scopes(renewed.granted_scopes)
    cursor.execute(schedule, [_moment(renewed.due_at), at, pk])
    cursor.execute(connection, [at, _moment(timezone.now()), requested, granted, pk])
    record = _event(renewed, actor)
    values = [field.get_db_prep_save(getattr(record, field.attname), database) for field in _EVENT_FIELDS]
    cursor.execute(event, values)
    return True


@cache
def _sqlite() -> tuple[str, str, str, str]:
    names = {
        **_TABLES,
        "event_columns": ", ".join(f'"{column}"' for column in _EVENT_COLUMNS),
        "event_values": ", ".join("%s" for _ in _EVENT_COLUMNS),
    }
    token, schedule, connection, event = (
        text.format(**names) for text in (_SQLITE_FENCED, _SQLITE_SCHEDULE, _SQLITE_CONNECTION, _SQLITE_EVENT)
    )
    return token, schedule, connection, event


def _moment(moment: datetime | None) -> str | None:
    return database.ops.adapt_datetimefield_value(moment)


def _scopes(scopes: list[str] | None) -> str | None:
    return None if scopes is None else json.dumps(scopes)
