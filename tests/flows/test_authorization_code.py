"""Delegated access at a certified server: consent, renewals nobody asked for, disconnect (RFC 6749 §4.1, RFC 9700)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import connection as database
from django.utils import timezone

from integrations.connections.authorization import start_authorization
from integrations.connections.batch import refresh_due
from integrations.connections.completion import complete_authorization
from integrations.connections.outcomes import AuthorizationOutcome
from integrations.models import Connection, ConnectionStatus
from tests.flows.conftest import Setup
from tests.flows.visitor import go_through_consent
from tests.servers.npm_oidc import CODE_CLIENT, OIDCServer
from workspaces.audit import Actor
from workspaces.models import User

pytestmark = [pytest.mark.node, pytest.mark.django_db]

BROWSER = "binding-of-this-browser"
CALLBACK = "http://localhost:8000/oauth/callback"
TOKEN_SECONDS = 70


def connect(setup: Setup, alice: User) -> AuthorizationOutcome:
    """Alice connects: our verbs, the server's redirects, our verbs."""
    started = start_authorization(setup.integration, binding=BROWSER, user=alice, actor=Actor.member(alice))
    answer = go_through_consent(started.url, stop_before=CALLBACK)
    return complete_authorization(answer, binding=BROWSER, user=alice)


def connected(setup: Setup, alice: User) -> Connection:
    outcome = connect(setup, alice)
    assert outcome.ok, (outcome.code, outcome.message, outcome.provider_text)
    return Connection.objects.select_related("token", "schedule", "integration").get(pk=outcome.connection_id)


def tokens_of(connection: Connection) -> tuple[str, str | None]:
    """Access and refresh token as stored now."""
    secrets = Connection.objects.get(pk=connection.pk).token.open()
    return secrets.access_token, secrets.refresh_token


def is_active(server: OIDCServer, token: str) -> bool:
    """What introspection says (RFC 7662)."""
    answer = requests.post(server.endpoint("introspection"), data={"token": token}, auth=CODE_CLIENT, timeout=10)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def renewals(server: OIDCServer) -> list[dict[str, Any]]:
    return [asked for asked in server.token_requests() if asked["grant_type"] == "refresh_token"]


def test_consent_leads_to_a_connection_that_knows_whose_it_is(delegated: Setup, oidc: OIDCServer, alice: User) -> None:
    connection = connected(delegated, alice)

    assert connection.account == {"id": "robin", "label": "robin@example.com"}
    assert set(connection.granted_scopes) == {"openid", "email", "offline_access"}
    assert connection.missing_scopes == []
    assert connection.token.expires_at - connection.token.issued_at == timedelta(seconds=TOKEN_SECONDS)
    access_token, refresh_token = tokens_of(connection)
    assert is_active(oidc, access_token)
    assert refresh_token is not None


def test_the_worker_renews_unread_tokens_and_spends_no_refresh_token_twice(
    delegated: Setup, oidc: OIDCServer, alice: User
) -> None:
    """Rotation with reuse detection: one refresh token sent twice would end the whole grant (RFC 9700 §4.14)."""
    connection = connected(delegated, alice)
    seen = {tokens_of(connection)}
    now = connection.token.issued_at

    assert refresh_due(now=now + timedelta(seconds=30)).claimed == 0
    for _ in range(5):
        now += timedelta(seconds=60)
        summary = refresh_due(now=now)
        assert (summary.claimed, summary.renewed, summary.failed) == (1, 1, 0)
        seen.add(tokens_of(connection))

    assert len(seen) == 6
    spent = [asked["refresh_token"] for asked in renewals(oidc)]
    assert len(spent) == len(set(spent)) == 5
    assert {asked["status"] for asked in oidc.token_requests()} == {200}
    assert is_active(oidc, tokens_of(connection)[0])
    connection.refresh_from_db()
    assert connection.status_at(now) == ConnectionStatus.CONNECTED


def test_disconnect_ends_both_tokens_at_the_server(delegated: Setup, oidc: OIDCServer, alice: User) -> None:
    connection = connected(delegated, alice)
    access_token, refresh_token = tokens_of(connection)
    assert is_active(oidc, access_token)
    assert is_active(oidc, refresh_token or "")

    answer = delegated.api.post(f"/connections/{connection.pk}/disconnect")

    assert answer.status_code == 200, answer.content
    assert answer.json()["revocation"] == "revoked"
    assert answer.json()["status"] == "configured"
    assert not is_active(oidc, access_token)
    assert not is_active(oidc, refresh_token or "")
    assert not Connection.objects.filter(pk=connection.pk, token__isnull=False).exists()


def test_a_program_reads_the_token_and_a_test_asks_userinfo(delegated: Setup, oidc: OIDCServer, alice: User) -> None:
    connection = connected(delegated, alice)

    read = delegated.api.get(f"/connections/{connection.pk}/token").json()
    tested = delegated.api.post("/integrations/custom_certified/authorization_code/test", {})

    assert read["access_token"] == tokens_of(connection)[0]
    assert tested.json()["ok"], tested.content
    assert "robin@example.com" in tested.json()["message"]
    me = requests.get(
        oidc.endpoint("userinfo"), headers={"Authorization": f"Bearer {read['access_token']}"}, timeout=10
    )
    assert me.json()["sub"] == "robin"


@pytest.mark.parametrize("oidc_options", [{"refuse": True}], indirect=True)
def test_a_refused_consent_is_said_plainly_and_makes_nothing(delegated: Setup, oidc: OIDCServer, alice: User) -> None:
    outcome = connect(delegated, alice)

    assert not outcome.ok
    assert outcome.code == "access_denied"
    assert outcome.provider_text == "The person refused."
    assert outcome.message
    assert outcome.next_step
    assert Connection.objects.count() == 0
    assert oidc.token_requests() == []


def test_a_spent_refresh_token_ends_the_grant_and_a_person_is_asked_once(
    delegated: Setup, oidc: OIDCServer, alice: User
) -> None:
    """Somebody else spent our refresh token: the server ends the grant, and we stop asking."""
    connection = connected(delegated, alice)
    stolen = tokens_of(connection)[1]
    form = {"grant_type": "refresh_token", "refresh_token": stolen}
    assert requests.post(oidc.endpoint("token"), data=form, auth=CODE_CLIENT, timeout=10).status_code == 200
    now = connection.token.issued_at + timedelta(seconds=60)

    assert refresh_due(now=now).failed == 1
    assert refresh_due(now=now + timedelta(hours=2)).claimed == 0

    connection = Connection.objects.get(pk=connection.pk)
    assert connection.status_at(now) == ConnectionStatus.RECONNECT_REQUIRED
    assert [asked["status"] for asked in renewals(oidc)] == [200, 400]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("oidc_options", [{"tokenSeconds": 1}], indirect=True)
def test_twenty_readers_of_an_expired_token_cause_one_renewal(delegated: Setup, oidc: OIDCServer, alice: User) -> None:
    connection = connected(delegated, alice)
    past = timezone.now() - timedelta(minutes=5)
    connection.token.issued_at = past - timedelta(seconds=1)
    connection.token.expires_at = past
    connection.token.save(update_fields=["issued_at", "expires_at"])
    together = threading.Barrier(20)

    def read(_: int) -> tuple[int, Any]:
        together.wait(20)
        try:
            answer = delegated.api.get(f"/connections/{connection.pk}/token")
            return answer.status_code, answer.json()
        finally:
            database.close()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(read, range(20)))

    assert {status for status, _ in answers} == {200}, answers
    assert len({body["access_token"] for _, body in answers}) == 1
    assert len(renewals(oidc)) == 1
