"""What every page knows: the workspaces one may switch to."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from workspaces.models import Workspace


def workspaces(request: HttpRequest) -> dict[str, Any]:
    """`my_workspaces`: the signed-in person's, by name; queried only if a template asks."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"my_workspaces": []}
    return {"my_workspaces": SimpleLazyObject(lambda: list(Workspace.objects.filter(memberships__user=user)))}
