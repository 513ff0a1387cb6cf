"""Login, consent and the protected API."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods
from oauth2_provider.oauth2_backends import get_oauthlib_core
from oauth2_provider.views import AuthorizationView

from config.sandbox.models import Note
from config.sandbox.seed import PASSWORD, PEOPLE

View = Callable[..., HttpResponse]
NOTE_MAX_LENGTH = 500


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What this server is, for whoever opens it by hand."""
    return render(request, "sandbox/home.html")


@require_GET
def healthz(_request: HttpRequest) -> HttpResponse:
    """The process is up."""
    return HttpResponse("ok\n", content_type="text/plain")


class LoginView(auth_views.LoginView):
    """Sign-in, filled in with the first person, so that it takes one click."""

    template_name = "sandbox/login.html"
    extra_context = {"password": PASSWORD, "people": list(PEOPLE)}

    def get_initial(self) -> dict[str, Any]:
        """The first person."""
        return {"username": next(iter(PEOPLE))}


class ConsentView(AuthorizationView):
    """The authorization endpoint (RFC 6749 §3.1): asks the person for each scope by its description."""

    template_name = "sandbox/consent.html"

    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        """Let the page's form lead back to the client, whose redirect URI has been validated by now."""
        response: HttpResponse = super().render_to_response(context, **response_kwargs)
        if "application" in context:
            response.client_redirect_uri = context["redirect_uri"]
        response["Cache-Control"] = "no-store"
        return response


def requires_token(**scopes_by_method: str) -> Callable[[View], View]:
    """Let a request in with a bearer token that carries the scope for its method (RFC 6750 §3.1).

    401 `invalid_token` without a usable token, 403 `insufficient_scope` when it does not reach that far.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @require_http_methods(list(scopes_by_method))
        @wraps(view)
        def wrapped(request: HttpRequest) -> HttpResponse:
            valid, result = get_oauthlib_core().verify_request(request, scopes=[])
            if not valid:
                return _refusal(401, "invalid_token", "The access token is missing, wrong or expired.")
            scope = scopes_by_method[str(request.method)]
            if not result.access_token.allow_scopes([scope]):
                return _refusal(403, "insufficient_scope", f"The access token lacks the scope {scope}.", scope)
            return view(request, result.access_token)

        return wrapped

    return decorate


def _refusal(status: int, error: str, description: str, scope: str = "") -> HttpResponse:
    response = JsonResponse({"error": error, "error_description": description}, status=status)
    asked = f', scope="{scope}"' if scope else ""
    response["WWW-Authenticate"] = f'Bearer realm="sandbox", error="{error}"{asked}'
    return response


@requires_token(GET="profile")
def me(_request: HttpRequest, token: Any) -> HttpResponse:
    """Who the token speaks for: a person, or the client itself."""
    if token.user is None:
        return JsonResponse({"sub": token.application.client_id, "name": token.application.name, "email": None})
    person = token.user
    return JsonResponse(
        {"sub": f"person-{person.pk}", "name": person.get_full_name(), "email": person.email, "email_verified": True}
    )


@requires_token(GET="notes:read", POST="notes:write")
def notes(request: HttpRequest, token: Any) -> HttpResponse:
    """Read the notes of whoever the token speaks for, or add one (JSON `{"text": …}`)."""
    owner = {"person": token.user} if token.user else {"person": None, "client_id": token.application.client_id}
    if request.method == "GET":
        return JsonResponse({"items": [_note(note) for note in Note.objects.filter(**owner)]})
    text = _posted_text(request)
    if text is None:
        return JsonResponse(
            {"error": "invalid_request", "error_description": 'Send {"text": "…"}, at most 500 characters.'}, status=400
        )
    return JsonResponse(_note(Note.objects.create(text=text, **owner)), status=201)


def _posted_text(request: HttpRequest) -> str | None:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        return None
    text = body.get("text") if isinstance(body, dict) else None
    return text if isinstance(text, str) and 0 < len(text) <= NOTE_MAX_LENGTH else None


def _note(note: Note) -> dict[str, Any]:
    return {"id": note.pk, "text": note.text, "created_at": note.created_at.isoformat()}
