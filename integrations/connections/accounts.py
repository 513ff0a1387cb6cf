"""Whose account a connection is: for display and warnings only, never trusted for access (product row B4)."""

from __future__ import annotations

from collections.abc import Mapping

from integrations.models import Connection
from workspaces.audit import Actor, AuditAction, record


def is_another_account(before: Mapping[str, str], now: Mapping[str, str] | None) -> bool:
    """Whether two accounts are known and differ: by id, or by label where the provider tells no ids."""
    if not now:
        return False
    for key in ("id", "label"):
        if before.get(key) and now.get(key):
            return before[key] != now[key]
    return False


def is_known_to_be(before: Mapping[str, str], now: Mapping[str, str] | None) -> bool:
    """Whether both accounts are known and are one: by id where the first has one, which a label cannot stand for."""
    key = "id" if before.get("id") else "label"
    return bool(before.get(key)) and (now or {}).get(key) == before[key]


def account_name(account: Mapping[str, str]) -> str:
    """What people know it by."""
    return account.get("label") or account.get("id") or ""


def keep_account(connection: Connection, *, actor: Actor) -> bool:
    """Say that the account that took another one's place was meant to; False when nothing was open.

    Only the change that was seen is confirmed: the account must still be the one that `connection` was loaded with.
    """
    rows = Connection.objects.filter(pk=connection.pk, account=connection.account).exclude(previous_account={})
    if not rows.update(previous_account={}):
        return False
    detail = {"account": account_name(connection.account), "account_before": account_name(connection.previous_account)}
    record(connection.workspace_id, AuditAction.CONNECTION_CHANGED, actor, target=connection, detail=detail)
    connection.previous_account = {}
    return True
