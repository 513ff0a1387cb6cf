"""Connecting with OAuth: leaving for the provider's consent page, and coming back.

The browser binding is a random value in the session. It is made when somebody leaves, and the callback must find it;
where they left from a redirect host, the callback there has found it (`integrations.connections.recognition`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from integrations.connections.authorization import start_authorization
from integrations.connections.changes import change_parameters, change_scopes
from integrations.connections.choices import ChoicesRefused, ChosenScopes, scope_drift
from integrations.connections.client_credentials import fetch_token
from integrations.connections.completion import complete_authorization
from integrations.connections.errors import FlowRefused, LinkGone, describe_code, message_of, naming
from integrations.connections.forms import EditConnectionForm, NewConnectionForm, has_open_parameters
from integrations.connections.integration_page import IntegrationPage, load_page
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.connections.overview import token_of
from integrations.connections.views.detail import connections_response
from integrations.connections.views.header import actor_of, page_context
from integrations.crypto import SealError, open_sealed, seal
from integrations.models import Connection
from integrations.oauth.errors import OAuthError
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.providers.setup import redirect_uri
from workspaces.access import find_membership, workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.models import User, Workspace
from workspaces.rate_limits import hit
from workspaces.roles import Permission

BINDING = "oauth_browser"
OUTCOMES = "oauth_outcomes"
LINKS = "connect_links"
STARTED = "oauth_started"  # for "Try again": which connection was being connected, by integration
NEW = "new"
KEPT_OUTCOMES = 5
TRIES, PERIOD = 30, 600  # per person, and per address where nobody is signed in
MAX_QUERY = 32_768
UNPROCESSABLE = 422
GONE = 410


def browser_binding(request: HttpRequest) -> str:
    """This browser's random value, made when there is none."""
    return str(request.session.setdefault(BINDING, secrets.token_urlsafe(32)))


def leave_for(request: HttpRequest, url: str, spec: ProviderSpec) -> HttpResponse:
    """Send the browser to the consent page: by HX-Redirect, else by a link.

    The policy `form-action 'self'` stops a form whose answer redirects to another host.
    """
    response: HttpResponse
    if getattr(request, "htmx", False):
        response = HttpResponseClientRedirect(url)
    else:
        response = render(request, "connections/continue.html", {"spec": spec, "url": url})
    response["Cache-Control"] = "no-store"
    return response


def too_many(request: HttpRequest, error: RateLimited) -> HttpResponse:
    """The page of someone who tries too often."""
    context = {"minutes": max(1, error.retry_after // 60)}
    response = whole_page(request, render(request, "connections/too_many.html", context, status=429))
    response["Retry-After"] = str(error.retry_after)
    return response


def link_gone(request: HttpRequest, gone: LinkGone) -> HttpResponse:
    """A link that cannot be used, and why."""
    status = 404 if gone.code == "unknown_link" else GONE
    return whole_page(request, render(request, "connections/link_gone.html", {"gone": gone}, status=status))


def whole_page(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """With htmx too a page takes the place of the whole page, not of the form that asked."""
    return reswap(retarget(response, "body"), "innerHTML") if getattr(request, "htmx", False) else response


@require_POST
@workspace_view(Permission.CONNECTION_USE)
def connect(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Connect, or reconnect the connection that the form names."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = named_connection(page, request.POST)
    if connection is None and has_open_parameters(page):
        return go(request, page.url("connection_new"))
    return start(request, page, connection=connection, name=connection.name if connection else "default")


def named_connection(page: IntegrationPage, data: Mapping[str, Any]) -> Connection | None:
    """The connection that a form's `connection` names by id. Raises Http404 for one that is not there."""
    given = str(data.get("connection", ""))
    if not given:
        return page.default
    try:
        return page.find(UUID(given))
    except ValueError as error:
        raise Http404 from error


def go(request: HttpRequest, url: str) -> HttpResponse:
    """Redirect within our own pages, for htmx too."""
    return HttpResponseClientRedirect(url) if getattr(request, "htmx", False) else redirect(url)


def start(
    request: WorkspaceRequest,
    page: IntegrationPage,
    *,
    connection: Connection | None,
    name: str,
    parameters: Mapping[str, str] | None = None,
    chosen: ChosenScopes | None = None,
) -> HttpResponse:
    """Start the authorization code flow for a member; scopes and parameters of `connection` count unless given."""
    if page.integration is None:
        messages.warning(request, "Save the client credentials first.")
        return go(request, page.url("configuration"))
    try:
        hit("connect", str(request.user.pk), limit=TRIES, seconds=PERIOD)
        started = start_authorization(
            page.integration,
            binding=browser_binding(request),
            user=request.user,
            link=None,
            connection=connection,
            connection_name=name,
            chosen=chosen,
            parameters=parameters,
            actor=actor_of(request),
        )
    except RateLimited as error:
        return too_many(request, error)
    except FlowRefused as refused:
        messages.error(request, in_words(refused, page.spec))
        if isinstance(refused, ChoicesRefused) and connection is not None:
            return go(request, page.url("connection_edit", connection_id=connection.pk))
        return go(request, page.url("detail"))
    kept = dict(list(request.session.get(STARTED, {}).items())[1 - KEPT_OUTCOMES :])
    again = str(connection.pk) if connection else "" if name == "default" else NEW
    request.session[STARTED] = {**kept, f"{page.spec.provider_id}/{page.grant_type}": again}
    return leave_for(request, started.url, page.spec)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.CONNECTION_USE)
def connection_new(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Another connection of an integration: its name and parameters, then consent (or the first token)."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    if page.integration is None or not page.is_configured:
        messages.warning(request, "Save the client credentials first.")
        return redirect(page.url("configuration"))
    if request.method != "POST":
        return connections_response(request, page, adding=True)
    form = NewConnectionForm(request.POST, page=page)
    if not form.is_valid():
        return connections_response(request, page, new_form=form, adding=True, status=UNPROCESSABLE)
    name = form.cleaned_data["name"]
    if page.needs_person:
        return start(request, page, connection=None, name=name, parameters=form.parameters, chosen=form.chosen)
    try:
        hit("connect", str(request.user.pk), limit=TRIES, seconds=PERIOD)
        made = fetch_token(
            page.integration,
            name=name,
            chosen=form.chosen,
            parameters=form.parameters,
            actor=actor_of(request),
        )
    except RateLimited as error:
        return too_many(request, error)
    except (OAuthError, FlowRefused) as error:
        form.add_error(None, in_words(error, page.spec))
        return connections_response(request, page, new_form=form, adding=True, status=UNPROCESSABLE)
    messages.success(request, f"“{made.name}” has its first token.")
    return redirect(page.url("connection", connection_id=made.pk))


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.CONNECTION_USE)
def connection_edit(request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID) -> HttpResponse:
    """Other scopes or parameters for a connection that exists; its token stays until the next one is there."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    edited = page.find(connection_id)
    if request.method != "POST":
        return edit_response(request, page, EditConnectionForm(page=page, connection=edited))
    form = EditConnectionForm(request.POST, page=page, connection=edited)
    if not form.is_valid():
        return edit_response(request, page, form, status=UNPROCESSABLE)
    parameters, renews = form.changed_parameters, token_of(edited) is not None
    if parameters is not None and renews and page.needs_person:
        return start(request, page, connection=edited, name=edited.name, parameters=parameters, chosen=form.chosen)
    try:
        if parameters is not None and renews:
            hit("connect", str(request.user.pk), limit=TRIES, seconds=PERIOD)
            _fetch_anew(request, edited, form, parameters)
        else:
            _save_choices(request, page, edited, form, parameters)
    except RateLimited as error:
        return too_many(request, error)
    except (OAuthError, FlowRefused) as error:
        form.add_error(None, in_words(error, page.spec))
        return edit_response(request, page, form, status=UNPROCESSABLE)
    except Connection.DoesNotExist as error:  # deleted meanwhile
        raise Http404 from error
    return go(request, page.url("connection", connection_id=edited.pk))


def _fetch_anew(
    request: WorkspaceRequest, edited: Connection, form: EditConnectionForm, parameters: Mapping[str, str]
) -> None:
    fetch_token(
        edited.integration,
        connection=edited,
        chosen=form.chosen,
        parameters=parameters,
        actor=actor_of(request),
    )
    messages.success(request, "A token was fetched with the new values. The one before is forgotten.")


def _save_choices(
    request: WorkspaceRequest,
    page: IntegrationPage,
    edited: Connection,
    form: EditConnectionForm,
    parameters: Mapping[str, str] | None,
) -> None:
    if parameters is not None:
        change_parameters(edited, parameters, actor=actor_of(request))
    change_scopes(edited, form.chosen, actor=actor_of(request))
    if not scope_drift(edited, page.spec):
        messages.success(request, "Saved.")
    elif page.needs_person:
        messages.success(request, "Saved. Tokens carry the new scopes after the next consent: reconnect to grant them.")
    else:
        messages.success(request, "Saved. The next token asks for the new scopes.")


def edit_response(
    request: WorkspaceRequest, page: IntegrationPage, form: EditConnectionForm, *, status: int = 200
) -> HttpResponse:
    """The page of that form."""
    has_token = token_of(form.connection) is not None
    own = {"form": form, "edited": form.connection, "has_token": has_token}
    context = page_context(request, page, "connections", form.connection) | own
    return render(request, "integrations/connection_edit.html", context, status=status)


def in_words(error: OAuthError | FlowRefused, spec: ProviderSpec) -> str:
    """What happened and what to do next, with the provider's name."""
    if isinstance(error, FlowRefused):
        return naming(f"{error.message} {error.next_step}".strip(), spec.name)
    return naming(message_of(error), spec.name)


# --- coming back ------------------------------------------------------------------------------------------------------


def callback_query(request: HttpRequest) -> list[tuple[str, str]]:
    """What the provider sent the browser back with: pairs as they came, repetitions included."""
    query = request.META.get("QUERY_STRING", "")[:MAX_QUERY]
    return parse_qsl(query, keep_blank_values=True, errors="replace")


@require_GET
def oauth_callback(request: HttpRequest) -> HttpResponse:
    """Take the provider's answer, and leave for an address that carries none of it (RFC 9700 §4.2.4).

    Answers 303 whatever happened; the page it leads to says how it went.
    """
    binding = str(request.session.get(BINDING, "")) or secrets.token_urlsafe(32)
    outcome = complete_authorization(
        callback_query(request),
        binding=binding,
        user=request.user if isinstance(request.user, User) else None,
        request_id=request.request_id,  # type: ignore[attr-defined] # set by RequestIdMiddleware
    )
    if outcome.workspace_slug:  # this browser's flow, which a redirect host may have known before us
        request.session.setdefault(BINDING, binding)
    response = redirect(landing(request, outcome))
    response.status_code = 303
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


def landing(request: HttpRequest, outcome: AuthorizationOutcome) -> str:
    """Where the browser goes on: the connection, the address that a connect link names, or the page of the result."""
    if outcome.return_location:
        return outcome.return_location
    if outcome.ok and outcome.link is None and outcome.connection_id is not None:
        tell_success(request, outcome)
        kwargs = {
            "workspace": outcome.workspace_slug,
            "provider_id": outcome.provider_id,
            "grant_type": outcome.grant_type,
            "connection_id": outcome.connection_id,
        }
        return reverse("integrations:connection", kwargs=kwargs)
    remember(request, outcome)
    return reverse("integrations:callback_result", kwargs={"reference": outcome.reference})


def tell_success(request: HttpRequest, outcome: AuthorizationOutcome) -> None:
    """The toast of the page that the person lands on."""
    if outcome.missing_scopes:
        scopes = ", ".join(outcome.missing_scopes)
        messages.warning(request, f"Connected, but not everything was granted. Missing: {scopes}.")
    else:
        messages.success(request, "Connected. Everything requested was granted.")
    if outcome.warning:
        messages.warning(request, outcome.warning)


def remember(request: HttpRequest, outcome: AuthorizationOutcome) -> None:
    """Keep the outcome for the page at the clean address. A browser that never left through here gets no session."""
    if BINDING not in request.session:
        return
    kept = {
        "ok": outcome.ok,
        "code": outcome.code,
        "message": outcome.message,
        "next_step": outcome.next_step,
        "provider_text": outcome.provider_text,
        "at": timezone.now().isoformat(),
        "workspace": outcome.workspace_slug,
        "provider_id": outcome.provider_id,
        "grant_type": outcome.grant_type,
        "link": str(outcome.link.pk) if outcome.link is not None else "",
    }
    earlier = dict(list(request.session.get(OUTCOMES, {}).items())[1 - KEPT_OUTCOMES :])
    request.session[OUTCOMES] = {**earlier, str(outcome.reference): kept}


@require_safe
@never_cache
def callback_result(request: HttpRequest, reference: UUID) -> HttpResponse:
    """How connecting went, in plain words; code, the provider's text and the reference behind details."""
    outcome = request.session.get(OUTCOMES, {}).get(str(reference))
    if outcome is None:
        unknown = describe_code("unknown_state")
        outcome = {"ok": False, "code": "unknown_state", "message": unknown.happened, "next_step": unknown.next_step}
    links = result_links(request, outcome)
    name = links["spec"].name if "spec" in links else ""
    context = {
        "outcome": outcome | {word: naming(outcome[word], name) for word in ("message", "next_step")},
        "reference": reference,
        "at": datetime.fromisoformat(outcome["at"]) if outcome.get("at") else None,
        **links,
    }
    return render(request, "connections/result.html", context)


def result_links(request: HttpRequest, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Provider, "Try again" and "Back": for members of the workspace, and for the browser that holds the link."""
    workspace = _visible_workspace(request, outcome)
    if workspace is None:
        return {"signed_in": request.user.is_authenticated}
    found: dict[str, Any] = {"shown_workspace": workspace, "signed_in": request.user.is_authenticated}
    try:
        found["spec"] = find_spec(workspace, outcome["provider_id"])
    except ProviderNotFound:
        return found
    if outcome["link"]:
        return found | {"link_url": opened_link_url(request, outcome["link"]) or _link_again(workspace, outcome)}
    kwargs = {
        "workspace": workspace.slug,
        "provider_id": outcome["provider_id"],
        "grant_type": outcome["grant_type"],
    }
    started = request.session.get(STARTED, {}).get(f"{outcome['provider_id']}/{outcome['grant_type']}", "")
    return found | {
        "again": started,
        "redirect_uri": redirect_uri(workspace),
        "connection_new_url": reverse("integrations:connection_new", kwargs=kwargs),
        "connect_url": reverse("integrations:connect", kwargs=kwargs),
        "detail_url": reverse("integrations:detail", kwargs=kwargs),
        "scopes_url": reverse("integrations:scopes", kwargs=kwargs),
        "configuration_url": reverse("integrations:configuration", kwargs=kwargs),
    }


def _link_again(workspace: Workspace, outcome: Mapping[str, Any]) -> str:
    """The address on the redirect host that knows the link; "" where the workspace has none."""
    kwargs = {"link_id": outcome["link"]}
    path = reverse("integrations:connect_link_again", urlconf=settings.REDIRECT_HOST_URLCONF, kwargs=kwargs)
    return f"{workspace.redirect_host}{path}" if workspace.redirect_host else ""


def _visible_workspace(request: HttpRequest, outcome: Mapping[str, Any]) -> Workspace | None:
    slug = outcome.get("workspace", "")
    if not slug:
        return None
    if outcome["link"]:
        return Workspace.objects.filter(slug=slug, connect_links=outcome["link"]).first()
    membership = find_membership(request.user.pk, slug) if request.user.is_authenticated else None
    return membership.workspace if membership else None


def keep_link_url(request: HttpRequest, link_id: object, url: str) -> None:
    """Keep a link's address, sealed, so that this browser can try again; it is useless in any other."""
    kept = dict(list(request.session.get(LINKS, {}).items())[1 - KEPT_OUTCOMES :])
    request.session[LINKS] = {**kept, str(link_id): seal(url, f"connect-link:{link_id}").decode("ascii")}


def opened_link_url(request: HttpRequest, link_id: str) -> str:
    """The address of a link that this browser used; "" when there is none."""
    sealed = request.session.get(LINKS, {}).get(link_id, "")
    try:
        return open_sealed(sealed.encode(), f"connect-link:{link_id}") if sealed else ""
    except SealError:
        return ""
