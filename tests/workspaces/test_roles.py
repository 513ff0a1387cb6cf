"""Who may do what. The expectations stand here in full; they are not computed from the code's own table."""

from __future__ import annotations

import pytest

from workspaces.roles import (
    ROLE_DESCRIPTIONS,
    SCOPE_DESCRIPTIONS,
    SCOPE_PERMISSION,
    KeyScope,
    Permission,
    Role,
    permissions_of,
)

EXPECTED = {
    "viewer": {"workspace:view"},
    "editor": {"workspace:view", "connection:use"},
    "admin": {
        "workspace:view",
        "connection:use",
        "provider:manage",
        "integration:manage",
        "member:manage",
        "api_key:manage",
        "token:read",
        "webhook:manage",
        "audit:export",
        "workspace:manage",
    },
    "owner": {
        "workspace:view",
        "connection:use",
        "provider:manage",
        "integration:manage",
        "member:manage",
        "api_key:manage",
        "token:read",
        "webhook:manage",
        "audit:export",
        "workspace:manage",
        "owner:manage",
        "workspace:delete",
    },
}

# The lowest role whose key may carry the scope.
LOWEST_ROLE_FOR_SCOPE = {
    "integrations:read": "viewer",
    "integrations:write": "admin",
    "connections:read": "viewer",
    "connections:write": "editor",
    "tokens:read": "admin",
    "secrets:read": "admin",
    "secrets:write": "admin",
    "actions:run": "editor",
    "proxy:use": "admin",
    "mcp:read": "viewer",
    "mcp:write": "admin",
    "webhooks:read": "admin",
    "webhooks:write": "admin",
    "audit:read": "admin",
}
ORDER = ["viewer", "editor", "admin", "owner"]


@pytest.mark.parametrize("role", ORDER)
def test_a_role_may_do_exactly_what_is_written_down_for_it(role: str) -> None:
    assert permissions_of(role) == EXPECTED[role]


def test_every_permission_belongs_to_someone() -> None:
    assert {permission.value for permission in Permission} == EXPECTED["owner"]


def test_a_word_that_is_no_role_may_do_nothing() -> None:
    assert permissions_of("superuser") == frozenset()
    assert permissions_of("") == frozenset()


@pytest.mark.parametrize(("scope", "lowest"), LOWEST_ROLE_FOR_SCOPE.items())
def test_a_scope_needs_at_least_the_role_written_down_for_it(scope: str, lowest: str) -> None:
    may = [role for role in ORDER if SCOPE_PERMISSION[KeyScope(scope)] in permissions_of(role)]
    assert may == ORDER[ORDER.index(lowest) :]


def test_every_scope_is_covered_by_these_tables() -> None:
    assert {scope.value for scope in KeyScope} == set(LOWEST_ROLE_FOR_SCOPE)
    assert set(SCOPE_DESCRIPTIONS) == set(KeyScope)
    assert set(ROLE_DESCRIPTIONS) == set(Role)


def test_roles_are_ordered() -> None:
    assert [role.value for role in sorted(Role, key=lambda role: role.rank)] == ORDER
