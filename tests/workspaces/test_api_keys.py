"""The life of an API key: shown once, compared by digest, bound to its creator's role, rolled, revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import make_user, make_workspace
from tests.workspaces.conftest import NOW, OPERATOR, membership_of
from workspaces.api_keys import (
    NewApiKey,
    authenticate,
    create_api_key,
    effective_scopes,
    list_api_keys,
    revoke_api_key,
    roll_api_key,
    scopes_for,
)
from workspaces.audit import Actor
from workspaces.errors import KeyNotUsable, KeyRefused
from workspaces.members import remove_member
from workspaces.models import ApiKey, AuditEvent, User, Workspace
from workspaces.roles import KeyScope, Role

pytestmark = pytest.mark.django_db


def make_key(workspace: Workspace, by: User | None, *scopes: str, **options: Any) -> NewApiKey:
    return create_api_key(
        workspace,
        name=options.pop("name", "CI"),
        scopes=scopes or ("tokens:read", "connections:read", "connections:write"),
        actor=Actor.member(by) if by else OPERATOR,
        created_by=by,
        **{"now": NOW, **options},
    )


def test_the_key_is_known_once_and_stored_as_a_digest(workspace: Workspace, alice: User) -> None:
    new = make_key(workspace, alice)
    _gr, prefix, secret = new.key.split("_")
    stored = ApiKey.objects.values().get()
    assert stored["prefix"] == prefix
    assert stored["digest"] == hashlib.sha256(new.key.encode()).hexdigest()
    assert secret not in str(stored)
    assert secret not in repr(new)
    assert len(secret) == 40
    assert secret not in str(AuditEvent.objects.values().get())


def test_it_opens_its_own_workspace(workspace: Workspace, alice: User) -> None:
    new = make_key(workspace, alice)
    found = authenticate(new.key, NOW)
    assert found == new.api_key
    assert found is not None
    assert found.workspace == workspace
    assert effective_scopes(found) == {
        KeyScope.TOKENS_READ,
        KeyScope.CONNECTIONS_READ,
        KeyScope.CONNECTIONS_WRITE,
    }


def test_knowing_a_key_takes_one_query_and_the_first_use_one_write(
    workspace: Workspace, alice: User, django_assert_num_queries: Any
) -> None:
    new = make_key(workspace, alice)
    with django_assert_num_queries(2):
        authenticate(new.key, NOW)
    with django_assert_num_queries(1):
        found = authenticate(new.key, NOW + timedelta(seconds=30))
        assert found is not None
        effective_scopes(found)
        assert found.workspace.slug == "acme"


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
        lambda key: key + "a",
        lambda key: key.upper(),
        lambda key: key.replace("gr_", "GR_"),
        lambda key: key.replace("gr_", ""),
        lambda key: f" {key}",
        lambda key: f"{key}\n",
        lambda key: key.replace(key.split("_")[1], "a" * 10),  # an unknown prefix
        lambda _key: "",
        lambda _key: "gr__",
        lambda _key: "gr_" + "x" * 100_000,
        lambda _key: "gr_üüüüüüüüüü_" + "x" * 40,
        lambda _key: "\x00",
    ],
)
def test_anything_else_opens_nothing(workspace: Workspace, alice: User, change: Callable[[str], str]) -> None:
    assert authenticate(change(make_key(workspace, alice).key), NOW) is None


def test_it_ends_at_its_expiry(workspace: Workspace, alice: User) -> None:
    key = make_key(workspace, alice, expires_at=NOW + timedelta(hours=1)).key
    assert authenticate(key, NOW + timedelta(minutes=59))
    assert authenticate(key, NOW + timedelta(hours=1)) is None


def test_a_revoked_key_stops_at_once(workspace: Workspace, alice: User) -> None:
    new = make_key(workspace, alice)
    revoke_api_key(new.api_key, actor=Actor.member(alice))
    revoke_api_key(new.api_key, actor=Actor.member(alice))  # twice is harmless
    assert authenticate(new.key, NOW) is None
    assert AuditEvent.objects.filter(action="api_key:revoked").count() == 1


def test_a_demoted_creators_key_may_do_what_the_creator_may(workspace: Workspace, bob: User) -> None:
    new = make_key(workspace, bob, "tokens:read", "connections:write", "integrations:read")
    workspace.memberships.filter(user=bob).update(role=Role.EDITOR)
    found = authenticate(new.key, NOW)
    assert found is not None
    assert effective_scopes(found) == {KeyScope.CONNECTIONS_WRITE, KeyScope.INTEGRATIONS_READ}
    assert effective_scopes(ApiKey.objects.get()) == effective_scopes(found)  # loaded another way
    workspace.memberships.filter(user=bob).update(role=Role.ADMIN)
    assert KeyScope.TOKENS_READ in effective_scopes(ApiKey.objects.get())


def test_a_removed_creators_key_stops_at_the_next_request(workspace: Workspace, bob: User) -> None:
    new = make_key(workspace, bob)
    remove_member(membership_of(workspace, bob), by=None, actor=OPERATOR)
    assert authenticate(new.key, NOW) is None
    assert effective_scopes(ApiKey.objects.get()) == frozenset()


def test_a_deactivated_or_deleted_creators_key_stops(workspace: Workspace, bob: User) -> None:
    new = make_key(workspace, bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert authenticate(new.key, NOW) is None
    bob.delete()
    assert authenticate(new.key, NOW) is None
    assert ApiKey.objects.get().created_by is None


def test_a_creators_role_elsewhere_does_not_count(workspace: Workspace, bob: User, charlie: User) -> None:
    new = make_key(workspace, bob)
    workspace.memberships.filter(user=bob).delete()
    elsewhere = charlie.memberships.get().workspace
    elsewhere.memberships.create(user=bob, role=Role.OWNER)
    assert authenticate(new.key, NOW) is None


def test_an_operators_key_has_no_creator_and_works(workspace: Workspace) -> None:
    found = authenticate(make_key(workspace, None, *KeyScope).key, NOW)
    assert found is not None
    assert effective_scopes(found) == frozenset(KeyScope)


def test_the_last_use_is_written_at_most_once_a_minute(workspace: Workspace, alice: User) -> None:
    key = make_key(workspace, alice).key

    def last_use() -> Any:
        return ApiKey.objects.get().last_used_at

    assert last_use() is None
    authenticate(key, NOW)
    assert last_use() == NOW
    authenticate(key, NOW + timedelta(seconds=59))
    assert last_use() == NOW
    authenticate(key, NOW + timedelta(seconds=60))
    assert last_use() == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("scopes", "options", "words"),
    [
        (["tokens:write"], {}, "Unknown scope"),
        ([], {}, "at least one scope"),
        (["tokens:read"], {"name": "  "}, "needs a name"),
        (["tokens:read"], {"name": "x" * 101}, "at most 100"),
        (["tokens:read"], {"expires_at": NOW}, "in the future"),
    ],
)
def test_a_bad_key_is_refused_in_words(
    workspace: Workspace, alice: User, scopes: list[str], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(KeyRefused, match=words):
        create_api_key(
            workspace,
            **{
                "name": "CI",
                "scopes": scopes,
                "actor": Actor.member(alice),
                "created_by": alice,
                "now": NOW,
                **options,
            },
        )
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR])
def test_below_admin_nobody_makes_keys(workspace: Workspace, member_of: Callable[[Role], User], role: Role) -> None:
    with pytest.raises(KeyRefused, match="role"):
        make_key(workspace, member_of(role), "integrations:read")


def test_an_outsider_makes_no_key(workspace: Workspace, charlie: User) -> None:
    with pytest.raises(KeyRefused):
        make_key(workspace, charlie, "integrations:read")


def test_scopes_on_offer_follow_the_role() -> None:
    assert scopes_for(Role.VIEWER) == [KeyScope.INTEGRATIONS_READ, KeyScope.CONNECTIONS_READ, KeyScope.MCP_READ]
    assert scopes_for(Role.ADMIN) == list(KeyScope)


def test_rolling_gives_a_new_key_and_lets_the_old_one_overlap(workspace: Workspace, alice: User, bob: User) -> None:
    old = make_key(workspace, bob, expires_at=NOW + timedelta(days=90))
    later = NOW + timedelta(days=30)
    new = roll_api_key(old.api_key, timedelta(hours=1), actor=Actor.member(alice), created_by=alice, now=later)
    assert new.api_key.name == old.api_key.name
    assert new.api_key.scopes == old.api_key.scopes
    assert new.api_key.created_by == alice
    assert new.api_key.expires_at == later + timedelta(days=90)  # the same lifetime, begun anew
    assert authenticate(old.key, later + timedelta(minutes=59))
    assert authenticate(old.key, later + timedelta(hours=1)) is None
    assert authenticate(new.key, later + timedelta(hours=1))


def test_rolling_without_overlap_stops_the_old_key(workspace: Workspace, alice: User) -> None:
    old = make_key(workspace, alice)
    roll_api_key(old.api_key, timedelta(0), actor=Actor.member(alice), created_by=alice, now=NOW)
    assert authenticate(old.key, NOW) is None


def test_an_overlap_never_prolongs_the_old_key(workspace: Workspace, alice: User) -> None:
    old = make_key(workspace, alice, expires_at=NOW + timedelta(hours=1))
    roll_api_key(old.api_key, timedelta(days=7), actor=Actor.member(alice), created_by=alice, now=NOW)
    old.api_key.refresh_from_db()
    assert old.api_key.expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_an_ended_key_is_not_rolled(workspace: Workspace, alice: User, end: str) -> None:
    new = make_key(workspace, alice, expires_at=NOW + timedelta(hours=1))
    if end == "revoked":
        revoke_api_key(new.api_key, actor=Actor.member(alice))
    later = NOW + timedelta(hours=2)
    with pytest.raises(KeyNotUsable):
        roll_api_key(new.api_key, timedelta(0), actor=Actor.member(alice), created_by=alice, now=later)
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_overlaps_have_bounds(workspace: Workspace, alice: User, overlap: timedelta) -> None:
    new = make_key(workspace, alice)
    with pytest.raises(KeyRefused):
        roll_api_key(new.api_key, overlap, actor=Actor.member(alice), created_by=alice, now=NOW)


def test_the_list_costs_one_query_and_stays_in_its_workspace(
    workspace: Workspace, alice: User, charlie: User, django_assert_num_queries: Any
) -> None:
    for number in range(3):
        make_key(workspace, alice, name=f"key {number}", now=timezone.now() + timedelta(seconds=number))
    make_key(charlie.memberships.get().workspace, charlie, name="theirs")
    with django_assert_num_queries(1):
        listed = [(key.name, key.created_by.email, effective_scopes(key)) for key in list_api_keys(workspace)]
    assert [name for name, _email, _scopes in listed] == ["key 2", "key 1", "key 0"]


def test_keys_differ() -> None:
    user = make_user()
    workspace = make_workspace(owner=user)
    assert len({make_key(workspace, user).key for _ in range(20)}) == 20


def test_scopes_without_a_call_are_accepted_but_not_offered(
    as_alice: Client, workspace: Workspace, alice: User
) -> None:
    page = as_alice.get(f"/w/{workspace.slug}/api-keys/new/").content.decode()
    assert 'value="tokens:read"' in page
    assert 'value="proxy:use"' not in page
    made = create_api_key(
        workspace, name="later", scopes=[KeyScope.PROXY_USE], actor=Actor.member(alice), created_by=alice
    )
    assert effective_scopes(made.api_key) == {KeyScope.PROXY_USE}
