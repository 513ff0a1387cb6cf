"""Small changes to a connection that touch neither its token nor its scopes: its name, and being the default."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from integrations.models import Connection
from workspaces.audit import Actor, AuditAction, record


class NameTaken(Exception):
    """Another connection of the integration has this name."""


@transaction.atomic
def rename_connection(connection: Connection, name: str, *, actor: Actor) -> Connection:
    """Give a connection another name. Raises NameTaken; programs that ask for it by the old name stop finding it."""
    before = connection.name
    if name == before:
        return connection
    try:
        with transaction.atomic():
            connection.name = name
            connection.save(update_fields=["name", "updated_at"])
    except IntegrityError as error:
        connection.name = before
        raise NameTaken(f"Another connection of this integration is called “{name}”.") from error
    detail = {"name": name, "before": before}
    record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection


@transaction.atomic
def make_default(connection: Connection, *, actor: Actor) -> Connection:
    """Make this the connection that is used when none is named; the one before keeps everything else."""
    siblings = Connection.objects.filter(
        workspace_id=connection.workspace_id, integration_id=connection.integration_id
    ).select_for_update()
    if connection.is_default:
        return connection
    siblings.filter(is_default=True).update(is_default=False)
    connection.is_default = True
    connection.save(update_fields=["is_default", "updated_at"])
    detail = {"is_default": True}
    record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection
