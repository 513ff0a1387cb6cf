"""Bearer API keys (RFC 6750 §2.1). All refusals that need no body happen here, in order: 401, 429, 403, 413, 404.

The framework validates bodies before it calls an endpoint, so scope and object are looked at in the auth callable.
An endpoint finds what its path names in `request.auth.target`, already within the key's workspace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from integrations.api.bodies import require_small_body
from integrations.api.problems import Problem, request_id_of
from workspaces import rate_limits
from workspaces.api_keys import authenticate, has_scope
from workspaces.audit import Actor
from workspaces.models import ApiKey, Workspace
from workspaces.roles import KeyScope

REQUESTS_PER_MINUTE = 6000
PROVIDER_CALLS_PER_MINUTE = 600  # calls that make us call a provider

Target = TypeVar("Target")
Path = Mapping[str, Any]
Finder = Callable[[Workspace, Path], Target]

# b64token of RFC 6750 §2.1, bounded.
_CREDENTIALS = re.compile(r"bearer +([A-Za-z0-9\-._~+/]{1,200}=*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller(Generic[Target]):
    """Who calls, and what the path names."""

    api_key: ApiKey
    workspace: Workspace
    actor: Actor
    target: Target


class ApiRequest(HttpRequest, Generic[Target]):
    """A request with a valid key that holds the scope."""

    auth: Caller[Target]


def nothing(workspace: Workspace, path: Path) -> None:
    """The finder of calls whose path names no object."""


class ApiKeyAuth(HttpBearer):
    """Requires a key with `scope`; finds the path's object; `calls_provider` counts against a tighter limit."""

    openapi_bearerFormat = "API key"  # the name in the OpenAPI document

    def __init__(self, scope: KeyScope, find: Finder[Any] = nothing, *, calls_provider: bool = False) -> None:
        super().__init__()
        self.scope, self.find, self.calls_provider = scope, find, calls_provider

    def __call__(self, request: HttpRequest) -> Caller[Any]:
        """Authenticate, limit, authorize, find. Raises Problem."""
        api_key = _api_key_of(request)
        limit_requests(api_key, calls_provider=self.calls_provider)
        if not has_scope(api_key, self.scope):
            raise _scope_missing(self.scope)
        require_small_body(request)
        path = request.resolver_match.kwargs if request.resolver_match else {}
        if any("\x00" in str(value) for value in path.values()):
            raise Problem("not_found")
        target = self.find(api_key.workspace, path)
        return Caller(api_key, api_key.workspace, Actor.api_key(api_key, request_id_of(request)), target)

    def authenticate(self, request: HttpRequest, token: str) -> Caller[Any]:
        """Unused: `__call__` reads the header itself, strictly."""
        raise NotImplementedError


def limit_requests(api_key: ApiKey, *, calls_provider: bool = False) -> None:
    """Count one request of the key. Raises Problem `rate_limited`."""
    key = str(api_key.pk)
    try:
        rate_limits.hit("api", key, limit=REQUESTS_PER_MINUTE, seconds=60, in_blocks=True)
        if calls_provider:
            rate_limits.hit("api-provider", key, limit=PROVIDER_CALLS_PER_MINUTE, seconds=60)
    except rate_limits.RateLimited as error:
        raise Problem("rate_limited", retry_after=error.retry_after) from error


def raw_key_of(header: str) -> str | None:
    """What an Authorization header carries as a bearer token; None for any other header."""
    found = _CREDENTIALS.fullmatch(header.strip())
    return found.group(1) if found is not None else None


def _api_key_of(request: HttpRequest) -> ApiKey:
    header = request.headers.get("Authorization", "")
    raw_key = raw_key_of(header)
    api_key = authenticate(raw_key, timezone.now()) if raw_key is not None else None
    if api_key is None:
        # One answer whatever is wrong; only the challenge tells "none sent" apart, as RFC 6750 §3.1 asks.
        challenge = 'Bearer realm="Grantry"' + (', error="invalid_token"' if header else "")
        detail = "Send a valid API key of the workspace: “Authorization: Bearer <key>”."
        raise Problem("unauthorized", detail, headers={"WWW-Authenticate": challenge})
    return api_key


def _scope_missing(scope: KeyScope) -> Problem:
    challenge = f'Bearer realm="Grantry", error="insufficient_scope", scope="{scope.value}"'
    return Problem(
        "insufficient_scope",
        f"This call needs a key with the scope {scope.value}, made by someone whose role still allows it.",
        extra={"required_scope": scope.value},
        headers={"WWW-Authenticate": challenge},
    )
