"""The preview: what would really be sent, by the code that sends it, and not one secret of it."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.models import GrantType
from integrations.providers.base import ProviderSpec
from integrations.providers.definition import spec_from_definition
from integrations.providers.preview import PreviewedRequest, preview
from integrations.providers.registry import builtin_specs

SECRET = "canary-config-value-0123456789"
BASE: dict[str, Any] = {
    "provider_id": "custom_northwind",
    "name": "Northwind",
    "grant_types": ["authorization_code", "client_credentials"],
    "authorization_endpoint": "https://{{region}}.id.northwind.example/authorize",
    "token_endpoint": "https://{{region}}.id.northwind.example/token",
    "revocation_endpoint": "https://id.northwind.example/revoke",
    "userinfo_endpoint": "https://id.northwind.example/userinfo",
    "scopes": [{"name": "openid", "required": True}],
    "parameters": [
        {"key": "region", "label": "Region", "pattern": "[a-z]{2}"},
        {"key": "pin", "label": "PIN", "type": "password"},
    ],
    "token_params": {"pin": "{{pin}}", "key": "{{key}}", "both": "{{both}}", "where": "{{region}}"},
    "config_values": [
        {"key": "key", "label": "Key", "value": SECRET, "type": "password", "visible": True},
        {"key": "both", "label": "Both", "helper": "basic_credentials"},
    ],
}


def spec_with(**changes: Any) -> ProviderSpec:
    return spec_from_definition({**BASE, **changes})


def sent(spec: ProviderSpec, grant_type: GrantType, **kwargs: Any) -> dict[str, PreviewedRequest]:
    found = preview(spec, grant_type, **{"client_id": "app-1", "redirect_uri": "https://us.example/cb", **kwargs})
    assert found.problem == ""
    return {request.title: request for request in found.requests}


def lines(request: PreviewedRequest) -> dict[str, str]:
    return {name: value for name, _, value in request.lines}


def test_every_request_of_a_connections_life_is_shown() -> None:
    found = sent(spec_with(), GrantType.AUTHORIZATION_CODE)
    assert list(found) == [
        "Send the browser to consent",
        "Exchange the code",
        "Renew the token",
        "Ask whose account it is",
        "Revoke on disconnect",
    ]
    assert found["Send the browser to consent"].url == "https://{{region}}.id.northwind.example/authorize"
    assert lines(found["Exchange the code"])["redirect_uri"] == "https://us.example/cb"
    assert lines(found["Ask whose account it is"])["Authorization"] == "Bearer ••••"
    assert lines(found["Revoke on disconnect"])["token"] == "••••"
    service = sent(spec_with(), GrantType.CLIENT_CREDENTIALS)
    assert list(service) == ["Fetch a token", "Revoke on disconnect"]
    assert lines(service["Fetch a token"])["scope"] == "openid"


def test_a_separate_refresh_endpoint_and_its_parameters_show_in_the_renewal_only() -> None:
    spec = spec_with(refresh_endpoint="https://id.northwind.example/refresh", refresh_params={"again": "1"})
    found = sent(spec, GrantType.AUTHORIZATION_CODE)
    assert found["Renew the token"].url == "https://id.northwind.example/refresh"
    assert lines(found["Renew the token"])["again"] == "1"
    assert "again" not in lines(found["Exchange the code"])


@pytest.mark.parametrize("json_body", ["form", "json"])
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"])
def test_no_secret_shows_whatever_the_wire_looks_like(method: str, json_body: str) -> None:
    spec = spec_with(token_endpoint_auth_method=method, token_request_format=json_body)
    found = preview(
        spec,
        GrantType.AUTHORIZATION_CODE,
        client_id="app-1",
        redirect_uri="https://us.example/cb",
        values={"pin": SECRET},
    )
    assert len(found.requests) == 5
    assert SECRET not in str(found)
    assert "zq" not in str(found)  # what stood in for them
    exchange = lines(found.requests[1])
    assert {exchange[name].strip('"') for name in ("pin", "key", "both")} == {"••••"}
    assert exchange["where"].strip('"') == "{{region}}"


def test_values_that_are_given_are_filled_in() -> None:
    found = sent(spec_with(), GrantType.AUTHORIZATION_CODE, values={"region": "eu"})
    assert found["Exchange the code"].url == "https://eu.id.northwind.example/token"


def test_a_value_that_does_not_fit_its_pattern_is_said_instead() -> None:
    found = preview(
        spec_with(),
        GrantType.AUTHORIZATION_CODE,
        client_id="",
        redirect_uri="https://us.example/cb",
        values={"region": "EVIL"},
    )
    assert found.requests == ()
    assert "region" in found.problem.lower()


@pytest.mark.parametrize("provider_id", sorted(builtin_specs()))
def test_every_provider_of_the_catalogue_has_one(provider_id: str) -> None:
    spec = builtin_specs()[provider_id]
    for grant_type in spec.grant_types:
        found = preview(spec, grant_type, client_id="", redirect_uri="https://us.example/cb")
        assert found.requests or found.problem
        assert "zq" not in str(found)
