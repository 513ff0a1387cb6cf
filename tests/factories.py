"""Factories: each makes one valid object; a test states only what matters to it.

By custom Alice owns, Bob is a member, Charlie is an outsider.
"""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.utils import timezone

from integrations.models import Connection, ConnectionState, GrantType, Integration, Token, TokenSchedule
from workspaces.models import Membership, User, Workspace
from workspaces.roles import Role

_numbers = itertools.count(1)
PASSWORD = "correct horse battery staple"


def make_user(email: str = "", **fields: Any) -> User:
    """A person whose address is verified and whose password is PASSWORD."""
    email = email or f"person{next(_numbers)}@example.com"
    user = User.objects.create_user(email, PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def make_workspace(name: str = "", *, owner: User | None = None, **fields: Any) -> Workspace:
    """A workspace with an owner."""
    number = next(_numbers)
    workspace = Workspace.objects.create(
        name=name or f"Workspace {number}", slug=fields.pop("slug", f"ws-{number}"), **fields
    )
    make_member(workspace, owner or make_user(), Role.OWNER)
    return workspace


def make_member(workspace: Workspace, user: User | None = None, role: Role = Role.ADMIN) -> Membership:
    """A member with a role."""
    return Membership.objects.create(workspace=workspace, user=user or make_user(), role=role)


def make_integration(
    workspace: Workspace,
    provider_id: str = "github",
    grant_type: GrantType = GrantType.AUTHORIZATION_CODE,
    **fields: Any,
) -> Integration:
    """An integration with client credentials saved."""
    return Integration.objects.create(
        workspace=workspace,
        provider_id=provider_id,
        grant_type=grant_type,
        **{"client_id": "client-1", "client_secret": "client-secret-value", **fields},
    )


def make_connection(
    integration: Integration,
    name: str = "default",
    *,
    access_token: str = "access-token-1",
    refresh_token: str | None = "refresh-token-1",
    issued_at: datetime | None = None,
    lifetime: timedelta | None = timedelta(hours=1),
    due_at: datetime | None = None,
    with_token: bool = True,
    **fields: Any,
) -> Connection:
    """A connected connection with a token; `lifetime=None` means unknown, `with_token=False` never connected."""
    issued_at = issued_at or timezone.now()
    state = ConnectionState.CONNECTED if with_token else ConnectionState.CONFIGURED
    connection = Connection.objects.create(
        workspace=integration.workspace,
        integration=integration,
        name=name,
        **{"is_default": name == "default", "state": state, **fields},
    )
    if with_token:
        store_token(connection, access_token, refresh_token, issued_at, lifetime, due_at)
    return connection


def store_token(
    connection: Connection,
    access_token: str,
    refresh_token: str | None,
    issued_at: datetime,
    lifetime: timedelta | None,
    due_at: datetime | None = None,
) -> Token:
    """Give a connection a token and a schedule."""
    content = {"access_token": access_token, "refresh_token": refresh_token, "token_type": "Bearer"}
    renewable = refresh_token is not None or connection.integration.grant_type == GrantType.CLIENT_CREDENTIALS
    expires_at = issued_at + lifetime if lifetime is not None else None
    token = Token.objects.create(
        connection=connection,
        workspace=connection.workspace,
        ciphertext=json.dumps(content),
        has_refresh_token=refresh_token is not None,
        issued_at=issued_at,
        expires_at=expires_at,
        consent_ends_at=None if renewable else expires_at,
    )
    if due_at is None and lifetime is not None and renewable:
        due_at = issued_at + lifetime * 0.8
    TokenSchedule.objects.create(connection=connection, refresh_due_at=due_at)
    return token
