"""Log lines: no secret in them, the request's id in each."""

from __future__ import annotations

import logging

import pytest

from config.logs import RedactingFormatter, redact, request_id


@pytest.mark.parametrize(
    "text",
    [
        "POST https://a.example/token?client_secret=hunter2&x=1",
        "Authorization: Bearer hunter2hunter2",
        "Authorization: Basic aHVudGVyMmh1bnRlcjI=hunter2",
        '{"access_token": "hunter2", "expires_in": 120}',
        "{'refresh_token': 'hunter2'}",
        '{"password": "with \\" quote hunter2"}',
        "GET /oauth/callback?state=hunter2&code=hunter2",
        "key gr_abc123_hunter2-hunter2 was refused",
        "sealed gAAAAABhunter2hunter2hunter2hunter2==",
        "code_verifier=hunter2",
        "Not Found: /connect/hunter2hunter2hunter2/",
        "Not Found: /invitations/hunter2hunter2hunter2/",
    ],
)
def test_what_looks_like_a_secret_is_cut_out(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /w/acme/integrations/?page=2 200",
        "Renewed 12 tokens in 340 ms",
        '{"status": "ok", "expires_in": 120}',
        "The token is missing",
        "The refresh failed: code=invalid_grant state=reconnect_required",
        "key gr_abc123… was revoked",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_tracebacks_are_redacted_and_lines_carry_the_request_id() -> None:
    formatter = RedactingFormatter("%(levelname)s [%(request_id)s] %(message)s")
    reset = request_id.set("7d0c")
    try:
        try:
            raise ValueError("access_token=hunter2")
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed for %s", ("client_secret=hunter2",), info)
        line = formatter.format(record)
    finally:
        request_id.reset(reset)

    assert line.startswith("ERROR [7d0c] failed for client_secret=[redacted]")
    assert "hunter2" not in line
    assert "ValueError" in line
