"""The dry-run inspector: the exact requests for a set of values, and how an answer would be read.

What is pasted is read and forgotten: it reaches no row, no session and no log.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from integrations.connections.inspector import MAX_BODY, Reading, purposes, read_answer
from integrations.connections.views.provider_edit import detail_url, find_custom
from integrations.models import GrantType
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, ProviderSpec
from integrations.providers.form_fields import MONO, PARAMETER, parameter_field
from integrations.providers.preview import Purpose, preview
from integrations.providers.registry import ProviderNotFound, find_newest_spec, find_spec
from integrations.providers.rendering import ParameterRefused, check_value
from integrations.providers.setup import redirect_uri
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission
from workspaces.widgets import SecretTextarea

UNPROCESSABLE = 422
PURPOSE_WORDS = {
    Purpose.AUTHORIZATION_CODE: "Exchanging the code",
    Purpose.REFRESH_TOKEN: "Renewing the token",
    Purpose.CLIENT_CREDENTIALS: "Fetching a token (service account)",
}


class InspectForm(forms.Form):
    """Values of parameters, and an answer to be read. Passwords are not asked: no request shows them."""

    answers = forms.ChoiceField(label="Answer to")
    status = forms.IntegerField(
        label="HTTP status",
        initial=200,
        min_value=100,
        max_value=599,
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
    )
    content_type = forms.CharField(
        label="Content type",
        max_length=200,
        required=False,
        initial="application/json",
        widget=forms.TextInput({**MONO, "list": "content-types"}),
    )
    body = forms.CharField(
        label="Paste a token answer",
        max_length=MAX_BODY,
        required=False,
        strip=False,
        help_text="Nothing of it is stored or logged. Tokens are shown by their last four characters at most.",
        widget=SecretTextarea(  # what was pasted may hold tokens: it is not rendered back
            {**MONO, "rows": 8, "placeholder": '{"access_token": "…", "expires_in": 3600}'}
        ),
    )

    def __init__(self, *args: Any, spec: ProviderSpec, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spec = spec
        self.fields["answers"].choices = [(one.value, PURPOSE_WORDS[one]) for one in purposes(spec)]  # type: ignore[attr-defined] # a ChoiceField
        self.asked = [
            one for one in spec.parameters if one.type != "password" and one.key not in (CLIENT_ID, CLIENT_SECRET)
        ]
        for parameter in self.asked:
            own = parameter_field(parameter, required=False)
            own.help_text = own.help_text or ""
            if isinstance(own, forms.ChoiceField):
                own.choices = [("", "Not chosen"), *((option, option) for option in parameter.options)]
            self.fields[PARAMETER + parameter.key] = own

    @property
    def parameter_fields(self) -> list[forms.BoundField]:
        """The parameters' fields."""
        return [self[PARAMETER + parameter.key] for parameter in self.asked]

    def clean(self) -> dict[str, Any]:
        """Each value has the form that its parameter must have."""
        cleaned = super().clean() or {}
        for parameter in self.asked:
            if value := cleaned.get(PARAMETER + parameter.key):
                try:
                    check_value(parameter, value)
                except ParameterRefused as refused:
                    self.add_error(PARAMETER + parameter.key, refused.message)
        return cleaned

    @property
    def values(self) -> dict[str, str]:
        """The parameters that have a value."""
        found = {one.key: self.cleaned_data.get(PARAMETER + one.key) for one in self.asked}
        return {key: str(value) for key, value in found.items() if value}


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def custom_inspect(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Inspect the newest definition of a workspace's own provider, a draft included."""
    provider = find_custom(request, provider_id)
    return inspect_response(request, find_newest_spec(request.workspace, provider.provider_id))


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.WORKSPACE_VIEW)
def inspect(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Inspect the definition that counts, of any provider."""
    try:
        spec = find_spec(request.workspace, provider_id)
    except ProviderNotFound as error:
        raise Http404 from error
    if not spec.supports(grant_type):
        raise Http404
    return inspect_response(request, spec, grant_type)


@sensitive_variables("form", "reading")
def inspect_response(request: WorkspaceRequest, spec: ProviderSpec, grant_type: str = "") -> HttpResponse:
    """The requests, and the reading of an answer if one was pasted."""
    form = InspectForm(request.POST if request.method == "POST" else None, spec=spec)
    reading: Reading | None = None
    values: dict[str, str] = {}
    valid = form.is_valid() if form.is_bound else False
    if valid:
        values = form.values
        if form.cleaned_data["body"].strip():
            reading = read_answer(
                spec,
                Purpose(form.cleaned_data["answers"]),
                status=form.cleaned_data["status"],
                content_type=form.cleaned_data["content_type"],
                body=form.cleaned_data["body"],
                now=timezone.now(),
            )
    uri = redirect_uri(request.workspace)
    shown = [GrantType(grant_type)] if grant_type else list(spec.grant_types)
    context = {
        "spec": spec,
        "form": form,
        "reading": reading,
        "previews": [preview(spec, one, client_id="", redirect_uri=uri, values=values) for one in shown],
        "list_url": reverse("integrations:list", kwargs={"workspace": request.workspace.slug}),
        "detail_url": detail_url(request, spec),
    }
    status = UNPROCESSABLE if form.is_bound and not valid else 200
    return render(request, "integrations/inspect.html", context, status=status)
