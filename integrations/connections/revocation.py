"""Disconnect: revoke at the provider (RFC 7009), forget the token, keep the row. And delete."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from integrations.clock import start_clock
from integrations.connections.commits import give_back_connection
from integrations.connections.errors import HasDependants
from integrations.connections.parties import Parties, parties_of
from integrations.connections.policies import ERROR_FIELDS, clear_error
from integrations.crypto import SealError
from integrations.models import Connection, ConnectionState, Integration, Token, TokenSchedule, TokenSecrets
from integrations.oauth.errors import OAuthError
from integrations.oauth.revocation import Revocation as ProviderRevocation
from integrations.outbound import client as outbound
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult

logger = logging.getLogger(__name__)

# A refresh under way may store a newer token between our revocation and our delete: that one is revoked too.
MAX_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Revocation:
    """What came of it: `revoked`, `unsupported`, `failed` or `nothing` (there was no token)."""

    result: str
    message: str


def disconnect(connection: Connection, *, actor: Actor, now: datetime | None = None) -> Revocation:
    """Revoke the refresh token, then the access token, and forget both; the connection becomes `configured`.

    The token is forgotten whatever the provider says; the result tells whether it is still good over there.
    """
    clock = start_clock(now)
    result = Revocation("nothing", "There was no token to revoke.")
    for _ in range(MAX_ROUNDS):
        token = Token.objects.filter(pk=connection.pk).first()
        if token is not None:
            result = _revoke_token(connection, token)
        version = token.version if token is not None else None
        if _forget(connection, version, result, actor=actor, now=clock.now()):
            return result
    raise RuntimeError(f"Connection {connection.pk} was renewed {MAX_ROUNDS} times while it was being disconnected.")


def delete_connection(
    connection: Connection, *, actor: Actor, force: bool = False, now: datetime | None = None
) -> Revocation:
    """Disconnect, then delete the row. Nothing depends on a single connection yet, so `force` changes nothing."""
    del force
    result = disconnect(connection, actor=actor, now=now)
    with transaction.atomic():
        detail = {"revocation": result.result}
        record(connection.workspace_id, AuditAction.CONNECTION_DELETED, actor, target=connection, detail=detail)
        Connection.objects.filter(pk=connection.pk).delete()
    return result


def delete_integration(
    integration: Integration, *, actor: Actor, force: bool = False, now: datetime | None = None
) -> None:
    """Disconnect every connection, then delete the integration with all of them.

    Raises HasDependants, naming the connections that hold a token, unless forced.
    """
    connections = list(Connection.objects.filter(integration=integration).select_related("integration", "workspace"))
    holding = set(Token.objects.filter(connection__integration=integration).values_list("connection_id", flat=True))
    if holding and not force:
        raise HasDependants([f"Connection “{c.name}”" for c in connections if c.pk in holding])
    for connection in connections:
        disconnect(connection, actor=actor, now=now)
    with transaction.atomic():
        record(integration.workspace_id, AuditAction.INTEGRATION_DELETED, actor, target=integration)
        Integration.objects.filter(pk=integration.pk).delete()


def _revoke_token(connection: Connection, token: Token) -> Revocation:
    try:
        secrets = token.open()
        parties = parties_of(connection.integration, connection)
    except SealError:
        return Revocation("failed", "The stored token cannot be decrypted, so it could not be revoked.")
    except OAuthError as error:
        return Revocation("failed", f"The token could not be revoked. {error.description or error.happened}".strip())
    give_back_connection()
    return revoke_secrets(parties, secrets)


def revoke_secrets(parties: Parties, secrets: TokenSecrets) -> Revocation:
    """Revoke the refresh token first, then the access token; the worse result counts. Uses no database."""
    http = outbound.session(outbound.TOKEN)
    results: list[ProviderRevocation] = []
    tokens = [("refresh_token", secrets.refresh_token), ("access_token", secrets.access_token)]
    for hint, token in tokens:
        if token:
            results.append(
                parties.provider.revoke(http, parties.server, parties.client, token=token, token_type_hint=hint)  # type: ignore[arg-type] # one of two literals
            )
    worst = next((r for r in results if r.result == "failed"), None)
    # One revoked token is enough where the provider only takes one of the two kinds: the grant is gone with it.
    best = next((r for r in results if r.result == "revoked"), results[0])
    chosen = worst or best
    return Revocation(chosen.result, chosen.message)


def _forget(connection: Connection, version: int | None, result: Revocation, *, actor: Actor, now: datetime) -> bool:
    """Delete the token if it is still the one that was revoked; False when a newer one came."""
    with transaction.atomic():
        held = Token.objects.select_for_update().filter(pk=connection.pk).only("version").first()
        if (held.version if held is not None else None) != version:
            return False
        Token.objects.filter(pk=connection.pk).delete()
        TokenSchedule.objects.filter(pk=connection.pk).update(
            refresh_due_at=None, lease_id=None, lease_until=None, attempts=0
        )
        connection.state = ConnectionState.CONFIGURED
        connection.granted_scopes = []
        clear_error(connection)
        connection.updated_at = now
        Connection.objects.filter(pk=connection.pk).update(
            state=connection.state,
            granted_scopes=[],
            updated_at=now,
            **{name: getattr(connection, name) for name in ERROR_FIELDS},
        )
        record(
            connection.workspace_id,
            AuditAction.CONNECTION_DISCONNECTED,
            actor,
            target=connection,
            result=AuditResult.FAILED if result.result == "failed" else AuditResult.OK,
            detail={"revocation": result.result},
        )
    connection._state.fields_cache.pop("token", None)
    return True
