"""What operators see and may do: no secret anywhere, no way around the rules, everything recorded."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client

from tests.factories import make_user
from tests.workspaces.conftest import NOW, OPERATOR, membership_of
from workspaces.api_keys import create_api_key
from workspaces.audit import AuditAction, record
from workspaces.models import ApiKey, AuditEvent, Invitation, Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client) -> Client:
    """A browser in which an operator is signed in."""
    client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
    return client


def admin_pages(model: Any, pk: Any) -> list[str]:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return [base, f"{base}{pk}/change/", f"{base}{pk}/history/", f"{base}{pk}/delete/", f"{base}add/"]


def test_operators_sign_in_where_everybody_does(client: Client, db: None) -> None:
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")


def test_members_are_no_operators(as_alice: Client, workspace: Workspace) -> None:
    assert as_alice.get("/admin/", follow=True).status_code == 403
    assert as_alice.get("/admin/workspaces/workspace/", follow=True).status_code == 403


def test_no_secret_is_on_any_page(operator: Client, workspace: Workspace, alice: User) -> None:
    new = create_api_key(workspace, name="CI", scopes=["tokens:read"], actor=OPERATOR, created_by=alice)
    invitation = Invitation.objects.create(
        workspace=workspace, email="d@example.com", role=Role.VIEWER, token_hash="canary-hash", expires_at=NOW
    )
    Authenticator.objects.create(user=alice, type="totp", data={"secret": "canary-totp"})
    event = AuditEvent.objects.first()
    assert event is not None
    rows = [(User, alice.pk), (Workspace, workspace.pk), (Membership, membership_of(workspace, alice).pk)]
    rows += [(ApiKey, new.api_key.pk), (Invitation, invitation.pk), (AuditEvent, event.pk)]
    secrets = [new.key, new.api_key.digest, "canary-hash", "canary-totp", alice.password]
    seen = 0
    for model, pk in rows:
        for path in admin_pages(model, pk):
            answer = operator.get(path)
            assert answer.status_code in (200, 302, 403), path
            seen += answer.status_code == 200
            assert not [secret for secret in secrets if secret in answer.content.decode()], path
    assert seen >= 14


def test_second_factors_sessions_and_confirmation_keys_are_not_there(operator: Client) -> None:
    registered = {model._meta.label for model in admin.site._registry}
    assert not registered & {"mfa.Authenticator", "usersessions.UserSession", "account.EmailConfirmation"}
    assert operator.get("/admin/mfa/authenticator/").status_code == 404


def test_audit_events_are_looked_at_only(operator: Client, workspace: Workspace) -> None:
    event = record(workspace, AuditAction.WORKSPACE_CHANGED, OPERATOR)
    base = "/admin/workspaces/auditevent/"
    assert operator.get(base).status_code == 200
    assert operator.get(f"{base}?q=workspace").status_code == 200
    assert operator.get(f"{base}{event.pk}/change/").status_code == 200
    assert operator.post(f"{base}{event.pk}/change/", {"action": "x"}).status_code == 403
    assert operator.post(f"{base}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{base}add/").status_code == 403
    operator.post(base, {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"})
    assert AuditEvent.objects.get().action == "workspace:changed"


def test_users_and_workspaces_are_not_deleted_or_added_here(
    operator: Client, workspace: Workspace, alice: User
) -> None:
    for model, pk in ((User, alice.pk), (Workspace, workspace.pk)):
        base = f"/admin/workspaces/{model._meta.model_name}/"
        assert operator.get(f"{base}add/").status_code == 403
        assert operator.post(f"{base}{pk}/delete/", {"post": "yes"}).status_code == 403
        operator.post(base, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert User.objects.filter(pk=alice.pk).exists()
    assert Workspace.objects.exists()


def test_a_role_is_changed_by_the_verb_and_recorded(operator: Client, workspace: Workspace, bob: User) -> None:
    membership = membership_of(workspace, bob)
    operator.post(f"/admin/workspaces/membership/{membership.pk}/change/", {"role": "viewer"})
    membership.refresh_from_db()
    assert membership.role == Role.VIEWER
    event = AuditEvent.objects.get()
    assert (event.action, event.actor_kind, event.actor_label) == (
        "member:role_changed",
        "operator",
        "operator@example.com",
    )


def test_the_last_owner_stays_one_here_too(operator: Client, workspace: Workspace, alice: User) -> None:
    membership = membership_of(workspace, alice)
    base = f"/admin/workspaces/membership/{membership.pk}"
    page = operator.post(f"{base}/change/", {"role": "admin"})
    assert "needs an owner" in page.content.decode()
    assert operator.post(f"{base}/delete/", {"post": "yes"}).status_code == 403
    operator.post(
        "/admin/workspaces/membership/",
        {"action": "delete_selected", "_selected_action": [membership.pk], "post": "yes"},
    )
    membership.refresh_from_db()
    assert membership.role == Role.OWNER


def test_adding_and_removing_members_is_recorded(operator: Client, workspace: Workspace) -> None:
    dora = make_user("dora@example.com")
    data = {"workspace": str(workspace.pk), "user": str(dora.pk), "role": "editor"}
    operator.post("/admin/workspaces/membership/add/", data)
    membership = membership_of(workspace, dora)
    operator.post(f"/admin/workspaces/membership/{membership.pk}/delete/", {"post": "yes"})
    assert not workspace.memberships.filter(user=dora).exists()
    actions = AuditEvent.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["member:joined", "member:removed"]


def test_a_workspace_is_changed_by_the_verb(operator: Client, workspace: Workspace) -> None:
    base = f"/admin/workspaces/workspace/{workspace.pk}/change/"
    page = operator.post(base, {"name": "Acme", "return_urls": '["http://evil.example.com/"]'})
    assert "use https" in page.content.decode()
    operator.post(base, {"name": "Acme Inc", "return_urls": '["https://app.example.com/"]', "slug": "stolen"})
    workspace.refresh_from_db()
    assert (workspace.name, workspace.slug) == ("Acme Inc", "acme")
    assert workspace.return_urls == ["https://app.example.com/"]
    assert AuditEvent.objects.get().action == "workspace:changed"


def test_keys_can_be_revoked(operator: Client, workspace: Workspace) -> None:
    new = create_api_key(workspace, name="CI", scopes=["tokens:read"], actor=OPERATOR, created_by=None)
    operator.post("/admin/workspaces/apikey/", {"action": "revoke_selected", "_selected_action": [new.api_key.pk]})
    assert ApiKey.objects.get().revoked_at is not None
    assert AuditEvent.objects.latest("id").actor_label == "operator@example.com"


def test_staff_without_permissions_see_nothing_and_cannot_raise_themselves(
    client: Client, workspace: Workspace
) -> None:
    staff = make_user("staff@example.com", is_staff=True)
    client.force_login(staff)
    assert client.get("/admin/workspaces/workspace/").status_code == 403
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["change_user", "view_user"]))
    data = {"is_superuser": "on", "is_staff": "on", "name": "X", "is_active": "on"}
    client.post(f"/admin/workspaces/user/{staff.pk}/change/", data)
    staff.refresh_from_db()
    assert staff.name == "X"
    assert not staff.is_superuser
