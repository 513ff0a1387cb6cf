"""A provider's first answer becomes a connection, or replaces the token of the one that was reconnected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from integrations.connections import breaker
from integrations.connections.accounts import account_name, is_another_account
from integrations.connections.applying import save_extra
from integrations.connections.parties import Parties
from integrations.connections.policies import ERROR_FIELDS, clear_error, recover_integration
from integrations.connections.renewal import issued_token
from integrations.connections.schedule import Rules
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    IssuedToken,
    Token,
    TokenSchedule,
    store_tokens,
)
from integrations.notices import notice_of_connection
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import Actor, AuditAction, record


@dataclass(frozen=True, slots=True)
class Granted:
    """All that a connect brought; stored in one transaction."""

    integration: Integration
    parties: Parties
    answer: TokenResponse
    requested_at: datetime
    name: str
    requested_scopes: Sequence[str]
    scopes: Sequence[str] | None = None
    additional_scopes: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    account: Mapping[str, str] | None = None  # None: unknown, what was known stays


def store_grant(granted: Granted, connection: Connection | None, *, now: datetime, actor: Actor) -> Connection:
    """Store a token in the given connection, or in the one of that name, or in a new one.

    Call within a transaction. The token's version rises, so that the answer of a refresh under way is discarded.
    """
    integration = granted.integration
    if connection is not None:
        # Its name may have changed since it was loaded, or the whole row be gone.
        connection = Connection.objects.filter(pk=connection.pk, integration=integration).first()
    if connection is None:
        # New names are given one at a time.
        Integration.objects.select_for_update().only("pk").get(pk=integration.pk)
        connection = Connection.objects.filter(integration=integration, name=granted.name).first()
    connection = connection or Connection(
        workspace_id=integration.workspace_id,
        integration=integration,
        name=granted.name,
        is_default=not Connection.objects.filter(integration=integration, is_default=True).exists(),
    )
    before, state_before = connection.account, connection.state
    issued, due_at = issued_token(
        granted.answer,
        granted.requested_at,
        connection_id=connection.pk,
        grant_type=integration.grant_type,
        rules=Rules.of(granted.parties.spec, integration.workspace),
    )
    is_new = connection._state.adding
    if not is_new:
        _replace_token(connection, issued)
    _fill(connection, granted, now, actor)
    connection.save(update_fields=None if is_new else _FILLED)
    if is_new:
        _add_token(connection, issued)
    TokenSchedule.objects.update_or_create(
        connection=connection,
        defaults={
            "refresh_due_at": due_at,
            "lease_id": None,
            "lease_until": None,
            "attempts": 0,
        },
    )
    notice_of_connection(connection, state_before, at=now)
    breaker.note_answer(breaker.Place.of(integration, granted.parties), now=now, actor=actor)
    recover_integration(Integration.objects.get(pk=integration.pk), now=now, actor=actor)
    detail = {"scopes": list(connection.granted_scopes), "account": account_name(connection.account)}
    if is_another_account(before, connection.account):
        detail["account_before"] = account_name(before)
    record(integration.workspace_id, AuditAction.CONNECTION_CONNECTED, actor, target=connection, detail=detail)
    return connection


def store_extra_later(connection: Connection, extra: Mapping[str, Any]) -> None:
    """Keep the answer's other fields once the token is safe. Never raises for what they are."""
    version = Token.objects.filter(pk=connection.pk).values_list("version", flat=True).first()
    if version is not None and not transaction.get_connection().needs_rollback:
        save_extra(version - 1, connection, extra)


def _replace_token(connection: Connection, issued: IssuedToken) -> None:
    held = Token.objects.select_for_update().filter(pk=connection.pk).only("version", "workspace_id").first()
    if held is None:
        _add_token(connection, issued)
    elif not store_tokens(connection.pk, connection.workspace_id, held.version, issued):
        raise RuntimeError(f"The token of connection {connection.pk} changed under its lock.")


def _add_token(connection: Connection, issued: IssuedToken) -> None:
    Token.objects.create(
        connection=connection,
        workspace_id=connection.workspace_id,
        ciphertext=issued.secrets.to_json(),
        has_refresh_token=issued.secrets.refresh_token is not None,
        issued_at=issued.issued_at,
        expires_at=issued.expires_at,
        refresh_token_expires_at=issued.refresh_token_expires_at,
        refresh_token_end_moves=issued.refresh_token_end_moves,
        consent_ends_at=issued.consent_ends_at,
        consent_notice_due_at=issued.consent_notice_due_at,
    )


_FILLED = (
    "state",
    "sealed_parameters",
    "scopes",
    "additional_scopes",
    "metadata",
    "requested_scopes",
    "granted_scopes",
    "provider_version",
    "connected_at",
    "connected_by",
    "account",
    "previous_account",
    "updated_at",
    *ERROR_FIELDS,
)


def _fill(connection: Connection, granted: Granted, now: datetime, actor: Actor) -> None:
    scope = granted.parties.provider.granted_scopes(granted.requested_scopes, granted.answer)
    connection.state = ConnectionState.CONNECTED
    connection.parameters = dict(granted.parameters)
    connection.scopes = None if granted.scopes is None else list(granted.scopes)
    connection.additional_scopes = list(granted.additional_scopes)
    connection.metadata = dict(granted.metadata)
    connection.requested_scopes = list(granted.requested_scopes)
    connection.granted_scopes = list(granted.requested_scopes if scope is None else scope)
    connection.provider_version = granted.parties.spec.version if granted.parties.spec.custom else None
    connection.connected_at = now
    connection.connected_by = actor.label[:254]
    if granted.account is not None:
        connection.previous_account = _replaced(connection, granted.account)
        connection.account = dict(granted.account)
    clear_error(connection)


def _replaced(connection: Connection, account: Mapping[str, str]) -> dict[str, str]:
    """The account that this one takes the place of; the first one, while nobody has said that it was meant."""
    before: dict[str, str] = connection.previous_account or connection.account
    return before if is_another_account(before, account) else {}
