"""Pages of a workspace's own providers: the wizard that adds one, with its live preview, and the edit page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from integrations.models import CustomProvider, GrantType
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.custom import create_custom_provider, custom_provider_id, update_custom_provider
from integrations.providers.definition import InvalidDefinition, read_definition, spec_from_definition
from integrations.providers.preview import preview
from integrations.providers.provider_forms import (
    STEPS,
    NewProviderForm,
    ProviderForm,
    initial_of,
    step_of,
)
from integrations.providers.registry import find_newest_spec
from integrations.providers.setup import InvalidSetup, redirect_uri, save_integration
from workspaces.access import workspace_view
from workspaces.audit import Actor
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

LAST = len(STEPS)
UNPROCESSABLE = 422


@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_new(request: WorkspaceRequest) -> HttpResponse:
    """The wizard. One address for all steps: what was typed travels with the form, nothing is saved until the end.

    `go` says what is wanted: next, back, preview (the preview alone), check (one field alone), create.
    """
    context = f"provider-wizard:{request.workspace.pk}:{request.user.pk}"
    if request.method != "POST":
        return wizard_page(request, NewProviderForm(seal_context=context), step=1)
    form = NewProviderForm(request.POST, seal_context=context)
    judge(form, request)
    step, go = _step(request.POST.get("step", "")), request.POST.get("go", "next")
    if go == "preview":
        return render(request, "integrations/custom_new.html#preview", preview_context(request, form))
    if go == "check":
        return check_field(request, form)
    if go == "back":
        return wizard_page(request, _carried(form), step=step - 1)
    if not any(step_of(name) == step for name in form.errors) and go == "next" and step < LAST:
        return wizard_page(request, _carried(form), step=step + 1)
    if form.errors:
        wrong = min(step, *(step_of(name) for name in form.errors))
        return wizard_page(request, form, step=wrong, status=UNPROCESSABLE)
    return create(request, form)


def _step(text: str) -> int:
    return int(text) if text in {str(number) for number in range(1, LAST + 1)} else 1


def _carried(form: NewProviderForm) -> NewProviderForm:
    """The same values without complaints, for a step that has not been filled in yet."""
    return NewProviderForm(initial=form.posted(), seal_context=form.seal_context)


def judge(form: NewProviderForm, request: WorkspaceRequest) -> None:
    """Validate what was typed against the definition's rules, so that each step tells its own errors."""
    form.is_valid()
    known = set(form.errors)
    try:
        read_definition(
            form.definition(), provider_id="custom_preview", allowed_hosts=list(settings.OUTBOUND_ALLOWED_HOSTS)
        )
    except InvalidDefinition as invalid:
        form.refuse({name: found for name, found in invalid.errors.items() if name not in known})
    if wanted := form.cleaned_data.get("provider_id"):
        try:
            custom_provider_id(request.workspace, form.cleaned_data.get("name", ""), wanted)
        except InvalidDefinition as invalid:
            form.refuse(invalid.errors)


def check_field(request: WorkspaceRequest, form: NewProviderForm) -> HttpResponse:
    """One field with its errors, while the rest is still being typed."""
    name = request.POST.get("field", "")
    if name not in form.fields or name == "client_secret":
        raise Http404
    return render(request, "integrations/custom_new.html#field", {"field": form[name], "checked": True})


def wizard_page(request: WorkspaceRequest, form: NewProviderForm, *, step: int, status: int = 200) -> HttpResponse:
    """One step, its form and the preview beside it."""
    step = min(max(step, 1), LAST)
    here = STEPS[step - 1][1]
    context = preview_context(request, form) | {
        "form": form,
        "step": step,
        "is_last": step == LAST,
        "shown": [form[name] for name in here if not form[name].is_hidden],
        "carried": [form[name] for name in form.fields if name not in here and name != "client_secret"],
        "sealed": form.sealed,
        "steps": [
            {"label": label, "done": number < step, "current": number == step, "url": ""}
            for number, (label, _) in enumerate(STEPS, 1)
        ],
        "list_url": reverse("integrations:list", kwargs={"workspace": request.workspace.slug}),
    }
    response = render(request, "integrations/custom_new.html", context, status=status)
    response["Cache-Control"] = "no-store"
    return response


def preview_context(request: WorkspaceRequest, form: NewProviderForm) -> dict[str, Any]:
    """The live preview of what was typed so far."""
    values: dict[str, Any] = {}
    client_id = ""
    source = form
    if not form.is_bound and form.initial:
        source = NewProviderForm(form.initial, seal_context=form.seal_context)
    if source.is_bound:
        source.is_valid()
        values, client_id = source.definition(), source.cleaned_data.get("client_id", "")
    spec, uri = _spec_so_far(request, source, values), redirect_uri(request.workspace)
    return {
        "spec": spec,
        "previews": [preview(spec, grant, client_id=client_id, redirect_uri=uri) for grant in spec.grant_types],
        "base_scopes": list(dict.fromkeys(name for grant in spec.grant_types for name in spec.base_scopes(grant))),
        "default_scopes": list(
            dict.fromkeys(name for grant in spec.grant_types for name in spec.default_scopes(grant))
        ),
        "redirect_uri": uri,
        "needs_person": spec.supports(GrantType.AUTHORIZATION_CODE),
    }


def _spec_so_far(request: WorkspaceRequest, form: NewProviderForm, values: dict[str, Any]) -> ProviderSpec:
    """The definition without what cannot be read yet."""
    name = values.get("name") or "Your provider"
    wanted = form.cleaned_data.get("provider_id", "") if form.is_bound and hasattr(form, "cleaned_data") else ""
    try:
        provider_id = custom_provider_id(request.workspace, name, wanted)
    except InvalidDefinition:
        provider_id = "custom_provider"
    values = {**values, "name": name, "grant_types": values.get("grant_types") or [GrantType.AUTHORIZATION_CODE.value]}
    try:
        return spec_from_definition({**values, "provider_id": provider_id})
    except InvalidDefinition as invalid:
        readable = {key: value for key, value in values.items() if key not in invalid.errors}
        return spec_from_definition({**readable, "provider_id": provider_id})


def create(request: WorkspaceRequest, form: NewProviderForm) -> HttpResponse:
    """Save the provider, and its credentials if they were given; end where the next step is: connect, or set up."""
    actor = Actor.member(request.user, request.request_id)
    values = form.cleaned_data
    definition = {**form.definition(), "provider_id": values["provider_id"]}
    try:
        provider = create_custom_provider(request.workspace, definition, actor=actor, created_by=request.user)
    except InvalidDefinition as invalid:
        form.refuse(invalid.errors)
        return wizard_page(request, form, step=min(step_of(name) for name in form.errors), status=UNPROCESSABLE)
    messages.success(request, f"{values['name']} was added as {provider.provider_id}.")
    spec = find_newest_spec(request.workspace, provider.provider_id)
    grant_type = spec.grant_types[0]
    kwargs = {"workspace": request.workspace.slug, "provider_id": provider.provider_id, "grant_type": grant_type}
    saved = save_credentials(request, form, spec, actor)
    # A key has to be registered before anybody connects, and the configuration shows it.
    has_key = spec.token_endpoint_auth_method is ClientAuth.PRIVATE_KEY_JWT
    next_page = "detail" if saved and not has_key else "configuration"
    return redirect(reverse(f"integrations:{next_page}", kwargs=kwargs))


def save_credentials(request: WorkspaceRequest, form: NewProviderForm, spec: ProviderSpec, actor: Actor) -> bool:
    """Save the client for every grant type; what is refused is told and can be mended in the configuration."""
    client_id = form.cleaned_data["client_id"]
    if not client_id:
        return False
    try:
        for grant_type in spec.grant_types:
            save_integration(
                request.workspace,
                spec,
                grant_type,
                client_id=client_id,
                client_secret=form.secret or None,
                additional_scopes=(),
                parameters=None,
                token_endpoint_auth_method=None,
                actor=actor,
            )
    except InvalidSetup as invalid:
        for sentences in invalid.errors.values():
            messages.warning(request, " ".join(sentences))
        return False
    return True


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_edit(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Change a provider's name, endpoints, client authentication and scopes."""
    provider = find_custom(request, provider_id)
    spec = find_newest_spec(request.workspace, provider_id)
    initial = initial_of(spec)
    form = ProviderForm(request.POST if request.method == "POST" else None, initial=initial)
    status = 200
    if request.method == "POST":
        if form.is_valid():
            actor = Actor.member(request.user, request.request_id)
            try:
                update_custom_provider(provider, form.definition(), actor=actor)
            except InvalidDefinition as invalid:
                form.refuse(invalid.errors)
            else:
                messages.success(request, f"{form.cleaned_data['name']} was changed.")
                return redirect(_detail_url(request, find_newest_spec(request.workspace, provider_id)))
        status = UNPROCESSABLE
    connected = request.workspace.connections.filter(integration__provider_id=provider_id, token__isnull=False).count()
    context = {
        "form": form,
        "spec": spec,
        "connected": connected,
        "detail_url": _detail_url(request, spec),
        "list_url": reverse("integrations:list", kwargs={"workspace": request.workspace.slug}),
        "delete_url": reverse(
            "integrations:provider_delete", kwargs={"workspace": request.workspace.slug, "provider_id": provider_id}
        ),
    }
    return render(request, "integrations/custom_edit.html", context, status=status)


def find_custom(request: WorkspaceRequest, provider_id: str) -> CustomProvider:
    """The workspace's own provider. Raises Http404 for built-in and other workspaces' ids."""
    provider = request.workspace.custom_providers.filter(provider_id=provider_id).first()
    if provider is None:
        raise Http404
    return provider


def _detail_url(request: WorkspaceRequest, spec: ProviderSpec) -> str:
    kwargs = {
        "workspace": request.workspace.slug,
        "provider_id": spec.provider_id,
        "grant_type": spec.grant_types[0].value,
    }
    return reverse("integrations:detail", kwargs=kwargs)
