"""private_key_jwt through the API: the key is made, shown by its public side, rotated."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from integrations.models import ClientKey, Integration
from integrations.oauth.client_assertion import ASSERTION_TYPE
from integrations.providers.client_keys import jwks_uri
from tests.api.client import ApiClient, make_key
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces.models import AuditEvent, Workspace
from workspaces.roles import KeyScope

SERVICE = "/integrations/custom_own/client_credentials"
ROTATE = f"{SERVICE}/client-key/rotate"
JWT = {"client_id": "client-1", "token_endpoint_auth_method": "private_key_jwt"}


def test_saving_the_method_answers_where_the_key_is(api: ApiClient, own_provider: dict[str, Any]) -> None:
    before = api.get(SERVICE).json()
    assert (before["jwks_uri"], before["client_key"]) == (None, None)
    body = api.put(SERVICE, JWT).json()
    assert (body["status"], body["has_client_secret"]) == ("configured", False)
    assert body["token_endpoint_auth_method"] == "private_key_jwt"
    assert body["jwks_uri"] == jwks_uri(Integration.objects.get())
    key = ClientKey.objects.get()
    assert (body["client_key"]["kid"], body["client_key"]["algorithm"]) == (key.kid, "RS256")
    assert api.get(SERVICE).json() == body
    assert api.get("/integrations").json()["items"] == [body]


def test_the_key_set_can_be_read_without_a_key_of_ours(api: ApiClient, own_provider: dict[str, Any]) -> None:
    body = api.put(SERVICE, JWT).json()
    answer = ApiClient().http.get(body["jwks_uri"].removeprefix("http://localhost:8000"))
    assert [key["kid"] for key in answer.json()["keys"]] == [body["client_key"]["kid"]]


def test_rotating_answers_the_new_key_and_when_it_signs(api: ApiClient, own_provider: dict[str, Any]) -> None:
    first = api.put(SERVICE, JWT).json()["client_key"]
    answer = api.post(ROTATE, {"algorithm": "ES256"})
    assert answer.status_code == 201
    second = answer.json()
    assert second["algorithm"] == "ES256"
    assert second["kid"] != first["kid"]
    assert second["signs_from"] > second["created_at"]
    assert api.get(SERVICE).json()["client_key"] == second
    assert api.post(ROTATE).json()["algorithm"] == "ES256"
    assert AuditEvent.objects.filter(action="client_key:rotated").count() == 2


def test_what_cannot_be_rotated_is_a_conflict(api: ApiClient, own_provider: dict[str, Any]) -> None:
    assert api.post(ROTATE).status_code == 404  # not saved
    api.put(SERVICE, {"client_id": "a", "client_secret": "b"})
    answer = api.post(ROTATE)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    api.put(SERVICE, JWT)
    assert api.post(ROTATE, {"algorithm": "HS256"}).status_code == 422
    assert ClientKey.objects.count() == 1


def test_rotating_needs_the_scope_that_writes_integrations(
    api: ApiClient, own_provider: dict[str, Any], workspace: Workspace
) -> None:
    api.put(SERVICE, JWT)
    reader = ApiClient(make_key(workspace, KeyScope.INTEGRATIONS_READ))
    assert reader.post(ROTATE).status_code == 403
    assert ClientKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_server_verifies_us_with_the_key_set_that_it_fetches(
    api: ApiClient, own_provider: dict[str, Any], provider_server: ScriptedServer, live_server: Any, settings: Any
) -> None:
    """The provider's side in full: JWKS over HTTP, signature, audience, single use; before and after a rotation."""
    settings.PUBLIC_BASE_URL = live_server.url
    uri = api.put(SERVICE, JWT).json()["jwks_uri"]
    assert uri.startswith(live_server.url)
    seen: list[dict[str, Any]] = []
    numbers = itertools.count(1)

    def verify(asked: Received) -> Answer:
        keys = KeySet.import_key_set(requests.get(uri, timeout=10).json())
        found = jwt.decode(asked.form["client_assertion"], keys, ["RS256", "ES256"])
        assert asked.form["client_assertion_type"] == ASSERTION_TYPE
        seen.append({**found.claims, "kid": found.header["kid"]})
        body = f'{{"access_token": "token-{next(numbers)}", "token_type": "Bearer", "expires_in": 3600}}'
        return Answer(200, body.encode(), {"Content-Type": "application/json"})

    provider_server.respond("/token", verify)
    first = ClientKey.objects.get()
    assert api.post(f"{SERVICE}/test", {}).json()["ok"]
    second = api.post(ROTATE).json()["kid"]
    assert api.post(f"{SERVICE}/test", {}).json()["ok"]
    ClientKey.objects.filter(kid=second).update(signs_from=first.created_at)  # ten minutes later
    ClientKey.objects.filter(pk=first.pk).update(signs_from=first.created_at.replace(year=2000))
    assert api.post(f"{SERVICE}/test", {}).json()["ok"]

    assert [one["kid"] for one in seen] == [first.kid, first.kid, second]
    assert {(one["iss"], one["sub"], one["aud"]) for one in seen} == {
        ("client-1", "client-1", own_provider["token_endpoint"])
    }
    assert len({one["jti"] for one in seen}) == 3
