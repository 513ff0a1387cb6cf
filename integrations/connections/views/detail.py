"""One integration: overview, connections, activity."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from integrations.connections import overview as overview_words
from integrations.connections.accounts import account_name, keep_account
from integrations.connections.changes import NameTaken, make_default, rename_connection
from integrations.connections.forecast import forecast
from integrations.connections.forms import ConnectLinkForm, NewConnectionForm, RenameForm
from integrations.connections.integration_page import IntegrationPage, load_page
from integrations.connections.provider_versions import version_note
from integrations.connections.usage import DAY, activity_page, readers, renewals
from integrations.connections.views.header import actor_of, page_context
from integrations.connections.views.removal import disconnect_removal
from integrations.models import Connection, ConnectionStatus
from integrations.providers.metadata import shown as shown_metadata
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

UNPROCESSABLE = 422


@require_safe
@vary_on_headers("HX-Request")
@workspace_view(Permission.WORKSPACE_VIEW)
def overview(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """The default connection: how long its token is good for, its scopes, who reads it."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    return overview_response(request, page, page.default)


@require_safe
@vary_on_headers("HX-Request")
@workspace_view(Permission.WORKSPACE_VIEW)
def connection(request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID) -> HttpResponse:
    """The same for one connection by its id."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    return overview_response(request, page, page.find(connection_id))


def overview_response(
    request: WorkspaceRequest, page: IntegrationPage, shown: Connection | None, *, status: int = 200
) -> HttpResponse:
    """The overview of one connection, or with htmx the part of it that refreshes itself."""
    context = page_context(request, page, "overview") | overview_context(request, page, shown)
    template = "integrations/overview.html#live" if request.htmx else "integrations/overview.html"
    return render(request, template, context, status=status)


def overview_context(request: WorkspaceRequest, page: IntegrationPage, shown: Connection | None) -> dict[str, Any]:
    """What the overview says about one connection."""
    token = overview_words.token_of(shown)
    due = overview_words.due_at(shown)
    table = overview_words.scope_table(page.spec, page.grant_type, shown, page.needed_scopes(shown))
    has_open_scopes = bool(token and table.open)
    return {
        "connection": shown,
        "connection_status": shown.status_at(page.now) if shown else page.status,
        "explanation": page.explanation(shown),
        "step": page.next_step(shown, can=request.can),
        "headline": overview_words.headline(shown, page.now),
        "token": token,
        "has_token": token is not None,
        "version_note": version_note(page.spec, shown, page.workspace),
        "parameters": overview_words.shown_parameters(page.spec, shown) if shown else [],
        "metadata": shown_metadata(page.spec, shown.metadata) if shown else [],
        "due_at": due,
        "is_renewing": overview_words.is_renewing(shown, page.now),
        "look_again": overview_words.look_again(shown, page.now),
        "edit_url": page.url("connection_edit", connection_id=shown.pk) if shown else "",
        "live_url": page.url("connection", connection_id=shown.pk) if shown else page.url("detail"),
        "scopes": table,
        "has_open_scopes": has_open_scopes,
        "readers": readers(page.workspace, [shown], page.now - DAY) if shown else [],
        "renewals": renewals(page.workspace, shown, page.now) if shown and token else None,
        "removal": disconnect_removal(page, shown)
        if shown and token and Permission.CONNECTION_USE in request.can
        else None,
        "expression": page.spec.expression(page.grant_type).rsplit(".", 1),
        **overview_words.renewal_context(page.spec, shown, page.now),
        "token_api_parts": ["api", "v1", "integrations", page.spec.provider_id, page.grant_type, "token"],
    }


@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def connections(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Every connection with its account, status and end."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    renamed = next((one for one in page.connections if str(one.pk) == request.GET.get("rename")), None)
    if renamed is None or Permission.CONNECTION_USE not in request.can:
        return connections_response(request, page)
    form = RenameForm(initial={"name": renamed.name}, page=page, connection=renamed)
    return connections_response(request, page, rename_form=form, renamed=renamed)


def connections_response(
    request: WorkspaceRequest,
    page: IntegrationPage,
    *,
    new_form: NewConnectionForm | None = None,
    rename_form: RenameForm | None = None,
    renamed: Connection | None = None,
    link_form: ConnectLinkForm | None = None,
    link_url: str = "",
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """The tab, with a form that came back, or a new connect link shown this once; `?status=` shows one status only."""
    asked = request.GET.get("status", "")
    only = ConnectionStatus(asked) if asked in ConnectionStatus.values else None
    rows = [
        {
            "connection": row,
            "status": row.status_at(page.now),
            "token": overview_words.token_of(row),
            "due_at": overview_words.due_at(row),
            "consent": forecast(row, page.now),
            "url": page.url("connection", connection_id=row.pk),
            "facts": overview_words.shown_parameters(page.spec, row, passwords=False)
            + shown_metadata(page.spec, row.metadata),
            "edit_url": page.url("connection_edit", connection_id=row.pk),
            "open_scopes": overview_words.scope_table(page.spec, page.grant_type, row, page.needed_scopes(row)).open
            if overview_words.token_of(row)
            else 0,
            "change_url": page.url("connection_change", connection_id=row.pk),
            "disconnect_url": page.url("disconnect", connection_id=row.pk),
            "delete_url": page.url("connection_delete", connection_id=row.pk),
        }
        for row in page.connections
        if only is None or row.status_at(page.now) == only
    ]
    context = page_context(request, page, "connections") | {
        "rows": rows,
        "only": only,
        "new_form": new_form or NewConnectionForm(page=page),
        "link_form": link_form or ConnectLinkForm(page=page),
        "link_url": link_url,
        "rename_form": rename_form,
        "renamed": renamed,
        **more,
    }
    response = render(request, "integrations/connections.html", context, status=status)
    if link_url:
        response["Cache-Control"] = "no-store"
    return response


@require_POST
@workspace_view(Permission.CONNECTION_USE)
def connection_change(
    request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID
) -> HttpResponse:
    """Rename a connection, make it the one that is used when none is named, or keep an account that is new."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    changed = page.find(connection_id)
    try:
        return _change(request, page, changed)
    except Connection.DoesNotExist as error:  # deleted meanwhile
        raise Http404 from error


def _change(request: WorkspaceRequest, page: IntegrationPage, changed: Connection) -> HttpResponse:
    if "make_default" in request.POST:
        make_default(changed, actor=actor_of(request))
        messages.success(request, f"“{changed.name}” is the default connection now.")
        return redirect(page.url("connections"))
    if "keep_account" in request.POST:
        if keep_account(changed, actor=actor_of(request)):
            messages.success(request, f"“{changed.name}” belongs to {account_name(changed.account)} from now on.")
        return redirect(page.url("connection", connection_id=changed.pk))
    form = RenameForm(request.POST, page=page, connection=changed)
    try:
        if form.is_valid():
            rename_connection(changed, form.cleaned_data["name"], actor=actor_of(request))
    except NameTaken as error:  # by somebody else, since the form was judged
        form.add_error("name", str(error))
    if form.errors:
        return connections_response(request, page, status=UNPROCESSABLE, rename_form=form, renamed=changed)
    messages.success(request, f"The connection is called “{changed.name}” now.")
    return redirect(page.url("connections"))


@require_safe
@vary_on_headers("HX-Request")
@workspace_view(Permission.WORKSPACE_VIEW)
def activity(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """What happened to this integration, newest first, a page at a time."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    before = request.GET.get("before", "")
    rows, cursor = activity_page(page.workspace, page.integration, page.connections, _event_id(before))
    next_url = f"{page.url('activity')}?before={cursor}" if cursor else ""
    context = page_context(request, page, "activity") | {"rows": rows, "next_url": next_url}
    return render(request, "integrations/activity.html", context)


def _event_id(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Http404
    return int(text)
