"""People in each role, and browsers in which they are signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from tests.factories import make_member, make_user
from workspaces.audit import Actor
from workspaces.models import Membership, User, Workspace
from workspaces.roles import Role

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPERATOR = Actor.operator()


@pytest.fixture
def member_of(workspace: Workspace) -> Callable[[Role], User]:
    """Makes (once) a member of Alice's workspace with a role; the owner is Alice."""

    def find_or_make(role: Role) -> User:
        found = Membership.objects.filter(workspace=workspace, role=role).first()
        return found.user if found else make_member(workspace, make_user(f"{role.value}@example.com"), role).user

    return find_or_make


@pytest.fixture
def browser_of(db: None) -> Callable[[User | None], Client]:
    """A browser in which someone is signed in, or nobody."""

    def open_browser(user: User | None, **options: object) -> Client:
        client = Client(**options)
        if user is not None:
            client.force_login(user)
        return client

    return open_browser


def membership_of(workspace: Workspace, user: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=user)
