"""How a token answer would be read, and what would follow: a dry run. Nothing is sent, stored or logged.

The answer goes through the provider's own call and the policy of renewals, so that what is said here is what happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.views.decorators.debug import sensitive_variables

from integrations.connections.policies import judge, refuses_client
from integrations.models import ConnectionState, GrantType
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from integrations.providers.base import MetadataSource, ProviderSpec
from integrations.providers.form_fields import tail_of
from integrations.providers.metadata import of_answer
from integrations.providers.oauth_provider import provider_for
from integrations.providers.preview import GivenAnswer, Purpose, is_kept, replay
from workspaces.time_words import duration_words

MAX_BODY = 100_000
DEGRADED_WORDS = "The connection is degraded: a token that still works is served on, and the next try is in {wait}."
SHORTEST_TOKEN = 8  # shorter ones would be found in any text


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that holds no token: its class, and the words that people would read."""

    code: str
    error_class: str
    happened: str
    next_step: str
    provider_text: str


@dataclass(frozen=True, slots=True)
class KeptValue:
    """Something of the answer that the connection would keep."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class OtherField:
    """A field that nothing uses: what it is, without its value, which may be another token."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says. Tokens are masked, values of fields that nothing uses are not repeated."""

    ok: bool
    outcome: tuple[str, ...]  # what would happen, in sentences
    refusal: Refusal | None = None
    access_token: str = ""  # masked
    token_type: str = ""
    refresh_token: str = ""  # new, kept, none
    expires_in: float | None = None
    expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    scopes_named: bool = False  # by the provider; else they are as requested
    missing_scopes: tuple[str, ...] = ()
    metadata: tuple[KeptValue, ...] = ()
    metadata_missing: tuple[str, ...] = ()  # labels
    account: str = ""
    asks_userinfo: bool = False
    extra_fields: tuple[OtherField, ...] = ()


def purposes(spec: ProviderSpec) -> list[Purpose]:
    """The token requests that a provider's grant types make."""
    people = spec.supports(GrantType.AUTHORIZATION_CODE)
    service = spec.supports(GrantType.CLIENT_CREDENTIALS)
    return [Purpose.AUTHORIZATION_CODE, Purpose.REFRESH_TOKEN] * people + [Purpose.CLIENT_CREDENTIALS] * service


@sensitive_variables()
def read_answer(
    spec: ProviderSpec, purpose: Purpose, *, status: int, content_type: str, body: str, now: datetime
) -> Reading:
    """Read an answer to a token request as this definition's rules do."""
    given = GivenAnswer(status, {"Content-Type": content_type}, body.encode("utf-8", "replace"))
    try:
        answer = replay(spec, purpose, given)
    except OAuthError as error:
        return _refused(error.without(_tokens_in(body)), purpose, now)
    return _read(spec, purpose, answer)


def _read(spec: ProviderSpec, purpose: Purpose, answer: TokenResponse) -> Reading:
    grant_type = GrantType.CLIENT_CREDENTIALS if purpose is Purpose.CLIENT_CREDENTIALS else GrantType.AUTHORIZATION_CODE
    provider = provider_for(spec, grant_type)
    requested = provider.effective_scopes(integration_additional=())
    named = provider.granted_scopes(requested, answer)
    granted = requested if named is None else named
    missing = tuple(scope for scope in requested if scope not in granted)
    kept = of_answer(spec, answer.extra)
    told = [item for item in spec.metadata if item.source is MetadataSource.TOKEN]
    asks_userinfo = bool(spec.userinfo_endpoint) and grant_type == GrantType.AUTHORIZATION_CODE
    return Reading(
        ok=True,
        outcome=_success_words(purpose, answer, missing),
        access_token=masked(answer.access_token),
        token_type=answer.token_type,
        refresh_token=_refresh_token(answer),
        expires_in=answer.expires_in,
        expires_at=answer.expires_at,
        scopes=granted,
        scopes_named=answer.scope is not None,
        missing_scopes=missing,
        metadata=tuple(KeptValue(item.label, kept[item.key]) for item in told if item.key in kept),
        metadata_missing=tuple(item.label for item in told if item.key not in kept),
        account="" if asks_userinfo else _account(provider.account_from(answer.extra), answer),
        asks_userinfo=asks_userinfo,
        extra_fields=tuple(OtherField(name, _kind(value)) for name, value in answer.extra.items()),
    )


def masked(token: str) -> str:
    """How a token ends, to be recognised by."""
    return f"…{tail_of(token)}" if tail_of(token) else "…"


def _refresh_token(answer: TokenResponse) -> str:
    if is_kept(answer.refresh_token):
        return "kept"
    return "new" if answer.refresh_token else "none"


def _account(account: Mapping[str, str], answer: TokenResponse) -> str:
    """The account's label, unless a token is in it: it is shown to everybody."""
    label = account.get("label", "")
    tokens = [token for token in (answer.access_token, answer.refresh_token) if token and len(token) >= SHORTEST_TOKEN]
    return "" if any(token in label for token in tokens) else label


def _success_words(purpose: Purpose, answer: TokenResponse, missing: Sequence[str]) -> tuple[str, ...]:
    """What becomes of the connection."""
    renewing = purpose is Purpose.REFRESH_TOKEN
    words = ["The token is renewed and the connection stays connected." if renewing else "The connection is connected."]
    if missing and not renewing:
        words.append("Some requested scopes were not granted: the connection says so.")
    if answer.expires_in == 0:
        words.append("The lifetime is zero: the token counts as expired at once.")
    elif answer.expires_in is None:
        words.append("No lifetime is known: the token is good until it is revoked.")
    elif purpose is Purpose.AUTHORIZATION_CODE and not answer.refresh_token:
        words.append("Without a refresh token somebody has to consent again when it expires.")
    return tuple(words)


def _refused(error: OAuthError, purpose: Purpose, now: datetime) -> Reading:
    refusal = Refusal(error.code, error.error_class.value, error.happened, error.next_step, error.description)
    return Reading(ok=False, outcome=_failure_words(error, purpose, now), refusal=refusal)


def _failure_words(error: OAuthError, purpose: Purpose, now: datetime) -> tuple[str, ...]:
    """What a failed connect means, and what a failed renewal."""
    connecting = "Connecting fails; nothing is stored and an existing connection is untouched."
    if purpose is Purpose.AUTHORIZATION_CODE:
        return (connecting,)
    renewal = _renewal_words(error, now)
    return (renewal,) if purpose is Purpose.REFRESH_TOKEN else (f"At first: {connecting}", f"Later: {renewal}")


def _renewal_words(error: OAuthError, now: datetime) -> str:
    if refuses_client(error):
        return (
            "The integration is misconfigured: one alarm, tokens are kept, its connections wait for corrected "
            "credentials or the hourly probe."
        )
    verdict = judge(error, attempts=1, now=now)
    if verdict.state == ConnectionState.RECONNECT_REQUIRED:
        return "The connection needs a person: “Expired – reconnect”. It is not tried again by itself."
    if verdict.state == ConnectionState.MISCONFIGURED:
        return "This connection is misconfigured; it is tried again in an hour."
    wait = max((verdict.due_at or now) - now, timedelta(seconds=1))
    return DEGRADED_WORDS.format(wait=f"about {duration_words(wait)}")


def _tokens_in(body: str) -> tuple[str, ...]:
    """Long words of the body, which an error's text must not repeat: they may be tokens."""
    words = {word.strip("\"',:;{}[]()<>") for word in body.replace("&", " ").replace("=", " ").split()}
    return tuple(sorted((word for word in words if len(word) >= 24), key=len, reverse=True)[:50])


def _kind(value: Any) -> str:
    """What a field is, without its value: it may be another token."""
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "empty")
