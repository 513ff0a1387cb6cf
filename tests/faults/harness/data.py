"""Connections of a strict provider, made in bulk, each with a refresh token that the provider knows."""

from __future__ import annotations

import json
from datetime import timedelta

from django.utils import timezone

from integrations.models import Connection, ConnectionState, Integration, Token, TokenSchedule
from integrations.providers.custom import create_custom_provider
from tests.factories import make_integration, make_workspace
from tests.servers.strict_rotating import CLIENT_ID, CLIENT_SECRET, Realm
from workspaces.audit import Actor
from workspaces.models import Workspace

# No more than so many are made before the first answers are settled: a host's cap, and as many that follow at once.
CALLS_AT_ONCE = 128


def make_due(realm: Realm, count: int, *, workspace: Workspace | None = None) -> Integration:
    """An integration with so many connections, all due a minute ago, whose tokens live ten minutes more.

    A connection's name is its family at the provider.
    """
    workspace = workspace or make_workspace()
    definition = {
        "name": f"Strict {realm.name}",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": realm.token_endpoint.replace("/token", "/authorize"),
        "token_endpoint": realm.token_endpoint,
    }
    provider = create_custom_provider(workspace, definition, actor=Actor.operator())
    integration = make_integration(workspace, provider.provider_id, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    registered = realm.register(f"{realm.name}-{number:04}" for number in range(count))
    issued_at = timezone.now() - timedelta(minutes=50)
    connections = [
        Connection(
            workspace=workspace,
            integration=integration,
            name=family,
            state=ConnectionState.CONNECTED,
            provider_version=1,
            connected_at=issued_at,
        )
        for family in registered
    ]
    Connection.objects.bulk_create(connections)
    Token.objects.bulk_create(
        Token(
            connection=connection,
            workspace=workspace,
            ciphertext=json.dumps({"access_token": "at-first", "refresh_token": registered[connection.name]}),
            has_refresh_token=True,
            issued_at=issued_at,
            expires_at=issued_at + timedelta(hours=1),
        )
        for connection in connections
    )
    due_at = timezone.now() - timedelta(minutes=1)
    TokenSchedule.objects.bulk_create(
        TokenSchedule(connection=connection, refresh_due_at=due_at) for connection in connections
    )
    return integration


def all_due_again() -> None:
    """As if a lifetime had passed: everything that renews itself is due."""
    TokenSchedule.objects.filter(refresh_due_at__isnull=False).update(
        refresh_due_at=timezone.now() - timedelta(seconds=1)
    )


def stored_refresh_tokens() -> dict[str, str]:
    """What the database holds, by connection name."""
    tokens = Token.objects.select_related("connection")
    return {token.connection.name: token.open().refresh_token or "" for token in tokens}
