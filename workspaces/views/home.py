"""`/` and the choice of a workspace."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from workspaces.access import CURRENT_WORKSPACE
from workspaces.http import SignedInRequest
from workspaces.models import Workspace


@login_required
@require_safe
def home(request: SignedInRequest) -> HttpResponse:
    """Lead to the workspace last visited, else to the first; without any, say what to do."""
    mine = Workspace.objects.filter(memberships__user=request.user)
    last = mine.filter(slug=request.session.get(CURRENT_WORKSPACE, "")).first()
    current = last or mine.first()
    if current is None:
        return render(request, "workspaces/no_workspace.html")
    return redirect("integrations:list", workspace=current.slug)


@login_required
@require_safe
def switch(request: SignedInRequest) -> HttpResponse:
    """List one's workspaces with one's role in each; the menu in the sidebar does the same on every page."""
    memberships = request.user.memberships.select_related("workspace").order_by("workspace__name")
    return render(request, "workspaces/switch.html", {"memberships": memberships})
