"""Pages for what went wrong before or beside a view. Under `/api/` they are problem details (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


@dataclass(frozen=True, slots=True)
class _Error:
    status: int
    template: str
    code: str
    title: str
    detail: str


_BAD_REQUEST = _Error(400, "400.html", "bad_request", "Bad request", "This request could not be read.")
_DENIED = _Error(403, "403.html", "permission_denied", "Not allowed", "This is not allowed.")
_CSRF = _Error(403, "403_csrf.html", "csrf_failed", "Not allowed", "The form's token is missing or has expired.")
_NOT_FOUND = _Error(404, "404.html", "not_found", "Not found", "There is nothing here.")
_FAILED = _Error(500, "500.html", "internal_error", "Internal error", "Something went wrong on our side.")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Handle 400. The exception's text may quote the request, so it is not shown."""
    return _respond(request, _BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handle 403 with the reason that `PermissionDenied` was raised with, if any."""
    return _respond(request, _DENIED, reason=str(exception or ""))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Handle 404. The path is not echoed."""
    return _respond(request, _NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """Handle 500 with the request id as the reference."""
    return _respond(request, _FAILED)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Handle a POST that Django's CSRF check refused."""
    return _respond(request, _CSRF)


def _respond(request: HttpRequest, error: _Error, reason: str = "") -> HttpResponse:
    request_id = getattr(request, "request_id", None)  # absent when an earlier middleware failed
    if request.path.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "code": error.code,
            "detail": reason or error.detail,
            "reference": str(request_id) if request_id else None,
        }
        return JsonResponse(problem, status=error.status, content_type="application/problem+json")
    context = {"message": reason, "request_id": request_id}
    return render(request, error.template, context, status=error.status)
