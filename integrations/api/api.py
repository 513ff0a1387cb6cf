"""Puts the API together and answers every error once, at the edge."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from integrations.api import (
    audit_events,
    connections,
    definitions,
    discovery,
    integrations,
    notices,
    providers,
    tokens,
    webhooks,
)
from integrations.api.bodies import StrictParser, UnusableBody
from integrations.api.openapi import DESCRIPTION
from integrations.api.problems import Problem, problem_response
from integrations.api.refusals import REFUSALS, problem_of
from integrations.api.validation import field_errors

logger = logging.getLogger(__name__)

api = NinjaAPI(
    title="Grantry API",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    openapi_url=None,  # ours: see urls
    docs_url=None,
    parser=StrictParser(),
)
# Before the providers: "discover" and "import" are no provider's ids.
api.add_router("", discovery.router, tags=["Providers"])
api.add_router("", definitions.router, tags=["Providers"])
api.add_router("", providers.router, tags=["Providers"])
api.add_router("", integrations.router, tags=["Integrations"])
api.add_router("", connections.router, tags=["Connections"])
api.add_router("", tokens.router, tags=["Tokens"])
api.add_router("", webhooks.router, tags=["Webhooks"])
api.add_router("", notices.router, tags=["Notices"])
api.add_router("", audit_events.router, tags=["Audit"])


@api.exception_handler(Problem)
def answer_problem(request: HttpRequest, error: Problem) -> HttpResponse:
    """A refusal of the API's own."""
    return problem_response(request, error)


@api.exception_handler(Http404)
def answer_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    """Nothing there, or someone else's: the same answer, without the path."""
    return problem_response(request, Problem("not_found"))


@api.exception_handler(ValidationError)
def answer_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Every unusable value at once."""
    return problem_response(request, Problem("invalid_request", errors=field_errors(error.errors)))


@api.exception_handler(RequestDataTooBig)
def answer_too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    """Beyond Django's own cap."""
    return problem_response(request, Problem("body_too_large"))


@api.exception_handler(HttpError)
def answer_framework_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What the framework raises itself: a body that the parser refused."""
    if isinstance(error.__cause__, UnusableBody):
        return problem_response(request, error.__cause__.problem)
    return answer_unexpected(request, error)


@api.exception_handler(Exception)
def answer_unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    """A bug or an outage of ours: logged with its traceback, reported like any other failure of a view."""
    logger.error("Unexpected error in the API (request %s)", getattr(request, "request_id", "-"), exc_info=error)
    got_request_exception.send(sender=api.__class__, request=request)
    return problem_response(request, Problem("internal_error"))


def _answer_refusal(request: HttpRequest, error: Any) -> HttpResponse:
    return problem_response(request, problem_of(error))


for refusal in REFUSALS:
    api.add_exception_handler(refusal, _answer_refusal)
