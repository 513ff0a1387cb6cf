"""Small changes to a connection that touch neither its token nor its scopes: its name, and being the default."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from integrations.models import Connection, Integration
from workspaces.audit import Actor, AuditAction, record


class NameTaken(Exception):
    """Another connection of the integration has this name."""


@transaction.atomic
def rename_connection(connection: Connection, name: str, *, actor: Actor) -> Connection:
    """Give a connection another name; programs that ask for it by the old one stop finding it.

    Raises NameTaken, and Connection.DoesNotExist when it was deleted meanwhile.
    """
    before = connection.name
    if name == before:
        return connection
    try:
        with transaction.atomic():
            renamed = Connection.objects.filter(pk=connection.pk).update(name=name, updated_at=timezone.now())
    except IntegrityError as error:
        raise NameTaken(f"Another connection of this integration is called “{name}”.") from error
    if not renamed:
        raise Connection.DoesNotExist
    connection.name = name
    detail = {"name": name, "before": before}
    record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection


@transaction.atomic
def make_default(connection: Connection, *, actor: Actor) -> Connection:
    """Make this the connection that is used when none is named; the one before keeps everything else.

    Raises Connection.DoesNotExist when it was deleted meanwhile.
    """
    # The integration's lock: of two new defaults at once, the second sees the first.
    Integration.objects.select_for_update().only("pk").filter(pk=connection.integration_id).first()
    siblings = Connection.objects.filter(workspace_id=connection.workspace_id, integration_id=connection.integration_id)
    is_default = siblings.values_list("is_default", flat=True).get(pk=connection.pk)
    connection.is_default = True
    if is_default:
        return connection
    siblings.filter(is_default=True).update(is_default=False)
    siblings.filter(pk=connection.pk).update(is_default=True, updated_at=timezone.now())
    detail = {"is_default": True}
    record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection
