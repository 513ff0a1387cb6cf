"""Members: who is in, who is invited, and what they may do."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspaces import invitations, members
from workspaces.access import workspace_view
from workspaces.audit import Actor
from workspaces.errors import NotAllowed, WorkspaceError
from workspaces.forms import InviteForm, RoleForm
from workspaces.http import WorkspaceRequest
from workspaces.models import Invitation, Membership
from workspaces.rate_limits import hit
from workspaces.roles import Permission, Role

INVITATIONS_PER_HOUR = 30  # of one workspace: mails go to addresses that anyone may type


@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def member_list(request: WorkspaceRequest) -> HttpResponse:
    """Everyone in the workspace, and open invitations for those who may manage them."""
    return _render_list(request)


@require_POST
@workspace_view(Permission.MEMBER_MANAGE)
def invite(request: WorkspaceRequest) -> HttpResponse:
    """Send an invitation."""
    form = _invite_form(request, request.POST)
    if not form.is_valid():
        return _render_list(request, form, status=422)
    email = form.cleaned_data["email"]
    try:
        hit("invite", str(request.workspace.pk), limit=INVITATIONS_PER_HOUR, seconds=3600)
        invitations.invite(
            request.workspace,
            email=email,
            role=form.cleaned_data["role"],
            by=request.membership,
            actor=_actor(request),
        )
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except WorkspaceError as error:
        form.add_error(None, str(error))
        return _render_list(request, form, status=422)
    messages.success(request, f"Invitation sent to {email}.")
    return _back(request)


@require_POST
@workspace_view(Permission.MEMBER_MANAGE)
def resend_invitation(request: WorkspaceRequest, invitation_id: uuid.UUID) -> HttpResponse:
    """Send the e-mail again with a new link."""
    invitation = _open_invitation(request, invitation_id)

    def send() -> str:
        hit("invite", str(request.workspace.pk), limit=INVITATIONS_PER_HOUR, seconds=3600)
        invitations.resend_invitation(invitation, by=request.membership, actor=_actor(request))
        return f"Invitation sent to {invitation.email} again. The earlier link no longer works."

    return _do(request, send)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.MEMBER_MANAGE)
def revoke_invitation(request: WorkspaceRequest, invitation_id: uuid.UUID) -> HttpResponse:
    """Ask, then withdraw an invitation."""
    invitation = _open_invitation(request, invitation_id)
    if request.method != "POST":
        return render(request, "workspaces/member_invitation_revoke.html", {"invitation": invitation})

    def revoke() -> str:
        invitations.revoke_invitation(invitation, by=request.membership, actor=_actor(request))
        return f"Invitation for {invitation.email} revoked."

    return _do(request, revoke)


@require_POST
@workspace_view(Permission.MEMBER_MANAGE)
def change_role(request: WorkspaceRequest, membership_id: uuid.UUID) -> HttpResponse:
    """Give a member another role."""
    membership = _membership(request, membership_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose one of the roles.")
        return _back(request)
    role: Role = form.cleaned_data["role"]

    def change() -> str:
        members.change_role(membership, role, by=request.membership, actor=_actor(request))
        return f"{membership.user.email} is now {role.label.lower()}."

    return _do(request, change)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.MEMBER_MANAGE)
def remove(request: WorkspaceRequest, membership_id: uuid.UUID) -> HttpResponse:
    """Ask, then take a member out."""
    membership = _membership(request, membership_id)
    if request.method != "POST":
        return render(request, "workspaces/member_remove.html", {"member": membership})

    def take_out() -> str:
        members.remove_member(membership, by=request.membership, actor=_actor(request))
        return f"{membership.user.email} was removed."

    return _do(request, take_out)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def leave(request: WorkspaceRequest) -> HttpResponse:
    """Ask, then let a member go."""
    if request.method != "POST":
        context = {"is_last_owner": members.is_last_owner(request.membership)}
        return render(request, "workspaces/member_leave.html", context)
    try:
        members.leave(request.membership, actor=_actor(request))
    except WorkspaceError as error:
        messages.error(request, str(error))
        return redirect("workspaces:settings", workspace=request.workspace.slug)
    messages.success(request, f"You left {request.workspace.name}.")
    return redirect("workspaces:home")


def _do(request: WorkspaceRequest, verb: Callable[[], str]) -> HttpResponse:
    """Run one verb and go back to the list with what it says, or with why it refused."""
    try:
        messages.success(request, verb())
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except WorkspaceError as error:
        messages.error(request, str(error))
    return _back(request)


def _render_list(request: WorkspaceRequest, form: InviteForm | None = None, status: int = 200) -> HttpResponse:
    context: dict[str, object] = {
        "members": members.manage_members(request.workspace, request.membership),
        "invitations": (),
        "form": None,
        "roles": list(Role),
        "now": timezone.now(),
    }
    if Permission.MEMBER_MANAGE in request.can:
        context["invitations"] = request.workspace.invitations.filter(accepted_at=None).order_by("email")
        context["form"] = form or _invite_form(request)
    return render(request, "workspaces/members.html", context, status=status)


def _invite_form(request: WorkspaceRequest, data: QueryDict | None = None) -> InviteForm:
    return InviteForm(data, roles=members.roles_within_reach(request.membership), initial={"role": Role.EDITOR})


def _membership(request: WorkspaceRequest, membership_id: uuid.UUID) -> Membership:
    return get_object_or_404(request.workspace.memberships.select_related("user"), pk=membership_id)


def _open_invitation(request: WorkspaceRequest, invitation_id: uuid.UUID) -> Invitation:
    return get_object_or_404(
        request.workspace.invitations.select_related("workspace"), pk=invitation_id, accepted_at=None
    )


def _actor(request: WorkspaceRequest) -> Actor:
    return Actor.member(request.user, request.request_id)


def _back(request: WorkspaceRequest) -> HttpResponse:
    return redirect("workspaces:members", workspace=request.workspace.slug)
