"""`@workspace_view(Permission.X)`: sets request.workspace; outsiders get 404, members without the permission 403."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from workspaces.http import WorkspaceRequest
from workspaces.models import Membership
from workspaces.roles import Permission, permissions_of

CURRENT_WORKSPACE = "workspace"  # the session's key for the slug last visited

type_View = Callable[Concatenate[WorkspaceRequest, ...], HttpResponseBase]


def find_membership(user_id: Any, slug: str) -> Membership | None:
    """The membership that lets a user into a workspace, read anew for each request (removal works at once)."""
    return (
        Membership.objects.select_related("workspace", "user")
        .filter(workspace__slug=slug, user_id=user_id, user__is_active=True)
        .first()
    )


def workspace_view(permission: Permission) -> Callable[[type_View], Callable[..., HttpResponseBase]]:
    """Guard a view whose first URL argument is `workspace` (the slug). Deny by default.

    Anonymous people are sent to sign in. Someone outside the workspace gets 404, as if it did not exist.
    """

    def decorate(view: type_View) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, workspace: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            membership = find_membership(request.user.pk, workspace)
            if membership is None:
                raise Http404
            inside = cast(WorkspaceRequest, request)
            inside.workspace, inside.membership = membership.workspace, membership
            inside.can = permissions_of(membership.role)
            if permission not in inside.can:
                role = membership.get_role_display()
                raise PermissionDenied(f"Your role in this workspace ({role}) does not allow this.")
            if request.session.get(CURRENT_WORKSPACE) != workspace:  # `/` leads back here
                request.session[CURRENT_WORKSPACE] = workspace
            return view(inside, *args, **kwargs)

        guarded.permission = permission  # type: ignore[attr-defined] # read by the test that walks every route
        return guarded

    return decorate
