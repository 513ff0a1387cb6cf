"""The page of a workspace's own provider: its definition, versions and drafts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from integrations.connections.provider_versions import Followers, followers
from integrations.connections.views.header import actor_of
from integrations.connections.views.provider_discovery import Panel, discover_into, panel_of, require_confirmation
from integrations.connections.views.provider_wizard import (
    UNPROCESSABLE,
    check_field,
    focus_attribute,
    form_preview,
    preview_part,
    refuse,
    seal_context,
)
from integrations.models import CustomProvider
from integrations.providers.base import ProviderSpec
from integrations.providers.custom import discard_drafts, drafted, publish, update_custom_provider
from integrations.providers.definition import InvalidDefinition
from integrations.providers.endpoint_change import MovingCost, cost_of_moving
from integrations.providers.provider_forms import ProviderForm, initial_of
from integrations.providers.registry import find_newest_spec, find_spec
from integrations.providers.versions import changes_between, versions_of
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_edit(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Change a definition. `go` as in the wizard, with draft or publish at the end."""
    provider = find_custom(request, provider_id)
    spec = find_newest_spec(request.workspace, provider_id)
    context = seal_context(request)
    if request.method != "POST":
        return edit_page(request, provider, ProviderForm(initial=initial_of(spec), seal_context=context, spec=spec))
    form = ProviderForm(request.POST, seal_context=context, spec=spec)
    go = request.POST.get("go", "publish")
    if (values := form.with_rows(go)) is not None:
        changed = ProviderForm(initial=values, seal_context=context, spec=spec)
        return edit_page(request, provider, changed, changed=go)
    if go == "discover":
        return discovered(request, provider, form)
    after = judge(form, request, provider)
    if go == "preview":
        return preview_part(request, form)
    if go == "check":
        return check_field(request, form)
    if after is None:
        return edit_page(request, provider, form, status=UNPROCESSABLE)
    return save(request, provider, form, after, draft=go == "draft")


def judge(form: ProviderForm, request: WorkspaceRequest, provider: CustomProvider) -> ProviderSpec | None:
    """The definition that the form would make; None when something is wrong with it."""
    form.is_valid()
    require_confirmation(form, panel_of(form, request))
    after = None
    try:
        after = drafted(provider, form.definition())
    except InvalidDefinition as invalid:
        refuse(form, invalid.errors)
    return None if form.wrong else after


def save(
    request: WorkspaceRequest, provider: CustomProvider, form: ProviderForm, after: ProviderSpec, *, draft: bool
) -> HttpResponse:
    """Make the version, unless it would take something away that nobody was told of."""
    newest = form.spec
    if newest is not None and request.POST.get("based_on", str(newest.version)) != str(newest.version):
        form.add_error(
            None,
            f"Version {newest.version} was saved meanwhile. Look at it below; saving again replaces what it changed.",
        )
        return edit_page(request, provider, form, status=UNPROCESSABLE)
    cost = cost_of_saving(provider, after, draft=draft)
    if cost is not None and not request.POST.get("confirm_move"):
        return edit_page(request, provider, form, cost=cost, draft=draft)
    try:
        version = update_custom_provider(
            provider, form.definition(), actor=actor_of(request), created_by=request.user, draft=draft
        )
    except InvalidDefinition as invalid:
        refuse(form, invalid.errors)
        return edit_page(request, provider, form, status=UNPROCESSABLE)
    if draft:
        messages.success(request, f"Version {version.number} is saved as a draft. Connections stay on theirs.")
        return redirect(edit_url(request, provider.provider_id))
    messages.success(request, f"{after.name} was changed. Version {version.number} is published.")
    return redirect(detail_url(request, after))


def cost_of_saving(provider: CustomProvider, after: ProviderSpec, *, draft: bool) -> MovingCost | None:
    """What saving would take away: nothing while it is a draft above something published."""
    current = find_spec(provider.workspace, provider.provider_id)
    if draft and not current.draft:
        return None
    return cost_of_moving(provider, current, after)


def discovered(request: WorkspaceRequest, provider: CustomProvider, form: ProviderForm) -> HttpResponse:
    """The form again, with what the issuer publishes in its fields."""
    try:
        values, panel = discover_into(form, request)
    except RateLimited as error:
        panel = Panel("", failure=f"That was often. Try again in {error.retry_after} seconds.")
        values = form.posted()
    filled = ProviderForm(initial=values, seal_context=form.seal_context, spec=form.spec)
    return edit_page(request, provider, filled, status=UNPROCESSABLE if panel.failure else 200, panel=panel)


def edit_page(
    request: WorkspaceRequest,
    provider: CustomProvider,
    form: ProviderForm,
    *,
    status: int = 200,
    panel: Panel | None = None,
    changed: str = "",
    cost: MovingCost | None = None,
    draft: bool = False,
) -> HttpResponse:
    """The form with its preview, then the versions. `cost` asks for confirmation before anything is saved."""
    form.follow(changed, focus=focus_attribute(request))
    versions = versions_of(provider)
    on = followers(request.workspace, provider.provider_id, versions)
    newest = versions[0]
    context = form_preview(request, form) | {
        "form": form,
        "panel": panel or panel_of(form, request),
        "check_url": request.path,
        "has_input": form.is_bound or bool(changed) or panel is not None,
        "edited": form.spec,
        "cost": cost,
        "as_draft": draft,
        "versions": [(version, on.get(version.number, Followers())) for version in versions],
        "newest": newest,
        "published": next((version.number for version in versions if not version.draft), None),
        **urls(request, provider.provider_id),
        "detail_url": detail_url(request, form.spec or find_spec(request.workspace, provider.provider_id)),
    }
    return render(request, "integrations/custom_edit.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_publish(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Let the newest draft count for every connection; what that changes and takes away stands above the button."""
    provider = find_custom(request, provider_id)
    newest = find_newest_spec(request.workspace, provider_id)
    if request.method == "POST":
        version = publish(provider, actor=actor_of(request))
        messages.success(request, f"Version {version.number} is published. Connections follow it.")
        return redirect(edit_url(request, provider_id))
    return draft_page(request, provider, newest, publishing=True)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_discard(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Delete the drafts above the published version."""
    provider = find_custom(request, provider_id)
    newest = find_newest_spec(request.workspace, provider_id)
    if request.method == "POST":
        if discard_drafts(provider, actor=actor_of(request)):
            messages.success(request, "The draft is discarded.")
        else:
            messages.warning(request, "There is no draft above a published version.")
        return redirect(edit_url(request, provider_id))
    return draft_page(request, provider, newest, publishing=False)


def draft_page(
    request: WorkspaceRequest, provider: CustomProvider, newest: ProviderSpec, *, publishing: bool
) -> HttpResponse:
    """A draft beside what counts now."""
    current = find_spec(request.workspace, provider.provider_id)
    if not newest.draft or (not publishing and current.draft):
        return redirect(edit_url(request, provider.provider_id))
    context = {
        "spec": newest,
        "current": current,
        "publishing": publishing,
        "changes": changes_between(current, newest),
        "cost": cost_of_moving(provider, current, newest) if publishing else None,
        **urls(request, provider.provider_id),
    }
    return render(request, "integrations/custom_draft.html", context)


def find_custom(request: WorkspaceRequest, provider_id: str) -> CustomProvider:
    """The workspace's own provider. Raises Http404 for built-in and other workspaces' ids."""
    provider = request.workspace.custom_providers.filter(provider_id=provider_id).first()
    if provider is None:
        raise Http404
    return provider


def urls(request: WorkspaceRequest, provider_id: str) -> dict[str, Any]:
    """The addresses of a provider's own pages."""
    base = {"workspace": request.workspace.slug, "provider_id": provider_id}
    names = {
        "edit_url": "custom_edit",
        "publish_url": "custom_publish",
        "discard_url": "custom_discard",
        "export_url": "custom_export",
        "inspect_url": "custom_inspect",
        "delete_url": "provider_delete",
    }
    found = {key: reverse(f"integrations:{name}", kwargs=base) for key, name in names.items()}
    slug = {"workspace": request.workspace.slug}
    yaml_url = f"{reverse('integrations:custom_import', kwargs=slug)}?of={provider_id}"
    return {**found, "yaml_url": yaml_url, "list_url": reverse("integrations:list", kwargs=slug)}


def edit_url(request: WorkspaceRequest, provider_id: str) -> str:
    """The address of the edit page."""
    return str(urls(request, provider_id)["edit_url"])


def detail_url(request: WorkspaceRequest, spec: ProviderSpec) -> str:
    """The address of the provider's first integration."""
    kwargs = {
        "workspace": request.workspace.slug,
        "provider_id": spec.provider_id,
        "grant_type": spec.grant_types[0].value,
    }
    return reverse("integrations:detail", kwargs=kwargs)
