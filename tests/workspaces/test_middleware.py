"""Request ids, client addresses behind proxies, the one host name, and pages for errors."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core import mail
from django.test import Client, RequestFactory

from workspaces.middleware import client_address
from workspaces.models import AuditEvent, User

pytestmark = pytest.mark.django_db

CANONICAL = "workspaces.middleware.CanonicalHostMiddleware"


@pytest.fixture
def _one_name(settings: Any) -> None:
    settings.MIDDLEWARE = [settings.MIDDLEWARE[0], CANONICAL, *settings.MIDDLEWARE[1:]]
    settings.PUBLIC_BASE_URL = "http://grantry.example.com"
    settings.ALLOWED_HOSTS = ["grantry.example.com", "other.example.com"]


def test_every_answer_carries_its_own_id(client: Client) -> None:
    answers = [client.get(path) for path in ("/", "/accounts/login/", "/nowhere/", "/static/nothing.css")]
    ids = {uuid.UUID(answer.headers["X-Request-ID"]) for answer in answers}
    assert len(ids) == 4


def test_an_id_sent_by_the_client_is_not_taken(client: Client) -> None:
    made_up = str(uuid.uuid4())
    assert client.get("/", headers={"X-Request-ID": made_up}).headers["X-Request-ID"] != made_up


def test_the_id_of_the_answer_is_the_one_in_the_audit_trail(as_alice: Client, workspace: Any) -> None:
    answer = as_alice.post("/w/acme/members/invite/", {"email": "dora@example.com", "role": "viewer"})
    assert str(AuditEvent.objects.get().request_id) == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("count", "forwarded", "expected"),
    [
        (0, None, "10.0.0.9"),
        (0, "203.0.113.5", "10.0.0.9"),  # nobody is trusted: anyone could send this
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "1.2.3.4, 203.0.113.5", "203.0.113.5"),  # the left one was made up by the client
        (2, "1.2.3.4, 203.0.113.5, 10.0.0.1", "203.0.113.5"),
        (2, "203.0.113.5", "10.0.0.9"),  # fewer hops than trusted: it came another way
        (1, None, "10.0.0.9"),
        (1, "", "10.0.0.9"),
        (1, "unknown", "10.0.0.9"),
        (1, "<script>", "10.0.0.9"),
        (1, "203.0.113.5:4711", "203.0.113.5"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "2001:DB8::1", "2001:db8::1"),
    ],
)
def test_the_client_address_counts_trusted_hops(
    settings: Any, count: int, forwarded: str | None, expected: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = count
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    request = RequestFactory(REMOTE_ADDR="10.0.0.9").get("/", headers=headers)
    assert client_address(request) == expected


def test_sign_in_works_with_too_few_forwarded_hops(settings: Any, client: Client, alice: User) -> None:
    settings.TRUSTED_PROXY_COUNT = settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    data = {"login": "alice@example.com", "password": "wrong"}
    answer = client.post("/accounts/login/", data, headers={"X-Forwarded-For": "203.0.113.5"})
    assert answer.status_code == 200


@pytest.mark.usefixtures("_one_name")
@pytest.mark.parametrize("method", ["get", "head"])
def test_another_name_leads_to_the_public_one(client: Client, method: str) -> None:
    answer = getattr(client, method)("/w/acme/members/?a=1&b=%20", headers={"Host": "other.example.com"})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "http://grantry.example.com/w/acme/members/?a=1&b=%20"


@pytest.mark.usefixtures("_one_name")
@pytest.mark.parametrize("host", ["grantry.example.com", "GRANTRY.example.com", "grantry.example.com:80"])
def test_the_public_name_stays(client: Client, host: str) -> None:
    assert client.get("/accounts/login/", headers={"Host": host}).status_code == 200


@pytest.mark.usefixtures("_one_name")
def test_a_redirect_never_leaves_for_another_host(client: Client) -> None:
    answer = client.get("//evil.example.com/x", headers={"Host": "other.example.com"})
    assert answer.headers["Location"].startswith("http://grantry.example.com/")


@pytest.mark.usefixtures("_one_name")
@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/metrics", "/api/v1/providers", f"/oauth/jwks/{uuid.UUID(int=1)}/"]
)
def test_machines_are_not_redirected(client: Client, path: str) -> None:
    answer = client.get(path, headers={"Host": "other.example.com"})
    assert not answer.headers.get("Location", "").startswith("http://grantry.example.com")


@pytest.mark.usefixtures("_one_name")
def test_a_post_is_not_redirected(client: Client) -> None:
    answer = client.post("/accounts/login/", {"login": "a@example.com"}, headers={"Host": "other.example.com"})
    assert answer.status_code == 200


@pytest.mark.usefixtures("_one_name")
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_name_is_refused_with_a_page(client: Client, method: str) -> None:
    answer = getattr(client, method)("/accounts/login/", headers={"Host": "evil.example.com"})
    assert answer.status_code == 400
    assert "evil.example.com" not in answer.content.decode()


def test_an_unknown_page_says_so_without_echoing_the_path(client: Client) -> None:
    answer = client.get("/no/such/secret-path/")
    assert answer.status_code == 404
    assert "secret-path" not in answer.content.decode()
    assert answer.headers["X-Request-ID"] in answer.content.decode()


def test_under_api_errors_are_problem_details(client: Client) -> None:
    answer = client.get("/api/no/such/secret-path/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (404, "not_found")
    assert body["reference"] == answer.headers["X-Request-ID"]
    assert "secret-path" not in answer.content.decode()


def test_a_form_without_its_token_is_refused_with_a_page(alice: User, workspace: Any) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    answer = browser.post("/w/acme/members/invite/", {"email": "dora@example.com", "role": "viewer"})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()
    assert not workspace.invitations.exists()


def test_a_failure_of_ours_shows_a_reference_and_no_detail(
    as_alice: Client, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret-detail")

    monkeypatch.setattr("workspaces.views.members.members.manage_members", fail)
    as_alice.raise_request_exception = False
    answer = as_alice.get("/w/acme/members/")
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.content.decode()
    assert "secret-detail" not in answer.content.decode()


def test_links_in_mails_name_the_public_host_whatever_the_request_said(client: Client, alice: User) -> None:
    client.post("/accounts/password/reset/", {"email": "alice@example.com"}, headers={"Host": "evil.example.com"})
    (message,) = mail.outbox
    assert "http://localhost:8000/accounts/password/reset/key/" in message.body
    assert "http://evil.example.com" not in message.body


def test_a_reset_for_an_unknown_address_sends_nothing(client: Client) -> None:
    answer = client.post("/accounts/password/reset/", {"email": "nobody@example.com"})
    assert answer.status_code == 302
    assert not mail.outbox
