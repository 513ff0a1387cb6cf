"""The sandbox's content security policy."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse

Handler = Callable[[HttpRequest], HttpResponse]


class ContentSecurityPolicyMiddleware:
    """Nothing but our own style sheet, and forms that may lead back to the client.

    Chromium holds a form to `form-action` through redirects too: without the client's origin, Allow and Deny would
    end in a blocked navigation. A view names it in `response.client_redirect_uri` once the request is validated.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the header."""
        response = self.get_response(request)
        form_action = "'self'"
        if redirect_uri := getattr(response, "client_redirect_uri", ""):
            parts = urlsplit(redirect_uri)
            form_action += f" {parts.scheme}://{parts.netloc}"
        response["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action {form_action}"
        )
        return response
