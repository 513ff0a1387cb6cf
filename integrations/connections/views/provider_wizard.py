"""Adding a provider of one's own: three steps at one address, with a live preview.

What was typed travels with the form, in parts that are not shown; nothing is saved until the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from integrations.connections.views.header import actor_of
from integrations.connections.views.provider_discovery import Panel, discover_into, panel_of, require_confirmation
from integrations.connections.views.provider_preview import preview_context
from integrations.models import GrantType
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.custom import create_custom_provider, custom_provider_id
from integrations.providers.definition import InvalidDefinition, read_definition, spec_from_definition
from integrations.providers.parameters import ENDPOINT_FIELDS, endpoint_template
from integrations.providers.provider_forms import STEPS, NewProviderForm, ProviderForm, step_of
from integrations.providers.registry import find_newest_spec
from integrations.providers.rendering import TemplateRefused, check_template, placeholders
from integrations.providers.setup import InvalidSetup, save_integration
from workspaces.access import workspace_view
from workspaces.errors import RateLimited
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission
from workspaces.widgets import SecretInput

LAST = len(STEPS)
UNPROCESSABLE, TOO_MANY = 422, 429


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def custom_new(request: WorkspaceRequest) -> HttpResponse:
    """The wizard.

    `go` says what is wanted: next, back, discover, preview (the preview alone), check (one field alone), a change of
    rows, draft or create.
    """
    context = seal_context(request)
    if request.method != "POST":
        return wizard_page(request, NewProviderForm(seal_context=context), step=1)
    form = NewProviderForm(request.POST, seal_context=context)
    step, go = _step(request.POST.get("step", "")), request.POST.get("go", "next")
    if (values := form.with_rows(go)) is not None:
        return wizard_page(request, NewProviderForm(initial=values, seal_context=context), step=step, changed=go)
    if go == "discover":
        return discovered(request, form, step=step)
    judge(form, request, step)
    if go == "preview":
        return preview_part(request, form)
    if go == "check":
        return check_field(request, form)
    if go == "back":
        return wizard_page(request, _carried(form), step=step - 1)
    if not any(step_of(name) == step for name in form.wrong) and go == "next" and step < LAST:
        return wizard_page(request, _carried(form, missing_parameters(form) if step == 1 else ()), step=step + 1)
    if form.wrong:
        wrong = min(step, *(step_of(name) for name in form.wrong))
        return wizard_page(request, form, step=wrong, status=UNPROCESSABLE)
    return create(request, form, draft=go == "draft")


def seal_context(request: WorkspaceRequest) -> str:
    """What secrets that travel with a form are sealed for: this person, here."""
    return f"provider-wizard:{request.workspace.pk}:{request.user.pk}"


def focus_attribute(request: WorkspaceRequest) -> str:
    """A page takes the focus by itself; of a part that htmx brings the script does (static/js/provider_form.js)."""
    return "data-focus" if request.htmx else "autofocus"


def _step(text: str) -> int:
    return int(text) if text in {str(number) for number in range(1, LAST + 1)} else 1


def _carried(form: NewProviderForm, more_parameters: Sequence[Mapping[str, str]] = ()) -> NewProviderForm:
    """The same values without complaints, for a step that has not been filled in yet."""
    values = form.posted()
    rows = [row for row in values["parameters"] if row.get("key") or row.get("label")]
    return NewProviderForm(initial={**values, "parameters": [*rows, *more_parameters]}, seal_context=form.seal_context)


def missing_parameters(form: ProviderForm) -> list[dict[str, str]]:
    """A parameter for each placeholder of the endpoints that has none: the next step asks for its details."""
    definition = form.definition()
    known = {entry.get("key") for name in ("parameters", "config_values") for entry in definition.get(name, ())}
    known |= {entry.get("key") for entry in definition.get("metadata", ())}
    used = dict.fromkeys(key for name in ENDPOINT_FIELDS for key in placeholders(str(definition.get(name, ""))))
    return [{"key": key, "label": key.replace("_", " ").capitalize()} for key in used if key not in known]


def judge(form: NewProviderForm, request: WorkspaceRequest, step: int) -> None:
    """Validate what was typed against the definition's rules, so that each step tells its own errors.

    The first step takes placeholders whose parameters the second one is going to ask for.
    """
    form.is_valid()
    definition = form.definition()
    if step == 1:
        definition["parameters"] = [*definition.get("parameters", ()), *missing_parameters(form)]
    try:
        read_definition(definition, provider_id="custom_preview", allowed_hosts=list(settings.OUTBOUND_ALLOWED_HOSTS))
    except InvalidDefinition as invalid:
        refuse(form, invalid.errors)
    require_confirmation(form, panel_of(form, request))
    if wanted := form.cleaned_data.get("provider_id"):
        try:
            custom_provider_id(request.workspace, form.cleaned_data.get("name", ""), wanted)
        except InvalidDefinition as invalid:
            form.refuse(invalid.errors)


def refuse(form: ProviderForm, errors: Mapping[str, list[str]]) -> None:
    """Take over a verb's errors, except for what the form has said itself."""
    known = form.wrong
    form.refuse({name: found for name, found in errors.items() if name not in known})


def discovered(request: WorkspaceRequest, form: NewProviderForm, *, step: int) -> HttpResponse:
    """The step again, with what the issuer publishes in its fields."""
    try:
        values, panel = discover_into(form, request)
    except RateLimited as error:
        panel = Panel("", failure=f"That was often. Try again in {error.retry_after} seconds.")
        values = form.posted()
    filled = NewProviderForm(initial=values, seal_context=form.seal_context)
    return wizard_page(request, filled, step=step, status=UNPROCESSABLE if panel.failure else 200, panel=panel)


def check_field(request: WorkspaceRequest, form: ProviderForm) -> HttpResponse:
    """One field with its errors, while the rest is still being typed."""
    name = request.POST.get("field", "")
    found = form[name] if name in form.fields else None
    for rows in form.rows.values():
        for row in rows.forms:
            if name.startswith(f"{row.prefix}-") and (own := name.removeprefix(f"{row.prefix}-")) in row.fields:
                found = row[own]
    if found is None or found.is_hidden:
        raise Http404
    if isinstance(found.field.widget, SecretInput):  # what was typed must not come back
        return HttpResponse(status=204)
    return render(request, "integrations/_provider_field.html", {"field": found, "check_url": request.path})


def wizard_page(
    request: WorkspaceRequest,
    form: NewProviderForm,
    *,
    step: int,
    status: int = 200,
    panel: Panel | None = None,
    changed: str = "",
) -> HttpResponse:
    """One step of the form and the preview beside it."""
    step = min(max(step, 1), LAST)
    form.follow(changed, focus=focus_attribute(request))
    context = form_preview(request, form) | {
        "form": form,
        "panel": panel or panel_of(form, request),
        "check_url": request.path,
        "step": step,
        "is_last": step == LAST,
        "is_new": True,
        "has_input": form.is_bound or bool(form.initial),
        "steps": [
            {"label": label, "done": number < step, "current": number == step, "url": ""}
            for number, (label, _) in enumerate(STEPS, 1)
        ],
        "list_url": reverse("integrations:list", kwargs={"workspace": request.workspace.slug}),
    }
    return render(request, "integrations/custom_new.html", context, status=status)


def preview_part(request: WorkspaceRequest, form: ProviderForm) -> HttpResponse:
    """The live preview alone."""
    context = form_preview(request, form) | {"check_url": request.path}
    return render(request, "integrations/_provider_preview.html", context)


def form_preview(request: WorkspaceRequest, form: ProviderForm) -> dict[str, Any]:
    """The live preview of what was typed so far."""
    source = form
    if not form.is_bound and form.initial:
        source = type(form)(form.as_posted(), seal_context=form.seal_context, spec=form.spec)
    values: dict[str, Any] = {}
    client_id = wanted = ""
    if source.is_bound:
        source.is_valid()
        values = source.definition()
        values["parameters"] = [*values.get("parameters", ()), *missing_parameters(source)]
        client_id, wanted = (str(source.cleaned_data.get(name) or "") for name in ("client_id", "provider_id"))
    spec = spec_so_far(request, values, wanted, form.spec)
    return preview_context(request.workspace, spec, client_id=client_id)


def spec_so_far(
    request: WorkspaceRequest, values: dict[str, Any], wanted: str, edited: ProviderSpec | None
) -> ProviderSpec:
    """The definition without what cannot be read yet."""
    name = values.get("name") or "Your provider"
    try:
        provider_id = edited.provider_id if edited else custom_provider_id(request.workspace, name, wanted)
    except InvalidDefinition:
        provider_id = "custom_provider"
    grant_types = values.get("grant_types") or [GrantType.AUTHORIZATION_CODE.value]
    values = {**values, "name": name, "grant_types": grant_types, "provider_id": provider_id}
    try:
        spec = spec_from_definition(values)
    except InvalidDefinition as invalid:
        spec = spec_from_definition({key: value for key, value in values.items() if key not in invalid.errors})
    blank: dict[str, Any] = dict.fromkeys(half_typed(spec), "")
    return replace(spec, **blank)


def half_typed(spec: ProviderSpec) -> Iterator[str]:
    """The endpoints that are no URL yet."""
    for name in ENDPOINT_FIELDS:
        template = endpoint_template(spec, name)
        try:
            if template:
                check_template(template)
        except TemplateRefused:
            yield name


def create(request: WorkspaceRequest, form: NewProviderForm, *, draft: bool) -> HttpResponse:
    """Save the provider, and its credentials if they were given; end where the next step is: connect, or set up."""
    actor = actor_of(request)
    values = form.cleaned_data
    definition = {**form.definition(), "provider_id": values["provider_id"]}
    try:
        provider = create_custom_provider(
            request.workspace, definition, actor=actor, created_by=request.user, draft=draft
        )
    except InvalidDefinition as invalid:
        refuse(form, invalid.errors)
        return wizard_page(request, form, step=min(map(step_of, form.wrong), default=LAST), status=UNPROCESSABLE)
    messages.success(request, f"{values['name']} was added as {provider.provider_id}.")
    spec = find_newest_spec(request.workspace, provider.provider_id)
    grant_type = spec.grant_types[0]
    kwargs = {"workspace": request.workspace.slug, "provider_id": provider.provider_id, "grant_type": grant_type}
    saved = save_credentials(request, form, spec)
    # A key has to be registered before anybody connects, and the configuration shows it.
    has_key = spec.token_endpoint_auth_method is ClientAuth.PRIVATE_KEY_JWT
    next_page = "detail" if saved and not has_key else "configuration"
    return redirect(reverse(f"integrations:{next_page}", kwargs=kwargs))


def save_credentials(request: WorkspaceRequest, form: NewProviderForm, spec: ProviderSpec) -> bool:
    """Save the client for every grant type; what is refused is told and can be mended in the configuration."""
    client_id = form.cleaned_data["client_id"]
    if not client_id or spec.asks_credentials:
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
                actor=actor_of(request),
            )
    except InvalidSetup as invalid:
        for sentences in invalid.errors.values():
            messages.warning(request, " ".join(sentences))
        return False
    return True
