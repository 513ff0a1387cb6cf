"""One statement finds all that a token read needs: key → workspace → connection → integration → token.

The ORM's part of such a read is three times the rest. Its rules are not repeated here: the row becomes instances of the
models, and whoever asks the questions asks them as ever. The connection is joined by the key's workspace, so that a key
finds nothing of another one. What is not among the columns is loaded when it is touched.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection as database
from django.db import models
from django.db.models.base import ModelState

from integrations.connections.read_connections import read_connections
from integrations.fields import Sealed, SealedTextField
from integrations.models import Connection, Integration, Token
from workspaces.api_keys import find_by_prefix
from workspaces.models import ApiKey, Membership, User, Workspace


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
    condition, values = _condition(wanted)
    values = (prefix, *values)
    if (own := read_connections()) is not None:
        row = own.fetch_one(_statement(condition), values)
    else:
        with database.cursor() as cursor:
            cursor.execute(re.sub(r"\$\d", "%s", _statement(condition)), values)
            row = cursor.fetchone()
    return _found(row) if row is not None else None


def _find_by_orm(prefix: str, wanted: ById | ByIntegration) -> Found | None:
    api_key = find_by_prefix(prefix)
    if api_key is None:
        return None
    rows = Connection.objects.filter(workspace_id=api_key.workspace_id).select_related(
        "workspace", "integration", "token"
    )
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
        self.model = model
        fields = [field for field in model._meta.concrete_fields if field.attname in names]
        assert len(fields) == len(names), names  # noqa: S101 (a column was renamed)
        self.names = [field.attname for field in fields]
        self.select = [f'{alias}."{field.column}"' for field in fields]
        readers = {field.attname: _reader_of(field) for field in fields}
        self._readers = [(name, reader) for name, reader in readers.items() if reader is not None]

    def instance(self, values: Sequence[Any], **more: Any) -> Any:
        """What the model's `from_db` makes, without its detours; `more` are attributes, too."""
        made = self.model.__new__(self.model)
        columns = made.__dict__
        columns.update(zip(self.names, values, strict=True), _state=ModelState(), **more)
        made._state.adding, made._state.db = False, "default"
        for name, reader in self._readers:
            if columns[name] is not None:
                columns[name] = reader(columns[name])
        return made


def _reader_of(field: models.Field[Any, Any]) -> Callable[[Any], Any] | None:
    if isinstance(field, SealedTextField):
        return lambda value: Sealed(bytes(value), stored=True)
    if isinstance(field, models.JSONField):
        return lambda value: json.loads(value) if isinstance(value, str) else value  # Django's cursors leave it text
    return None


# What every read needs. Ids that several rows have in common are read once; the words of refusals when they are needed.
_KEY = _Columns(
    ApiKey,
    "k",
    {
        "id", "workspace_id", "name", "prefix", "digest", "scopes", "created_by_id", "created_by_operator", "role",
        "expires_at", "revoked_at", "last_used_at",
    },
)  # fmt: skip
_CONNECTION = _Columns(Connection, "c", {"id", "name", "state", "granted_scopes"})
_INTEGRATION = _Columns(Integration, "i", {"id", "provider_id", "grant_type", "client_error_code", "outage_since"})
_WORKSPACE = _Columns(Workspace, "w", {"id", "max_token_age_seconds"})
_TOKEN = _Columns(Token, "t", {"ciphertext", "version", "has_refresh_token", "issued_at", "expires_at"})
_PARTS = (_KEY, _CONNECTION, _INTEGRATION, _TOKEN, _WORKSPACE)
_ENDS = tuple(sum(len(part.names) for part in _PARTS[: turn + 1]) for turn in range(len(_PARTS)))


def _condition(wanted: ById | ByIntegration) -> tuple[str, tuple[str, ...]]:
    if isinstance(wanted, ById):
        return 'c."id" = $2', (str(wanted.connection_id),)
    names = (wanted.provider_id, wanted.grant_type)
    by_integration = 'i."provider_id" = $2 AND i."grant_type" = $3 AND '
    if wanted.name is None:
        return by_integration + 'c."is_default"', names
    return by_integration + 'c."name" = $4', (*names, wanted.name)


@functools.cache
def _statement(condition: str) -> str:
    columns = ", ".join(column for part in _PARTS for column in part.select)
    role = (  # as workspaces.api_keys asks for it: the creator's today
        f'SELECT m."role" FROM {_table(Membership)} m JOIN {_table(User)} u ON u."id" = m."user_id"'  # noqa: S608 (our own names)
        ' WHERE m."workspace_id" = k."workspace_id" AND m."user_id" = k."created_by_id" AND u."is_active"'
    )
    return (
        f"SELECT {columns}, ({role})"  # noqa: S608 (our own names; values are parameters)
        f' FROM {_table(ApiKey)} k JOIN {_table(Workspace)} w ON w."id" = k."workspace_id"'
        f' JOIN {_table(Connection)} c ON c."workspace_id" = k."workspace_id"'
        f' JOIN {_table(Integration)} i ON i."id" = c."integration_id" AND i."workspace_id" = k."workspace_id"'
        f' LEFT JOIN {_table(Token)} t ON t."connection_id" = c."id"'
        f' WHERE k."prefix" = $1 AND {condition}'
    )


def _table(model: type[models.Model]) -> str:
    return f'"{model._meta.db_table}"'


def _found(row: tuple[Any, ...]) -> Found:
    key_end, connection_end, integration_end, token_end, workspace_end = _ENDS
    api_key = _KEY.instance(row[:key_end], creator_role=row[workspace_end])
    workspace = {"workspace_id": api_key.workspace_id}
    integration = _INTEGRATION.instance(row[connection_end:integration_end], **workspace)
    connection = _CONNECTION.instance(row[key_end:connection_end], integration_id=integration.id, **workspace)
    connection._state.fields_cache["workspace"] = _WORKSPACE.instance(row[token_end:workspace_end])
    token = row[integration_end:token_end]
    has_token = any(value is not None for value in token)
    connection._state.fields_cache["integration"] = integration
    connection._state.fields_cache["token"] = (
        _TOKEN.instance(token, connection_id=connection.id, **workspace) if has_token else None
    )
    return Found(api_key, connection)
