"""Settings of a workspace; everyone may look, admins may change them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from workspaces.access import workspace_view
from workspaces.audit import Actor
from workspaces.forms import RedirectHostForm, SettingsForm, TokenPolicyForm
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission
from workspaces.workspaces import change_settings


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def settings(request: WorkspaceRequest) -> HttpResponse:
    """The name and the return URLs of connect links. Redirect host and token policy have pages of their own, too."""
    may_change = Permission.WORKSPACE_MANAGE in request.can
    if request.method != "POST":
        stored = {"name": request.workspace.name, "return_urls": "\n".join(request.workspace.return_urls)}
        return _page(request, SettingsForm(initial=stored), may_change=may_change)
    if not may_change:
        raise PermissionDenied("Your role does not allow you to change the settings.")
    form = SettingsForm(request.POST)
    if not form.is_valid():
        return _page(request, form, may_change=True, status=422)
    change_settings(
        request.workspace,
        name=form.cleaned_data["name"],
        return_urls=form.cleaned_data["return_urls"],
        actor=Actor.member(request.user, request.request_id),
    )
    messages.success(request, "Settings saved.")
    return redirect("workspaces:settings", workspace=request.workspace.slug)


def _page(request: WorkspaceRequest, form: SettingsForm, *, may_change: bool, status: int = 200) -> HttpResponse:
    host = RedirectHostForm(initial={"redirect_host": request.workspace.redirect_host}, workspace=request.workspace)
    context = {
        "form": form,
        "host_form": host,
        "policy_form": TokenPolicyForm.of(request.workspace),
        "connected": request.workspace.connections.filter(token__isnull=False).count(),
        "may_change": may_change,
    }
    return render(request, "workspaces/settings.html", context, status=status)
