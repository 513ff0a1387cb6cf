"""Problem details (RFC 9457): one table of stable codes, one way to answer with them.

`type` leads to the code's entry on the reference page. Nothing here repeats the caller's path, query or body.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What a code means; `status` is its HTTP status."""

    status: int
    title: str
    meaning: str


# Codes are part of the contract: add, never rename.
PROBLEMS: dict[str, ProblemKind] = {
    "invalid_json": ProblemKind(400, "The body is not JSON", "The request's body could not be read as JSON."),
    "unauthorized": ProblemKind(
        401, "An API key is needed", "No key was sent, or it is unknown, expired or revoked. It never says which."
    ),
    "insufficient_scope": ProblemKind(
        403, "The key lacks a scope", "`required_scope` names what is missing; a key never exceeds its creator's role."
    ),
    "not_found": ProblemKind(404, "Not found", "There is no such thing in the key's workspace."),
    "method_not_allowed": ProblemKind(405, "Method not allowed", "The `Allow` header names those that are."),
    "conflict": ProblemKind(409, "Not possible in this state", "The message says what stands in the way."),
    "has_dependants": ProblemKind(
        409, "Something depends on it", "`dependants` lists what; `?force=true` deletes all the same."
    ),
    "name_taken": ProblemKind(409, "The name is taken", "Another connection of the integration has this name."),
    "not_configured": ProblemKind(409, "Not configured", "No client credentials are saved for the integration."),
    "not_connected": ProblemKind(409, "Not connected", "There is no token yet: connect, or fetch one."),
    "reconnect_required": ProblemKind(409, "Reconnect required", "A person must consent again."),
    "misconfigured": ProblemKind(
        409, "Misconfigured", "The provider refuses the client itself; correct its credentials."
    ),
    "nothing_to_refresh": ProblemKind(409, "Nothing to refresh", "No refresh token, and no way to fetch a new one."),
    "builtin_provider": ProblemKind(409, "Built-in provider", "Only custom providers can be changed or deleted."),
    "wrong_grant_type": ProblemKind(409, "Wrong grant type", "The call exists for the other grant type only."),
    "length_required": ProblemKind(411, "A length is required", "Send the body with Content-Length, not in chunks."),
    "body_too_large": ProblemKind(413, "The body is too large", "Bodies may have 256 KB."),
    "invalid_request": ProblemKind(
        422, "Some values are not usable", "`errors` names each field and what to do about it."
    ),
    "invalid_cursor": ProblemKind(422, "The cursor is not usable", "Send `next` back unchanged, to the same list."),
    "rate_limited": ProblemKind(429, "Too many requests", "Wait as long as `Retry-After` says."),
    "internal_error": ProblemKind(500, "Something went wrong here", "Logged under `request_id`."),
    "undecryptable": ProblemKind(
        500, "A stored secret cannot be read", "The operator has to restore a key in FERNET_KEYS; nothing was lost."
    ),
    "temporarily_unavailable": ProblemKind(
        503, "Temporarily unavailable", "The provider cannot be asked now; `Retry-After` says when to try again."
    ),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One unusable value: where (`scopes.0.name`), in what (`body`, `query`), and what to do."""

    field: str
    message: str
    location: str = "body"

    def as_json(self) -> dict[str, str]:
        """As it stands in `errors`."""
        return {"in": self.location, "field": self.field, "message": self.message}


class Problem(Exception):
    """A refusal of the API. Raised anywhere below the edge, answered once in `api`."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.kind = PROBLEMS[code]
        self.detail = detail or self.kind.meaning
        self.errors = tuple(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
        super().__init__(code)


def request_id_of(request: HttpRequest) -> uuid.UUID | None:
    """The request's reference id, as its log lines and audit events carry it."""
    return getattr(request, "request_id", None)


def problem_content(problem: Problem, request_id: uuid.UUID | None) -> dict[str, Any]:
    """The body."""
    body: dict[str, Any] = {
        "type": f"{settings.PUBLIC_BASE_URL}/api/v1/docs#problem-{problem.code}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": str(request_id) if request_id else None,
        **problem.extra,
    }
    if problem.errors:
        body["errors"] = [error.as_json() for error in problem.errors]
    return body


def problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Answer with problem details; never cached."""
    body = problem_content(problem, request_id_of(request))
    response = JsonResponse(body, status=problem.kind.status, content_type=PROBLEM_JSON, headers=problem.headers)
    response["Cache-Control"] = "no-store"
    return response


def problem_of_refused_method(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Turn the framework's plain 405 into problem details; leave other answers alone."""
    if response.status_code != 405:
        return response
    allow = response.headers.get("Allow", "")
    return problem_response(request, Problem("method_not_allowed", f"Use one of: {allow}.", headers={"Allow": allow}))
