"""Roles and departures. Everything here holds the workspace's row, so that two owners cannot leave at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import transaction

from workspaces.audit import Actor, AuditAction, record
from workspaces.errors import LastOwner, NotAllowed
from workspaces.models import Membership, Workspace
from workspaces.roles import Permission, Role, permissions_of


def change_role(membership: Membership, role: Role, *, by: Membership | None, actor: Actor) -> Membership:
    """Give a member another role; `by` is the acting member, None an operator.

    Raises NotAllowed (only an owner names owners or changes one), LastOwner, Membership.DoesNotExist.
    """
    with _locked(membership, by) as (target, acting):
        _require_reach(acting, Role(target.role), role)
        if target.role == role:
            return target
        if target.role == Role.OWNER:
            _require_another_owner(target)
        before, target.role = target.role, role
        target.save(update_fields=["role"])
        record(
            target.workspace,
            AuditAction.MEMBER_ROLE_CHANGED,
            actor,
            target=target.user,
            detail={"from": before, "to": role.value},
        )
        return target


def remove_member(membership: Membership, *, by: Membership | None, actor: Actor) -> None:
    """Take someone out: their pages, API keys and flows under way stop at the next request.

    Raises NotAllowed (an admin cannot remove an owner), LastOwner, Membership.DoesNotExist.
    """
    with _locked(membership, by) as (target, acting):
        _require_reach(acting, Role(target.role))
        _remove(target, actor, left=False)


def leave(membership: Membership, *, actor: Actor) -> None:
    """Go oneself, whatever one's role. Raises LastOwner, Membership.DoesNotExist."""
    with _locked(membership, None) as (target, _acting):
        _remove(target, actor, left=True)


def roles_within_reach(by: Membership) -> list[Role]:
    """The roles that a member may give to others, lowest first."""
    can = permissions_of(by.role)
    if Permission.MEMBER_MANAGE not in can:
        return []
    return [role for role in Role if role != Role.OWNER or Permission.OWNER_MANAGE in can]


def is_last_owner(membership: Membership) -> bool:
    """Whether nobody else who can still sign in owns the workspace."""
    if membership.role != Role.OWNER:
        return False
    others = membership.workspace.memberships.filter(role=Role.OWNER, user__is_active=True)
    return not others.exclude(pk=membership.pk).exists()


@dataclass(frozen=True, slots=True)
class ManagedMember:
    """A row of the members page: the membership and what the person looking at it may do with it."""

    membership: Membership
    roles: tuple[Role, ...]  # that it may be given; empty when it may not be changed
    removable: bool


def manage_members(workspace: Workspace, by: Membership) -> list[ManagedMember]:
    """All members with what `by` may do to each, owners first, then by address."""
    memberships = sorted(
        workspace.memberships.select_related("user", "workspace"),
        key=lambda membership: (-Role(membership.role).rank, membership.user.email),
    )
    owners = [m for m in memberships if m.role == Role.OWNER and m.user.is_active]
    within_reach = roles_within_reach(by)
    rows = []
    for membership in memberships:
        reached = Role(membership.role) in within_reach
        fixed = membership.role == Role.OWNER and not [owner for owner in owners if owner.pk != membership.pk]
        changeable = reached and not fixed
        rows.append(ManagedMember(membership, tuple(within_reach) if changeable else (), changeable))
    return rows


@contextmanager
def _locked(membership: Membership, by: Membership | None) -> Iterator[tuple[Membership, Membership | None]]:
    """Both memberships read anew under the workspace's lock: the acting member may have been demoted meanwhile."""
    with transaction.atomic():
        workspace = Workspace.objects.select_for_update().get(pk=membership.workspace_id)
        target = workspace.memberships.select_related("user", "workspace").get(pk=membership.pk)
        if by is None:
            yield target, None
            return
        acting = workspace.memberships.filter(pk=by.pk).first()
        if acting is None:
            raise NotAllowed("You are no longer a member of this workspace.")
        yield target, acting


def _require_reach(acting: Membership | None, *roles: Role) -> None:
    if acting is None:  # an operator
        return
    reach = roles_within_reach(acting)
    if not reach:
        raise NotAllowed("Your role does not allow you to manage members.")
    if any(role not in reach for role in roles):
        raise NotAllowed("Only an owner can name, change or remove owners.")


def _require_another_owner(membership: Membership) -> None:
    if is_last_owner(membership):
        raise LastOwner


def _remove(target: Membership, actor: Actor, *, left: bool) -> None:
    _require_another_owner(target)
    record(
        target.workspace,
        AuditAction.MEMBER_REMOVED,
        actor,
        target=target.user,
        detail={"role": target.role, "left": left},
    )
    target.delete()
