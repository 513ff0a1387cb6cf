"""Pages for what went wrong before or beside a view. Under `/api/` they are problem details (RFC 9457)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


@dataclass(frozen=True, slots=True)
class _Words:
    status: int
    code: str
    title: str
    message: str


_BAD_REQUEST = _Words(400, "bad_request", "This request could not be read", "Go back and try again.")
_DENIED = _Words(
    403,
    "permission_denied",
    "You may not do this",
    "Ask an admin of the workspace if you need it.",
)
_NOT_FOUND = _Words(
    404,
    "not_found",
    "There is nothing here",
    "The page does not exist, or it belongs to a workspace you are not a member of.",
)
_FAILED = _Words(
    500,
    "internal_error",
    "Something went wrong on our side",
    "Nothing was lost. Try again; if it happens again, give the reference below to the people who run this server.",
)
_CSRF = _Words(
    403,
    "csrf_failed",
    "This form has expired",
    "Go back, reload the page and send it again. If that does not help, allow cookies for this site.",
)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handle 400. The exception's text may quote the request, so it is not shown."""
    return _respond(request, _BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handle 403 with the reason that `PermissionDenied` was raised with, if any."""
    return _respond(request, _DENIED, reason=str(exception or ""))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handle 404. The path is not echoed."""
    return _respond(request, _NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """Handle 500 with the request id as the reference."""
    return _respond(request, _FAILED)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Handle a POST that Django's CSRF check refused."""
    return _respond(request, _CSRF)


def _respond(request: HttpRequest, words: _Words, reason: str = "") -> HttpResponse:
    reference = getattr(request, "request_id", None)
    if request.path.startswith("/api/"):
        return _problem(words, reference, reason)
    context = {
        "status": words.status,
        "code": words.code,
        "title": words.title,
        "message": reason or words.message,
        "reference": reference,
    }
    return render(request, "workspaces/error.html", context, status=words.status)


def _problem(words: _Words, reference: uuid.UUID | None, reason: str) -> HttpResponse:
    body = {
        "type": "about:blank",
        "title": words.title,
        "status": words.status,
        "code": words.code,
        "detail": reason or words.message,
        "reference": str(reference) if reference else None,
    }
    return JsonResponse(body, status=words.status, content_type="application/problem+json")
