"""Connect links: made by a member, used once by someone outside the workspace."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from integrations.connections.authorization import start_authorization
from integrations.connections.choices import ChoicesRefused
from integrations.connections.connect_links import (
    LinkChoices,
    choices_of_link,
    create_connect_link,
    find_link,
    link_actor,
)
from integrations.connections.errors import FlowRefused, LinkGone
from integrations.connections.forms import ConnectLinkForm, LinkVisitorForm, refuse
from integrations.connections.integration_page import load_page
from integrations.connections.views.authorization import (
    PERIOD,
    TRIES,
    UNPROCESSABLE,
    browser_binding,
    keep_link_url,
    leave_for,
    link_gone,
    opened_link_url,
    too_many,
    whole_page,
)
from integrations.connections.views.detail import connections_response
from integrations.connections.views.header import actor_of
from integrations.models import ConnectLink, GrantType
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import ProviderNotFound, find_spec
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest, redirect_host_workspace
from workspaces.rate_limits import hit
from workspaces.roles import Permission


@sensitive_post_parameters()
@require_POST
@workspace_view(Permission.CONNECTION_USE)
def connect_link_create(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Make a link; the answer shows its URL this once."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    form = ConnectLinkForm(request.POST, page=page)
    if page.integration is None or not page.is_configured or not page.needs_person:
        return connections_response(request, page, link_form=form, status=UNPROCESSABLE)
    if not form.is_valid():
        return connections_response(request, page, link_form=form, linking=True, status=UNPROCESSABLE)
    try:
        hit("connect-link", str(request.user.pk), limit=TRIES, seconds=PERIOD)
        url, link = create_connect_link(
            page.integration,
            connection_name=form.cleaned_data["name"],
            parameters=form.given_parameters,
            chosen=form.chosen,
            confirm_account_change=form.cleaned_data["confirm_account_change"],
            return_url=form.cleaned_data["return_url"],
            actor=actor_of(request),
        )
    except RateLimited as error:
        return too_many(request, error)
    except FlowRefused as refused:
        form.add_error(None, f"{refused.message} {refused.next_step}")
        return connections_response(request, page, link_form=form, linking=True, status=UNPROCESSABLE)
    return connections_response(request, page, link_url=url, link=link)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@ensure_csrf_cookie
def connect_link(request: HttpRequest, token: str) -> HttpResponse:
    """Who asks for what, with one form; its POST leaves for the consent page."""
    try:
        hit("connect-link-page", request.client_address, limit=TRIES * 2, seconds=PERIOD)  # type: ignore[attr-defined] # the middleware sets it
        link = find_link(token, timezone.now(), of=redirect_host_workspace(request))
        spec = find_spec(link.workspace, link.integration.provider_id).under(link.integration.grant_type)
    except RateLimited as error:
        return too_many(request, error)
    except LinkGone as gone:
        return link_gone(request, gone)
    except ProviderNotFound:
        return link_gone(request, LinkGone("unknown_link"))
    try:
        decided = choices_of_link(link, spec)
    except FlowRefused as refused:
        return link_page(request, link, spec, None, None, refused=refused)
    form = LinkVisitorForm(
        request.POST if request.method == "POST" else None, link=link, spec=spec, values=decided.values
    )
    if request.method != "POST":
        return link_page(request, link, spec, decided, form)
    try:
        started = start_authorization(
            link.integration,
            binding=browser_binding(request),
            user=None,
            link=link,
            parameters=form.parameters,
            actor=link_actor(link, request.request_id),  # type: ignore[attr-defined] # set by RequestIdMiddleware
        )
    except LinkGone as gone:
        return link_gone(request, gone)
    except ChoicesRefused as refused:
        form.is_valid()
        refuse(form, refused)
        return link_page(request, link, spec, decided, form)
    except FlowRefused as refused:
        return link_page(request, link, spec, decided, form, refused=refused)
    keep_link_url(request, link.pk, request.path)
    return leave_for(request, started.url, spec)


@require_safe
@never_cache
def connect_link_again(request: HttpRequest, link_id: UUID) -> HttpResponse:
    """On a redirect host: back to the page of a link that this browser used here.

    The page of the result is on PUBLIC_BASE_URL, which never learns the link's token: it is this browser's to know.
    """
    url = opened_link_url(request, str(link_id))
    return redirect(url) if url else link_gone(request, LinkGone("link_in_other_browser"))


def link_page(
    request: HttpRequest,
    link: ConnectLink,
    spec: ProviderSpec,
    decided: LinkChoices | None,
    form: LinkVisitorForm | None,
    *,
    refused: FlowRefused | None = None,
) -> HttpResponse:
    """What the workspace asks for, in the provider's words where it has some."""
    known = {
        scope.name: scope.description
        for scope in (*spec.suggested_scopes, *spec.scopes_for(GrantType.AUTHORIZATION_CODE))
    }
    names = decided.scopes(spec, link) if decided else ()
    context = {
        "link": link,
        "spec": spec,
        "form": form,
        "scopes": [(name, known.get(name, "")) for name in names],
        "refused": refused,
    }
    failed = refused is not None or (form is not None and form.is_bound)
    response = render(request, "connections/link.html", context, status=UNPROCESSABLE if failed else 200)
    return whole_page(request, response)
