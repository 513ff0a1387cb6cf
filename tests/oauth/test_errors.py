"""Errors carry codes for programs and two plain sentences for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.oauth import errors
from integrations.oauth.errors import KNOWN_CODES, ErrorClass, OAuthError, clean_provider_text, describe
from integrations.oauth.refusals import CLIENT_REFUSED_CODES, DEAD_GRANT_CODES, INTERACTION_CODES, TRANSIENT_CODES
from integrations.outbound import errors as outbound_errors


@pytest.mark.parametrize("code", [*sorted(KNOWN_CODES), "http_403", "never_heard_of", ""])
def test_every_code_says_what_happened_and_what_to_do(code: str) -> None:
    found = describe(code)
    for sentence in (found.happened, found.next_step):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "!" not in sentence
        assert "://" not in sentence.replace("http://", "").replace("https://", "")


@pytest.mark.parametrize(
    "code",
    [
        # RFC 6749 §4.1.2.1 and §5.2, RFC 8707, RFC 8628, OpenID Connect Core §3.1.2.6, RFC 6750
        *("invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope"),
        *("server_error", "temporarily_unavailable", "invalid_client", "invalid_grant", "unsupported_grant_type"),
        *("invalid_target", "slow_down", "interaction_required", "login_required", "consent_required"),
        *("account_selection_required", "invalid_token", "insufficient_scope"),
    ],
)
def test_the_standards_codes_have_words_of_their_own(code: str) -> None:
    assert code in KNOWN_CODES


def test_every_code_of_the_door_has_words() -> None:
    classes = [value for value in vars(outbound_errors).values() if isinstance(value, type)]
    codes = {value.code for value in classes if issubclass(value, outbound_errors.OutboundError)}
    assert codes <= KNOWN_CODES


def test_no_code_is_in_two_classes() -> None:
    groups = [DEAD_GRANT_CODES, INTERACTION_CODES, CLIENT_REFUSED_CODES, TRANSIENT_CODES]
    assert sum(map(len, groups)) == len(frozenset().union(*groups))


def test_every_error_class_has_an_exception() -> None:
    found = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, OAuthError)}
    assert {value.error_class for value in found} == set(ErrorClass)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\r\nlines\tand\ttabs", "two lines and tabs"),
        ("bell\x07 nul\x00 esc\x1b[31m", "bell nul esc[31m"),
        ("evil\u202egnp.exe", "evilgnp.exe"),  # right-to-left override
        ("a\u2066b\u2069c\u200bd\u2028e", "abcde"),
        ("<b>x</b>", "<b>x</b>"),  # escaped where it is shown
        ("\ud800x", "x"),
        ("é漢字🙂", "é漢字🙂"),
        ("x" * 501, "x" * 500),
        ("\u202e" * 3000 + "x", ""),
    ],
)
def test_provider_text_is_cleaned_and_cut(text: str, expected: str) -> None:
    assert clean_provider_text(text) == expected


@given(st.text())
def test_cleaned_text_is_short_and_storable(text: str) -> None:
    cleaned = clean_provider_text(text)
    assert len(cleaned) <= 500
    cleaned.encode("utf-8")
    assert not set(cleaned) & set("\x00\x1b\u202e\u2066\u200b")


def test_an_error_shows_its_code_only() -> None:
    error = errors.DeadGrant("invalid_grant", "provider text", "https://d.example", status=400)
    assert str(error) == "invalid_grant"
    assert "provider text" not in error.message
    assert error.permanent
