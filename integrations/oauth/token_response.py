"""Reading answers of a token endpoint: strictly, and without losing a token (RFC 6749 §5).

Providers answer in many ways that the RFC does not know. What decides is, in this order: redirects, throttling,
server errors, an error code at any status, a proper access token, and nothing else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from integrations.oauth.errors import MalformedAnswer, OAuthError, Outage, Redirected, Throttled
from integrations.oauth.refusals import class_of
from integrations.oauth.sanitise import sanitised_fields, sanitised_text
from integrations.oauth.scopes import ordered_union

HUGE_LIFETIME = timedelta(days=36_525).total_seconds()
MAX_RETRY_AFTER = timedelta(days=1).total_seconds()
MAX_SCOPES = 1000
_THROTTLING = frozenset({408, 425, 429})
_WRONG_ENDPOINT = frozenset({404, 405, 410, 501})
_UNITS = {"milliseconds": 0.001, "seconds": 1, "minutes": 60}
_VSCHARS = re.compile(r"[\x20-\x7e]+")
_NUMBER = re.compile(r"\s*\d{1,30}(\.\d{1,30})?\s*", re.ASCII)
_REFRESH_LIFETIME_FIELDS = (
    "refresh_token_expires_in",
    "refresh_expires_in",
    "x_refresh_token_expires_in",
)
_CORE_FIELDS = frozenset(
    {
        "access_token",
        "refresh_token",
        "expires_in",
        "scope",
        "error",
        "error_description",
        "error_uri",
        *_REFRESH_LIFETIME_FIELDS,
    }
)


@dataclass(frozen=True)
class TokenResponseRules:
    """Where a provider deviates, as its definition states it.

    `token_path` leads to a nested token object (dots between names); the `…_field` names are paths inside it.
    `expires_at_field` names an absolute expiry, read only when `expires_in` says nothing. `dead_grant_codes` are the
    provider's own synonyms of invalid_grant. `error_field` names a code that every answer carries, at any status: the
    texts of `error_success` mean that all is well, any other is the error's code.
    """

    zero_means_never: bool = False
    access_token_field: str = "access_token"  # noqa: S105  # names of fields
    refresh_token_field: str = "refresh_token"  # noqa: S105
    expires_in_field: str = "expires_in"
    scope_field: str = "scope"
    error_field: str = ""
    error_success: frozenset[str] = frozenset()
    error_description_field: str = ""
    expires_in_unit: Literal["seconds", "milliseconds", "minutes"] = "seconds"
    expires_at_field: str = ""
    expires_at_format: Literal["unix_seconds", "unix_milliseconds", "iso8601"] = "unix_seconds"
    token_path: str = ""
    dead_grant_codes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TokenResponse:
    """A token as the provider issued it. Its repr shows no secret.

    `expires_in` in seconds and `expires_at` are None when the lifetime is unknown; `scope` is None when the
    provider did not name any, which means: as requested.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    token_type: str = "Bearer"  # noqa: S105  # a name, not a token
    expires_in: float | None = None
    expires_at: datetime | None = None
    scope: tuple[str, ...] | None = None
    refresh_token_expires_in: float | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def keeping_refresh_token(self, old: str | None) -> TokenResponse:
        """Keep the old refresh token if the answer brought none, or an empty one (RFC 6749 §6)."""
        return self if self.refresh_token else replace(self, refresh_token=old)


def parse_token_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    rules: TokenResponseRules,
    requested_at: datetime,
    grant_type: str,
) -> TokenResponse:
    """Read a token endpoint's answer; expiry counts from `requested_at`. Raises OAuthError."""
    retry_after = parse_retry_after_header(headers, requested_at)
    refuse_by_status(status, retry_after)
    fields = parse_fields(body)
    if fields is not None:
        refuse_by_own_code(fields, rules, status, retry_after, grant_type=grant_type)
        refuse_by_code(
            fields,
            status,
            retry_after,
            grant_type=grant_type,
            dead_grant_codes=rules.dead_grant_codes,
        )
    if fields is None or not 200 <= status < 300:
        raise unusable_answer(status, header(headers, "content-type") or "", body, fields)
    return _token_from(fields, rules, requested_at, status)


def refuse_by_status(status: int, retry_after: float | None) -> None:
    """Raise for the statuses that decide whatever the body says: 3xx, 408, 425, 429, 5xx."""
    if 300 <= status < 400:
        raise Redirected("redirected", status=status)
    if status in _THROTTLING:
        raise Throttled("throttled", status=status, retry_after=retry_after)
    if status >= 500:
        raise Outage("outage", status=status, retry_after=retry_after)


def refuse_by_code(
    fields: Mapping[str, Any],
    status: int,
    retry_after: float | None,
    *,
    grant_type: str,
    dead_grant_codes: frozenset[str] = frozenset(),
) -> None:
    """Raise by the error code in an answer, at any status; Slack says `ok: false` with 200."""
    error = fields.get("error")
    code = error if isinstance(error, str) and error.strip() else None
    if code is None and fields.get("ok") is not False:
        return
    code = code.strip() if code else "unspecified"
    error_class = class_of(code, grant_type=grant_type, dead_grant_codes=dead_grant_codes)
    raise error_class(
        code,
        _text(fields.get("error_description")),
        _text(fields.get("error_uri")),
        status=status,
        retry_after=retry_after,
    )


def refuse_by_own_code(
    fields: Mapping[str, Any], rules: TokenResponseRules, status: int, retry_after: float | None, *, grant_type: str
) -> None:
    """Raise by the code that this provider puts into every answer, if it says anything but success."""
    found = value_at(fields, rules.error_field) if rules.error_field else None
    if not isinstance(found, str | int) or isinstance(found, bool) or (code := str(found).strip()) == "":
        return
    if code in rules.error_success:
        return
    error_class = class_of(code, grant_type=grant_type, dead_grant_codes=rules.dead_grant_codes)
    description = value_at(fields, rules.error_description_field) if rules.error_description_field else ""
    raise error_class(code, _text(description), "", status=status, retry_after=retry_after)


def value_at(answer: object, path: str) -> Any:
    """What stands at a dotted path of an answer; a number leads into a list. None when nothing does."""
    found = answer
    for name in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def unusable_answer(status: int, content_type: str, body: bytes, fields: Mapping[str, Any] | None) -> OAuthError:
    """Name what is wrong with an answer that has neither an error code nor a token."""
    if status in _WRONG_ENDPOINT:
        return MalformedAnswer("wrong_endpoint", status=status)
    if fields is None and ("html" in content_type.lower() or body.lstrip()[:1] == b"<"):
        return MalformedAnswer("html_answer", status=status)
    if not 200 <= status < 300:
        return MalformedAnswer(f"http_{status}", status=status)
    return MalformedAnswer("not_json" if body.strip() else "empty_answer", status=status)


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Look a header up by its lower-case name, whatever the mapping."""
    return next((str(value) for key, value in headers.items() if key.lower() == name), None)


def parse_retry_after_header(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read Retry-After of an answer as seconds; a date counts from the answer's own Date, else from `now`.

    The provider's clock may be off: the two dates are from the same one.
    """
    answered_at = _http_date(header(headers, "date") or "") or now
    return parse_retry_after(header(headers, "retry-after"), answered_at)


def parse_retry_after(value: str | None, now: datetime | None) -> float | None:
    """Read Retry-After as seconds from `now`, at most a day (RFC 9110 §10.2.3); None if absent or odd."""
    if value is None:
        return None
    if _NUMBER.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    until = _http_date(value)
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value[:100])
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_fields(body: bytes) -> dict[str, Any] | None:
    """Read a JSON object or a form-encoded answer; None if it is neither.

    Raises MalformedAnswer when a form-encoded answer has one of the protocol's fields twice.
    """
    try:
        value = json.loads(body, parse_int=_bounded_int, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _parse_form(body)
    return value if isinstance(value, dict) else None


def _bounded_int(digits: str) -> int | str:
    # int() refuses thousands of digits with a ValueError, which would lose the token beside them.
    return int(digits) if len(digits) <= 30 else digits


def _no_constant(name: str) -> None:
    """NaN and Infinity are no JSON and mean nothing here."""


def _parse_form(body: bytes) -> dict[str, Any] | None:
    text = body.decode("utf-8", "replace").strip()
    if not re.match(r"[\w.\-%]+=", text):
        return None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return None
    fields = dict(pairs)
    if not fields.keys() & {"access_token", "error"}:
        return None
    names = [name for name, _ in pairs if name in _CORE_FIELDS]
    if len(names) != len(set(names)):
        raise MalformedAnswer("duplicate_field")
    return fields


def _token_from(
    answer: dict[str, Any], rules: TokenResponseRules, requested_at: datetime, status: int
) -> TokenResponse:
    fields = _token_object(answer, rules)
    access_token = value_at(fields, rules.access_token_field)
    if not isinstance(access_token, str) or not _is_token(access_token):
        raise MalformedAnswer("no_access_token", status=status)
    _refuse_token_type(fields.get("token_type"), status)
    expires_in = _lifetime(fields, rules, requested_at)
    return TokenResponse(
        access_token=access_token,
        refresh_token=_refresh_token(value_at(fields, rules.refresh_token_field)),
        expires_in=expires_in,
        expires_at=None if expires_in is None else requested_at + timedelta(seconds=expires_in),
        scope=parse_scope(value_at(fields, rules.scope_field)),
        refresh_token_expires_in=_refresh_lifetime(fields),
        extra=_extra(answer, fields, rules),
    )


def _token_object(answer: dict[str, Any], rules: TokenResponseRules) -> dict[str, Any]:
    """The object that holds the token.

    A nested token may be missing, as Slack's is when only the bot was authorized (the person is named all the same),
    or when a refresh brings it bare: then the outer one counts.
    """
    found = value_at(answer, rules.token_path) if rules.token_path else answer
    holds_one = isinstance(found, dict) and value_at(found, rules.access_token_field) is not None
    return found if holds_one else answer


def _is_token(value: str) -> bool:
    return bool(value.strip()) and _VSCHARS.fullmatch(value) is not None


def _refuse_token_type(token_type: object, status: int) -> None:
    """Unknown types count as Bearer; mac and DPoP tokens cannot be used as one."""
    if isinstance(token_type, str) and token_type.strip().lower() in {"mac", "dpop"}:
        raise MalformedAnswer("unsupported_token_type", status=status)


def _refresh_token(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    # Wider than the RFC's VSCHAR: dropping an odd one would lose the connection. It must survive storage.
    return value if sanitised_text(value) == value else None


def _lifetime(fields: Mapping[str, Any], rules: TokenResponseRules, requested_at: datetime) -> float | None:
    seconds = parse_lifetime(value_at(fields, rules.expires_in_field))
    if seconds is not None:
        seconds *= _UNITS[rules.expires_in_unit]
    if seconds is None and rules.expires_at_field:
        expires_at = _absolute(fields.get(rules.expires_at_field), rules)
        if expires_at is not None:
            seconds = max(expires_at - requested_at.timestamp(), 0.0)
    if seconds is None or seconds > HUGE_LIFETIME:
        return None
    return None if seconds == 0 and rules.zero_means_never else seconds


def parse_lifetime(value: Any) -> float | None:
    """Read a lifetime: ints, floats and numeric strings count; negative, NaN, bool and words are unknown."""
    numeric_text = isinstance(value, str) and _NUMBER.fullmatch(value)
    if not numeric_text and (isinstance(value, bool) or not isinstance(value, int | float)):
        return None
    number = float(value)
    return number if math.isfinite(number) and number >= 0 else None


def _absolute(value: object, rules: TokenResponseRules) -> float | None:
    if rules.expires_at_format != "iso8601":
        number = parse_lifetime(value)
        if number is None:
            return None
        return number / 1000 if rules.expires_at_format == "unix_milliseconds" else number
    try:
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    # Without an offset the only sensible reading is UTC.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _refresh_lifetime(fields: Mapping[str, Any]) -> float | None:
    for name in _REFRESH_LIFETIME_FIELDS:
        seconds = parse_lifetime(fields.get(name))
        # Zero stands for a refresh token that does not expire (Keycloak's offline tokens).
        if seconds and seconds <= HUGE_LIFETIME:
            return seconds
    return None


def parse_scope(value: object) -> tuple[str, ...] | None:
    """Read granted scopes: separated by space, comma or plus, or a list. None if the provider named none."""
    if isinstance(value, str):
        pieces = _split_granted(value)
    elif isinstance(value, list):
        pieces = [piece for item in value if isinstance(item, str) for piece in item.split()]
    else:
        return None
    return ordered_union(filter(None, map(sanitised_text, pieces[:MAX_SCOPES])))


def _split_granted(text: str) -> list[str]:
    # Plus separates only where nothing else does: it may be part of a scope's name.
    separators = r"[\s,]+" if re.search(r"[\s,]", text.strip()) else r"\+"
    return [piece for piece in re.split(separators, text.strip()) if piece]


def _extra(answer: dict[str, Any], fields: dict[str, Any], rules: TokenResponseRules) -> dict[str, Any]:
    own = {rules.access_token_field, rules.refresh_token_field, rules.expires_in_field, rules.scope_field}
    others = {name: value for name, value in fields.items() if name not in _CORE_FIELDS | own}
    if fields is not answer:
        head = rules.token_path.split(".")[0]
        outer = {name: value for name, value in answer.items() if name != head}
        # The outer object may hold another token (Slack's bot token): keep it, it was issued too.
        others = outer | others
    return sanitised_fields(others)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
