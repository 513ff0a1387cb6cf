"""One table: what each role may do. Views and API scopes name a permission, never a role."""

from __future__ import annotations

from enum import StrEnum

from django.db import models


class Role(models.TextChoices):
    """viewer < editor < admin < owner."""

    VIEWER = "viewer", "Viewer"
    EDITOR = "editor", "Editor"
    ADMIN = "admin", "Admin"
    OWNER = "owner", "Owner"

    @property
    def description(self) -> str:
        """What it may do, in a line."""
        return ROLE_DESCRIPTIONS[self]

    @property
    def rank(self) -> int:
        """Position in the order viewer < editor < admin < owner."""
        return list(Role).index(self)


ROLE_DESCRIPTIONS: dict[Role, str] = {
    Role.VIEWER: "Sees everything but secrets",
    Role.EDITOR: "Also connects and tests",
    Role.ADMIN: "Also manages providers, credentials, members, webhooks and API keys, and reads tokens",
    Role.OWNER: "Also names owners and decides about the workspace itself",
}


class Permission(StrEnum):
    """What a member or key may do, as `subject:action`."""

    WORKSPACE_VIEW = "workspace:view"
    CONNECTION_USE = "connection:use"  # connect, test, refresh, disconnect, make connect links
    PROVIDER_MANAGE = "provider:manage"
    INTEGRATION_MANAGE = "integration:manage"  # credentials, scopes
    MEMBER_MANAGE = "member:manage"
    API_KEY_MANAGE = "api_key:manage"
    TOKEN_READ = "token:read"  # noqa: S105 (no password)
    WEBHOOK_MANAGE = "webhook:manage"
    AUDIT_EXPORT = "audit:export"
    WORKSPACE_MANAGE = "workspace:manage"  # name, return URLs
    OWNER_MANAGE = "owner:manage"
    WORKSPACE_DELETE = "workspace:delete"


_VIEWER = frozenset({Permission.WORKSPACE_VIEW})
_EDITOR = _VIEWER | {Permission.CONNECTION_USE}
_ADMIN = _EDITOR | {
    Permission.PROVIDER_MANAGE,
    Permission.INTEGRATION_MANAGE,
    Permission.MEMBER_MANAGE,
    Permission.API_KEY_MANAGE,
    Permission.TOKEN_READ,
    Permission.WEBHOOK_MANAGE,
    Permission.AUDIT_EXPORT,
    Permission.WORKSPACE_MANAGE,
}
_OWNER = _ADMIN | {Permission.OWNER_MANAGE, Permission.WORKSPACE_DELETE}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.EDITOR: _EDITOR,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _OWNER,
}


def permissions_of(role: str) -> frozenset[Permission]:
    """The permissions of a role; none for a word that is no role (deny by default)."""
    try:
        return PERMISSIONS[Role(role)]
    except ValueError:
        return frozenset()


class KeyScope(StrEnum):
    """Scopes that an API key may carry."""

    INTEGRATIONS_READ = "integrations:read"
    INTEGRATIONS_WRITE = "integrations:write"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    TOKENS_READ = "tokens:read"
    SECRETS_READ = "secrets:read"
    SECRETS_WRITE = "secrets:write"
    ACTIONS_RUN = "actions:run"
    PROXY_USE = "proxy:use"
    MCP_READ = "mcp:read"
    MCP_WRITE = "mcp:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    AUDIT_READ = "audit:read"


# What a key with the scope may do, in the words of the form that makes one.
SCOPE_DESCRIPTIONS: dict[KeyScope, str] = {
    KeyScope.INTEGRATIONS_READ: "See providers and integrations, and their status",
    KeyScope.INTEGRATIONS_WRITE: "Set up and delete providers and integrations, credentials included",
    KeyScope.CONNECTIONS_READ: "See connections, their scopes and status",
    KeyScope.CONNECTIONS_WRITE: "Connect, test, renew and disconnect; make connect links",
    KeyScope.TOKENS_READ: "Read access tokens",
    KeyScope.SECRETS_READ: "Read static secrets through expressions",
    KeyScope.SECRETS_WRITE: "Store and delete static secrets",
    KeyScope.ACTIONS_RUN: "Run actions and read their results",
    KeyScope.PROXY_USE: "Call providers' APIs through Grantry",
    KeyScope.MCP_READ: "See MCP servers",
    KeyScope.MCP_WRITE: "Add, change and call MCP servers",
    KeyScope.WEBHOOKS_READ: "See webhooks, their URLs and what was delivered",
    KeyScope.WEBHOOKS_WRITE: "Create, change, test and delete webhooks, roll their secrets, replay deliveries",
    KeyScope.AUDIT_READ: "Read the audit log",
}

# What a key's creator must be allowed to do for the key to carry the scope.
SCOPE_PERMISSION: dict[KeyScope, Permission] = {
    KeyScope.INTEGRATIONS_READ: Permission.WORKSPACE_VIEW,
    KeyScope.INTEGRATIONS_WRITE: Permission.INTEGRATION_MANAGE,
    KeyScope.CONNECTIONS_READ: Permission.WORKSPACE_VIEW,
    KeyScope.CONNECTIONS_WRITE: Permission.CONNECTION_USE,
    KeyScope.TOKENS_READ: Permission.TOKEN_READ,
    KeyScope.SECRETS_READ: Permission.TOKEN_READ,
    KeyScope.SECRETS_WRITE: Permission.INTEGRATION_MANAGE,
    KeyScope.ACTIONS_RUN: Permission.CONNECTION_USE,
    KeyScope.PROXY_USE: Permission.TOKEN_READ,
    KeyScope.MCP_READ: Permission.WORKSPACE_VIEW,
    KeyScope.MCP_WRITE: Permission.INTEGRATION_MANAGE,
    # The URL of an endpoint may hold the receiver's secret: no key of somebody who may not manage webhooks sees it.
    KeyScope.WEBHOOKS_READ: Permission.WEBHOOK_MANAGE,
    KeyScope.WEBHOOKS_WRITE: Permission.WEBHOOK_MANAGE,
    KeyScope.AUDIT_READ: Permission.AUDIT_EXPORT,
}

# Part of the contract and accepted, so that keys made today keep working; the page does not offer them while no call
# needs them.
NOT_OFFERED: frozenset[KeyScope] = frozenset(
    {
        KeyScope.SECRETS_READ,
        KeyScope.SECRETS_WRITE,
        KeyScope.ACTIONS_RUN,
        KeyScope.PROXY_USE,
        KeyScope.MCP_READ,
        KeyScope.MCP_WRITE,
    }
)
