"""The OpenAPI document, the reference page, and what is neither of them nor a call."""

from __future__ import annotations

import functools
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from integrations.api.api import api
from integrations.api.openapi import openapi_document
from integrations.api.problems import Problem, problem_response
from integrations.api.reference import Reference, reference_of


@functools.lru_cache(maxsize=4)
def _document(public_base_url: str) -> dict[str, Any]:
    return openapi_document(api)


@functools.lru_cache(maxsize=4)
def _reference(public_base_url: str) -> Reference:
    return reference_of(_document(public_base_url))


@require_safe
@gzip_page
@cache_control(max_age=300)
def openapi_json(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3.1 document; the same for everybody."""
    return JsonResponse(_document(settings.PUBLIC_BASE_URL))


@require_safe
@gzip_page
def reference(request: HttpRequest) -> HttpResponse:
    """The reference page, drawn from the document. Compressed: it is long, and has no secret to guess at (BREACH)."""
    return render(request, "api/reference.html", {"reference": _reference(settings.PUBLIC_BASE_URL)})


def unknown_path(request: HttpRequest) -> HttpResponse:
    """No such call."""
    return problem_response(request, Problem("not_found", "There is no such call. See the reference: /api/v1/docs."))
