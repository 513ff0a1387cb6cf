"""The request as our views see it, after the middleware and the decorators of `access` have run."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

    from workspaces.models import Membership, User, Workspace
    from workspaces.roles import Permission


def redirect_host_workspace(request: HttpRequest) -> Workspace | None:
    """The workspace by whose redirect host the request came; None on PUBLIC_BASE_URL (RedirectHostMiddleware)."""
    return getattr(request, "redirect_host_workspace", None)


class SignedInRequest(HttpRequest):
    """The request of someone who has signed in; decorators refuse all others."""

    user: User  # narrowed
    request_id: uuid.UUID
    client_address: str


class WorkspaceRequest(SignedInRequest):
    """A signed-in member's request inside one workspace. `workspace` is the only way to data."""

    workspace: Workspace
    membership: Membership
    can: frozenset[Permission]
    htmx: HtmxDetails


def public_url(path: str) -> str:
    """The absolute URL of a path of ours: always on PUBLIC_BASE_URL, never on the Host that a request named."""
    return f"{settings.PUBLIC_BASE_URL}{path}"
