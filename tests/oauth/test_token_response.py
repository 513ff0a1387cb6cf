"""The whole table of odd answers of token endpoints: first match wins, and no token is lost."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.oauth.errors import (
    ClientRefused,
    DeadGrant,
    ErrorClass,
    InteractionRequired,
    MalformedAnswer,
    OAuthError,
    Outage,
    Redirected,
    Throttled,
    TransientFailure,
    UnknownRefusal,
)
from integrations.oauth.sanitise import MAX_EXTRA_CHARACTERS
from integrations.oauth.token_response import TokenResponse, TokenResponseRules, parse_token_response

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>Sign in</title>"


def read(
    body: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    grant_type: str = "refresh_token",
    **rules: Any,
) -> TokenResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_token_response(
        status,
        JSON if headers is None else headers,
        raw,
        rules=TokenResponseRules(**rules),
        requested_at=NOW,
        grant_type=grant_type,
    )


def refusal(*args: Any, **kwargs: Any) -> OAuthError:
    with pytest.raises(OAuthError) as caught:
        read(*args, **kwargs)
    return caught.value


def token(**fields: Any) -> dict[str, Any]:
    return {"access_token": "at-1", "token_type": "Bearer", **fields}


# --- what is refused, in the order of the rules -----------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_refused_even_with_a_token_in_it(status: int) -> None:
    error = refusal(token(), status, {"Location": "https://elsewhere.example/"})
    assert type(error) is Redirected
    assert error.code == "redirected"


@pytest.mark.parametrize("status", [408, 425, 429])
def test_throttling_wins_over_an_error_code_and_obeys_retry_after(status: int) -> None:
    # invalid_grant in a 429 must not cost the connection
    error = refusal({"error": "invalid_grant"}, status, {"Retry-After": "17"})
    assert type(error) is Throttled
    assert error.retry_after == 17


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("body", [b"", PAGE, b'{"error": "invalid_grant"}', b'{"access_token": "at-1"}'])
def test_a_server_error_is_an_outage_whatever_the_body(status: int, body: bytes) -> None:
    error = refusal(body, status, {"retry-after": "3"})
    assert type(error) is Outage
    assert error.error_class is ErrorClass.OUTAGE
    assert error.retry_after == 3
    assert not error.permanent


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 418])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("invalid_grant", DeadGrant),
        ("bad_refresh_token", DeadGrant),  # GitHub
        ("bad_verification_code", DeadGrant),  # GitHub
        ("token_revoked", DeadGrant),  # Slack
        ("invalid_refresh_token", DeadGrant),  # Slack
        ("invalid_client", ClientRefused),
        ("unauthorized_client", ClientRefused),
        ("unsupported_grant_type", ClientRefused),
        ("invalid_scope", ClientRefused),
        ("invalid_target", ClientRefused),  # RFC 8707
        ("invalid_request", ClientRefused),
        ("incorrect_client_credentials", ClientRefused),  # GitHub
        ("bad_client_secret", ClientRefused),  # Slack
        ("temporarily_unavailable", TransientFailure),
        ("server_error", TransientFailure),
        ("slow_down", TransientFailure),
        ("interaction_required", InteractionRequired),
        ("login_required", InteractionRequired),
        ("consent_required", InteractionRequired),
        ("access_denied", UnknownRefusal),  # has no meaning at the token endpoint
        ("something_new", UnknownRefusal),
        ("  invalid_grant\n", DeadGrant),  # padded
    ],
)
def test_an_error_code_counts_at_any_status_below_500(status: int, code: str, expected: type[OAuthError]) -> None:
    error = refusal({"error": code, "error_description": "why", "error_uri": "https://docs.example/e"}, status)
    assert type(error) is expected
    assert (error.code, error.description, error.uri) == (code.strip(), "why", "https://docs.example/e")
    assert error.status == status


def test_an_error_code_wins_over_a_token_beside_it() -> None:
    assert type(refusal(token(error="invalid_client"))) is ClientRefused


def test_a_form_encoded_error_counts() -> None:
    # GitHub without an Accept header answers 200 with this
    body = b"error=bad_verification_code&error_description=The+code+is+incorrect"
    error = refusal(body, 200, {"Content-Type": "application/x-www-form-urlencoded"})
    assert type(error) is DeadGrant
    assert error.description == "The code is incorrect"


@pytest.mark.parametrize(
    ("body", "expected", "code"),
    [
        ({"ok": False, "error": "invalid_refresh_token"}, DeadGrant, "invalid_refresh_token"),
        ({"ok": False, "error": "ratelimited"}, Throttled, "ratelimited"),
        ({"ok": False, "access_token": "at-1"}, UnknownRefusal, "unspecified"),
        ({"ok": False, "error": {"nested": 1}}, UnknownRefusal, "unspecified"),
    ],
)
def test_slacks_ok_false_is_a_refusal_at_200(body: Any, expected: type[OAuthError], code: str) -> None:
    error = refusal(body)
    assert (type(error), error.code) == (expected, code)


@pytest.mark.parametrize("code", ["invalid_grant", "bad_refresh_token", "consent_required", "login_required"])
def test_without_a_person_a_dead_grant_is_a_misconfigured_app(code: str) -> None:
    assert type(refusal({"error": code}, 400, grant_type="client_credentials")) is ClientRefused


def test_a_provider_may_name_its_own_synonyms_of_invalid_grant() -> None:
    assert type(refusal({"error": "gone"}, 400)) is UnknownRefusal
    assert type(refusal({"error": "gone"}, 400, dead_grant_codes=frozenset({"gone"}))) is DeadGrant


@pytest.mark.parametrize(
    ("body", "status", "headers", "code"),
    [
        (b"", 200, {}, "empty_answer"),
        (b"  \n", 200, {}, "empty_answer"),
        (PAGE, 200, HTML, "html_answer"),
        (PAGE, 403, HTML, "html_answer"),
        (b"\n <html>", 200, {}, "html_answer"),  # no content type
        (PAGE, 404, HTML, "wrong_endpoint"),
        (b"", 405, {}, "wrong_endpoint"),
        (b"Not Found", 404, {}, "wrong_endpoint"),
        (b"nope", 401, {}, "http_401"),
        (b"{}", 403, JSON, "http_403"),
        (b'{"access_token": "at-1"}', 400, JSON, "http_400"),  # a token in a refusal is none
        (b"[]", 200, JSON, "not_json"),
        (b'[{"access_token": "at-1"}]', 200, JSON, "not_json"),  # a list around it
        (b'"at-1"', 200, JSON, "not_json"),
        (b"null", 200, JSON, "not_json"),
        (b"{", 200, JSON, "not_json"),
        (b"at-1", 200, {}, "not_json"),
        (b"[" * 100_000, 200, JSON, "not_json"),  # deep nesting
        (b"\xff\xfe\x00", 200, JSON, "not_json"),
        (b"a=1&b=2", 200, {}, "not_json"),  # form-encoded, but nothing we know
        (b"access_token=a&access_token=b", 200, {}, "duplicate_field"),
        (b"{}", 200, JSON, "no_access_token"),
        (b'{"access_token": ""}', 200, JSON, "no_access_token"),
        (b'{"access_token": "   "}', 200, JSON, "no_access_token"),
        (b'{"access_token": null}', 200, JSON, "no_access_token"),
        (b'{"access_token": 12345}', 200, JSON, "no_access_token"),
        (b'{"access_token": ["a"]}', 200, JSON, "no_access_token"),
        (b'{"access_token": "a\\r\\nX: y"}', 200, JSON, "no_access_token"),  # a header in the token
        (b'{"access_token": "a\\u0000"}', 200, JSON, "no_access_token"),
        (b'{"access_token": "t\\u00f6ken"}', 200, JSON, "no_access_token"),  # beyond VSCHAR
        (b'{"access_token": "\\ud800"}', 200, JSON, "no_access_token"),  # lone surrogate
        (b'{"error": 17}', 200, JSON, "no_access_token"),  # an error that is no string is no code
        (b'{"error": {"type": "x"}}', 400, JSON, "http_400"),
        (b'{"error": ""}', 200, JSON, "no_access_token"),
        (b'{"access_token": "at-1", "token_type": "mac"}', 200, JSON, "unsupported_token_type"),
        (b'{"access_token": "at-1", "token_type": "DPoP"}', 200, JSON, "unsupported_token_type"),
    ],
)
def test_anything_else_is_malformed(body: bytes, status: int, headers: dict[str, str], code: str) -> None:
    error = refusal(body, status, headers)
    assert isinstance(error, MalformedAnswer)
    assert error.code == code
    assert not error.permanent


# --- what is taken ------------------------------------------------------------------------------------------------


def test_a_plain_answer_is_read() -> None:
    found = read(token(expires_in=3600, refresh_token="rt-1", scope="a b", account="acme"))
    assert (found.access_token, found.refresh_token, found.token_type) == ("at-1", "rt-1", "Bearer")
    assert (found.expires_in, found.expires_at) == (3600, NOW + timedelta(hours=1))
    assert found.scope == ("a", "b")
    assert found.extra == {"token_type": "Bearer", "account": "acme"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"access_token=at-1&token_type=bearer&expires_in=60", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"access_token=at-1&token_type=bearer&expires_in=60\n", {"Content-Type": "text/plain"}),  # GitHub, once
        (b'{"access_token": "at-1", "expires_in": 60}', {"Content-Type": "text/html"}),  # JSON called HTML
        (b'\xef\xbb\xbf{"access_token": "at-1", "expires_in": 60}', JSON),  # byte order mark
        ('{"access_token": "at-1", "expires_in": 60}'.encode("utf-16"), JSON),
    ],
)
def test_other_encodings_of_an_answer_are_read(body: bytes, headers: dict[str, str]) -> None:
    assert (read(body, headers=headers).access_token, read(body, headers=headers).expires_in) == ("at-1", 60)


@pytest.mark.parametrize("token_type", [None, "bearer", "BEARER", "bot", "user", "", 7, ["x"], "N_A"])
def test_a_missing_or_unknown_token_type_counts_as_bearer(token_type: Any) -> None:
    assert read({"access_token": "at-1", "token_type": token_type}).token_type == "Bearer"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("3600", 3600),
        ('"3600"', 3600),  # as a string
        ('" 3600 "', 3600),
        ("3600.9", 3600.9),
        ('"3600.5"', 3600.5),
        ("3.6e3", 3600),
        ("0", 0),  # stale now
        ('"0"', 0),
        ("-0.0", 0),
        ("-1", None),
        ('"-1"', None),
        ("NaN", None),
        ("Infinity", None),
        ("-Infinity", None),
        ('"NaN"', None),
        ("1e999", None),
        ("9" * 5000, None),  # int() itself refuses so many digits
        ('"' + "9" * 5000 + '"', None),
        ("9" * 25, None),  # huge
        ("99999999999", None),  # more than a century
        ("315360000", 315360000),  # ten years are a lifetime that exists
        ("true", None),
        ("false", None),
        ("null", None),
        ('"never"', None),
        ('""', None),
        ('"1h"', None),
        ('"1_000"', None),  # int() would take it
        ('"٣"', None),  # int() would take it, too
        ("[3600]", None),
        ('{"seconds": 3600}', None),
    ],
)
def test_lifetimes(raw: str, expected: float | None) -> None:
    found = read(f'{{"access_token": "at-1", "refresh_token": "rt-2", "expires_in": {raw}}}'.encode())
    assert found.expires_in == expected
    assert found.expires_at == (None if expected is None else NOW + timedelta(seconds=expected))
    assert found.refresh_token == "rt-2"  # an odd lifetime never costs the rotated token


def test_a_missing_lifetime_is_unknown() -> None:
    assert (read(token()).expires_in, read(token()).expires_at) == (None, None)


def test_zero_means_never_only_where_the_provider_declares_it() -> None:
    assert read(token(expires_in=0)).expires_at == NOW
    assert read(token(expires_in=0), zero_means_never=True).expires_at is None


def test_milliseconds_only_where_the_provider_declares_them() -> None:
    assert read(token(expires_in=7_200_000), expires_in_unit="milliseconds").expires_in == 7200


@pytest.mark.parametrize(
    ("form", "value", "seconds"),
    [
        ("unix_seconds", NOW.timestamp() + 60, 60),
        ("unix_seconds", str(int(NOW.timestamp()) + 60), 60),
        ("unix_milliseconds", (NOW.timestamp() + 60) * 1000, 60),
        ("iso8601", "2031-05-06T07:09:09Z", 60),
        ("iso8601", "2031-05-06T09:09:09+02:00", 60),
        ("iso8601", "2031-05-06T07:09:09", 60),  # no offset: UTC
        ("iso8601", "tomorrow", None),
        ("iso8601", 17, None),
        ("unix_seconds", "soon", None),
        ("unix_seconds", 1, 0),  # past: stale now
    ],
)
def test_absolute_expiry_only_where_the_provider_declares_it(form: str, value: Any, seconds: float | None) -> None:
    answer = token(expires_at=value)
    assert read(answer).expires_in is None
    assert read(answer, expires_at_field="expires_at", expires_at_format=form).expires_in == seconds


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("a b", ("a", "b")),
        ("a,b", ("a", "b")),
        ("a, b", ("a", "b")),
        ("a+b", ("a", "b")),
        ("a+b c", ("a+b", "c")),  # a plus within a name, where spaces separate
        ("  a  b a ", ("a", "b")),
        (["a", "b", "a"], ("a", "b")),
        (["a b", 7, None, "c"], ("a", "b", "c")),  # a list with oddities
        ("", ()),
        ([], ()),
        (None, None),  # absent: as requested
        (17, None),
        ({"a": True}, None),
        ("a\x00b \ud800", ("ab",)),
        ("https://api.example/.default", ("https://api.example/.default",)),
    ],
)
def test_scope_forms(scope: Any, expected: tuple[str, ...] | None) -> None:
    assert read(token(scope=scope)).scope == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "rt-old"),
        ("", "rt-old"),
        ("  ", "rt-old"),
        (False, "rt-old"),
        ([], "rt-old"),
        ("\ud800", "rt-old"),  # could not be stored
        ("rt-new", "rt-new"),
        ("tökén", "tökén"),  # not VSCHAR, but dropping it would lose the connection
        (12345, "12345"),
    ],
)
def test_an_answer_without_a_refresh_token_keeps_the_old_one(value: Any, expected: str) -> None:
    assert read(token(refresh_token=value)).keeping_refresh_token("rt-old").refresh_token == expected


def test_without_any_refresh_token_there_is_none() -> None:
    assert read(token()).keeping_refresh_token(None).refresh_token is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"refresh_token_expires_in": 100}, 100),
        ({"refresh_expires_in": "100"}, 100),  # Keycloak
        ({"x_refresh_token_expires_in": 100}, 100),  # Intuit
        ({"refresh_expires_in": 0}, None),  # Keycloak's offline token: never
        ({"refresh_token_expires_in": -5}, None),
        ({}, None),
    ],
)
def test_refresh_token_lifetimes(fields: dict[str, Any], expected: float | None) -> None:
    assert read(token(**fields)).refresh_token_expires_in == expected


def test_extra_fields_are_kept_and_made_storable() -> None:
    found = read(
        b'{"access_token": "at-1", "a": "x\\u0000y\\ud800", "n": NaN, "big": 1e999, "deep": [[[[[[[[1]]]]]]]]}'
    )
    assert found.extra["a"] == "xy"
    assert found.extra["n"] is None
    assert found.extra["big"] is None
    json.dumps(found.extra, allow_nan=False).encode()


def test_a_number_too_long_for_int_survives_in_the_extra_fields() -> None:
    found = read(b'{"access_token": "at-1", "refresh_token": "rt-2", "serial": ' + b"7" * 5000 + b"}")
    assert (found.refresh_token, found.extra["serial"]) == ("rt-2", "7" * 5000)


def test_extra_fields_are_capped_one_by_one() -> None:
    found = read(token(first="1", flood="x" * (MAX_EXTRA_CHARACTERS + 1), last="2"))
    assert found.extra == {"token_type": "Bearer", "first": "1", "last": "2"}


def test_a_nested_token_is_read_where_the_provider_declares_it() -> None:
    # Slack's user token beside a bot token
    answer = {
        "ok": True,
        "access_token": "xoxb-bot",
        "team": {"id": "T1"},
        "authed_user": {"id": "U1", "access_token": "xoxp-user", "scope": "chat:write,users:read"},
    }
    found = read(answer, token_path="authed_user")
    assert (found.access_token, found.scope) == ("xoxp-user", ("chat:write", "users:read"))
    # The bot token was issued too: it is kept, encrypted, among the extra fields.
    assert found.extra == {"ok": True, "access_token": "xoxb-bot", "team": {"id": "T1"}, "id": "U1"}


def test_a_declared_but_missing_nest_falls_back_to_the_answer_itself() -> None:
    # Slack's refresh answers are flat
    assert read(token(), token_path="authed_user").access_token == "at-1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120),
        ("0", 0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("9999999", 86400),  # at most a day
        ("Tue, 06 May 2031 07:09:09 GMT", 60),
        ("Tue, 06 May 2031 07:00:00 GMT", 0),  # past
        ("Tue, 99 May 2031 07:00:00 GMT", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: str, expected: float | None) -> None:
    assert refusal(b"", 429, {"Retry-After": value}).retry_after == expected


def test_a_date_to_retry_after_counts_by_the_clock_that_wrote_it() -> None:
    ten_minutes_slow = {"Date": "Tue, 06 May 2031 06:58:09 GMT", "Retry-After": "Tue, 06 May 2031 06:59:09 GMT"}
    assert refusal(b"", 429, ten_minutes_slow).retry_after == 60
    assert refusal(b"", 429, {**ten_minutes_slow, "Date": "yesterday"}).retry_after == 0


def test_no_secret_is_in_the_repr() -> None:
    shown = repr(read(token(access_token="at-secret", refresh_token="rt-secret", id_token="id-secret")))
    assert "secret" not in shown


def test_a_compressed_body_that_was_not_decoded_is_malformed() -> None:
    assert refusal(gzip.compress(b'{"access_token": "at-1"}')).code == "not_json"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_fields = st.dictionaries(
    st.sampled_from(["access_token", "refresh_token", "expires_in", "scope", "error", "token_type", "ok", "x"]), _json
)


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "Content-Type", "X"]), st.text(max_size=40)),
    body=st.binary(max_size=200) | _fields.map(lambda value: json.dumps(value).encode()),
    grant_type=st.sampled_from(["authorization_code", "refresh_token", "client_credentials"]),
    rules=st.builds(
        TokenResponseRules,
        zero_means_never=st.booleans(),
        expires_in_unit=st.sampled_from(["seconds", "milliseconds"]),
        expires_at_field=st.sampled_from(["", "x"]),
        expires_at_format=st.sampled_from(["unix_seconds", "unix_milliseconds", "iso8601"]),
        token_path=st.sampled_from(["", "x", "x.y"]),
    ),
)
def test_no_answer_raises_anything_but_an_oauth_error(
    status: int, headers: dict[str, str], body: bytes, grant_type: str, rules: TokenResponseRules
) -> None:
    try:
        found = parse_token_response(status, headers, body, rules=rules, requested_at=NOW, grant_type=grant_type)
    except OAuthError:
        return
    assert 200 <= status < 300
    assert found.access_token.isascii()
    assert found.expires_in is None or 0 <= found.expires_in < 4e9
    json.dumps(found.extra, allow_nan=False).encode("utf-8")
    " ".join(found.scope or ()).encode("utf-8")


@given(fields=_fields, refresh_token=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_a_rotated_token_is_never_lost_to_odd_neighbours(fields: dict[str, Any], refresh_token: str) -> None:
    fields = {**fields, "access_token": "at-1", "refresh_token": refresh_token}
    for refusing in ("error", "ok", "token_type"):
        fields.pop(refusing, None)
    assert read(fields).refresh_token == refresh_token
