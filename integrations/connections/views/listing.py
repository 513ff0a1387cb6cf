"""The Integrations page."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from integrations.connections.cards import AVAILABLE, SECTIONS, USAGE_DAYS, Entry, Filters, filtered, load_entries
from integrations.connections.views.sandbox import PROVIDER_ID, is_offered
from integrations.models import ConnectionStatus, GrantType
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

OFTEN_FIRST = 6


# Two hundred cards are much alike. The page shows no secret, so that what a compressed length could tell is nothing.
@gzip_page
@require_safe
@vary_on_headers("HX-Request")
@workspace_view(Permission.WORKSPACE_VIEW)
def integrations(request: WorkspaceRequest) -> HttpResponse:
    """Everything set up and everything that could be; with htmx the results alone."""
    entries = load_entries(request.workspace, request.can, timezone.now())
    filters = read_filters(request)
    nothing_yet = all(entry.status == ConnectionStatus.NOT_CONFIGURED for entry in entries)
    if nothing_yet and filters.is_empty and not request.htmx:
        return render(request, "integrations/first_run.html", first_run(entries))
    context = {
        "listing": filtered(entries, filters),
        "filters": filters,
        "total": len(entries),
        "links": filter_links(filters),
        "available": AVAILABLE,
        "usage_days": USAGE_DAYS,
    }
    template = "integrations/list.html#results" if request.htmx else "integrations/list.html"
    return render(request, template, context)


def read_filters(request: WorkspaceRequest) -> Filters:
    """The filters of the URL; words that are none of ours count as no filter."""
    get = request.GET.get
    status, grant = get("status", ""), get("grant", "")
    return Filters(
        q=get("q", "").strip()[:100],
        status=status if status in SECTIONS else "",
        category=get("category", "")[:100],
        grant=grant if grant in GrantType.values else "",
    )


def filter_links(filters: Filters) -> dict[str, str]:
    """Beginnings of the filters' links: each keeps the other filters, the template adds its own value."""
    now = {"q": filters.q, "status": filters.status, "category": filters.category, "grant": filters.grant}
    return {
        name: "?" + urlencode({key: value for key, value in now.items() if value and key != name})
        for name in ("status", "category", "grant")
    }


def first_run(entries: list[Entry]) -> dict[str, object]:
    """What the page says while nothing is set up."""
    real = [entry for entry in entries if entry.spec.provider_id != PROVIDER_ID]
    popular = sorted(real, key=lambda entry: (not entry.spec.popular, entry.spec.name.casefold()))
    return {
        "sandbox": is_offered() and any(entry.spec.provider_id == PROVIDER_ID for entry in entries),
        "often": popular[:OFTEN_FIRST],
        "total": len(real),
    }
