"""Setting an integration up: its configuration and its scopes."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from integrations.connections.discovery_card import DiscoveryCard, discovery_card
from integrations.connections.integration_page import IntegrationPage, load_page
from integrations.connections.overview import token_of
from integrations.connections.views.client_keys import key_card
from integrations.connections.views.header import actor_of, page_context
from integrations.crypto import SealError
from integrations.models import ConnectionStatus, Integration
from integrations.providers.base import ClientAuth
from integrations.providers.form_fields import add_errors
from integrations.providers.parameters import open_parameters
from integrations.providers.scope_rules import how_to_ask_for_more, takes_scopes
from integrations.providers.setup import InvalidSetup, save_integration
from integrations.providers.setup_forms import KEY_FILE_TOO_LARGE, ScopesForm, ServiceAccountKeyForm, SetupForm
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission

UNPROCESSABLE = 422
AUTH_WORDS = {
    ClientAuth.CLIENT_SECRET_BASIC: "Basic",
    ClientAuth.CLIENT_SECRET_POST: "Post",
    ClientAuth.NONE: "None, a public client",
    ClientAuth.PRIVATE_KEY_JWT: "Private key JWT",
}
STEPS_END_AT = (ConnectionStatus.NOT_CONFIGURED, ConnectionStatus.CONFIGURED)


def setup_steps(page: IntegrationPage, tab: str) -> list[dict[str, Any]]:
    """The stepper, until the integration is connected."""
    if page.status not in STEPS_END_AT:
        return []
    configured = page.is_configured
    on_scopes = tab == "scopes"
    first = "Register the app" if page.needs_person else "Register the client"
    return [
        {"label": first, "done": configured, "current": False, "url": page.url("configuration") if on_scopes else ""},
        {
            "label": "Credentials",
            "done": configured,
            "current": tab == "configuration",
            "url": page.url("configuration"),
        },
        {
            "label": "Scopes",
            "done": configured and bool(page.integration and page.integration.additional_scopes),
            "current": on_scopes,
            "url": page.url("scopes") if configured else "",
        },
        {
            "label": "Connect" if page.needs_person else "Fetch a token",
            "done": False,
            "current": False,
            "url": page.url("detail") if configured else "",
        },
    ]


@sensitive_post_parameters("client_secret", "key_file")
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def configuration(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Client credentials and parameters. Everybody may look; saving needs an admin."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    if request.method != "POST":
        return configuration_response(request, page, setup_form(page))
    require_permission(request, Permission.INTEGRATION_MANAGE)
    form = setup_form(page, request.POST, request.FILES)
    if form.is_valid() and form.takes_key and upload_was_dropped(request):
        form.add_error("key_file", KEY_FILE_TOO_LARGE)
    if not form.is_valid():
        return configuration_response(request, page, form, status=UNPROCESSABLE)
    values = form.cleaned_data
    try:
        save_integration(
            page.workspace,
            page.spec,
            page.grant_type,
            client_id=values.get("client_id", ""),
            client_secret=values.get("client_secret") or None,
            clear_client_secret=values.get("clear_client_secret", False),
            additional_scopes=page.integration.additional_scopes if page.integration else (),
            parameters=form.parameters,
            token_endpoint_auth_method=values.get("token_endpoint_auth_method") or None,
            actor=actor_of(request),
        )
    except InvalidSetup as invalid:
        add_errors(form, invalid.errors)
        return configuration_response(request, page, form, status=UNPROCESSABLE)
    saved = load_page(request, provider_id, grant_type, timezone.now())
    if key_card(saved) and not key_card(page):
        messages.success(request, f"The integration has a key now. Register it at {saved.spec.name}.")
        return redirect(f"{page.url('configuration')}#client-key")
    if saved.status in STEPS_END_AT and saved.is_configured:
        messages.success(request, "The credentials are saved. Next: the scopes.")
        return redirect(page.url("scopes"))
    messages.success(request, "The configuration is saved.")
    return redirect(page.url("configuration"))


def upload_was_dropped(request: WorkspaceRequest) -> bool:
    """Whether the body was too large for a file in it to be kept: what is not there must not pass for left blank."""
    return int(request.META.get("CONTENT_LENGTH") or 0) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def require_permission(request: WorkspaceRequest, permission: Permission) -> None:
    """Refuse what the role may not do on a page that everybody may look at. Raises PermissionDenied."""
    if permission not in request.can:
        raise PermissionDenied(
            f"Your role in this workspace ({request.membership.get_role_display()}) does not allow this."
        )


def setup_form(page: IntegrationPage, data: Any = None, files: Any = None) -> SetupForm:
    """The form with what is stored."""
    connected = sum(token_of(connection) is not None for connection in page.connections)
    form_class = ServiceAccountKeyForm if page.spec.uses_service_account_key(page.grant_type) else SetupForm
    return form_class(
        data, files, spec=page.spec, grant_type=page.grant_type, integration=page.integration, connected=connected
    )


def configuration_response(
    request: WorkspaceRequest,
    page: IntegrationPage,
    form: SetupForm,
    *,
    discovery: DiscoveryCard | None = None,
    status: int = 200,
) -> HttpResponse:
    """The tab: redirect URI first, then the form; beside it what to think of before connecting."""
    context = page_context(request, page, "configuration") | {
        "form": form,
        "steps": setup_steps(page, "configuration"),
        "may_manage_workspace": Permission.WORKSPACE_MANAGE in request.can,
        "in_setup": page.status in STEPS_END_AT,
        "other": other_grant(page),
        "endpoints": endpoints(page),
        "asked": open_parameters(page.spec, page.integration.readable_parameters if page.integration else {}),
        "keys": key_card(page),
        "auth_words": "an assertion signed with the JSON key" if form.takes_key else AUTH_WORDS[form.auth_method],
        "secret_unreadable": has_unreadable_secret(page.integration, form),
        "discovery": discovery or discovery_card(page),
    }
    return render(request, "integrations/configuration.html", context, status=status)


def has_unreadable_secret(integration: Integration | None, form: SetupForm) -> bool:
    """Whether a secret is stored that no configured key opens."""
    if integration is None or not form.secret_stored:
        return False
    try:
        return not integration.client_secret
    except SealError:
        return True


def other_grant(page: IntegrationPage) -> dict[str, str] | None:
    """The same provider under its other grant type, which may need no person."""
    grant = page.other_grant_type
    if grant is None:
        return None
    kwargs = {"workspace": page.workspace.slug, "provider_id": page.spec.provider_id, "grant_type": grant.value}
    return {"grant_type": grant.value, "url": reverse("integrations:configuration", kwargs=kwargs)}


def endpoints(page: IntegrationPage) -> list[tuple[str, str]]:
    """The provider's endpoints as its definition writes them."""
    spec = page.spec
    found = [
        ("Authorization", spec.authorization_endpoint if page.needs_person else ""),
        ("Token", spec.token_endpoint),
        ("Revocation", spec.revocation_endpoint),
        ("Introspection", spec.introspection_endpoint),
        ("User info", spec.userinfo_endpoint),
        ("Issuer", spec.issuer),
        ("API", spec.api_base_url),
    ]
    return [(label, url) for label, url in found if url]


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def scopes(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Base and additional scopes. Everybody may look; saving needs an admin."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    additional = list(page.integration.additional_scopes) if page.integration else []
    if request.method != "POST":
        form = ScopesForm(initial={"additional_scopes": additional}, spec=page.spec, grant_type=page.grant_type)
        return scopes_response(request, page, form)
    require_permission(request, Permission.INTEGRATION_MANAGE)
    form = ScopesForm(request.POST, spec=page.spec, grant_type=page.grant_type)
    if page.integration is None or not page.is_configured:
        messages.warning(request, "Save the client credentials first, then choose scopes.")
        return redirect(page.url("configuration"))
    if form.is_valid():
        try:
            save_scopes(request, page, page.integration, form.cleaned_data["additional_scopes"])
        except InvalidSetup as invalid:
            form.refuse(invalid.errors, wrong=wrong_scopes(invalid, form.cleaned_data["additional_scopes"]))
        else:
            return after_scopes(request, page, changed=list(form.cleaned_data["additional_scopes"]) != additional)
    return scopes_response(request, page, form, status=UNPROCESSABLE)


def save_scopes(
    request: WorkspaceRequest, page: IntegrationPage, integration: Integration, additional: tuple[str, ...]
) -> None:
    """Save the scopes and nothing else. Raises InvalidSetup."""
    save_integration(
        page.workspace,
        page.spec,
        page.grant_type,
        client_id="" if page.spec.asks_credentials else integration.client_id,
        additional_scopes=additional,
        parameters=None,
        token_endpoint_auth_method=integration.token_endpoint_auth_method or None,
        actor=actor_of(request),
    )


def wrong_scopes(invalid: InvalidSetup, scopes: tuple[str, ...]) -> list[str]:
    """Which of the scopes an error is about: the sentences quote them."""
    said = " ".join(sentence for sentences in invalid.errors.values() for sentence in sentences)
    return [scope for scope in scopes if f"“{scope}”" in said]


def after_scopes(request: WorkspaceRequest, page: IntegrationPage, *, changed: bool) -> HttpResponse:
    """Tell what a change of scopes means for the connections that are there."""
    connected = any(token_of(connection) for connection in page.connections)
    if changed and connected and page.needs_person:
        messages.success(request, "The scopes are saved. Tokens carry them after the next consent.")
    elif changed and connected:
        messages.success(request, "The scopes are saved. The next token carries them.")
    else:
        messages.success(request, "The scopes are saved.")
    return redirect(page.url("scopes") if connected else page.url("detail"))


def scopes_response(
    request: WorkspaceRequest, page: IntegrationPage, form: ScopesForm, *, status: int = 200
) -> HttpResponse:
    """The tab: locked base scopes, the tag input, requested and granted side by side."""
    base = page.spec.base_scopes(page.grant_type)
    context = page_context(request, page, "scopes") | {
        "form": form,
        "steps": setup_steps(page, "scopes"),
        "base_scopes": base,
        "takes_scopes": takes_scopes(page.spec),
        "more_scopes_help": "" if page.spec.allow_additional_scopes else how_to_ask_for_more(page.spec),
        "default_scopes": [name for name in page.spec.default_scopes(page.grant_type) if name not in base],
        "in_setup": page.status in STEPS_END_AT,
    }
    return render(request, "integrations/scopes.html", context, status=status)
