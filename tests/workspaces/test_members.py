"""Roles change and people go; an owner always stays."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from tests.factories import make_member, make_user, make_workspace
from tests.workspaces.conftest import OPERATOR, membership_of
from workspaces.audit import Actor
from workspaces.errors import LastOwner, NotAllowed
from workspaces.members import change_role, leave, manage_members, remove_member, roles_within_reach
from workspaces.models import AuditEvent, Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db

# (who acts, whose role, the role to be given): whether it may happen. Rows that are missing may not.
MAY_CHANGE = {
    ("admin", "viewer", "editor"),
    ("admin", "viewer", "admin"),
    ("admin", "editor", "viewer"),
    ("admin", "editor", "admin"),
    ("admin", "admin", "viewer"),
    ("admin", "admin", "editor"),
    ("owner", "viewer", "editor"),
    ("owner", "viewer", "admin"),
    ("owner", "viewer", "owner"),
    ("owner", "editor", "viewer"),
    ("owner", "editor", "admin"),
    ("owner", "editor", "owner"),
    ("owner", "admin", "viewer"),
    ("owner", "admin", "editor"),
    ("owner", "admin", "owner"),
    ("owner", "owner", "viewer"),
    ("owner", "owner", "editor"),
    ("owner", "owner", "admin"),
}


@pytest.mark.parametrize("acting", list(Role))
@pytest.mark.parametrize("target", list(Role))
@pytest.mark.parametrize("wanted", list(Role))
def test_who_may_give_whom_which_role(workspace: Workspace, acting: Role, target: Role, wanted: Role) -> None:
    by, membership = make_member(workspace, role=acting), make_member(workspace, role=target)
    if target == wanted:
        return
    if (acting.value, target.value, wanted.value) in MAY_CHANGE:
        change_role(membership, wanted, by=by, actor=Actor.member(by.user))
        expected = wanted
    else:
        with pytest.raises(NotAllowed):
            change_role(membership, wanted, by=by, actor=Actor.member(by.user))
        expected = target
    membership.refresh_from_db()
    assert membership.role == expected


@pytest.mark.parametrize("acting", list(Role))
@pytest.mark.parametrize("target", list(Role))
def test_who_may_remove_whom(workspace: Workspace, acting: Role, target: Role) -> None:
    by, membership = make_member(workspace, role=acting), make_member(workspace, role=target)
    may = acting == Role.OWNER or (acting == Role.ADMIN and target != Role.OWNER)
    if may:
        remove_member(membership, by=by, actor=Actor.member(by.user))
    else:
        with pytest.raises(NotAllowed):
            remove_member(membership, by=by, actor=Actor.member(by.user))
    assert Membership.objects.filter(pk=membership.pk).exists() is not may


def test_the_last_owner_can_neither_leave_nor_be_demoted_nor_removed(workspace: Workspace, alice: User) -> None:
    owner = membership_of(workspace, alice)
    with pytest.raises(LastOwner):
        leave(owner, actor=Actor.member(alice))
    with pytest.raises(LastOwner):
        change_role(owner, Role.ADMIN, by=owner, actor=Actor.member(alice))
    with pytest.raises(LastOwner):
        remove_member(owner, by=None, actor=OPERATOR)
    owner.refresh_from_db()
    assert owner.role == Role.OWNER


def test_an_owner_who_can_no_longer_sign_in_does_not_count(workspace: Workspace, alice: User) -> None:
    make_member(workspace, make_user(is_active=False), Role.OWNER)
    with pytest.raises(LastOwner):
        leave(membership_of(workspace, alice), actor=Actor.member(alice))


def test_an_owner_of_another_workspace_does_not_count(workspace: Workspace, alice: User) -> None:
    make_workspace("Elsewhere", owner=make_user())
    with pytest.raises(LastOwner):
        leave(membership_of(workspace, alice), actor=Actor.member(alice))


def test_with_a_second_owner_the_first_may_go(workspace: Workspace, alice: User, bob: User) -> None:
    change_role(
        membership_of(workspace, bob), Role.OWNER, by=membership_of(workspace, alice), actor=Actor.member(alice)
    )
    leave(membership_of(workspace, alice), actor=Actor.member(alice))
    assert [m.user for m in workspace.memberships.all()] == [bob]
    events = (
        AuditEvent.objects.filter(workspace=workspace).order_by("id").values_list("action", "target_label", "detail")
    )
    assert list(events) == [
        ("member:role_changed", "bob@example.com", {"from": "admin", "to": "owner"}),
        ("member:removed", "alice@example.com", {"role": "owner", "left": True}),
    ]


def test_the_acting_members_role_is_read_anew(workspace: Workspace, bob: User) -> None:
    stale = membership_of(workspace, bob)
    Membership.objects.filter(pk=stale.pk).update(role=Role.VIEWER)
    target = make_member(workspace, role=Role.EDITOR)
    with pytest.raises(NotAllowed):
        remove_member(target, by=stale, actor=Actor.member(bob))
    Membership.objects.filter(pk=stale.pk).delete()
    with pytest.raises(NotAllowed):
        change_role(target, Role.VIEWER, by=stale, actor=Actor.member(bob))


def test_a_member_of_another_workspace_has_no_reach_here(workspace: Workspace, charlie: User) -> None:
    foreign = Membership.objects.get(user=charlie)
    with pytest.raises(NotAllowed):
        remove_member(make_member(workspace, role=Role.VIEWER), by=foreign, actor=Actor.member(charlie))


def test_the_role_one_has_already_changes_nothing(workspace: Workspace, alice: User, bob: User) -> None:
    change_role(membership_of(workspace, bob), Role.ADMIN, by=membership_of(workspace, alice), actor=OPERATOR)
    assert not AuditEvent.objects.exists()


def test_reach_is_empty_below_admin(workspace: Workspace) -> None:
    reach = {role: roles_within_reach(make_member(workspace, role=role)) for role in Role}
    assert reach[Role.VIEWER] == reach[Role.EDITOR] == []
    assert reach[Role.ADMIN] == [Role.VIEWER, Role.EDITOR, Role.ADMIN]
    assert reach[Role.OWNER] == list(Role)


def test_the_list_says_what_may_be_done_to_whom(
    workspace: Workspace, alice: User, bob: User, member_of: Callable[[Role], User]
) -> None:
    viewer = member_of(Role.VIEWER)
    rows = {row.membership.user: row for row in manage_members(workspace, membership_of(workspace, bob))}
    assert next(iter(rows)) == alice
    assert not rows[alice].removable
    assert rows[viewer].removable
    assert rows[viewer].roles == (Role.VIEWER, Role.EDITOR, Role.ADMIN)
    by_owner = {row.membership.user: row for row in manage_members(workspace, membership_of(workspace, alice))}
    assert not by_owner[alice].removable  # the last owner


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_once_one_stays() -> None:
    first, second = make_user(), make_user()
    workspace = make_workspace(owner=first)
    make_member(workspace, second, Role.OWNER)
    memberships = list(workspace.memberships.all())
    start, outcomes = threading.Barrier(2), []

    def go(membership: Membership) -> None:
        start.wait(timeout=10)
        try:
            leave(membership, actor=OPERATOR)
            outcomes.append("left")
        except LastOwner:
            outcomes.append("stays")
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=(membership,)) for membership in memberships]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(outcomes) == ["left", "stays"]
    assert workspace.memberships.filter(role=Role.OWNER).count() == 1
