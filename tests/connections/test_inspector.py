"""How a token answer would be read: the provider's own call, its rules, and the policy that follows."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.connections.inspector import KeptValue, OtherField, Reading, purposes, read_answer
from integrations.providers.base import ProviderSpec
from integrations.providers.definition import spec_from_definition
from integrations.providers.preview import Purpose
from integrations.providers.registry import builtin_specs

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
TOKEN = "canary-access-token-0123456789-wxyz"
REFRESH = "canary-refresh-token-0123456789-uvwx"
BASE: dict[str, Any] = {
    "provider_id": "custom_northwind",
    "name": "Northwind",
    "grant_types": ["authorization_code", "client_credentials"],
    "authorization_endpoint": "https://id.northwind.example/authorize",
    "token_endpoint": "https://id.northwind.example/token",
    "scopes": [{"name": "openid", "required": True}, {"name": "mail", "required": False}],
}


def spec_with(**changes: Any) -> ProviderSpec:
    return spec_from_definition({**BASE, **changes})


def read(
    spec: ProviderSpec, answer: Any, purpose: Purpose = Purpose.AUTHORIZATION_CODE, *, status: int = 200, **kwargs: Any
) -> Reading:
    body = answer if isinstance(answer, str) else json.dumps(answer)
    return read_answer(
        spec, purpose, status=status, content_type=kwargs.get("content_type", "application/json"), body=body, now=NOW
    )


def test_a_token_is_masked_and_everything_around_it_is_said() -> None:
    answer = {
        "access_token": TOKEN,
        "refresh_token": REFRESH,
        "expires_in": 3600,
        "scope": "openid extra",
        "id_token": "a.b.c",
        "instance_url": "https://eu7.northwind.example",
        "user": {"email": "dana@acme.example", "id": 7},
    }
    spec = spec_with(
        metadata=[
            {
                "key": "i",
                "label": "Instance",
                "source": "token",
                "field": "instance_url",
                "pattern": "https://([a-z0-9]+)[.]northwind[.]example",
            },
            {"key": "t", "label": "Tenant", "source": "token", "field": "tenant", "pattern": "[a-z]+"},
        ],
        account_fields=["user.email"],
    )
    reading = read(spec, answer)
    assert reading.ok
    assert (reading.access_token, reading.token_type, reading.refresh_token) == ("…wxyz", "Bearer", "new")
    assert reading.expires_in == 3600
    assert (reading.scopes, reading.missing_scopes, reading.scopes_named) == (("openid", "extra"), ("mail",), True)
    assert (reading.metadata, reading.metadata_missing) == ((KeptValue("Instance", "eu7"),), ("Tenant",))
    assert (reading.account, reading.asks_userinfo) == ("dana@acme.example", False)
    assert OtherField("id_token", "text of 5 characters") in reading.extra_fields
    assert TOKEN not in str(reading)
    assert REFRESH not in str(reading)
    assert "a.b.c" not in str(reading)


@pytest.mark.parametrize(
    ("rules", "answer", "expires_in"),
    [
        ({}, {"access_token": TOKEN, "expires_in": "60"}, 60),
        ({"expires_in_unit": "minutes"}, {"access_token": TOKEN, "expires_in": 60}, 3600),
        ({"zero_means_never": True}, {"access_token": TOKEN, "expires_in": 0}, None),
        ({"token_path": "data"}, {"data": {"access_token": TOKEN, "expires_in": 5}}, 5),
        ({"access_token_field": "token"}, {"token": TOKEN}, None),
        ({}, f"access_token={TOKEN}&expires_in=9", 9),  # form-encoded
    ],
)
def test_it_is_read_by_the_definitions_own_rules(rules: dict[str, Any], answer: Any, expires_in: float | None) -> None:
    reading = read(spec_with(token_response=rules), answer)
    assert (reading.ok, reading.access_token, reading.expires_in) == (True, "…wxyz", expires_in)


def test_a_refresh_without_a_refresh_token_keeps_the_old_one() -> None:
    assert read(spec_with(), {"access_token": TOKEN}, Purpose.REFRESH_TOKEN).refresh_token == "kept"
    assert read(spec_with(), {"access_token": TOKEN}, Purpose.AUTHORIZATION_CODE).refresh_token == "none"


@pytest.mark.parametrize(
    ("status", "answer", "purpose", "error_class", "words"),
    [
        (400, {"error": "invalid_grant"}, Purpose.REFRESH_TOKEN, "dead_grant", "needs a person"),
        (400, {"error": "invalid_grant"}, Purpose.AUTHORIZATION_CODE, "dead_grant", "nothing is stored"),
        (400, {"error": "invalid_grant"}, Purpose.CLIENT_CREDENTIALS, "client_refused", "misconfigured"),
        (401, {"error": "invalid_client"}, Purpose.REFRESH_TOKEN, "client_refused", "one alarm"),
        (400, {"error": "invalid_scope"}, Purpose.REFRESH_TOKEN, "client_refused", "tried again in an hour"),
        (200, {"ok": False, "error": "token_revoked"}, Purpose.REFRESH_TOKEN, "dead_grant", "needs a person"),
        (429, {}, Purpose.REFRESH_TOKEN, "throttled", "degraded"),
        (503, {"access_token": TOKEN}, Purpose.REFRESH_TOKEN, "outage", "degraded"),
        (200, "<html>", Purpose.REFRESH_TOKEN, "malformed", "degraded"),
        (302, "", Purpose.REFRESH_TOKEN, "malformed", "degraded"),
        (200, {"access_token": TOKEN, "token_type": "mac"}, Purpose.REFRESH_TOKEN, "malformed", "degraded"),
        (200, "[" * 3000, Purpose.REFRESH_TOKEN, "malformed", "degraded"),
    ],
)
def test_a_refusal_has_its_class_its_words_and_its_policy(
    status: int, answer: Any, purpose: Purpose, error_class: str, words: str
) -> None:
    reading = read(spec_with(), answer, purpose, status=status)
    assert not reading.ok
    assert reading.refusal is not None
    assert reading.refusal.error_class == error_class
    assert reading.refusal.happened
    assert reading.refusal.next_step
    assert words in " ".join(reading.outcome)
    assert TOKEN not in str(reading)


def test_a_token_in_an_errors_text_is_not_repeated() -> None:
    answer = {"error": "invalid_grant", "error_description": f"The token {TOKEN} was revoked."}
    reading = read(spec_with(), answer, Purpose.REFRESH_TOKEN, status=400)
    assert reading.refusal is not None
    assert "was revoked" in reading.refusal.provider_text
    assert TOKEN not in str(reading)


def test_a_deviating_provider_reads_with_its_own_code() -> None:
    # Slack says whose token it is in an object of its own, beside the bot's.
    answer = {"ok": True, "access_token": "xoxb-bot", "authed_user": {"access_token": TOKEN, "scope": "a,b"}}
    spec = builtin_specs()["slack"]
    reading = read(spec, answer)
    assert (reading.ok, reading.access_token) == (True, "…wxyz")


@pytest.mark.parametrize(
    "provider_id", sorted(spec.provider_id for spec in builtin_specs().values() if not spec.resource)
)
def test_every_provider_of_the_catalogue_can_be_inspected(provider_id: str) -> None:
    spec = builtin_specs()[provider_id]
    assert purposes(spec)
    for purpose in purposes(spec):
        refused = read(spec, {"error": "invalid_client", "access_token": ""}, purpose, status=401)
        assert not refused.ok
        assert refused.outcome


def test_nothing_of_it_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec = spec_with(metadata=[{"key": "t", "label": "T", "source": "token", "field": "tenant", "pattern": "[a-z]+"}])
    read(spec, {"access_token": TOKEN, "refresh_token": REFRESH, "tenant": "NOT FIT canary"})
    read(spec, "canary " + TOKEN, status=500)
    assert "canary" not in caplog.text
