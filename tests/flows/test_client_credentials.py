"""Service accounts at a certified server (RFC 6749 §4.4, client authentication of §2.3.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integrations.connections.batch import refresh_due
from integrations.models import Connection
from tests.flows.conftest import Setup
from tests.servers.npm_oidc import SERVICE_CLIENT, OIDCServer

pytestmark = [pytest.mark.node, pytest.mark.django_db]

INTEGRATION = "/integrations/custom_certified_service/client_credentials"
BOTH = pytest.mark.parametrize(
    "oidc_options", [{"authMethod": "client_secret_basic"}, {"authMethod": "client_secret_post"}], indirect=True
)


@BOTH
def test_a_token_is_fetched_read_and_renewed_unread(
    service: Setup, oidc: OIDCServer, oidc_options: dict[str, Any]
) -> None:
    tested = service.api.post(f"{INTEGRATION}/test", {}).json()
    assert tested["ok"], tested
    assert [step["ok"] for step in tested["steps"]] == [True] * 4
    assert tested["expires_at"]
    first = service.api.get(f"{INTEGRATION}/token").json()
    assert first["scopes"] == ["notes:read"]

    connection = Connection.objects.select_related("token").get()
    renewed = refresh_due(now=connection.token.issued_at + timedelta(seconds=60)).renewed

    second = service.api.get(f"{INTEGRATION}/token").json()
    assert renewed == 1
    assert second["access_token"] != first["access_token"]
    asked = [(one["grant_type"], one["client_authentication"], one["status"]) for one in oidc.token_requests()]
    assert asked == [("client_credentials", oidc_options["authMethod"], 200)] * 2


def test_a_wrong_secret_is_misconfigured_until_it_is_corrected(service: Setup, oidc: OIDCServer) -> None:
    assert service.api.post(f"{INTEGRATION}/test", {}).json()["ok"]
    before = service.api.get(f"{INTEGRATION}/token").json()["access_token"]
    service.api.put(INTEGRATION, {"client_secret": "not-the-secret"})

    tested = service.api.post(f"{INTEGRATION}/test", {}).json()
    assert (tested["ok"], tested["code"]) == (False, "invalid_client")
    assert [step["ok"] for step in tested["steps"]] == [True, True, False, None]
    assert service.api.get(INTEGRATION).json()["status"] == "misconfigured"
    assert service.api.get(f"{INTEGRATION}/token").json()["access_token"] == before, "a good token is still served"

    service.api.put(INTEGRATION, {"client_secret": SERVICE_CLIENT[1]})
    assert service.api.get(INTEGRATION).json()["status"] == "connected"
    assert service.api.post(f"{INTEGRATION}/test", {}).json()["ok"]
