"""The Health page, "Mark all as seen", and who is mailed what."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from integrations.health.chart import renewal_chart
from integrations.health.live import look
from integrations.health.notice_list import NoticePage, read_notices
from integrations.health.preferences import MailChoiceForm, choose_mails, form_for
from integrations.health.provider_table import provider_table
from integrations.health.renewals import renewals_of_day
from integrations.health.trouble import STATUSES_OF
from integrations.health.unseen import mark_seen, seen_id
from integrations.models import NoticeKind, default_mail_choice
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import specs_for
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.models import Workspace
from workspaces.roles import Permission

UNCHANGED = 204
UNPROCESSABLE = 422


@require_safe
@vary_on_headers("HX-Request")
@workspace_view(Permission.WORKSPACE_VIEW)
def page(request: WorkspaceRequest) -> HttpResponse:
    """How the workspace's connections do; with htmx the part that changes, or more notices."""
    now, specs = timezone.now(), _specs(request.workspace)
    if request.htmx and "before" in request.GET:
        return render(request, "health/page.html#rows", _notices(request, specs))
    only = request.GET.get("only", "")
    only = only if only in STATUSES_OF else ""
    live = look(request.workspace, specs, can=request.can, now=now, only=only)
    context = {"live": live, "only": only, "here": _here(request), "live_query": _live_query(live.sign, only)}
    if request.htmx and "live" in request.GET:
        if request.GET["live"] == live.sign:
            return HttpResponse(status=UNCHANGED)  # htmx leaves the part as it is, and asks again
        return render(request, "health/page.html#live", context)
    day = renewals_of_day(request.workspace, now)
    context |= _notices(request, specs) | {
        "day": day,
        "chart": renewal_chart(day) if day.total else None,
        "table": provider_table(request.workspace, live.tally, day, specs, now),
    }
    return render(request, "health/page.html", context)


@require_POST
@workspace_view(Permission.WORKSPACE_VIEW)
def seen(request: WorkspaceRequest) -> HttpResponse:
    """Everything up to the newest notice that the page showed is seen, by this member."""
    mark_seen(request.membership, _notice_id(request.POST.get("up_to", "")) or 0)
    return redirect(f"{_here(request)}#notices")


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def notifications(request: WorkspaceRequest) -> HttpResponse:
    """What this member gets by e-mail about this workspace."""
    if request.method != "POST":
        return _notifications_page(request, form_for(request.membership))
    form = MailChoiceForm(request.POST)
    if not form.is_valid():
        return _notifications_page(request, form, status=UNPROCESSABLE)
    choose_mails(request.membership, form.cleaned_data["mails"])
    messages.success(request, "Saved.")
    return redirect("health:notifications", workspace=request.workspace.slug)


def _notifications_page(request: WorkspaceRequest, form: MailChoiceForm, *, status: int = 200) -> HttpResponse:
    context = {"form": form, "default": default_mail_choice(request.membership.role).label}
    return render(request, "health/notifications.html", context, status=status)


def _specs(workspace: Workspace) -> dict[str, ProviderSpec]:
    return {spec.provider_id: spec for spec in specs_for(workspace)}


def _here(request: WorkspaceRequest) -> str:
    return reverse("health:page", kwargs={"workspace": request.workspace.slug})


def _live_query(sign: str, only: str) -> str:
    return urlencode({"live": sign} | ({"only": only} if only else {}))


def _notices(request: WorkspaceRequest, specs: dict[str, ProviderSpec]) -> dict[str, object]:
    """The list of notices: a page of it, by the filter of the URL."""
    kind = request.GET.get("kind", "")
    kind = kind if kind in NoticeKind.values else ""
    shown: NoticePage = read_notices(
        request.workspace,
        specs,
        before=_before(request),
        kind=kind,
        seen=seen_id(request.membership),
        joined_at=request.membership.created_at,
    )
    more = urlencode({"before": shown.next_before} | ({"kind": kind} if kind else {})) if shown.next_before else ""
    return {
        "notices": shown,
        "kind": kind,
        "kinds": NoticeKind.choices,
        "more_query": more,
        "here": _here(request),
        "newest_notice": shown.rows[0].notice.pk if shown.rows and not kind and "before" not in request.GET else 0,
    }


def _before(request: HttpRequest) -> int | None:
    text = request.GET.get("before", "")
    if not text:
        return None
    if (found := _notice_id(text)) is None:
        raise Http404
    return found


def _notice_id(text: str) -> int | None:
    """A notice's id, or None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
