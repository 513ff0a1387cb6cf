"""Pages for what went wrong before or beside a view. Under `/api/` they are problem details (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


@dataclass(frozen=True, slots=True)
class _Error:
    status: int
    code: str
    title: str
    message: str


_BAD_REQUEST = _Error(400, "bad_request", "This request could not be read", "Go back and try again.")
_DENIED = _Error(403, "permission_denied", "You may not do this", "Ask an admin of the workspace if you need it.")
_CSRF = _Error(
    403,
    "csrf_failed",
    "This form has expired",
    "Go back, reload the page and send it again. If that does not help, allow cookies for this site.",
)
_NOT_FOUND = _Error(
    404,
    "not_found",
    "There is nothing here",
    "The page does not exist, or it belongs to a workspace you are not a member of.",
)
_FAILED = _Error(
    500,
    "internal_error",
    "Something went wrong on our side",
    "Try again. If it happens again, give the reference below to the people who run this server.",
)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Handle 400. The exception's text may quote the request, so it is not shown."""
    return _respond(request, _BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Handle 403 with the reason that `PermissionDenied` was raised with, if any."""
    return _respond(request, _DENIED, reason=str(exception or ""))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Handle 404. The path is not echoed."""
    return _respond(request, _NOT_FOUND)


def nothing_here(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001 (a handler)
    """Handle 404 on a redirect host, which has no pages to lead back to."""
    return HttpResponse("There is nothing here.\n", status=404, content_type="text/plain; charset=utf-8")


def server_error(request: HttpRequest) -> HttpResponse:
    """Handle 500 with the request id as the reference."""
    return _respond(request, _FAILED)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Handle a POST that Django's CSRF check refused."""
    return _respond(request, _CSRF)


def _respond(request: HttpRequest, error: _Error, reason: str = "") -> HttpResponse:
    request_id = getattr(request, "request_id", None)  # absent when an earlier middleware failed
    reference = str(request_id) if request_id else ""
    message = reason or error.message
    if request.path.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "code": error.code,
            "detail": message,
            "reference": reference,
        }
        return JsonResponse(problem, status=error.status, content_type="application/problem+json")
    context = {
        "status": error.status,
        "code": error.code,
        "title": error.title,
        "message": message,
        "reference": reference,
    }
    return render(request, "workspaces/error.html", context, status=error.status)
