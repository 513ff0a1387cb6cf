"""A workspace's redirect host: choosing one, going back to PUBLIC_BASE_URL, and what the host itself does."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from integrations.connections.recognition import note_browser
from integrations.connections.views.authorization import BINDING, callback_query
from integrations.connections.views.header import actor_of
from integrations.models import GrantType, PendingAuthorization
from integrations.providers.registry import specs_for
from integrations.providers.setup import redirect_uri
from workspaces.access import workspace_view
from workspaces.forms import RedirectHostForm
from workspaces.http import WorkspaceRequest, redirect_host_workspace
from workspaces.models import Workspace
from workspaces.roles import Permission
from workspaces.workspaces import change_redirect_host

UNPROCESSABLE = 422
SHOWN = 10
PERMANENT_REDIRECT = 308


@require_safe
def forward_callback(request: HttpRequest) -> HttpResponse:
    """Send the browser on to PUBLIC_BASE_URL, with the query byte for byte (RFC 9110 §15.4.9).

    If it is the one that began here, that is noted for PUBLIC_BASE_URL; the answer is the same for everybody. Django's
    own redirect would escape the query anew.
    """
    workspace = redirect_host_workspace(request)
    binding = str(request.session.get(BINDING, ""))
    if workspace is not None:
        note_browser(workspace, callback_query(request), binding=binding)
    response = HttpResponse(status=PERMANENT_REDIRECT)
    query = request.META.get("QUERY_STRING", "")
    response["Location"] = f"{settings.PUBLIC_BASE_URL}/oauth/callback" + (f"?{query}" if query else "")
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"  # a 308 may be kept for ever, and its address has the code in it
    return response


@dataclass(frozen=True, slots=True)
class HostChange:
    """What changes with the redirect host, before anybody agrees to it."""

    before: str
    after: str
    integrations: tuple[str, ...]  # names of the providers where the redirect URI is registered
    under_way: int
    open_links: int

    @property
    def first_integrations(self) -> tuple[str, ...]:
        """As many as a page shows."""
        return self.integrations[:SHOWN]

    @property
    def more_integrations(self) -> int:
        """How many others there are."""
        return max(0, len(self.integrations) - SHOWN)

    @property
    def uri_before(self) -> str:
        """The redirect URI until now."""
        return redirect_uri(Workspace(redirect_host=self.before))

    @property
    def uri_after(self) -> str:
        """The redirect URI to register."""
        return redirect_uri(Workspace(redirect_host=self.after))

    @property
    def name_before(self) -> str:
        """The host that connect links sent so far are at."""
        return urlsplit(self.uri_before).netloc

    @property
    def name_after(self) -> str:
        """The host that has to lead here."""
        return urlsplit(self.uri_after).netloc


def _change_to(workspace: Workspace, host: str) -> HostChange:
    now = timezone.now()
    names = {spec.provider_id: spec.name for spec in specs_for(workspace)}
    saved = workspace.integrations.filter(grant_type=GrantType.AUTHORIZATION_CODE).order_by("provider_id")
    under_way = PendingAuthorization.objects.filter(workspace=workspace, consumed_at=None, expires_at__gt=now)
    return HostChange(
        before=workspace.redirect_host,
        after=host,
        integrations=tuple(names.get(one.provider_id, one.provider_id) for one in saved),
        under_way=under_way.count(),
        open_links=workspace.connect_links.filter(used_at=None, expires_at__gt=now).count(),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_MANAGE)
def change(request: WorkspaceRequest) -> HttpResponse:
    """Choose a redirect host. The first POST shows what changes with it, one with `confirm` does it."""
    if request.method != "POST":
        stored = {"redirect_host": request.workspace.redirect_host}
        return _form_page(request, RedirectHostForm(initial=stored, workspace=request.workspace))
    form = RedirectHostForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        return _form_page(request, form, status=UNPROCESSABLE)
    host = form.cleaned_data["redirect_host"]
    if host == request.workspace.redirect_host:
        messages.info(request, "This is the redirect host already.")
        return redirect("workspaces:settings", workspace=request.workspace.slug)
    if "confirm" not in request.POST:
        return _confirm_page(request, host)
    try:
        change_redirect_host(request.workspace, host, actor=actor_of(request))
    except ValidationError as error:
        form.add_error("redirect_host", error)
        return _form_page(request, form, status=UNPROCESSABLE)
    messages.success(request, f"The redirect host is {urlsplit(host).netloc} now. Register the new redirect URI.")
    return redirect("workspaces:settings", workspace=request.workspace.slug)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_MANAGE)
def clear(request: WorkspaceRequest) -> HttpResponse:
    """Go back to PUBLIC_BASE_URL, after showing what that changes."""
    if not request.workspace.redirect_host:
        return redirect("workspaces:settings", workspace=request.workspace.slug)
    if request.method != "POST":
        return _confirm_page(request, "")
    change_redirect_host(request.workspace, "", actor=actor_of(request))
    messages.success(request, "The workspace has no redirect host of its own any more. Register the new redirect URI.")
    return redirect("workspaces:settings", workspace=request.workspace.slug)


def _form_page(request: WorkspaceRequest, form: RedirectHostForm, *, status: int = 200) -> HttpResponse:
    return render(request, "integrations/redirect_host.html", {"host_form": form}, status=status)


def _confirm_page(request: WorkspaceRequest, host: str) -> HttpResponse:
    workspace = {"workspace": request.workspace.slug}
    context = {
        "change": _change_to(request.workspace, host),
        "action": reverse("redirect_host:change" if host else "redirect_host:clear", kwargs=workspace),
        "cancel_url": reverse("workspaces:settings", kwargs=workspace),
    }
    return render(request, "integrations/redirect_host_confirm.html", context)
