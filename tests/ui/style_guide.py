"""Routes of a style guide: every component on one page, in the shell, with nothing behind it.

It stands in for the feature pages, so that the kit is proved in a browser without them. See it with

    DJANGO_SETTINGS_MODULE=tests.ui.style_guide_settings python manage.py runserver
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils import timezone

from workspaces.brand_marks import HUES
from workspaces.roles import Permission
from workspaces.templatetags.ui import STATUS_BADGES
from workspaces.widgets import SecretInput, TagsInput

PAGE = Path(__file__).with_name("style_guide.html")


@dataclass(frozen=True)
class Provider:
    """What a mark needs of a provider."""

    name: str
    brand_icon: str = ""
    monogram: str = ""
    color: str = "slate"


class ExampleForm(forms.Form):
    """One field of each kind."""

    name = forms.CharField(help_text="Shown to everyone in the workspace.")
    client_id = forms.CharField(widget=forms.TextInput({"class": "g-mono"}))
    client_secret = forms.CharField(widget=SecretInput(stored_hint="4f9a"), required=False)
    additional_scopes = forms.CharField(
        widget=TagsInput(suggestions=("repo", "read:org")),
        required=False,
        help_text="Each as the provider writes it.",
    )
    region = forms.ChoiceField(choices=[("eu", "Europe"), ("us", "United States")])
    grant = forms.ChoiceField(
        choices=[("user", "Delegated user"), ("service", "Service account")],
        widget=forms.RadioSelect,
    )
    agreed = forms.BooleanField(label="Publish at once", help_text="Connections follow.")

    def clean_additional_scopes(self) -> list[str]:
        """Refuses one scope, so that the page shows how that looks."""
        scopes = self.cleaned_data["additional_scopes"].split()
        wrong = tuple(scope for scope in scopes if scope.startswith("admin:"))
        if wrong:
            self.fields["additional_scopes"].widget.wrong = wrong
            raise forms.ValidationError(f"{wrong[0]} is not allowed here.")
        return list(scopes)


def show(request: HttpRequest, workspace: str) -> HttpResponse:
    """The style guide; POST shows the form with its errors, or a toast."""
    form = ExampleForm(request.POST or None, initial={"additional_scopes": ["repo"]})
    if request.method == "POST" and form.is_valid():
        messages.success(request, f"Saved: {' '.join(form.cleaned_data['additional_scopes'])}")
        form = ExampleForm()
    now = timezone.now()
    request.workspace = SimpleNamespace(name="Acme Inc.", slug=workspace)  # type: ignore[attr-defined]
    request.membership = SimpleNamespace(get_role_display="Admin")  # type: ignore[attr-defined]
    request.can = frozenset(Permission)  # type: ignore[attr-defined]
    context = {
        "form": form,
        "unseen_notices": 3,
        "statuses": list(STATUS_BADGES),
        "providers": [
            Provider("Google Drive", brand_icon="googledrive"),
            Provider("GitHub", brand_icon="github"),
            Provider("Microsoft Graph", monogram="Ms", color="azure"),
            Provider("Northwind ID", color="amber"),
        ],
        "hues": HUES,
        "issued_at": now - timedelta(minutes=12),
        "renews_at": now + timedelta(minutes=36),
        "expires_at": now + timedelta(minutes=48),
        "earlier": now - timedelta(days=3),
        "bars": [(f"{hour:02}:00", (("good", 4), ("waiting", 2 if hour % 7 == 3 else 0))) for hour in range(24)],
        "steps": [
            {
                "label": "Resolve host",
                "ok": True,
                "detail": "id.example",
                "duration_ms": 22,
                "offset": 0,
                "share": 6,
            },
            {
                "label": "Authenticate",
                "ok": False,
                "detail": "401",
                "duration_ms": 230,
                "offset": 6,
                "share": 70,
            },
            {"label": "Receive a token", "ok": None, "duration_ms": 0},
        ],
        "stepper": [
            {"label": "Register the app", "done": True, "url": "#"},
            {"label": "Credentials", "current": True},
            {"label": "Scopes"},
            {"label": "Connect"},
        ],
        "tabs": [
            {"label": "Overview", "url": "#", "current": True},
            {"label": "Scopes", "url": "#", "count": 1, "tone": "waiting"},
            {"label": "Activity", "url": "#"},
        ],
    }
    page = engines["django"].from_string(PAGE.read_text())
    return HttpResponse(page.render(context, request))


def confirm(request: HttpRequest, workspace: str) -> HttpResponse:
    """Where the dialog's form goes."""
    messages.success(request, f"Disconnected {request.POST.get('confirm', '')}")
    return show(request, workspace)


def refuse(request: HttpRequest) -> HttpResponse:
    """A view that htmx finds broken."""
    return HttpResponse("no", status=500)


_integrations = ([path("", show, name="list")], "integrations")
_health = ([path("", show, name="page"), path("notifications/", show, name="notifications")], "health")
_webhooks = ([path("", show, name="list")], "webhooks")
_workspaces = (
    [
        path("members/", show, name="members"),
        path("keys/", show, name="api_keys"),
        path("audit/", show, name="audit"),
        path("settings/", show, name="settings"),
        path("confirm/", confirm, name="confirm"),
    ],
    "workspaces",
)

urlpatterns = [
    path("w/<slug:workspace>/integrations/", include(_integrations)),
    path("w/<slug:workspace>/health/", include(_health)),
    path("w/<slug:workspace>/webhooks/", include(_webhooks)),
    path("w/<slug:workspace>/", include(_workspaces)),
    path("refuse/", refuse, name="refuse"),
    path("accounts/", include("allauth.urls")),
]
handler400 = "workspaces.views.errors.bad_request"
handler403 = "workspaces.views.errors.permission_denied"
handler404 = "workspaces.views.errors.page_not_found"
handler500 = "workspaces.views.errors.server_error"
