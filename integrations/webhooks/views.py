"""Pages of webhooks: the list, one endpoint with its log, one delivery, and what can be done with them.

Every member sees that there are webhooks and how they fare, by origin only. The URL, which may hold a secret, and what
receivers answered are for those who manage webhooks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from integrations.connections.views.header import actor_of
from integrations.crypto import SealError
from integrations.models import DisabledBecause, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from integrations.webhooks import deliveries, endpoints
from integrations.webhooks.endpoints import WebhookRefused
from integrations.webhooks.forms import EndpointForm, LogFilterForm, ReplayForm, RollSecretForm
from integrations.webhooks.log import read_page
from integrations.webhooks.sending import request_headers
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

UNPROCESSABLE = 422
UNREADABLE = "The stored URL or secret cannot be decrypted. Ask the operator to restore a key in FERNET_KEYS."


@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def endpoint_list(request: WorkspaceRequest) -> HttpResponse:
    """Every endpoint with its state, by origin."""
    found = list(request.workspace.webhook_endpoints.all())
    context = {
        "working": [one for one in found if one.enabled],
        "disabled": [one for one in found if not one.enabled],
        "may_manage": _may_manage(request),
    }
    return render(request, "webhooks/list.html", context)


@never_cache
@sensitive_post_parameters("url")
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WEBHOOK_MANAGE)
def create(request: WorkspaceRequest) -> HttpResponse:
    """The form; its answer shows the signing secret, once."""
    form = EndpointForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            new = endpoints.create_endpoint(
                request.workspace,
                url=form.cleaned_data["url"],
                description=form.cleaned_data["description"],
                events=form.cleaned_data["events"],
                actor=actor_of(request),
            )
        except WebhookRefused as refused:
            _add_error(form, refused)
        else:
            return render(request, "webhooks/secret.html", {"new": new, "endpoint": new.endpoint})
    return render(request, "webhooks/form.html", {"form": form}, status=UNPROCESSABLE if form.errors else 200)


@never_cache  # for some it has the URL
@require_safe
@workspace_view(Permission.WORKSPACE_VIEW)
def detail(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """How one endpoint fares, and its log with a filter in the URL; the log alone for htmx."""
    endpoint = _find(request, endpoint_id)
    form = LogFilterForm({"status": request.GET.get("status", "")})
    status = form.cleaned_data["status"] if form.is_valid() else ""
    page = read_page(endpoint, status, request.GET.get("before", ""))
    filters = {"status": status} if status else {}
    context = {
        "endpoint": endpoint,
        "url": _url_of(endpoint) if _may_manage(request) else "",
        "form": form,
        "page": page,
        "is_filtered": bool(status),
        "next_query": urlencode({**filters, "before": page.next_before}) if page.next_before else "",
        "replay_form": ReplayForm(),
        "disabled_tone": "idle" if endpoint.disabled_because == DisabledBecause.MEMBER else "bad",
        "may_manage": _may_manage(request),
    }
    response = render(request, "webhooks/detail.html#log" if request.htmx else "webhooks/detail.html", context)
    patch_vary_headers(response, ["HX-Request"])  # Back must not show the part as if it were the page
    return response


@never_cache
@sensitive_post_parameters("url")
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WEBHOOK_MANAGE)
def edit(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Change URL, description and events; the secret stays."""
    endpoint = _find(request, endpoint_id)
    try:
        initial = EndpointForm.initial_of(endpoint)
    except SealError:
        messages.error(request, UNREADABLE)
        return _to_endpoint(request, endpoint)
    form = EndpointForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        given = {name: form.cleaned_data[name] for name in ("url", "description", "events")}
        try:
            endpoints.change_endpoint(endpoint, actor=actor_of(request), **given)
        except WebhookRefused as refused:
            _add_error(form, refused)
        else:
            messages.success(request, "The webhook was changed.")
            return _to_endpoint(request, endpoint)
    context = {"form": form, "endpoint": endpoint}
    return render(request, "webhooks/form.html", context, status=UNPROCESSABLE if form.errors else 200)


@require_POST
@workspace_view(Permission.WEBHOOK_MANAGE)
def switch(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Enable it (`enabled=1`) or disable it."""
    endpoint = _find(request, endpoint_id)
    enabled = request.POST.get("enabled") == "1"
    try:
        endpoints.change_endpoint(endpoint, enabled=enabled, actor=actor_of(request))
    except WebhookRefused as refused:
        messages.error(request, refused.message)
        return redirect("webhooks:list", workspace=request.workspace.slug)
    words = "The webhook is enabled." if enabled else "The webhook is disabled. Nothing more is sent to it."
    messages.success(request, words)
    return _to_endpoint(request, endpoint)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WEBHOOK_MANAGE)
def roll(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Ask when the old secret stops, then show its successor once."""
    endpoint = _find(request, endpoint_id)
    form = RollSecretForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            new = endpoints.roll_secret(endpoint, form.cleaned_data["overlap"], actor=actor_of(request))
        except WebhookRefused as refused:
            form.add_error(None, refused.message)
        except SealError:
            form.add_error(None, UNREADABLE)
        else:
            return render(request, "webhooks/secret.html", {"new": new, "endpoint": endpoint, "rolled": True})
    context = {"form": form, "endpoint": endpoint}
    return render(request, "webhooks/roll.html", context, status=UNPROCESSABLE if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WEBHOOK_MANAGE)
def delete(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Ask, then delete the endpoint and its log."""
    endpoint = _find(request, endpoint_id)
    if request.method != "POST":
        return render(request, "webhooks/delete.html", {"endpoint": endpoint})
    try:
        endpoints.delete_endpoint(endpoint, actor=actor_of(request))
    except WebhookRefused as refused:
        messages.error(request, refused.message)
    else:
        messages.success(request, "The webhook was deleted.")
    return redirect("webhooks:list", workspace=request.workspace.slug)


@require_POST
@workspace_view(Permission.WEBHOOK_MANAGE)
def test(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Send a test event now; the page of its delivery shows what came back."""
    endpoint = _find(request, endpoint_id)
    try:
        delivery = deliveries.send_test(endpoint, actor=actor_of(request))
    except RateLimited as error:
        messages.error(request, str(error))
        return _to_endpoint(request, endpoint)
    except SealError:
        messages.error(request, UNREADABLE)
        return _to_endpoint(request, endpoint)
    return _to_delivery(request, delivery)


@require_POST
@workspace_view(Permission.WEBHOOK_MANAGE)
def replay_failed(request: WorkspaceRequest, endpoint_id: UUID) -> HttpResponse:
    """Send everything again that failed in the chosen time."""
    endpoint = _find(request, endpoint_id)
    form = ReplayForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose how far back to go.")
        return _to_endpoint(request, endpoint)
    since = timezone.now() - form.cleaned_data["since"]
    try:
        count = deliveries.replay_failed(endpoint, since, actor=actor_of(request))
    except WebhookRefused as refused:
        messages.error(request, refused.message)
    else:
        are_sent = "1 delivery is being sent again." if count == 1 else f"{count} deliveries are being sent again."
        messages.success(request, are_sent if count else "Nothing failed in that time.")
    return _to_endpoint(request, endpoint)


@require_safe
@workspace_view(Permission.WEBHOOK_MANAGE)
def delivery_detail(request: WorkspaceRequest, delivery_id: UUID) -> HttpResponse:
    """One delivery: what was sent, and what came back at each attempt."""
    delivery = _find_delivery(request, delivery_id)
    context = {
        "delivery": delivery,
        "endpoint": delivery.endpoint,
        "body": json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False),
        "attempts": _shown_attempts(delivery),
        "is_test": delivery.event_type == WebhookEvent.TEST,
    }
    return render(request, "webhooks/delivery.html", context)


@require_POST
@workspace_view(Permission.WEBHOOK_MANAGE)
def delivery_replay(request: WorkspaceRequest, delivery_id: UUID) -> HttpResponse:
    """Send one event again."""
    delivery = _find_delivery(request, delivery_id)
    try:
        deliveries.replay(delivery, actor=actor_of(request))
    except WebhookRefused as refused:
        messages.error(request, refused.message)
    else:
        messages.success(request, "The event is being sent again.")
    return _to_delivery(request, delivery)


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """One attempt with the headers that it was sent with."""

    attempt: WebhookAttempt
    headers: str

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return self.attempt.duration.total_seconds() * 1000


def _shown_attempts(delivery: WebhookDelivery) -> Sequence[ShownAttempt]:
    shown = []
    for attempt in delivery.attempts.all():
        headers = request_headers(delivery.event_id, attempt.at, attempt.signature)
        shown.append(ShownAttempt(attempt, "\n".join(f"{name}: {value}" for name, value in headers.items())))
    return shown


def _may_manage(request: WorkspaceRequest) -> bool:
    return Permission.WEBHOOK_MANAGE in request.can


def _find(request: WorkspaceRequest, endpoint_id: UUID) -> WebhookEndpoint:
    found: WebhookEndpoint = get_object_or_404(
        request.workspace.webhook_endpoints.select_related("workspace"), pk=endpoint_id
    )
    return found


def _find_delivery(request: WorkspaceRequest, delivery_id: UUID) -> WebhookDelivery:
    return get_object_or_404(request.workspace.webhook_deliveries.select_related("endpoint"), pk=delivery_id)


def _url_of(endpoint: WebhookEndpoint) -> str:
    try:
        return str(endpoint.url)
    except SealError:
        return ""


def _add_error(form: EndpointForm, refused: WebhookRefused) -> None:
    form.add_error(refused.field if refused.field in form.fields else None, refused.message)


def _to_endpoint(request: WorkspaceRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    return redirect("webhooks:detail", workspace=request.workspace.slug, endpoint_id=endpoint.pk)


def _to_delivery(request: WorkspaceRequest, delivery: WebhookDelivery) -> HttpResponse:
    kwargs: dict[str, Any] = {"workspace": request.workspace.slug, "delivery_id": delivery.pk}
    return redirect(reverse("webhooks:delivery", kwargs=kwargs))
