"""What the verbs refuse, as problems: the one place where their errors become answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from integrations.api.problems import PROBLEMS, FieldError, Problem
from integrations.api.validation import verb_errors
from integrations.connections.changes import NameTaken
from integrations.connections.choices import ChoicesRefused
from integrations.connections.commits import AWAY, DatabaseAway
from integrations.connections.errors import FlowRefused, TokenUnavailable, message_of
from integrations.crypto import SealError
from integrations.errors import HasDependants
from integrations.models import Connection
from integrations.oauth.errors import ConfigurationRefused, DiscoveryFailed, ErrorClass, OAuthError
from integrations.providers.client_keys import KeyRefused
from integrations.providers.custom import InvalidDefinition
from integrations.providers.registry import ProviderNotFound
from integrations.providers.rendering import ParameterRefused
from integrations.providers.scope_rules import ScopesRefused
from integrations.providers.setup import InvalidSetup
from integrations.providers.strict_yaml import UnreadableYAML
from workspaces.rate_limits import RateLimited

logger = logging.getLogger(__name__)

# Codes of FlowRefused that blame one value of the body.
FLOW_FIELDS = {
    "parameter_refused": "parameters",
    "return_url_refused": "return_url",
    "invalid_scope": "additional_scopes",
    "scope_refused": "additional_scopes",
    "invalid_name": "connection",
}
DATABASE_AWAY = "The database does not answer at the moment. A token that was issued is kept and stored later."
PASSING = frozenset({ErrorClass.THROTTLED, ErrorClass.OUTAGE, ErrorClass.TRANSIENT})
AWAY_CODES = frozenset({"timeout", "outage", "throttled", "connection_broken"})  # of a discovery
RETRY_SECONDS = 30  # where a provider is away and did not say for how long


def _invalid(error: InvalidDefinition | InvalidSetup) -> Problem:
    return Problem("invalid_request", errors=verb_errors(error.errors))


def _one_field(field: str, message: str) -> Problem:
    return Problem("invalid_request", message, errors=[FieldError(field, message)])


def _flow_refused(error: FlowRefused) -> Problem:
    message = f"{error.message} {error.next_step}".strip()
    if field := FLOW_FIELDS.get(error.code):
        return _one_field(field, message)
    return Problem(error.code if error.code in PROBLEMS else "conflict", message)


def _token_unavailable(error: TokenUnavailable) -> Problem:
    retry_after = error.retry_after
    if error.code == "temporarily_unavailable" and retry_after is None:
        retry_after = RETRY_SECONDS
    return Problem(error.code, error.message, retry_after=retry_after)


def _oauth_error(error: OAuthError) -> Problem:
    if field := FLOW_FIELDS.get(error.code) if isinstance(error, ConfigurationRefused) else None:
        return _one_field(field, message_of(error))
    extra = {"provider_code": error.code}
    if error.error_class in PASSING:
        wait = error.retry_after or RETRY_SECONDS
        return Problem("temporarily_unavailable", message_of(error), extra=extra, retry_after=wait)
    return Problem("misconfigured", message_of(error), extra=extra)


def discovery_failed(error: DiscoveryFailed, *, field: str = "issuer") -> Problem:
    """A discovery that found nothing usable: 503 while the server may only be away, else the field is to blame."""
    tried = {"tried": [asdict(attempt) for attempt in error.tried]}
    words = f"{error.happened} {error.description} {error.next_step}".replace("  ", " ")
    if error.code in AWAY_CODES:
        wait = error.retry_after or RETRY_SECONDS
        return Problem("temporarily_unavailable", words, extra=tried, retry_after=wait)
    return Problem("invalid_request", words, errors=[FieldError(field, words)], extra=tried)


def _database_away(error: Exception) -> Problem:
    """Away before anything was asked of a provider; connections in use at a restart of PostgreSQL end like this too."""
    if not isinstance(error, DatabaseAway):
        logger.warning("The API could not answer, because the database did not: %s", type(error).__name__)
    return Problem("temporarily_unavailable", DATABASE_AWAY, retry_after=RETRY_SECONDS)


def _has_dependants(error: HasDependants) -> Problem:
    words = "Something depends on it. Remove that first, or send ?force=true."
    return Problem("has_dependants", words, extra={"dependants": error.dependants})


REFUSALS: dict[type[Exception], Callable[[Any], Problem]] = {
    InvalidDefinition: _invalid,
    InvalidSetup: _invalid,
    UnreadableYAML: lambda error: _one_field(
        "yaml", f"Line {error.line}: {error.message}" if error.line else error.message
    ),
    ScopesRefused: lambda error: _one_field("additional_scopes", error.message),
    ParameterRefused: lambda error: _one_field(f"parameters.{error.key}", error.message),
    ChoicesRefused: lambda error: Problem(
        "invalid_request", " ".join(error.sentences), errors=verb_errors(error.errors)
    ),
    HasDependants: _has_dependants,
    KeyRefused: lambda error: Problem("conflict", str(error)),
    NameTaken: lambda error: Problem("name_taken", str(error)),
    ProviderNotFound: lambda error: Problem("not_found"),
    FlowRefused: _flow_refused,
    TokenUnavailable: _token_unavailable,
    DiscoveryFailed: discovery_failed,
    OAuthError: _oauth_error,
    RateLimited: lambda error: Problem("rate_limited", retry_after=error.retry_after),
    SealError: lambda error: Problem("undecryptable"),
    Connection.DoesNotExist: lambda error: Problem("not_found"),  # deleted while the call was under way
    **dict.fromkeys((DatabaseAway, *AWAY), _database_away),
}


def problem_of(error: Exception) -> Problem:
    """The problem that a verb's refusal is."""
    return next(make for kind, make in REFUSALS.items() if isinstance(error, kind))(error)
