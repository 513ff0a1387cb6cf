"""What the browser may bring back (RFC 6749 §4.1.2, RFC 9207)."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from integrations.oauth.callback import CallbackRefusal, CallbackSuccess, check_issuer, read_callback
from integrations.oauth.errors import (
    CallbackMalformed,
    ClientRefused,
    ConsentRefused,
    InteractionRequired,
    IssuerMismatch,
    OAuthError,
    TransientFailure,
    UnknownRefusal,
)


def read(query: str) -> CallbackSuccess | CallbackRefusal:
    return read_callback(parse_qsl(query, keep_blank_values=True))


def test_a_code_is_read() -> None:
    found = read("code=c-1&state=s-1&iss=https%3A%2F%2Fas.example&session_state=x&foo=1&foo=2")
    assert found == CallbackSuccess("c-1", "s-1", "https://as.example")
    assert "c-1" not in repr(found)
    assert "s-1" not in repr(found)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_state"),
        ("code=c", "missing_state"),
        ("code=c&state=", "missing_state"),
        ("error=access_denied", "missing_state"),
        ("state=s", "missing_code"),
        ("code=&state=s", "missing_code"),
        ("error=&state=s", "missing_code"),
        ("code=c&error=access_denied&state=s", "code_and_error"),
        ("code=c&code=d&state=s", "duplicate_parameter"),
        ("code=c&state=s&state=s", "duplicate_parameter"),
        ("error=a&error=b&state=s", "duplicate_parameter"),
        ("code=c&state=s&iss=a&iss=b", "duplicate_parameter"),
        ("code=c&state=" + "s" * 513, "parameter_too_long"),
        ("state=s&code=" + "c" * 8193, "parameter_too_long"),
    ],
)
def test_anything_but_one_state_and_one_code_or_error_is_refused(query: str, code: str) -> None:
    with pytest.raises(CallbackMalformed) as caught:
        read(query)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("access_denied", ConsentRefused),
        ("unauthorized_client", ClientRefused),
        ("unsupported_response_type", ClientRefused),
        ("invalid_scope", ClientRefused),
        ("invalid_request", ClientRefused),
        ("server_error", TransientFailure),
        ("temporarily_unavailable", TransientFailure),
        ("interaction_required", InteractionRequired),
        ("login_required", InteractionRequired),
        ("consent_required", InteractionRequired),
        ("never_heard_of", UnknownRefusal),
    ],
)
def test_each_error_has_its_class(code: str, expected: type[OAuthError]) -> None:
    found = read(f"error={code}&state=s&error_description=No%0D%0Away%E2%80%AE&error_uri=https://d.example")
    assert isinstance(found, CallbackRefusal)
    error = found.as_error()
    assert type(error) is expected
    assert (error.code, error.description, error.uri) == (code, "No way", "https://d.example")


@pytest.mark.parametrize("received", ["https://as.example/", "https://AS.example", "https://evil.example", ""])
def test_another_issuer_is_refused(received: str) -> None:
    with pytest.raises(IssuerMismatch):
        check_issuer("https://as.example", received)


def test_the_issuer_is_compared_only_where_it_is_known() -> None:
    check_issuer("https://as.example", "https://as.example")
    check_issuer("", "https://anything.example")
    check_issuer("https://as.example", None)
    with pytest.raises(IssuerMismatch) as caught:
        check_issuer("https://as.example", None, required=True)
    assert caught.value.code == "missing_issuer"
