"""The audit log: filters in the URL, pages by cursor, export as CSV."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from workspaces.access import workspace_view
from workspaces.audit import Actor, AuditAction, record
from workspaces.audit_log import AuditFilter, export_csv, find_events, read_page
from workspaces.forms import AuditFilterForm
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

_FIRST_IMPOSSIBLE_ID = 2**63


@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def audit_log(request: WorkspaceRequest) -> HttpResponse:
    """Events, newest first."""
    form, wanted = _read_filter(request)
    page = read_page(find_events(request.workspace, wanted), _read_cursor(request))
    filters = _filters(request)
    context = {
        "form": form,
        "page": page,
        "is_filtered": bool(filters),
        "next_query": urlencode({**filters, "before": page.next_cursor}) if page.next_cursor else "",
        "export_query": urlencode(filters),
        "may_export": Permission.AUDIT_EXPORT in request.can,
    }
    template = "workspaces/audit.html#results" if request.htmx else "workspaces/audit.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])  # Back must not show the part as if it were the page
    return response


@require_safe
@workspace_view(Permission.AUDIT_EXPORT)
def audit_export(request: WorkspaceRequest) -> HttpResponseBase:
    """The same events as a CSV file. The export itself is recorded."""
    _form, wanted = _read_filter(request)
    actor = Actor.member(request.user, request.request_id)
    record(
        request.workspace,
        AuditAction.AUDIT_EXPORTED,
        actor,
        target=request.workspace,
        detail={"filter": _filters(request)},
    )
    response = StreamingHttpResponse(
        export_csv(find_events(request.workspace, wanted)), content_type="text/csv; charset=utf-8"
    )
    name = f"{request.workspace.slug}-audit-{timezone.now():%Y-%m-%d}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _read_filter(request: HttpRequest) -> tuple[AuditFilterForm, AuditFilter]:
    form = AuditFilterForm({name: request.GET.get(name, "") for name in AuditFilterForm.base_fields})
    form.is_valid()  # a field that cannot be read is left out of cleaned_data; the form shows why
    return form, AuditFilter(**{name: value for name, value in form.cleaned_data.items() if value})


def _filters(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET[name][:254] for name in AuditFilterForm.base_fields if request.GET.get(name)}


def _read_cursor(request: HttpRequest) -> int | None:
    text = request.GET.get("before", "")
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        return None
    return min(int(text), _FIRST_IMPOSSIBLE_ID - 1)
