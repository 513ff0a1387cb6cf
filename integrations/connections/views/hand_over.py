"""Between a redirect host and PUBLIC_BASE_URL: see `integrations.connections.hand_over`."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from integrations.connections.authorization import StartedAuthorization
from integrations.connections.connect_links import find_link
from integrations.connections.errors import LinkGone
from integrations.connections.hand_over import find_attempt, make_ticket, take_over
from integrations.connections.views.authorization import (
    BINDING,
    KEPT_OUTCOMES,
    PERIOD,
    TRIES,
    browser_binding,
    keep_link_url,
    link_gone,
    too_many,
)
from integrations.crypto import SealError, open_sealed, seal
from workspaces.errors import RateLimited
from workspaces.http import public_url, redirect_host_workspace
from workspaces.rate_limits import hit

LEAVING = "oauth_leaving"  # where flows that began in this browser lead, sealed, by the flow's id


def way_by_public_host(request: HttpRequest, token: str, started: StartedAuthorization) -> str:
    """Where a flow that began on a redirect host goes on; this browser alone keeps where it leads in the end."""
    key = str(started.pending.pk)
    kept = dict(list(request.session.get(LEAVING, {}).items())[1 - KEPT_OUTCOMES :])
    request.session[LEAVING] = {**kept, key: seal(started.url, f"leaving:{key}").decode("ascii")}
    # By hand: the routes of the redirect host do not know those of PUBLIC_BASE_URL.
    return public_url(f"/connect/{token}/browser/{key}/")


@require_GET
@never_cache
def browser(request: HttpRequest, token: str, pending_id: UUID) -> HttpResponse:
    """On PUBLIC_BASE_URL: send the browser back with a ticket that says who it is here."""
    try:
        hit("connect-link-page", request.client_address, limit=TRIES * 2, seconds=PERIOD)  # type: ignore[attr-defined] # the middleware sets it
        link = find_link(token, now := timezone.now())
        pending = find_attempt(link, pending_id, now)
    except RateLimited as error:
        return too_many(request, error)
    except LinkGone as gone:
        return link_gone(request, gone)
    ticket = make_ticket(pending, browser_binding(request))
    page = f"{link.workspace.redirect_host}/connect/{token}/"
    keep_link_url(request, link.pk, page)
    return _see_other(f"{page}leave/{pending_id}/?{urlencode({'ticket': ticket})}")


@require_GET
@never_cache
def leave(request: HttpRequest, token: str, pending_id: UUID) -> HttpResponse:
    """On the redirect host again: leave for the consent page, if this is the browser that began."""
    try:
        hit("connect-link-page", request.client_address, limit=TRIES * 2, seconds=PERIOD)  # type: ignore[attr-defined] # the middleware sets it
        link = find_link(token, now := timezone.now(), of=redirect_host_workspace(request))
        pending = find_attempt(link, pending_id, now)
        began_as = str(request.session.get(BINDING, ""))
        take_over(pending, began_as=began_as, ticket=request.GET.get("ticket", ""))
        return _see_other(_kept_url(request, pending_id))
    except RateLimited as error:
        return too_many(request, error)
    except LinkGone as gone:
        return link_gone(request, gone)


def _kept_url(request: HttpRequest, pending_id: UUID) -> str:
    """The authorization URL that this browser was to go to. Raises LinkGone when it keeps none."""
    sealed = request.session.get(LEAVING, {}).get(str(pending_id), "")
    try:
        return open_sealed(sealed.encode(), f"leaving:{pending_id}")
    except SealError as error:
        raise LinkGone("link_in_other_browser") from error


def _see_other(url: str) -> HttpResponse:
    response = redirect(url)
    response.status_code = 303
    response["Referrer-Policy"] = "no-referrer"
    return response
