"""Routes under `/api/v1/`. Whatever is not a call answers 404 as problem details, too."""

from __future__ import annotations

import functools
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path
from django.views.decorators.csrf import csrf_exempt

from integrations.api import views
from integrations.api.api import api
from integrations.api.problems import problem_of_refused_method


def _as_api_answer(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Every answer of a call: never cached (tokens, and what a key may see), problems instead of plain refusals."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = problem_of_refused_method(request, view(request, *args, **kwargs))
        response["Cache-Control"] = "no-store"
        return response

    return csrf_exempt(answer)  # no cookie is ever looked at: only the Authorization header counts


def _calls() -> list[URLPattern]:
    patterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern) and pattern.name != "api-root"]
    for pattern in patterns:
        pattern.callback = _as_api_answer(pattern.callback)
    return patterns


app_name = "api"
urlpatterns = [
    path("openapi.json", views.openapi_json, name="openapi"),
    path("docs", views.reference, name="reference"),
    *_calls(),
    re_path(r"", _as_api_answer(views.unknown_path), name="unknown"),
]
