"""The sandbox's content security policy."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

Handler = Callable[[HttpRequest], HttpResponse]


class ContentSecurityPolicyMiddleware:
    """Nothing but our own style sheet, and forms that may lead back to the client.

    Chromium holds a form to `form-action` through redirects too: without the client's origins, Allow and Deny would
    end in a blocked navigation. A view names the one it leads to in `response.client_redirect_uri` once the request is
    validated; from there the client may forward to another of its own (a redirect host does).
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the header."""
        response = self.get_response(request)
        form_action = "'self'"
        if redirect_uri := getattr(response, "client_redirect_uri", ""):
            origins = dict.fromkeys(_origin(uri) for uri in (redirect_uri, *settings.REDIRECT_URIS))
            form_action = " ".join((form_action, *origins))
        response["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action {form_action}"
        )
        return response


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"
