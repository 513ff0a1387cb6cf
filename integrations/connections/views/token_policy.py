"""The token policy of a workspace: changed on a page of its own, which says what it does to connections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from integrations.connections.views.header import actor_of
from integrations.models import ConnectionState, GrantType
from integrations.wake import RESCHEDULE, wake_worker
from workspaces.access import workspace_view
from workspaces.forms import TokenPolicyForm
from workspaces.http import WorkspaceRequest
from workspaces.models import Workspace
from workspaces.roles import Permission
from workspaces.workspaces import change_token_policy

UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a policy does to the connections of a workspace now."""

    form: TokenPolicyForm
    connected: int
    renewed: int
    ended: int


def change_to(workspace: Workspace, form: TokenPolicyForm, now: datetime) -> PolicyChange:
    """Count what a policy touches: every connection with a token, those with an older one, and those it ends."""
    connected = workspace.connections.filter(token__isnull=False)
    if form.max_age_seconds is None:
        return PolicyChange(form, connected.count(), 0, 0)
    serving = connected.filter(state__in=(ConnectionState.CONNECTED, ConnectionState.DEGRADED))
    too_old = serving.filter(token__issued_at__lte=now - timedelta(seconds=form.max_age_seconds))
    renewable = Q(token__has_refresh_token=True) | Q(integration__grant_type=GrantType.CLIENT_CREDENTIALS)
    still_good = Q(token__expires_at__isnull=True) | Q(token__expires_at__gt=now)
    return PolicyChange(
        form,
        connected.count(),
        too_old.filter(renewable).count(),
        too_old.exclude(renewable).filter(still_good).count(),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_MANAGE)
def change(request: WorkspaceRequest) -> HttpResponse:
    """Save a policy. One that ends connections is shown with what it ends first, and saved with `confirm`."""
    if request.method != "POST":
        return _form_page(request, TokenPolicyForm.of(request.workspace))
    form = TokenPolicyForm(request.POST)
    if not form.is_valid():
        return _form_page(request, form, status=UNPROCESSABLE)
    told = change_to(request.workspace, form, timezone.now())
    if told.ended and "confirm" not in request.POST:
        return _confirm_page(request, told)
    change_token_policy(
        request.workspace,
        max_age_seconds=form.max_age_seconds,
        margin_seconds=form.margin_seconds,
        actor=actor_of(request),
    )
    wake_worker(RESCHEDULE)
    messages.success(request, _saved(told))
    return redirect("workspaces:settings", workspace=request.workspace.slug)


def _saved(told: PolicyChange) -> str:
    if not told.connected:
        return "Token policy saved."
    words = f"Token policy saved. {_connections(told.connected)} scheduled anew."
    if told.renewed:
        words += f" {_connections(told.renewed)} renewed because of the token’s age."
    return words


def _connections(count: int) -> str:
    return "1 connection is" if count == 1 else f"{count:,} connections are"


def _form_page(request: WorkspaceRequest, form: TokenPolicyForm, *, status: int = 200) -> HttpResponse:
    context = {"policy_form": form, "connected": request.workspace.connections.filter(token__isnull=False).count()}
    return render(request, "integrations/token_policy.html", context, status=status)


def _confirm_page(request: WorkspaceRequest, told: PolicyChange) -> HttpResponse:
    workspace = {"workspace": request.workspace.slug}
    context = {
        "change": told,
        "action": reverse("token_policy:change", kwargs=workspace),
        "cancel_url": reverse("workspaces:settings", kwargs=workspace),
    }
    return render(request, "integrations/token_policy_confirm.html", context)
