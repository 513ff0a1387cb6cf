"""Changes to a connection that leave its token alone: its name, being the default, what the next consent asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from integrations.connections.choices import (
    ChoicesRefused,
    ChosenScopes,
    check_choices,
    definition_for,
    scope_errors,
    stored_parameters,
    with_stored,
)
from integrations.connections.errors import NAME_TAKEN, FlowRefused
from integrations.models import Connection, Integration, Token
from integrations.providers.parameters import without_config_values
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
        raise NameTaken(NAME_TAKEN) from error
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


def change_scopes(connection: Connection, chosen: ChosenScopes, *, actor: Actor) -> Connection:
    """Other scopes for the next consent or token. Raises ChoicesRefused; Connection.DoesNotExist when it is gone."""
    spec = definition_for(connection.integration, connection.provider_version)
    if errors := scope_errors(spec, connection.integration.grant_type, chosen):
        raise ChoicesRefused(errors)
    if (connection.scopes, connection.additional_scopes) == (chosen.stored_scopes, list(chosen.additional)):
        return connection
    connection.scopes, connection.additional_scopes = chosen.stored_scopes, list(chosen.additional)
    with transaction.atomic():
        _save(connection, ["scopes", "additional_scopes"])
        requested = list(chosen.requested(spec, connection.integration))
        detail = {"scopes": requested}
        record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection


def change_parameters(connection: Connection, given: Mapping[str, Any], *, actor: Actor) -> Connection:
    """Other parameters for a connection without a token: a token belongs to the values that it was issued with.

    Raises FlowRefused, and Connection.DoesNotExist when it is gone.
    """
    integration = connection.integration
    spec = definition_for(integration, connection.provider_version)
    values = with_stored(spec, integration.readable_parameters, stored_parameters(connection), given)
    chosen = ChosenScopes.of(connection, spec)
    check_choices(spec, integration, name=connection.name, chosen=chosen, parameters=values, complete=True)
    with transaction.atomic():
        Integration.objects.select_for_update().only("pk").filter(pk=connection.integration_id).first()
        if Token.objects.filter(pk=connection.pk).exists():
            raise FlowRefused("connected_meanwhile")
        connection.parameters = without_config_values(spec, values)
        _save(connection, ["sealed_parameters"])
        detail = {"parameters": sorted(values)}  # which, never what
        record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    return connection


def _save(connection: Connection, fields: list[str]) -> None:
    """Save these columns of a row that is still there. Raises Connection.DoesNotExist."""
    try:
        connection.save(update_fields=[*fields, "updated_at"], force_update=True)
    except DatabaseError as error:
        raise Connection.DoesNotExist from error
