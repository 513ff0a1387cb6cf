""" "Test connection": one real call that says whether it works, how long it took, and where it stopped if it did not.

client_credentials fetches a token and stores it. authorization_code asks userinfo, else introspection, else it
refreshes; the stored expiry is never taken for an answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings

from integrations.connections.client_credentials import fetch_token
from integrations.connections.commits import give_back_connection
from integrations.connections.errors import message_of
from integrations.connections.parties import Parties, parties_of
from integrations.connections.preparing import why_not_renewable
from integrations.connections.refresh import refresh_connection
from integrations.crypto import SealError
from integrations.models import Connection, GrantType, Integration, Token
from integrations.oauth import grants
from integrations.oauth.errors import (
    AccessTokenRefused,
    ClientRefused,
    ConfigurationRefused,
    DeadGrant,
    NoAnswer,
    OAuthError,
)
from integrations.oauth.refusals import class_of
from integrations.outbound import client as outbound
from integrations.outbound.addresses import AllowedHosts, check_url
from integrations.outbound.errors import OutboundError
from integrations.outbound.resolver import resolve_public
from integrations.providers.setup import is_configured
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult

_RESOLVING = frozenset({"host_unresolvable", "address_refused", "invalid_endpoint", "missing_endpoint"})


@dataclass(frozen=True, slots=True)
class TestStep:
    """One step; `ok` is None when it was not reached. Durations in milliseconds."""

    __test__ = False  # not a test of pytest's

    name: str
    label: str
    ok: bool | None
    duration_ms: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class TestResult:
    """What the call said."""

    __test__ = False

    ok: bool
    code: str
    message: str
    steps: list[TestStep]
    duration_ms: int
    expires_at: datetime | None
    reference: uuid.UUID


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that can be tried: at which endpoint, what it proves, and how it is made."""

    endpoint: str
    place: str  # "the token endpoint"
    proves: tuple[str, str]  # name and label of the last step
    run: Callable[[], str]  # the sentence for success; raises OAuthError


def test_connection(
    integration: Integration,
    connection: Connection | None,
    *,
    actor: Actor,
    now: datetime | None = None,  # noqa: PT028 (no test of pytest's)
) -> TestResult:
    """Make one real call for the connection and tell how it went; never raises for what the provider does.

    Under client_credentials a token is fetched and stored (in a new connection `default` when there is none).
    """
    started = time.perf_counter()
    reference = actor.request_id or uuid.uuid4()
    steps: list[TestStep] = []
    try:
        call = _choose(integration, connection, actor, now)
        message, steps = _run(call)
        code = "ok"
    except _Stopped as stopped:
        code, message, steps = stopped.error.code, message_of(stopped.error), stopped.steps
    except OAuthError as error:
        code, message = error.code, message_of(error)
    ok = code == "ok"
    duration_ms = round((time.perf_counter() - started) * 1000)
    record(
        integration.workspace_id,
        AuditAction.CONNECTION_TESTED,
        actor,
        target=connection or integration,
        result=AuditResult.OK if ok else AuditResult.FAILED,
        detail={"code": code, "duration_ms": duration_ms, "reference": str(reference)},
    )
    expires_at = _expires_at(integration, connection) if ok else None
    return TestResult(ok, code, message, steps, duration_ms, expires_at, reference)


test_connection.__test__ = False  # type: ignore[attr-defined] # nor is this one


# --- which call -----------------------------------------------------------------------------------------
def _choose(integration: Integration, connection: Connection | None, actor: Actor, now: datetime | None) -> _Call:
    parties = parties_of(integration, connection, parameters=None if connection is not None else {})
    if not is_configured(parties.spec, integration):
        raise ConfigurationRefused("not_configured")
    if integration.grant_type == GrantType.CLIENT_CREDENTIALS:
        return _fetching(integration, connection, parties, actor, now)
    token: Token | None = getattr(connection, "token", None)
    if connection is None or token is None:
        raise ConfigurationRefused("not_connected")
    try:
        access_token = token.open().access_token
    except SealError as error:
        raise ConfigurationRefused("undecryptable") from error
    if parties.server.userinfo_endpoint:
        return _asking_userinfo(connection, parties, access_token, actor, now)
    if parties.server.introspection_endpoint:
        return _introspecting(connection, parties, access_token, actor, now)
    return _refreshing(connection, parties, actor, now)


def _fetching(
    integration: Integration, connection: Connection | None, parties: Parties, actor: Actor, now: datetime | None
) -> _Call:
    def run() -> str:
        fetch_token(integration, connection=connection, actor=actor, now=now)
        return "The provider issued a token; it is stored."

    return _Call(parties.server.token_endpoint, "the token endpoint", ("receive", "Receive a token"), run)


def _asking_userinfo(
    connection: Connection, parties: Parties, access_token: str, actor: Actor, now: datetime | None
) -> _Call:
    def run() -> str:
        try:
            userinfo = parties.provider.userinfo(outbound.session(outbound.TOKEN), parties.server, access_token)
        except AccessTokenRefused as error:
            return _renew_instead(error, connection, actor, now)
        label = parties.provider.account_from(userinfo).get("label", "")
        return f"The provider accepts the access token{f' of {label}' if label else ''} (asked at userinfo)."

    accepts = ("receive", "Have the access token accepted")
    return _Call(parties.server.userinfo_endpoint, "the userinfo endpoint", accepts, run)


def _introspecting(
    connection: Connection, parties: Parties, access_token: str, actor: Actor, now: datetime | None
) -> _Call:
    def run() -> str:
        http = outbound.session(outbound.TOKEN)
        answer = grants.introspect(http, parties.server, parties.client, token=access_token)
        if not answer.active:
            return _renew_instead(AccessTokenRefused("token_inactive"), connection, actor, now)
        return "The provider says that the access token is active (asked by introspection)."

    accepts = ("receive", "Have the access token accepted")
    return _Call(parties.server.introspection_endpoint, "the introspection endpoint", accepts, run)


def _refreshing(connection: Connection, parties: Parties, actor: Actor, now: datetime | None) -> _Call:
    def run() -> str:
        _refresh(connection, actor, now)
        return "The provider renewed the token (tested by a refresh)."

    return _Call(parties.server.token_endpoint, "the token endpoint", ("receive", "Receive a token"), run)


def _renew_instead(error: AccessTokenRefused, connection: Connection, actor: Actor, now: datetime | None) -> str:
    """A stale access token is no broken connection as long as it can be renewed."""
    if error.code == "insufficient_scope" or why_not_renewable(connection) is not None:
        raise error
    _refresh(connection, actor, now)
    return "The provider no longer accepted the access token, and renewed it."


def _refresh(connection: Connection, actor: Actor, now: datetime | None) -> None:
    if (reason := why_not_renewable(connection)) is not None:
        # Nothing to ask at and nothing to renew: there is no call that could tell.
        raise ConfigurationRefused("untestable" if reason == "nothing_to_refresh" else reason)
    outcome = refresh_connection(connection.pk, forced=True, actor=actor, now=now)
    if outcome.code == "too_early":  # nobody was asked
        raise ConfigurationRefused(outcome.code)
    if not outcome.refreshed:
        raise _error_of(outcome.code, outcome.retry_after)


def _error_of(code: str, retry_after: int | None) -> OAuthError:
    return class_of(code, grant_type="authorization_code")(code, status=400, retry_after=retry_after)


# --- the steps ------------------------------------------------------------------------------------------
class _Stopped(Exception):
    """The call failed; the steps show where."""

    def __init__(self, error: OAuthError, steps: list[TestStep]) -> None:
        self.error = error
        self.steps = steps
        super().__init__(error.code)


def _run(call: _Call) -> tuple[str, list[TestStep]]:
    steps = _planned(call)
    resolve_ms = _resolve(call, steps)
    steps[0] = replace(steps[0], ok=True, duration_ms=resolve_ms)
    give_back_connection()
    started = time.perf_counter()
    try:
        message = call.run()
    except OAuthError as error:
        took = round((time.perf_counter() - started) * 1000)
        raise _Stopped(error, _stopped_at(steps, _position(error), error, took)) from error
    took = round((time.perf_counter() - started) * 1000)
    # One request carries the last three steps: its time stands where the waiting is.
    done = [replace(step, ok=True, duration_ms=0) for step in steps[2:]]
    return message, [steps[0], replace(steps[1], ok=True, duration_ms=took), *done]


def _planned(call: _Call) -> list[TestStep]:
    return [
        TestStep("resolve", "Find the host", None, None, ""),
        TestStep("reach", f"Reach {call.place}", None, None, ""),
        TestStep("authenticate", "Be recognised", None, None, ""),
        TestStep(*call.proves, None, None, ""),
    ]


def _resolve(call: _Call, steps: list[TestStep]) -> int:
    """Look the host up as the call will; hosts that the operator allows are taken as they are."""
    started = time.perf_counter()
    try:
        origin = check_url(call.endpoint, allowed_hosts=(allowed := AllowedHosts(settings.OUTBOUND_ALLOWED_HOSTS)))
        if origin not in allowed:
            resolve_public(origin)
    except OutboundError as error:
        took = round((time.perf_counter() - started) * 1000)
        refusal = (ConfigurationRefused if error.permanent else NoAnswer)(error.code)
        raise _Stopped(refusal, _stopped_at(steps, 0, refusal, took)) from error
    return round((time.perf_counter() - started) * 1000)


def _position(error: OAuthError) -> int:
    """Which step an error belongs to."""
    if error.code in _RESOLVING:
        return 0
    if error.status is None:
        return 1
    if isinstance(error, ClientRefused | DeadGrant | AccessTokenRefused):
        return 2
    return 3 if error.status < 300 else 1


def _stopped_at(steps: list[TestStep], position: int, error: OAuthError, took: int) -> list[TestStep]:
    passed = [replace(s, ok=True, duration_ms=s.duration_ms or 0) for s in steps[:position]]
    failed = replace(steps[position], ok=False, duration_ms=took, detail=message_of(error))
    return [*passed, failed, *steps[position + 1 :]]


def _expires_at(integration: Integration, connection: Connection | None) -> datetime | None:
    rows = Token.objects.filter(connection__integration=integration)
    rows = rows.filter(connection=connection) if connection is not None else rows.filter(connection__name="default")
    expires_at: datetime | None = rows.values_list("expires_at", flat=True).first()
    return expires_at
