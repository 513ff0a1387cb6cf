"""The client credentials flow (RFC 6749 §4.4): "Fetch token". No person takes part."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from integrations.clock import start_clock
from integrations.connections.choices import ChosenScopes, check_choices, definition_for, with_stored
from integrations.connections.commits import Patience, give_back_connection
from integrations.connections.parties import after_answer, parameters_of, parties_of
from integrations.connections.policies import pause_of, pause_provider, refuse_client, refuses_client
from integrations.connections.storing import Granted, store_extra_later, store_grant
from integrations.models import Connection, GrantType, Integration, ProviderPause
from integrations.oauth.errors import ConfigurationRefused, OAuthError, Throttled
from integrations.outbound import client as outbound
from integrations.providers.parameters import without_config_values
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult

COMMIT_PATIENCE_SECONDS = 10.0


def fetch_token(
    integration: Integration,
    *,
    connection: Connection | None = None,
    name: str = "default",
    chosen: ChosenScopes | None = None,
    parameters: Mapping[str, Any] | None = None,
    actor: Actor,
    now: datetime | None = None,
) -> Connection:
    """Fetch a token and store it in the given connection, the one of that name, or a new one.

    Scopes and parameters that are not given are the connection's own. Raises FlowRefused before anybody is asked, or
    OAuthError: then an existing connection is as it was, and a refused client is noted on the integration.
    """
    if integration.grant_type != GrantType.CLIENT_CREDENTIALS:
        raise ConfigurationRefused("wrong_grant_type")
    clock = start_clock(now)
    if connection is None:
        connection = Connection.objects.filter(integration=integration, name=name).first()
    spec = definition_for(integration, connection.provider_version if connection is not None else None)
    is_new_choice = connection is None or chosen is not None
    chosen = chosen or ChosenScopes.of(connection, spec)
    name = connection.name if connection is not None else name
    anew = connection is None or parameters is not None
    pause_key = ""
    try:
        values = parameters_of(connection)
        if anew:
            values = with_stored(spec, integration.readable_parameters, values, parameters)
        if anew or is_new_choice:
            check_choices(spec, integration, name=name, chosen=chosen, parameters=values, complete=True)
        # What the provider told before belongs to the parameters of before.
        parties = parties_of(integration, None if anew else connection, parameters=values)
        pause_key = parties.pause_key
        _refuse_while_paused(pause_key, clock.now())
        requested = chosen.requested(parties.spec, integration)
        give_back_connection()
        requested_at = clock.now()
        http = outbound.session(outbound.TOKEN)
        answer = parties.provider.fetch_token(
            http, parties.server, parties.client, scopes=requested, values=parties.values, now=requested_at
        )
    except OAuthError as error:
        if refuses_client(error, own_client=spec.asks_credentials):
            refuse_client(integration, error, now=clock.now(), actor=actor)
        _note_failure(integration, connection, error, pause_key, clock.now(), actor)
        raise
    parties, metadata = after_answer(parties, integration, {}, answer)
    granted = Granted(
        integration=integration,
        parties=parties,
        answer=answer,
        requested_at=requested_at,
        name=name,
        requested_scopes=requested,
        scopes=chosen.scopes,
        additional_scopes=chosen.additional,
        parameters=without_config_values(parties.spec, values),
        metadata=metadata,
    )
    store = partial(_store, granted, connection, clock.now(), actor)
    stored = Patience(COMMIT_PATIENCE_SECONDS).commit(store)
    store_extra_later(stored, answer.extra)
    made = Connection.objects.select_related("workspace", "integration", "token", "schedule")
    found: Connection = made.get(pk=stored.pk)
    return found


def _refuse_while_paused(key: str, now: datetime) -> None:
    """A provider's Retry-After binds everybody who would ask it with this client."""
    until = ProviderPause.objects.filter(key=key, until__gt=now).values_list("until", flat=True).first()
    if until is not None:
        raise Throttled("throttled", retry_after=(until - now).total_seconds())


def _store(granted: Granted, connection: Connection | None, now: datetime, actor: Actor) -> Connection:
    with transaction.atomic():
        return store_grant(granted, connection, now=now, actor=actor)


def _note_failure(
    integration: Integration,
    connection: Connection | None,
    error: OAuthError,
    pause_key: str,
    now: datetime,
    actor: Actor,
) -> None:
    """A provider's pause and the event; the connection itself stays as it was."""
    with transaction.atomic():
        if pause_key and (pause := pause_of(error)) is not None:
            pause_provider(pause_key, now + pause, error.code)
        record(
            integration.workspace_id,
            AuditAction.CONNECTION_FAILED,
            actor,
            target=connection or integration,
            result=AuditResult.FAILED,
            detail={"code": error.code},
        )
