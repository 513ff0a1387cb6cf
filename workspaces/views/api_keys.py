"""API keys: the list, a new one (shown once), rolling and revoking."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from workspaces import api_keys
from workspaces.access import workspace_view
from workspaces.audit import Actor
from workspaces.errors import WorkspaceError
from workspaces.forms import ApiKeyForm, RollForm
from workspaces.http import WorkspaceRequest
from workspaces.models import ApiKey
from workspaces.roles import NOT_OFFERED, Permission, Role


@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def api_key_list(request: WorkspaceRequest) -> HttpResponse:
    """Every key with its creator, scopes and last use; never the key."""
    now = timezone.now()
    keys = api_keys.list_api_keys(request.workspace)
    context = {
        "active_keys": [key for key in keys if key.is_usable(now)],
        "ended_keys": [key for key in keys if not key.is_usable(now)],
        "may_manage": Permission.API_KEY_MANAGE in request.can,
    }
    return render(request, "workspaces/api_keys.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.API_KEY_MANAGE)
def create(request: WorkspaceRequest) -> HttpResponse:
    """The form; its answer shows the key once. It is not stored, so there is nothing to redirect to."""
    scopes = [s for s in api_keys.scopes_for(Role(request.membership.role)) if s not in NOT_OFFERED]
    form = ApiKeyForm(request.POST if request.method == "POST" else None, scopes=scopes)
    if request.method != "POST" or not form.is_valid():
        return render(request, "workspaces/api_key_new.html", {"form": form}, status=422 if form.errors else 200)
    lifetime = form.cleaned_data["expires"]
    try:
        new = api_keys.create_api_key(
            request.workspace,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            actor=_actor(request),
            created_by=request.user,
            expires_at=timezone.now() + lifetime if lifetime else None,
        )
    except WorkspaceError as error:
        form.add_error(None, str(error))
        return render(request, "workspaces/api_key_new.html", {"form": form}, status=422)
    return render(request, "workspaces/api_key_created.html", {"new": new})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.API_KEY_MANAGE)
def roll(request: WorkspaceRequest, key_id: uuid.UUID) -> HttpResponse:
    """Ask when the old key is to stop, then show its successor once."""
    api_key = _find(request, key_id)
    form = RollForm(request.POST if request.method == "POST" else None)
    context: dict[str, object] = {"form": form, "key": api_key}
    if request.method != "POST" or not form.is_valid():
        return render(request, "workspaces/api_key_roll.html", context, status=422 if form.errors else 200)
    try:
        new = api_keys.roll_api_key(
            api_key, form.cleaned_data["overlap"], actor=_actor(request), created_by=request.user
        )
    except WorkspaceError as error:
        form.add_error(None, str(error))
        return render(request, "workspaces/api_key_roll.html", context, status=422)
    api_key.refresh_from_db()
    return render(request, "workspaces/api_key_created.html", {"new": new, "old": api_key})


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.API_KEY_MANAGE)
def revoke(request: WorkspaceRequest, key_id: uuid.UUID) -> HttpResponse:
    """Ask, then stop a key at once."""
    api_key = _find(request, key_id)
    if request.method != "POST":
        return render(request, "workspaces/api_key_revoke.html", {"key": api_key})
    api_keys.revoke_api_key(api_key, actor=_actor(request))
    messages.success(request, f"{api_key.name} was revoked.")
    return redirect("workspaces:api_keys", workspace=request.workspace.slug)


def _find(request: WorkspaceRequest, key_id: uuid.UUID) -> ApiKey:
    return get_object_or_404(request.workspace.api_keys.select_related("workspace", "created_by"), pk=key_id)


def _actor(request: WorkspaceRequest) -> Actor:
    return Actor.member(request.user, request.request_id)
