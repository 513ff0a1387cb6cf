"""The life of an invitation: sent, sent again, revoked, accepted once, or expired."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.utils import timezone

from tests.factories import PASSWORD, make_member, make_user
from tests.workspaces.conftest import membership_of
from workspaces.audit import Actor
from workspaces.errors import InvitationGone, InvitationRefused, MailNotSent, NotAllowed
from workspaces.invitations import (
    accept_as_new_person,
    accept_invitation,
    find_invitation,
    invite,
    resend_invitation,
    revoke_invitation,
)
from workspaces.models import AuditEvent, Invitation, Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "seven unlikely words in a row"


def send(
    workspace: Workspace, by: User, email: str = "dora@example.com", role: Role = Role.EDITOR, **options: Any
) -> str:
    """Invite, and return the link's path from the e-mail."""
    invite(workspace, email=email, role=role, by=membership_of(workspace, by), actor=Actor.member(by), **options)
    return link_in(mail.outbox[-1])


def link_in(message: Any) -> str:
    found = re.search(r"http://localhost:8000(/invitations/\S+/)", message.body)
    assert found
    return found[1]


def token_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def test_the_link_goes_to_the_address_and_only_its_hash_is_kept(workspace: Workspace, alice: User) -> None:
    path = send(workspace, alice, "Dora@Example.com")
    (message,) = mail.outbox
    assert message.to == ["dora@example.com"]
    assert message.subject == "[Grantry] Join Acme"
    assert "Alice Ames invites you" in message.body
    invitation = Invitation.objects.get()
    assert token_of(path) not in {str(value) for value in vars(invitation).values()}
    assert invitation.expires_at - invitation.created_at == timedelta(days=7)
    event = AuditEvent.objects.get()
    assert (event.action, event.target_label, event.detail) == (
        "member:invited",
        "dora@example.com",
        {"role": "editor"},
    )


def test_a_name_with_a_line_break_cannot_write_mail_headers(workspace: Workspace, alice: User) -> None:
    workspace.name = "Acme\nBcc: everyone@example.com"
    workspace.save()
    send(workspace, alice)
    assert mail.outbox[0].subject == "[Grantry] Join Acme Bcc: everyone@example.com"
    assert mail.outbox[0].recipients() == ["dora@example.com"]


def test_a_new_person_sets_name_and_password_and_is_in(workspace: Workspace, alice: User, client: Client) -> None:
    path = send(workspace, alice)
    page = client.get(path)
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    assert Membership.objects.count() == 1  # looking changed nothing
    answer = client.post(path, {"name": "Dora Dunn", "password": NEW_PASSWORD})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/w/acme/integrations/"
    dora = User.objects.get(email="dora@example.com")
    assert (dora.name, dora.check_password(NEW_PASSWORD)) == ("Dora Dunn", True)
    assert EmailAddress.objects.get(user=dora).verified
    assert membership_of(workspace, dora).role == Role.EDITOR
    assert client.get("/w/acme/members/").status_code == 200  # signed in
    assert AuditEvent.objects.latest("id").action == "member:joined"


def test_a_link_works_once(workspace: Workspace, alice: User, client: Client) -> None:
    path = send(workspace, alice)
    client.post(path, {"name": "Dora", "password": NEW_PASSWORD})
    again = Client().get(path)
    assert again.status_code == 410
    assert b"no longer valid" in again.content


def test_of_two_acceptances_with_one_link_one_wins(workspace: Workspace, alice: User) -> None:
    token = token_of(send(workspace, alice))
    first, second = find_invitation(token), find_invitation(token)
    accept_as_new_person(first, name="Dora", password=NEW_PASSWORD)
    with pytest.raises(InvitationGone):
        accept_as_new_person(second, name="Mallory", password=NEW_PASSWORD)
    assert User.objects.filter(email="dora@example.com").count() == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "Dora", "password": "short"}, "too short"),
        ({"name": "Dora", "password": "dora@example.com"}, "too similar"),
        ({"name": "Dora", "password": ""}, "required"),
        ({"name": "", "password": NEW_PASSWORD}, "required"),
        ({"name": "x" * 151, "password": NEW_PASSWORD}, "at most 150"),
    ],
)
def test_a_bad_form_leaves_the_invitation_open(
    workspace: Workspace, alice: User, client: Client, data: dict[str, str], words: str
) -> None:
    path = send(workspace, alice)
    answer = client.post(path, data)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert data["password"] == "" or f'value="{data["password"]}"' not in answer.content.decode().replace(
        'value="dora@example.com" autocomplete="username"', ""
    )
    assert Invitation.objects.get().accepted_at is None


def test_someone_with_that_address_signs_in_first_and_then_accepts(
    workspace: Workspace, alice: User, client: Client
) -> None:
    dora = make_user("dora@example.com")
    path = send(workspace, alice)
    page = client.get(path).content.decode()
    assert f"/accounts/login/?next={path}" in page
    assert "password" not in page.lower().replace("/accounts/password", "")
    assert client.post(path, {"name": "Mallory", "password": NEW_PASSWORD}).status_code == 200
    dora.refresh_from_db()
    assert dora.check_password(PASSWORD)  # a link never changes an account
    client.post("/accounts/login/", {"login": "dora@example.com", "password": PASSWORD, "next": path})
    assert client.post(path).headers["Location"] == "/w/acme/integrations/"
    assert membership_of(workspace, dora).role == Role.EDITOR


def test_someone_else_who_is_signed_in_cannot_take_it(
    workspace: Workspace, alice: User, charlie: User, client: Client
) -> None:
    path = send(workspace, alice)
    client.force_login(charlie)
    page = client.post(path)
    assert "dora@example.com" in page.content.decode()
    assert "charlie@example.com" in page.content.decode()
    assert not workspace.memberships.filter(user=charlie).exists()
    with pytest.raises(NotAllowed):
        accept_invitation(find_invitation(token_of(path)), charlie, actor=Actor.member(charlie))


def test_an_unverified_address_is_not_proof_enough(workspace: Workspace, alice: User, charlie: User) -> None:
    EmailAddress.objects.create(user=charlie, email="dora@example.com", verified=False)
    token = token_of(send(workspace, alice))
    with pytest.raises(NotAllowed):
        accept_invitation(find_invitation(token), charlie, actor=Actor.member(charlie))


def test_a_member_who_accepts_keeps_the_role_they_have(workspace: Workspace, alice: User) -> None:
    token = token_of(send(workspace, alice, role=Role.VIEWER))
    dora = make_user("dora@example.com")
    make_member(workspace, dora, Role.ADMIN)
    membership = accept_invitation(find_invitation(token), dora, actor=Actor.member(dora))
    assert membership.role == Role.ADMIN


def test_it_expires_after_seven_days(workspace: Workspace, alice: User) -> None:
    token = token_of(send(workspace, alice, now=timezone.now() - timedelta(days=6, hours=23)))
    assert find_invitation(token)
    with pytest.raises(InvitationGone):
        find_invitation(token, now=timezone.now() + timedelta(hours=2))


def test_an_expired_one_does_not_stand_in_the_way_of_a_new_one(workspace: Workspace, alice: User) -> None:
    send(workspace, alice, now=timezone.now() - timedelta(days=8))
    send(workspace, alice)
    assert Invitation.objects.count() == 1


def test_an_open_one_does(workspace: Workspace, alice: User) -> None:
    send(workspace, alice)
    with pytest.raises(InvitationRefused, match="open invitation"):
        send(workspace, alice, "DORA@example.com")
    assert len(mail.outbox) == 1


def test_sending_again_replaces_the_link(workspace: Workspace, alice: User) -> None:
    old = token_of(send(workspace, alice))
    resend_invitation(Invitation.objects.get(), by=membership_of(workspace, alice), actor=Actor.member(alice))
    new = token_of(link_in(mail.outbox[-1]))
    with pytest.raises(InvitationGone):
        find_invitation(old)
    assert find_invitation(new)


def test_a_resend_between_page_and_button_stops_the_old_link(workspace: Workspace, alice: User) -> None:
    shown = find_invitation(token_of(send(workspace, alice)))
    resend_invitation(Invitation.objects.get(), by=membership_of(workspace, alice), actor=Actor.member(alice))
    with pytest.raises(InvitationGone):
        accept_as_new_person(shown, name="Dora", password=NEW_PASSWORD)


def test_a_revoked_one_is_gone(workspace: Workspace, alice: User, client: Client) -> None:
    path = send(workspace, alice)
    revoke_invitation(Invitation.objects.get(), by=membership_of(workspace, alice), actor=Actor.member(alice))
    assert client.get(path).status_code == 410
    assert AuditEvent.objects.latest("id").action == "member:invitation_revoked"


def test_an_accepted_one_can_neither_be_revoked_nor_sent_again(workspace: Workspace, alice: User) -> None:
    invitation = find_invitation(token_of(send(workspace, alice)))
    accept_as_new_person(invitation, name="Dora", password=NEW_PASSWORD)
    by = membership_of(workspace, alice)
    with pytest.raises(InvitationGone):
        revoke_invitation(invitation, by=by, actor=Actor.member(alice))
    with pytest.raises(InvitationGone):
        resend_invitation(invitation, by=by, actor=Actor.member(alice))


@pytest.mark.parametrize("token", ["x", "x" * 43, "x" * 5000, "%00", "ü", "..%2f"])
def test_made_up_links_are_gone_and_not_errors(token: str, client: Client, db: None) -> None:
    assert client.get(f"/invitations/{token}/").status_code in (404, 410)


def test_a_member_is_not_invited_again(workspace: Workspace, alice: User, bob: User) -> None:
    with pytest.raises(InvitationRefused, match="member already"):
        send(workspace, alice, "BOB@example.com")


@pytest.mark.parametrize("address", ["not an address", "a@b", "", "dora@example.com\nbcc: x@example.com"])
def test_a_bad_address_is_refused(workspace: Workspace, alice: User, address: str) -> None:
    with pytest.raises(InvitationRefused, match="valid e-mail"):
        send(workspace, alice, address)


@pytest.mark.parametrize(
    ("acting", "role", "may"),
    [
        (Role.VIEWER, Role.VIEWER, False),
        (Role.EDITOR, Role.VIEWER, False),
        (Role.ADMIN, Role.ADMIN, True),
        (Role.ADMIN, Role.OWNER, False),
        (Role.OWNER, Role.OWNER, True),
    ],
)
def test_nobody_invites_beyond_their_reach(
    workspace: Workspace, member_of: Callable[[Role], User], acting: Role, role: Role, may: bool
) -> None:
    if may:
        send(workspace, member_of(acting), role=role)
        return
    with pytest.raises(NotAllowed):
        send(workspace, member_of(acting), role=role)
    assert not mail.outbox


@pytest.mark.parametrize("fate", ["removed", "demoted", "deactivated"])
def test_an_invitation_does_not_outlive_its_inviters_power(workspace: Workspace, bob: User, fate: str) -> None:
    token = token_of(send(workspace, bob))
    shown = find_invitation(token)
    if fate == "removed":
        membership_of(workspace, bob).delete()
    elif fate == "demoted":
        workspace.memberships.filter(user=bob).update(role=Role.EDITOR)
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(InvitationGone):
        find_invitation(token)
    with pytest.raises(InvitationGone):
        accept_as_new_person(shown, name="Dora", password=NEW_PASSWORD)
    assert Invitation.objects.get().accepted_at is None  # rolled back
    assert not User.objects.filter(email="dora@example.com").exists()


def test_when_mail_fails_the_invitation_stands_and_says_so(
    workspace: Workspace, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> int:
        raise SMTPServerDisconnected("gone")

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)
    answer = as_alice.post("/w/acme/members/invite/", {"email": "dora@example.com", "role": "editor"})
    assert answer.status_code == 422
    assert "could not be sent" in answer.content.decode()
    assert Invitation.objects.count() == 1
    with pytest.raises(MailNotSent):
        resend_invitation(Invitation.objects.get(), by=Membership.objects.get(), actor=Actor.operator())


def test_nobody_signs_up_without_an_invitation(client: Client, db: None) -> None:
    data = {"email": "mallory@example.com", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.get("/accounts/signup/").status_code == 200
    client.post("/accounts/signup/", data)
    assert not User.objects.exists()
