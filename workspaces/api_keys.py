"""API keys: `gr_<prefix>_<secret>`. Prefix and SHA-256 are stored; the key itself is shown once.

SHA-256 without salt or stretching is right here: the secret has 238 random bits, there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from workspaces.audit import Actor, AuditAction, record
from workspaces.errors import KeyNotUsable, KeyRefused
from workspaces.models import ApiKey, Membership, User, Workspace
from workspaces.roles import SCOPE_PERMISSION, KeyScope, Permission, Role, permissions_of

PREFIX_LENGTH = 10
SECRET_LENGTH = 40
LAST_USED_EVERY = timedelta(minutes=1)
MAX_OVERLAP = timedelta(days=30)
_PREFIX_ALPHABET = string.ascii_lowercase + string.digits
_SECRET_ALPHABET = string.ascii_letters + string.digits
_KEY = re.compile(rf"gr_([a-z0-9]{{{PREFIX_LENGTH}}})_[A-Za-z0-9]{{{SECRET_LENGTH}}}")
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The one moment in which the key is known; it never appears in a repr."""

    key: str = field(repr=False)
    api_key: ApiKey


def create_api_key(
    workspace: Workspace,
    *,
    name: str,
    scopes: Iterable[str],
    actor: Actor,
    created_by: User | None,
    expires_at: datetime | None = None,
    now: datetime | None = None,
) -> NewApiKey:
    """Make a key; `created_by` None means an operator on the command line, who may give every scope.

    Raises KeyRefused: no or unknown scopes, scopes beyond the creator's role, a bad name, an expiry in the past.
    """
    now = now or timezone.now()
    role = Role.ADMIN if created_by is None else _role_of(workspace, created_by)
    if created_by is not None and Permission.API_KEY_MANAGE not in permissions_of(role or ""):
        raise KeyRefused("Your role does not allow you to create API keys.")
    with transaction.atomic():
        new = _insert(
            ApiKey(
                workspace=workspace,
                name=_clean_name(name),
                scopes=_clean_scopes(scopes, role),
                created_by=created_by,
                created_by_operator=created_by is None,
                role=role or "",
                created_at=now,
                expires_at=_clean_expiry(expires_at, now),
            )
        )
        record(
            workspace,
            AuditAction.API_KEY_CREATED,
            actor,
            target=new.api_key,
            detail={"scopes": new.api_key.scopes, "expires_at": _text(new.api_key.expires_at)},
        )
    return new


def authenticate(raw_key: str, now: datetime) -> ApiKey | None:
    """The key that a request carries, with its workspace; None when unknown, revoked, expired or without creator.

    One query. A key whose creator left the workspace (or may no longer sign in) is refused here; what a demoted
    creator's key may still do is `effective_scopes`. Writes the last use at most once a minute.
    """
    prefix = prefix_of(raw_key)
    return accept(find_by_prefix(prefix), raw_key, now) if prefix is not None else None


def prefix_of(raw_key: str) -> str | None:
    """The prefix by which a key is found; None for what is no key."""
    match = _KEY.fullmatch(raw_key)
    return match.group(1) if match is not None else None


def find_by_prefix(prefix: str) -> ApiKey | None:
    """The key with its workspace and its creator's role. Nothing is checked: that is `accept`'s."""
    return _with_creator_role().filter(prefix=prefix).first()


def accept(api_key: ApiKey | None, raw_key: str, now: datetime) -> ApiKey | None:
    """The key that was found by a raw key's prefix, if the raw key is right and may be used now; else None."""
    # Compared even when the prefix is unknown, so that the time taken says nothing about prefixes.
    matches = hmac.compare_digest(_digest(raw_key), api_key.digest if api_key is not None else _NO_DIGEST)
    if api_key is None or not matches or not api_key.is_usable(now) or current_role(api_key) is None:
        return None
    _note_use(api_key, now)
    return api_key


def current_role(api_key: ApiKey) -> Role | None:
    """The role a key acts with now: its creator's today; None when the creator is no member any more."""
    if api_key.created_by_operator:
        return Role(api_key.role)
    if api_key.created_by_id is None:
        return None
    if hasattr(api_key, "creator_role"):  # annotated by the query that loaded it
        return Role(api_key.creator_role) if api_key.creator_role else None
    return _role_of(api_key.workspace, api_key.created_by)


def effective_scopes(api_key: ApiKey) -> frozenset[KeyScope]:
    """The key's scopes as far as its creator's current role still allows them."""
    role = current_role(api_key)
    if role is None:
        return frozenset()
    allowed = scopes_for(role)
    return frozenset(scope for scope in allowed if scope.value in api_key.scopes)


def has_scope(api_key: ApiKey, scope: KeyScope) -> bool:
    """Whether `effective_scopes` has it."""
    role = current_role(api_key)
    return role is not None and scope.value in api_key.scopes and SCOPE_PERMISSION[scope] in permissions_of(role)


def scopes_for(role: Role) -> list[KeyScope]:
    """The scopes that a person with this role may give to a key, in the documented order."""
    can = permissions_of(role)
    return [scope for scope in KeyScope if SCOPE_PERMISSION[scope] in can]


def list_api_keys(workspace: Workspace) -> list[ApiKey]:
    """A workspace's keys, newest first, each with its creator's current role (no query per key)."""
    return list(_with_creator_role().filter(workspace=workspace).select_related("workspace", "created_by"))


def revoke_api_key(api_key: ApiKey, *, actor: Actor, now: datetime | None = None) -> None:
    """Stop a key at once. Revoking twice is harmless."""
    now = now or timezone.now()
    with transaction.atomic():
        if not ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=now):
            return
        record(api_key.workspace, AuditAction.API_KEY_REVOKED, actor, target=api_key)


def roll_api_key(
    api_key: ApiKey, overlap: timedelta, *, actor: Actor, created_by: User | None, now: datetime | None = None
) -> NewApiKey:
    """Replace a key by a new one with the same name, scopes and lifetime; the old one works on for `overlap`.

    The new key is bound to the person who rolls it. Raises KeyNotUsable (revoked or expired), KeyRefused.
    """
    now = now or timezone.now()
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise KeyRefused(f"The old key may work on for at most {MAX_OVERLAP.days} days.")
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().get(pk=api_key.pk)
        if not old.is_usable(now):
            raise KeyNotUsable
        role = Role.ADMIN if created_by is None else _role_of(old.workspace, created_by)
        if created_by is not None and Permission.API_KEY_MANAGE not in permissions_of(role or ""):
            raise KeyRefused("Your role does not allow you to roll API keys.")
        new = _insert(
            ApiKey(
                workspace=old.workspace,
                name=old.name,
                scopes=_clean_scopes(old.scopes, role),
                created_by=created_by,
                created_by_operator=created_by is None,
                role=role or "",
                created_at=now,
                expires_at=now + (old.expires_at - old.created_at) if old.expires_at else None,
            )
        )
        _end_after_overlap(old, now, overlap)
        record(
            old.workspace,
            AuditAction.API_KEY_ROLLED,
            actor,
            target=old,
            detail={"new_prefix": new.api_key.prefix, "overlap_seconds": int(overlap.total_seconds())},
        )
    return new


def _with_creator_role() -> QuerySet[ApiKey]:
    role = Membership.objects.filter(
        workspace_id=OuterRef("workspace_id"), user_id=OuterRef("created_by_id"), user__is_active=True
    ).values("role")[:1]
    return ApiKey.objects.select_related("workspace").annotate(creator_role=Subquery(role))


def _role_of(workspace: Workspace, user: User | None) -> Role | None:
    role = workspace.memberships.filter(user=user, user__is_active=True).values_list("role", flat=True).first()
    return Role(role) if role else None


def _note_use(api_key: ApiKey, now: datetime) -> None:
    stale = now - LAST_USED_EVERY
    if api_key.last_used_at is not None and api_key.last_used_at > stale:
        return
    # Conditional again in the database: of many requests at once, one writes.
    due = Q(last_used_at=None) | Q(last_used_at__lte=stale)
    ApiKey.objects.filter(due, pk=api_key.pk).update(last_used_at=now)
    api_key.last_used_at = now


def _end_after_overlap(old: ApiKey, now: datetime, overlap: timedelta) -> None:
    if not overlap:
        old.revoked_at = now
        old.save(update_fields=["revoked_at"])
        return
    end = now + overlap
    old.expires_at = min(old.expires_at, end) if old.expires_at else end
    old.save(update_fields=["expires_at"])


def _insert(api_key: ApiKey) -> NewApiKey:
    api_key.prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(PREFIX_LENGTH))
    raw_key = f"gr_{api_key.prefix}_" + "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(SECRET_LENGTH))
    api_key.digest = _digest(raw_key)
    api_key.save(force_insert=True)  # a prefix taken by another key (one in 10^15) is an IntegrityError, never shared
    return NewApiKey(raw_key, api_key)


def _digest(raw_key: str) -> str:
    return hashlib.sha256(raw_key.encode()).hexdigest()


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 100:
        raise KeyRefused("A key needs a name of at most 100 characters.")
    return name


def _clean_scopes(scopes: Iterable[str], role: Role | None) -> list[str]:
    wanted = set(scopes)
    unknown = sorted(wanted - {scope.value for scope in KeyScope})
    if unknown:
        known = ", ".join(KeyScope)
        raise KeyRefused(f"Unknown scope: {', '.join(unknown)}. A key may carry: {known}.")
    allowed = scopes_for(role) if role is not None else []
    beyond = sorted(wanted - {scope.value for scope in allowed})
    if beyond:
        raise KeyRefused(f"Your role does not allow a key with {', '.join(beyond)}.")
    if not wanted:
        raise KeyRefused("A key needs at least one scope.")
    return [scope.value for scope in KeyScope if scope.value in wanted]


def _clean_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    if expires_at is not None and expires_at <= now:
        raise KeyRefused("The expiry must lie in the future.")
    return expires_at


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
