"""One statement finds all that a token read needs: key → workspace → connection → integration → token.

The ORM's part of such a read is three times the rest. Its rules are not repeated here: the row becomes instances of the
models, and whoever asks the questions asks them as ever. The connection is joined by the key's workspace, so that a key
finds nothing of another one. What is not among the columns is loaded when it is touched.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection as database
from django.db import models

from integrations.connections.read_connections import read_connections
from integrations.fields import Sealed, SealedTextField
from integrations.models import Connection, Integration, Token
from workspaces.api_keys import find_by_prefix
from workspaces.models import ApiKey, Membership, User

type_Model = TypeVar("type_Model", bound=models.Model)


@dataclass(frozen=True, slots=True)
class ById:
    """A connection by its id."""

    connection_id: UUID


@dataclass(frozen=True, slots=True)
class ByIntegration:
    """A connection by its integration and name; without a name the default one."""

    provider_id: str
    grant_type: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The key that a prefix names, nothing about it checked, and a connection of its workspace."""

    api_key: ApiKey
    connection: Connection


def find(prefix: str, wanted: ById | ByIntegration) -> Found | None:
    """None when there is no such key, or no such connection in its workspace. Raises DatabaseError, psycopg.Error."""
    if database.vendor != "postgresql":
        return _find_by_orm(prefix, wanted)
    query, values = _query(wanted)
    values = (*values, prefix)
    if (own := read_connections()) is not None:
        row = own.fetch_one(query, values)
    else:
        with database.cursor() as cursor:
            cursor.execute(query, values)
            row = cursor.fetchone()
    return _found(row) if row is not None else None


def _find_by_orm(prefix: str, wanted: ById | ByIntegration) -> Found | None:
    api_key = find_by_prefix(prefix)
    if api_key is None:
        return None
    rows = Connection.objects.filter(workspace_id=api_key.workspace_id).select_related("integration", "token")
    if isinstance(wanted, ById):
        rows = rows.filter(pk=wanted.connection_id)
    else:
        rows = rows.filter(integration__provider_id=wanted.provider_id, integration__grant_type=wanted.grant_type)
        rows = rows.filter(is_default=True) if wanted.name is None else rows.filter(name=wanted.name)
    connection = rows.first()
    return Found(api_key, connection) if connection is not None else None


# --- the statement --------------------------------------------------------------------------------------


class _Columns:
    """Columns of one model in the statement, and how they become an instance."""

    def __init__(self, model: type[models.Model], alias: str, names: set[str]) -> None:
        self.model, self.alias = model, alias
        fields = [field for field in model._meta.concrete_fields if field.attname in names]
        assert len(fields) == len(names), names  # noqa: S101 (a column was renamed)
        self.names = [field.attname for field in fields]
        self.select = [f'{alias}."{field.column}"' for field in fields]
        self._readers = [_reader_of(field) for field in fields]

    def instance(self, values: Sequence[Any]) -> Any:
        """The model's instance, as a query of the ORM would have loaded it."""
        read = [
            value if reader is None or value is None else reader(value)
            for reader, value in zip(self._readers, values, strict=True)
        ]
        return self.model.from_db("default", self.names, read)


def _reader_of(field: models.Field[Any, Any]) -> Any:
    if isinstance(field, SealedTextField):
        return lambda value: Sealed(bytes(value), stored=True)
    if isinstance(field, models.JSONField):
        return lambda value: json.loads(value) if isinstance(value, str) else value  # Django's cursors leave it text
    return None


_KEY = _Columns(
    ApiKey,
    "k",
    {
        "id", "workspace_id", "name", "prefix", "digest", "scopes", "created_by_id", "created_by_operator", "role",
        "expires_at", "revoked_at", "last_used_at",
    },
)  # fmt: skip
_CONNECTION = _Columns(
    Connection,
    "c",
    {
        "id",
        "workspace_id",
        "integration_id",
        "name",
        "state",
        "granted_scopes",
        "last_error_code",
        "last_error_message",
    },
)
_INTEGRATION = _Columns(
    Integration,
    "i",
    {"id", "workspace_id", "provider_id", "grant_type", "client_error_code", "client_error_message"},
)
_TOKEN = _Columns(
    Token,
    "t",
    {"connection_id", "workspace_id", "ciphertext", "version", "has_refresh_token", "issued_at", "expires_at"},
)
_PARTS = (_KEY, _CONNECTION, _INTEGRATION, _TOKEN)
_ENDS = tuple(sum(len(part.names) for part in _PARTS[: turn + 1]) for turn in range(len(_PARTS)))


def _query(wanted: ById | ByIntegration) -> tuple[str, tuple[Any, ...]]:
    if isinstance(wanted, ById):
        return _statement('c."id" = %s'), (wanted.connection_id,)
    names = (wanted.provider_id, wanted.grant_type)
    by_integration = 'i."provider_id" = %s AND i."grant_type" = %s AND '
    if wanted.name is None:
        return _statement(by_integration + 'c."is_default"'), names
    return _statement(by_integration + 'c."name" = %s'), (*names, wanted.name)


@functools.cache
def _statement(condition: str) -> str:
    columns = ", ".join(column for part in _PARTS for column in part.select)
    role = (  # as workspaces.api_keys asks for it: the creator's today
        f'SELECT m."role" FROM {_table(Membership)} m JOIN {_table(User)} u ON u."id" = m."user_id"'  # noqa: S608
        ' WHERE m."workspace_id" = k."workspace_id" AND m."user_id" = k."created_by_id" AND u."is_active"'
    )
    return (
        f"SELECT {columns}, ({role})"  # noqa: S608 (our own names; values are parameters)
        f" FROM {_table(ApiKey)} k"
        f' JOIN {_table(Connection)} c ON c."workspace_id" = k."workspace_id"'
        f' JOIN {_table(Integration)} i ON i."id" = c."integration_id" AND i."workspace_id" = k."workspace_id"'
        f' LEFT JOIN {_table(Token)} t ON t."connection_id" = c."id"'
        f' WHERE {condition} AND k."prefix" = %s'
    )


def _table(model: type[models.Model]) -> str:
    return f'"{model._meta.db_table}"'


def _found(row: tuple[Any, ...]) -> Found:
    key_end, connection_end, integration_end, token_end = _ENDS
    api_key = _KEY.instance(row[:key_end])
    api_key.creator_role = row[token_end]
    connection = _CONNECTION.instance(row[key_end:connection_end])
    related = connection._state.fields_cache
    related["integration"] = _INTEGRATION.instance(row[connection_end:integration_end])
    has_token = row[integration_end] is not None
    related["token"] = _TOKEN.instance(row[integration_end:token_end]) if has_token else None
    return Found(api_key, connection)
