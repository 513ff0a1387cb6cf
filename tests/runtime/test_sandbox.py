"""The sandbox authorization server, over HTTP, as a client and a browser see it."""

from __future__ import annotations

import secrets

import pytest
import requests

from tests.servers.sandbox import SandboxServer

pytestmark = pytest.mark.processes


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_login_page_is_filled_in_and_holds_no_script_or_inline_style(sandbox_server: SandboxServer) -> None:
    page = requests.get(sandbox_server.authorization_url("v" * 43), timeout=10)

    assert page.url.startswith(f"{sandbox_server.base_url}/login/")
    assert 'value="alex@sandbox.example"' in page.text
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert "default-src 'none'; style-src 'self'" in page.headers["Content-Security-Policy"]


def test_a_wrong_password_is_refused_in_words(sandbox_server: SandboxServer) -> None:
    with requests.Session() as browser:
        page = browser.get(f"{sandbox_server.base_url}/login/", timeout=10)
        token = page.text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"username": "alex@sandbox.example", "password": "wrong", "csrfmiddlewaretoken": token}
        answer = browser.post(page.url, data=form, timeout=10)

    assert "do not match anyone here" in answer.text


def test_its_cookies_have_names_of_their_own(sandbox_server: SandboxServer) -> None:
    page = requests.get(f"{sandbox_server.base_url}/login/", timeout=10)

    assert set(page.cookies.keys()) == {"sandbox_csrf"}


def test_the_consent_page_lists_the_scopes_and_lets_its_form_lead_back_to_the_client(
    sandbox_server: SandboxServer,
) -> None:
    with requests.Session() as browser:
        login = browser.get(sandbox_server.authorization_url("v" * 43, scope="profile notes:write"), timeout=10)
        token = login.text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {
            "username": sandbox_server.email,
            "password": sandbox_server.password,
            "csrfmiddlewaretoken": token,
            "next": login.url.partition("next=")[2] and requests.utils.unquote(login.url.partition("next=")[2]),
        }
        page = browser.post(login.url, data=form, timeout=10)

    assert "Write notes in your name" in page.text
    assert "Read your notes" not in page.text
    # Where the answer leads to, and where the client may forward it: Chromium holds the form to it all along.
    assert "form-action 'self' http://localhost:8000 http://127.0.0.1" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


def test_consent_gives_a_code_that_becomes_tokens_with_the_asked_scopes(sandbox_server: SandboxServer) -> None:
    """RFC 6749 §4.1, RFC 7636, RFC 9207."""
    verifier = secrets.token_urlsafe(48)

    answer = sandbox_server.decide(sandbox_server.authorization_url(verifier, state="abc"))
    tokens = sandbox_server.exchange(answer["code"], verifier).json()

    assert answer["state"] == "abc"
    assert answer["iss"] == sandbox_server.base_url
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 120
    assert set(tokens["scope"].split()) == {"profile", "notes:read"}


def test_deny_goes_back_with_access_denied(sandbox_server: SandboxServer) -> None:
    """RFC 6749 §4.1.2.1."""
    answer = sandbox_server.decide(sandbox_server.authorization_url("v" * 43, state="xyz"), allow=False)

    assert answer["error"] == "access_denied"
    assert answer["state"] == "xyz"


def test_a_request_without_a_code_challenge_is_sent_back_refused(sandbox_server: SandboxServer) -> None:
    """RFC 7636 §4.4.1."""
    url = sandbox_server.authorization_url("v" * 43).partition("&code_challenge=")[0]
    with requests.Session() as browser:
        sign_in(browser, sandbox_server)
        answer = browser.get(url, allow_redirects=False, timeout=10)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{sandbox_server.redirect_uri}?error=invalid_request")


def test_the_wrong_code_verifier_is_refused(sandbox_server: SandboxServer) -> None:
    """RFC 7636 §4.6."""
    answer = sandbox_server.decide(sandbox_server.authorization_url("v" * 43))

    refused = sandbox_server.exchange(answer["code"], "w" * 43)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_a_code_works_once(sandbox_server: SandboxServer) -> None:
    """RFC 6749 §4.1.2."""
    verifier = secrets.token_urlsafe(48)
    code = sandbox_server.decide(sandbox_server.authorization_url(verifier))["code"]

    assert sandbox_server.exchange(code, verifier).status_code == 200
    assert sandbox_server.exchange(code, verifier).json()["error"] == "invalid_grant"


def test_an_unregistered_redirect_uri_gets_an_error_page_and_no_redirect(sandbox_server: SandboxServer) -> None:
    """RFC 9700 §2.1: exact match."""
    with requests.Session() as browser:
        sign_in(browser, sandbox_server)
        url = sandbox_server.authorization_url("v" * 43).replace("oauth%2Fcallback", "elsewhere")
        page = browser.get(url, allow_redirects=False, timeout=10)

    assert page.status_code == 400
    assert "This request was refused" in page.text


def sign_in(browser: requests.Session, server: SandboxServer) -> None:
    page = browser.get(f"{server.base_url}/login/", timeout=10)
    token = page.text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
    form = {"username": server.email, "password": server.password, "csrfmiddlewaretoken": token}
    assert browser.post(page.url, data=form, timeout=10).ok


def test_refreshing_rotates_and_spending_a_refresh_token_twice_revokes_the_family(
    sandbox_server: SandboxServer,
) -> None:
    """RFC 9700 §4.14.2."""
    first = sandbox_server.new_tokens()

    second = sandbox_server.refresh(first["refresh_token"]).json()
    reused = sandbox_server.refresh(first["refresh_token"])
    after = sandbox_server.refresh(second["refresh_token"])

    assert second["refresh_token"] != first["refresh_token"]
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert (after.status_code, after.json()["error"]) == (400, "invalid_grant")


def test_client_credentials_give_a_token_without_a_person(sandbox_server: SandboxServer) -> None:
    """RFC 6749 §4.4."""
    form = {"grant_type": "client_credentials", "scope": "notes:read notes:write"}
    tokens = sandbox_server.post_as_client(sandbox_server.token_endpoint, form, service=True).json()

    assert "refresh_token" not in tokens
    assert set(tokens["scope"].split()) == {"notes:read", "notes:write"}
    url = f"{sandbox_server.base_url}/api/notes/"
    made = requests.post(url, json={"text": "from a program"}, headers=bearer(tokens["access_token"]), timeout=10)
    assert made.status_code == 201
    listed = requests.get(url, headers=bearer(tokens["access_token"]), timeout=10).json()
    assert "from a program" in [note["text"] for note in listed["items"]]


@pytest.mark.parametrize("auth", [("sandbox-client", "wrong"), ("nobody", "at all")])
def test_a_wrong_client_is_refused_as_invalid_client(sandbox_server: SandboxServer, auth: tuple[str, str]) -> None:
    """RFC 6749 §5.2."""
    response = requests.post(
        sandbox_server.token_endpoint, data={"grant_type": "client_credentials"}, auth=auth, timeout=10
    )

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_revocation_ends_access_and_refresh_and_introspection_says_so(sandbox_server: SandboxServer) -> None:
    """RFC 7009 §2.1, RFC 7662 §2.2."""
    tokens = sandbox_server.new_tokens()
    assert sandbox_server.is_active(tokens["access_token"])

    form = {"token": tokens["refresh_token"], "token_type_hint": "refresh_token"}
    assert sandbox_server.post_as_client(sandbox_server.revocation_endpoint, form).status_code == 200

    assert not sandbox_server.is_active(tokens["access_token"])
    assert sandbox_server.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_the_protected_api_says_who_and_obeys_scopes(sandbox_server: SandboxServer) -> None:
    """RFC 6750 §3.1."""
    tokens = sandbox_server.new_tokens(scope="profile")
    api = f"{sandbox_server.base_url}/api"

    me = requests.get(f"{api}/me/", headers=bearer(tokens["access_token"]), timeout=10)
    notes = requests.get(f"{api}/notes/", headers=bearer(tokens["access_token"]), timeout=10)
    nobody = requests.get(f"{api}/me/", timeout=10)

    assert me.json()["email"] == "alex@sandbox.example"
    assert me.json()["name"] == "Alex Sandbox"
    assert me.json()["sub"].startswith("person-")
    assert notes.status_code == 403
    assert 'error="insufficient_scope", scope="notes:read"' in notes.headers["WWW-Authenticate"]
    assert nobody.status_code == 401
    assert 'error="invalid_token"' in nobody.headers["WWW-Authenticate"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"text": 5}', b'{"text": ""}', b"[" * 5000])
def test_a_note_that_is_none_is_refused(sandbox_server: SandboxServer, body: bytes) -> None:
    tokens = sandbox_server.new_tokens(scope="notes:write")
    url = f"{sandbox_server.base_url}/api/notes/"

    response = requests.post(url, data=body, headers=bearer(tokens["access_token"]), timeout=10)

    assert response.status_code == 400
