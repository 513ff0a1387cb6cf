"""Compressed static files without collectstatic: `serve` and `up` send them from the app's folders.

The container image has compressed copies beside the originals (STATIC_MANIFEST); those pass through untouched. Only
static files are compressed here: pages carry secrets of a session, which compression can betray (BREACH).
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware


class CompressStaticFiles(GZipMiddleware):
    """GZip for whatever stands under STATIC_URL and is not compressed yet."""

    max_random_bytes = 0  # nothing secret is compressed, so nothing needs hiding

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Compress text; fonts and images are compressed by their format."""
        content_type = response.headers.get("Content-Type", "")
        if not request.path.startswith(settings.STATIC_URL) or content_type.startswith("font/"):
            return response
        return super().process_response(request, response)
