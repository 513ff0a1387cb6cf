"""The sandbox for a workspace that has nothing yet: set up and connected in one click."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from integrations.connections.integration_page import load_page
from integrations.connections.views.authorization import start
from integrations.connections.views.header import actor_of
from integrations.models import GrantType
from integrations.providers.setup import save_integration
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

PROVIDER_ID = "sandbox"


def is_offered() -> bool:
    """Whether a sandbox runs beside this installation and lets us in."""
    return bool(settings.SANDBOX_BASE_URL and all(settings.SANDBOX_CLIENTS[GrantType.AUTHORIZATION_CODE]))


@require_POST
@workspace_view(Permission.INTEGRATION_MANAGE)
def sandbox_connect(request: WorkspaceRequest) -> HttpResponse:
    """Save the sandbox's own client, then leave for its consent page."""
    if not is_offered():
        raise Http404
    grant_type = GrantType.AUTHORIZATION_CODE
    page = load_page(request, PROVIDER_ID, grant_type, timezone.now())
    client_id, client_secret = settings.SANDBOX_CLIENTS[grant_type]
    save_integration(
        page.workspace,
        page.spec,
        grant_type,
        client_id=client_id,
        client_secret=client_secret,
        additional_scopes=page.integration.additional_scopes if page.integration else (),
        actor=actor_of(request),
    )
    page = load_page(request, PROVIDER_ID, grant_type, timezone.now())
    return start(request, page, connection=page.default, name="default")
