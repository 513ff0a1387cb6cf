"""Discover and register: the server of a provider that is a protected resource, and a client there."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from integrations.connections.commits import give_back_connection
from integrations.connections.discovery_card import DiscoverForm, connected, discovery_card
from integrations.connections.integration_page import load_page
from integrations.connections.views.authorization import too_many
from integrations.connections.views.header import actor_of
from integrations.connections.views.setup import UNPROCESSABLE, configuration_response, setup_form
from integrations.providers.discovery import DiscoveryFailed
from integrations.providers.registration import ForeignEndpointsFound, discover_and_register
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.rate_limits import hit
from workspaces.roles import Permission

TRIES, PERIOD = 10, 600  # each asks up to a dozen addresses and may leave a client behind


@require_POST
@workspace_view(Permission.INTEGRATION_MANAGE)
def discover(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Do both, and show the configuration with each step that was tried."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    if not page.spec.resource:
        raise Http404
    form = DiscoverForm(request.POST, connected=connected(page))
    if not form.is_valid():
        card = discovery_card(page, form=form)
        return configuration_response(request, page, setup_form(page), discovery=card, status=UNPROCESSABLE)
    try:
        hit("discover", str(request.user.pk), limit=TRIES, seconds=PERIOD)
    except RateLimited as error:
        return too_many(request, error)
    give_back_connection()
    try:
        done = discover_and_register(
            page.workspace,
            page.spec,
            page.grant_type,
            additional_scopes=page.integration.additional_scopes if page.integration else (),
            actor=actor_of(request),
            confirm_foreign=form.cleaned_data["confirm_foreign"],
        )
    except ForeignEndpointsFound as unconfirmed:
        card = discovery_card(page, form=form, tried=unconfirmed.found.tried, unconfirmed=unconfirmed)
        return configuration_response(request, page, setup_form(page), discovery=card, status=UNPROCESSABLE)
    except DiscoveryFailed as failed:
        card = discovery_card(page, tried=failed.tried, error=failed)
        return configuration_response(request, page, setup_form(page), discovery=card)
    page = load_page(request, provider_id, grant_type, timezone.now())
    card = discovery_card(page, tried=done.steps, error=done.error)
    return configuration_response(request, page, setup_form(page), discovery=card)
