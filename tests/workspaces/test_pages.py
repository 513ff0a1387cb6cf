"""Every page of tenancy, for everyone who may come by: each role, an outsider, and nobody in particular."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import make_member, make_user, make_workspace
from tests.workspaces.conftest import NOW, OPERATOR, membership_of
from workspaces.api_keys import authenticate, create_api_key, effective_scopes
from workspaces.models import ApiKey, AuditEvent, Invitation, Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db

# Path (with ids filled in) → status of GET for viewer, editor, admin, owner. 405: only POST is taken there.
GET_STATUS = {
    "members/": (200, 200, 200, 200),
    "members/invite/": (405, 405, 405, 405),
    "members/leave/": (200, 200, 200, 200),
    "members/{membership}/role/": (405, 405, 405, 405),
    "members/{membership}/remove/": (403, 403, 200, 200),
    "members/invitations/{invitation}/resend/": (405, 405, 405, 405),
    "members/invitations/{invitation}/revoke/": (403, 403, 200, 200),
    "api-keys/": (200, 200, 200, 200),
    "api-keys/new/": (403, 403, 200, 200),
    "api-keys/{key}/roll/": (403, 403, 200, 200),
    "api-keys/{key}/revoke/": (403, 403, 200, 200),
    "audit/": (200, 200, 200, 200),
    "audit/export/": (403, 403, 200, 200),
    "settings/": (200, 200, 200, 200),
}
# The same for POST with a form that says what is needed.
POST_STATUS = {
    "members/": (405, 405, 405, 405),
    "members/invite/": (403, 403, 302, 302),
    "members/leave/": (302, 302, 302, 302),  # the last owner is sent back with a message
    "members/{membership}/role/": (403, 403, 302, 302),
    "members/{membership}/remove/": (403, 403, 302, 302),
    "members/invitations/{invitation}/resend/": (403, 403, 302, 302),
    "members/invitations/{invitation}/revoke/": (403, 403, 302, 302),
    "api-keys/": (405, 405, 405, 405),
    "api-keys/new/": (403, 403, 200, 200),
    "api-keys/{key}/roll/": (403, 403, 200, 200),
    "api-keys/{key}/revoke/": (403, 403, 302, 302),
    "audit/": (405, 405, 405, 405),
    "audit/export/": (405, 405, 405, 405),
    "settings/": (403, 403, 302, 302),
}
FORM = {
    "email": "dora@example.com",
    "role": "viewer",
    "name": "Renamed",
    "scopes": "tokens:read",
    "expires": "90",
    "overlap": "0",
    "return_urls": "",
}


@pytest.fixture
def ids(workspace: Workspace, alice: User) -> dict[str, str]:
    """One row of each kind in Alice's workspace."""
    new = create_api_key(workspace, name="CI", scopes=["tokens:read"], actor=OPERATOR, created_by=None)
    invitation = Invitation.objects.create(
        workspace=workspace,
        email="open@example.com",
        role=Role.VIEWER,
        token_hash="x",
        invited_by=alice,
        expires_at=timezone.now() + timedelta(days=1),
    )
    target = make_member(workspace, make_user("target@example.com"), Role.EDITOR)
    return {"membership": str(target.pk), "invitation": str(invitation.pk), "key": str(new.api_key.pk)}


def fingerprint() -> list[Any]:
    """Everything that a refused request must leave as it was."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Workspace, Membership, Invitation, ApiKey, User, AuditEvent)
    ]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", GET_STATUS)
def test_looking(workspace: Workspace, ids: dict[str, str], alice: User, client: Client, path: str, role: Role) -> None:
    client.force_login(alice if role == Role.OWNER else make_member(workspace, role=role).user)
    answer = client.get("/w/acme/" + path.format(**ids))
    assert answer.status_code == GET_STATUS[path][role.rank]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", POST_STATUS)
def test_acting(workspace: Workspace, ids: dict[str, str], alice: User, client: Client, path: str, role: Role) -> None:
    client.force_login(alice if role == Role.OWNER else make_member(workspace, role=role).user)
    before = fingerprint()
    answer = client.post("/w/acme/" + path.format(**ids), FORM)
    expected = POST_STATUS[path][role.rank]
    assert answer.status_code == expected
    if expected in (403, 405):
        assert fingerprint() == before


@pytest.mark.parametrize("path", GET_STATUS)
def test_an_outsider_finds_nothing_and_changes_nothing(
    workspace: Workspace, ids: dict[str, str], charlie: User, client: Client, path: str
) -> None:
    client.force_login(charlie)
    before = fingerprint()
    url = "/w/acme/" + path.format(**ids)
    assert {client.get(url).status_code, client.post(url, FORM).status_code} <= {404, 405}
    assert client.post(url, FORM).status_code == (405 if POST_STATUS[path][0] == 405 else 404)
    # …nor through a workspace of their own with the ids of this one.
    theirs = "/w/other/" + path.format(**ids)
    if "{" in path:
        assert {client.get(theirs).status_code, client.post(theirs, FORM).status_code} <= {404, 405}
        assert 404 in {client.get(theirs).status_code, client.post(theirs, FORM).status_code}
    assert fingerprint() == before


@pytest.mark.parametrize("path", GET_STATUS)
def test_nobody_in_particular_is_sent_to_sign_in(
    workspace: Workspace, ids: dict[str, str], client: Client, path: str
) -> None:
    before = fingerprint()
    url = "/w/acme/" + path.format(**ids)
    for answer in (client.get(url), client.post(url, FORM), client.get("/w/no-such-workspace/members/")):
        assert answer.status_code == 405 or answer.headers["Location"].startswith("/accounts/login/?next=")
    assert fingerprint() == before


def test_a_removed_member_stops_at_the_next_request(workspace: Workspace, bob: User, client: Client) -> None:
    client.force_login(bob)
    assert client.get("/w/acme/members/").status_code == 200
    membership_of(workspace, bob).delete()
    assert client.get("/w/acme/members/").status_code == 404
    assert client.get("/").status_code == 200  # "no workspace yet"


def test_a_deactivated_member_stops_at_the_next_request(workspace: Workspace, bob: User, client: Client) -> None:
    client.force_login(bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert client.get("/w/acme/members/").headers["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", [path for path, statuses in POST_STATUS.items() if statuses[3] != 405])
def test_a_form_from_another_site_changes_nothing(
    workspace: Workspace, ids: dict[str, str], alice: User, path: str
) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    before = fingerprint()
    assert browser.post("/w/acme/" + path.format(**ids), FORM).status_code == 403
    assert fingerprint() == before


# --- home ------------------------------------------------------------------------------------------------


def test_home_leads_to_the_workspace_last_visited(alice: User, workspace: Workspace, as_alice: Client) -> None:
    make_workspace("AAA first by name", owner=alice, slug="first")
    assert as_alice.get("/").headers["Location"] == "/w/first/integrations/"
    as_alice.get("/w/acme/members/")
    assert as_alice.get("/").headers["Location"] == "/w/acme/integrations/"
    workspace.memberships.filter(user=alice).delete()
    assert as_alice.get("/").headers["Location"] == "/w/first/integrations/"


def test_home_without_a_workspace_says_what_to_do(client: Client) -> None:
    client.force_login(make_user("lone@example.com"))
    page = client.get("/").content.decode()
    assert "lone@example.com" in page
    assert "invitation" in page


def test_home_asks_strangers_to_sign_in(client: Client, db: None) -> None:
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"


def test_the_list_of_workspaces_shows_ones_own(workspace: Workspace, charlie: User, as_alice: Client) -> None:
    page = as_alice.get("/workspaces/").content.decode()
    assert "/w/acme/integrations/" in page
    assert "/w/other/" not in page


# --- members ---------------------------------------------------------------------------------------------


def test_an_admin_invites_sends_again_and_revokes(workspace: Workspace, bob: User, client: Client) -> None:
    client.force_login(bob)
    client.post("/w/acme/members/invite/", {"email": "dora@example.com", "role": "editor"})
    invitation = Invitation.objects.get()
    page = client.get("/w/acme/members/").content.decode()
    assert "Invitation sent to dora@example.com." in page
    base = f"/w/acme/members/invitations/{invitation.pk}"
    assert "dora@example.com" in client.get(f"{base}/revoke/").content.decode()
    client.post(f"{base}/resend/")
    client.post(f"{base}/revoke/")
    assert not Invitation.objects.exists()


def test_an_admin_is_not_offered_to_name_owners_and_cannot(workspace: Workspace, bob: User, client: Client) -> None:
    client.force_login(bob)
    page = client.get("/w/acme/members/").content.decode()
    assert '<option value="owner"' not in page
    answer = client.post("/w/acme/members/invite/", {"email": "dora@example.com", "role": "owner"})
    assert answer.status_code == 422
    mine = membership_of(workspace, bob)
    assert client.post(f"/w/acme/members/{mine.pk}/role/", {"role": "owner"}).status_code == 403
    owner = Membership.objects.get(workspace=workspace, role=Role.OWNER)
    assert client.post(f"/w/acme/members/{owner.pk}/role/", {"role": "viewer"}).status_code == 403
    assert client.post(f"/w/acme/members/{owner.pk}/remove/").status_code == 403
    assert not Invitation.objects.exists()
    assert Membership.objects.get(pk=owner.pk).role == Role.OWNER


def test_a_bad_address_comes_back_with_the_form(workspace: Workspace, as_alice: Client) -> None:
    answer = as_alice.post("/w/acme/members/invite/", {"email": "not an address", "role": "editor"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="not an address"' in page
    assert "valid email address" in page


def test_an_unknown_role_is_refused(workspace: Workspace, bob: User, as_alice: Client) -> None:
    mine = membership_of(workspace, bob)
    as_alice.post(f"/w/acme/members/{mine.pk}/role/", {"role": "emperor"})
    mine.refresh_from_db()
    assert mine.role == Role.ADMIN


def test_viewers_see_members_but_neither_invitations_nor_controls(
    workspace: Workspace, ids: dict[str, str], client: Client
) -> None:
    client.force_login(make_member(workspace, role=Role.VIEWER).user)
    page = client.get("/w/acme/members/").content.decode()
    assert "target@example.com" in page
    assert "open@example.com" not in page
    assert "<select" not in page
    assert "/remove/" not in page


def test_the_last_owner_is_told_why_not(workspace: Workspace, as_alice: Client) -> None:
    assert "only owner" in as_alice.get("/w/acme/members/leave/").content.decode()
    page = as_alice.post("/w/acme/members/leave/", follow=True).content.decode()
    assert "needs an owner" in page


def test_leaving(workspace: Workspace, bob: User, client: Client) -> None:
    client.force_login(bob)
    page = client.post("/w/acme/members/leave/", follow=True).content.decode()
    assert "You left Acme." in page
    assert not workspace.memberships.filter(user=bob).exists()


# --- API keys --------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_never_again(workspace: Workspace, as_alice: Client) -> None:
    answer = as_alice.post(
        "/w/acme/api-keys/new/", {"name": "CI", "scopes": ["tokens:read", "audit:read"], "expires": "30"}
    )
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    found = re.search(r"gr_[a-z0-9]{10}_[A-Za-z0-9]{40}", answer.content.decode())
    assert found
    api_key = authenticate(found[0], timezone.now())
    assert api_key is not None
    assert effective_scopes(api_key) == {"tokens:read", "audit:read"}
    assert api_key.expires_at is not None
    assert timedelta(days=29) < api_key.expires_at - timezone.now() <= timedelta(days=30)
    for path in ("api-keys/", f"api-keys/{api_key.pk}/roll/", f"api-keys/{api_key.pk}/revoke/", "audit/"):
        assert found[0] not in as_alice.get(f"/w/acme/{path}").content.decode()
    assert api_key.prefix in as_alice.get("/w/acme/api-keys/").content.decode()


def test_never_is_a_choice_of_expiry(workspace: Workspace, as_alice: Client) -> None:
    as_alice.post("/w/acme/api-keys/new/", {"name": "CI", "scopes": ["tokens:read"], "expires": "never"})
    assert ApiKey.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "required"),
        ({"name": "   "}, "required"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["tokens:write"]}, "not one of the available choices"),
        ({"expires": "36500"}, "not one of the available choices"),
    ],
)
def test_a_bad_key_form_comes_back(workspace: Workspace, as_alice: Client, change: dict[str, Any], words: str) -> None:
    data = {"name": "CI", "scopes": ["tokens:read"], "expires": "30", **change}
    answer = as_alice.post("/w/acme/api-keys/new/", data)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_rolling_shows_the_new_key_and_when_the_old_one_stops(
    workspace: Workspace, ids: dict[str, str], as_alice: Client
) -> None:
    answer = as_alice.post(f"/w/acme/api-keys/{ids['key']}/roll/", {"overlap": "86400"})
    assert re.search(r"gr_[a-z0-9]{10}_[A-Za-z0-9]{40}", answer.content.decode())
    old = ApiKey.objects.get(pk=ids["key"])
    assert old.expires_at is not None
    assert old.prefix in answer.content.decode()


def test_a_revoked_key_moves_down_and_cannot_be_rolled(
    workspace: Workspace, ids: dict[str, str], as_alice: Client
) -> None:
    as_alice.post(f"/w/acme/api-keys/{ids['key']}/revoke/")
    page = as_alice.get("/w/acme/api-keys/").content.decode()
    assert "Revoked and expired" in page
    answer = as_alice.post(f"/w/acme/api-keys/{ids['key']}/roll/", {"overlap": "0"})
    assert answer.status_code == 422
    assert "revoked or has expired" in answer.content.decode()


def test_the_list_says_when_a_creator_is_gone(workspace: Workspace, bob: User, as_alice: Client) -> None:
    create_api_key(workspace, name="Bob's", scopes=["tokens:read"], actor=OPERATOR, created_by=bob)
    membership_of(workspace, bob).delete()
    assert "its creator is no member" in as_alice.get("/w/acme/api-keys/").content.decode()


def test_viewers_see_keys_without_controls(workspace: Workspace, ids: dict[str, str], client: Client) -> None:
    client.force_login(make_member(workspace, role=Role.VIEWER).user)
    page = client.get("/w/acme/api-keys/").content.decode()
    assert "CI" in page
    assert "/revoke/" not in page
    assert ApiKey.objects.get().digest not in page


# --- settings --------------------------------------------------------------------------------------------


def test_settings_are_saved(workspace: Workspace, as_alice: Client) -> None:
    lines = "https://app.example.com/done\r\n\r\nhttp://localhost:3000/\r\n"
    as_alice.post("/w/acme/settings/", {"name": "Acme Inc", "return_urls": lines})
    workspace.refresh_from_db()
    assert workspace.name == "Acme Inc"
    assert workspace.return_urls == ["https://app.example.com/done", "http://localhost:3000/"]
    page = as_alice.get("/w/acme/settings/").content.decode()
    assert "https://app.example.com/done\nhttp://localhost:3000/" in page


def test_a_bad_return_url_is_named_and_nothing_is_saved(workspace: Workspace, as_alice: Client) -> None:
    data = {"name": "Acme Inc", "return_urls": "https://good.example.com/\nhttp://evil.example.com/"}
    answer = as_alice.post("/w/acme/settings/", data)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "http://evil.example.com/: use https" in page
    assert "https://good.example.com/" in page  # nothing that was typed is lost
    workspace.refresh_from_db()
    assert workspace.name == "Acme"


def test_viewers_see_the_settings_as_text(workspace: Workspace, client: Client) -> None:
    Workspace.objects.update(return_urls=["https://app.example.com/done"])
    client.force_login(make_member(workspace, role=Role.VIEWER).user)
    page = client.get("/w/acme/settings/").content.decode()
    assert "https://app.example.com/done" in page
    assert "<textarea" not in page


@pytest.mark.parametrize("path", ["", *[path for path in GET_STATUS if "{" not in path and GET_STATUS[path][3] == 200]])
def test_pages_keep_to_the_strict_policy(workspace: Workspace, as_alice: Client, path: str) -> None:
    answer = as_alice.get(f"/w/acme/{path}" if path else "/workspaces/")
    if answer.headers["Content-Type"].startswith("text/csv"):
        return
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    page = answer.content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", page)
    assert page.count("<h1") == 1


def test_names_are_shown_as_text(workspace: Workspace, bob: User, as_alice: Client) -> None:
    User.objects.filter(pk=bob.pk).update(name="<script>x</script>")
    Workspace.objects.update(name="<img src=x>")
    create_api_key(workspace, name="<svg>", scopes=["tokens:read"], actor=OPERATOR, created_by=None, now=NOW)
    for path in ("members/", "api-keys/", "audit/", "settings/"):
        page = as_alice.get(f"/w/acme/{path}").content.decode()
        assert "<script>x" not in page
        assert "<img src=x" not in page
        assert "<svg>" not in page
