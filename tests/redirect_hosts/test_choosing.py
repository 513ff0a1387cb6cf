"""Choosing a redirect host, going back, and everything that cannot be one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from integrations.connections.authorization import start_authorization
from integrations.connections.completion import complete_authorization
from integrations.models import GrantType, Integration
from integrations.providers.setup import redirect_uri
from tests.api.client import ApiClient, make_key
from tests.factories import make_integration, make_member, make_user, make_workspace
from tests.redirect_hosts.conftest import HOST, OPERATOR, link_path
from tests.servers.scripted import ScriptedServer
from workspaces.models import AuditEvent, User, Workspace
from workspaces.redirect_hosts import CANNOT_BE_USED, clean_redirect_host
from workspaces.roles import Role
from workspaces.workspaces import change_redirect_host

pytestmark = pytest.mark.django_db

CHANGE = "/w/acme/settings/redirect-host/"
CLEAR = f"{CHANGE}clear/"
_WIZARD = {
    "go": "preview",
    "step": "3",
    "name": "X",
    "grant_types": "authorization_code",
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://connect.acme.example", "https://connect.acme.example"),
        ("  https://connect.acme.example/ ", "https://connect.acme.example"),
        ("HTTPS://Connect.ACME.example", "https://connect.acme.example"),
        ("https://connect.acme.example:443", "https://connect.acme.example"),
        ("https://connect.acme.example:8443", "https://connect.acme.example:8443"),
        ("https://verbinden.müller.example", "https://verbinden.xn--mller-kva.example"),
        ("https://intranet", "https://intranet"),  # a name of a company's own network
        ("http://opened.internal:8080", "http://opened.internal:8080"),
        ("http://10.0.0.7", "http://10.0.0.7"),  # the operator opened it
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),  # development: PUBLIC_BASE_URL is localhost itself
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_host_is_kept_in_its_one_spelling(settings: Any, typed: str, kept: str) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = ["opened.internal:8080", "10.0.0.7"]
    assert clean_redirect_host(typed) == kept


REFUSED = [
    ("", "Enter a host"),
    ("   ", "Enter a host"),
    ("connect.acme.example", "Begin with https://"),
    ("//connect.acme.example", "Begin with https://"),
    ("ftp://connect.acme.example", "Begin with https://"),
    ("javascript:alert(1)", "Begin with https://"),
    ("https://", "Begin with https://"),
    ("http://connect.acme.example", "Begin with https://"),
    ("http://opened.internal", "Begin with https://"),  # another port of it was opened
    ("https://connect.acme.example/callback", "after the host name"),
    ("https://connect.acme.example//", "after the host name"),
    ("https://connect.acme.example?", "after the host name"),
    ("https://connect.acme.example?a=b", "after the host name"),
    ("https://connect.acme.example#", "after the host name"),
    ("https://user@connect.acme.example", "user name"),
    ("https://user:secret@connect.acme.example", "user name"),
    ("https://@connect.acme.example", "user name"),
    ("https://connect.acme.example:", "port"),
    ("https://connect.acme.example:0", "port"),
    ("https://connect.acme.example:99999", "no host"),
    ("https://connect.acme.example:x", "no host"),
    ("https://[::1", "no host"),
    ("https://[fe80::1%25eth0]", "no valid host name"),
    ("https://*.acme.example", "wildcards"),
    ("https://connect_.acme.example", "no valid host name"),
    ("https://-connect.acme.example", "no valid host name"),
    ("https://connect..example", "no valid host name"),
    ("https://xn--a.example", "no valid host name"),
    (f"https://{'a' * 64}.example", "no valid host name"),
    ("https://connect.acme.example.", "dot at the end"),
    ("https://connect.acme.example\\@evil.example", "backslashes"),
    ("https://connect .acme.example", "spaces"),
    ("https://connect.acme.example\r\nSet-Cookie: a=b", "spaces"),
    ("https://connect\x00.acme.example", "spaces"),
    ("https://" + "a." * 130 + "example", "at most 255"),
    ("https://" + ".".join(["ü" * 20] * 10), "no valid host name"),  # 253 characters are not enough for it in ASCII
    (f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'ü' * 52}", "at most 255"),  # its ASCII is longer
    ("https://" + "x" * 100_000, "at most 255"),
    ("https://203.0.113.5", "IP address"),
    ("https://2130706433", "IP address"),
    ("https://0x7f.1", "IP address"),
    ("https://[2001:db8::1]", "IP address"),
    ("http://localhost:8000", "used already"),  # PUBLIC_BASE_URL's own
    ("https://localhost", "used already"),  # cookies know no ports and no schemes apart
    ("https://grantry.internal", CANNOT_BE_USED),  # the operator's own name for this installation
]


@pytest.mark.parametrize(("typed", "words"), REFUSED)
def test_what_cannot_be_one_is_refused_with_the_reason(
    settings: Any, workspace: Workspace, as_alice: Client, typed: str, words: str
) -> None:
    settings.OUTBOUND_ALLOWED_HOSTS = ["opened.internal:8080"]
    settings.ALLOWED_HOSTS = ["localhost", "testserver", "grantry.internal"]
    with pytest.raises(ValidationError) as refused:
        clean_redirect_host(typed)
    (sentence,) = refused.value.messages
    assert words in sentence
    page = as_alice.post(CHANGE, {"redirect_host": typed, "confirm": "yes"})
    assert page.status_code == 422
    workspace.refresh_from_db()
    assert workspace.redirect_host == ""
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("http://127.0.0.1:8000", "Begin with https://"),
        ("https://127.0.0.1:8000", "whoever opens it"),
        ("https://app.localhost", "whoever opens it"),
        ("https://[::1]", "whoever opens it"),
        ("http://opened.internal:8080", "Begin with https://"),  # its cookies would not be sent, and nothing work
        ("https://grantry.acme.example:8443", "used already"),
    ],
)
def test_an_installation_that_is_reached_by_https_takes_only_https_and_other_machines(
    settings: Any, typed: str, words: str
) -> None:
    settings.PUBLIC_BASE_URL = "https://grantry.acme.example"
    settings.OUTBOUND_ALLOWED_HOSTS = ["opened.internal:8080"]
    with pytest.raises(ValidationError, match=words):
        clean_redirect_host(typed)


@pytest.mark.parametrize(
    "wanted", ["https://connect.acme.example", "https://CONNECT.acme.example/", "https://connect.acme.example:8443"]
)
def test_a_host_serves_one_workspace_and_does_not_say_which(
    own_host: Workspace, charlie: User, client: Client, wanted: str
) -> None:
    client.force_login(charlie)
    page = client.post("/w/other/settings/redirect-host/", {"redirect_host": wanted, "confirm": "yes"})
    assert page.status_code == 422
    text = page.content.decode()
    assert CANNOT_BE_USED in text
    assert "Acme" not in text
    assert Workspace.objects.get(slug="other").redirect_host == ""


def test_the_database_keeps_a_host_to_one_workspace_too(own_host: Workspace) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_workspace("Thief", slug="thief", redirect_host=own_host.redirect_host)
    assert make_workspace("A", redirect_host="").pk != make_workspace("B", redirect_host="").pk


def test_whoever_loses_a_race_for_a_host_is_told_so(
    own_host: Workspace, monkeypatch: pytest.MonkeyPatch, charlie: User
) -> None:
    monkeypatch.setattr("workspaces.workspaces.is_taken", lambda *_, **__: False)  # both looked before either wrote
    with pytest.raises(ValidationError, match=CANNOT_BE_USED):
        change_redirect_host(Workspace.objects.get(slug="other"), f"https://{HOST}", actor=OPERATOR)


def test_the_first_answer_says_what_changes_and_changes_nothing(
    as_alice: Client, alice: User, workspace: Workspace, delegated: Integration
) -> None:
    make_integration(workspace, "github")
    make_integration(workspace, "jamf", GrantType.CLIENT_CREDENTIALS)  # has no redirect URI
    link_path(delegated)
    start_authorization(delegated, binding="browser", user=alice, actor=OPERATOR)
    page = as_alice.post(CHANGE, {"redirect_host": "https://Connect.acme.example"})
    text = page.content.decode()
    assert page.status_code == 200
    assert f'value="https://{HOST}/oauth/callback"' in text
    assert "2 integrations need it registered" in text
    assert "GitHub" in text
    assert "Northwind" in text
    assert "Jamf" not in text
    assert "1 attempt to connect is under way and ends" in text
    assert "Connect links that were sent already stay where they are" in text
    workspace.refresh_from_db()
    assert workspace.redirect_host == ""


def test_confirming_uses_it_everywhere_and_records_who_did(
    as_alice: Client, workspace: Workspace, delegated: Integration
) -> None:
    as_alice.post(CHANGE, {"redirect_host": f"https://{HOST}", "confirm": "yes"})
    workspace.refresh_from_db()
    assert workspace.redirect_host == f"https://{HOST}"
    event = AuditEvent.objects.filter(action="workspace:changed").get()
    assert event.actor_label == "alice@example.com"
    assert event.detail == {"redirect_host": f"https://{HOST}", "redirect_host_before": ""}

    uri = f"https://{HOST}/oauth/callback"
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code/"
    configuration = as_alice.get(f"{base}configuration/").content.decode()
    assert f'value="{uri}"' in configuration
    assert "uses a redirect host of its own" in configuration
    assert uri in as_alice.get("/w/acme/settings/").content.decode()
    api = ApiClient(make_key(workspace))
    path = f"/integrations/{delegated.provider_id}/authorization_code"
    assert api.get(path).json()["redirect_uri"] == uri
    assert api.get("/integrations").json()["items"][0]["redirect_uri"] == uri
    assert api.post(f"{path}/connect-links", {}).json()["url"].startswith(f"https://{HOST}/connect/")
    wizard = as_alice.post("/w/acme/integrations/custom/new/", _WIZARD)
    assert uri in unquote(wizard.content.decode())


def test_a_members_consent_and_exchange_carry_it(
    own_host: Workspace, delegated: Integration, alice: User, provider_server: ScriptedServer
) -> None:
    started = start_authorization(delegated, binding="browser", user=alice, actor=OPERATOR)
    uri = f"https://{HOST}/oauth/callback"
    assert f"redirect_uri={quote(uri, safe='')}" in started.url
    outcome = complete_authorization([("code", "c"), ("state", started.state)], binding="browser", user=alice)
    assert outcome.ok, outcome
    assert [request.form["redirect_uri"] for request in provider_server.to("/token")] == [uri]


def test_others_keep_the_public_address(own_host: Workspace, charlie: User) -> None:
    assert redirect_uri(own_host) == f"https://{HOST}/oauth/callback"
    assert redirect_uri(Workspace.objects.get(slug="other")) == "http://localhost:8000/oauth/callback"


def test_saving_the_same_host_again_changes_and_records_nothing(as_alice: Client, own_host: Workspace) -> None:
    as_alice.post(CHANGE, {"redirect_host": f"https://{HOST}/", "confirm": "yes"})
    change_redirect_host(own_host, f"https://{HOST}", actor=OPERATOR)
    assert not AuditEvent.objects.exists()


def test_clearing_is_a_step_of_its_own_that_shows_what_changes(
    as_alice: Client, own_host: Workspace, delegated: Integration
) -> None:
    link_path(delegated)
    as_alice.post("/w/acme/settings/", {"name": "Acme", "return_urls": ""})  # the other form leaves it alone
    assert as_alice.post(CHANGE, {"redirect_host": "", "confirm": "yes"}).status_code == 422  # so does a blank field
    shown = as_alice.get(CLEAR).content.decode()
    assert 'value="http://localhost:8000/oauth/callback"' in shown
    assert f"{HOST} is no longer answered. 1 connect link sent under it stops working there." in shown
    own_host.refresh_from_db()
    assert own_host.redirect_host == f"https://{HOST}"

    as_alice.post(CLEAR)
    own_host.refresh_from_db()
    assert own_host.redirect_host == ""
    event = AuditEvent.objects.filter(action="workspace:changed").get()
    assert event.detail == {"redirect_host": "", "redirect_host_before": f"https://{HOST}"}
    assert as_alice.get(CLEAR).status_code == 302  # nothing left to clear


@pytest.mark.parametrize(
    ("role", "status"), [(Role.VIEWER, 403), (Role.EDITOR, 403), (Role.ADMIN, 302), (Role.OWNER, 302)]
)
@pytest.mark.parametrize("path", [CHANGE, CLEAR])
def test_admins_decide(own_host: Workspace, alice: User, client: Client, role: Role, status: int, path: str) -> None:
    client.force_login(alice if role == Role.OWNER else make_member(own_host, role=role).user)
    answer = client.post(path, {"redirect_host": "https://other.acme.example", "confirm": "yes"})
    assert answer.status_code == status
    own_host.refresh_from_db()
    assert (own_host.redirect_host != f"https://{HOST}") is (status == 302)
    settings_page = client.get("/w/acme/settings/").content.decode()
    assert ("See what changes" in settings_page) is (status == 302)


def test_viewers_see_it_as_text(own_host: Workspace, client: Client) -> None:
    client.force_login(make_member(own_host, role=Role.VIEWER).user)
    assert f"<code>https://{HOST}</code>" in client.get("/w/acme/settings/").content.decode()


def test_an_operator_can_take_a_host_back_by_the_same_verb(own_host: Workspace, client: Client) -> None:
    client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
    path = f"/admin/workspaces/workspace/{own_host.pk}/change/"
    form = {"name": "Acme", "return_urls": "[]"}
    page = client.post(path, {**form, "redirect_host": "http://evil.example"})
    assert "Begin with https://" in page.content.decode()
    client.post(path, {**form, "redirect_host": ""})
    own_host.refresh_from_db()
    assert own_host.redirect_host == ""
    assert AuditEvent.objects.get().detail["redirect_host_before"] == f"https://{HOST}"


def test_links_live_on_under_the_public_host_until_they_expire(delegated: Integration, client: Client) -> None:
    """One that was sent before the workspace had a host of its own."""
    path = link_path(delegated)
    change_redirect_host(delegated.workspace, f"https://{HOST}", actor=OPERATOR)
    assert client.get(path).status_code == 200
    delegated.workspace.connect_links.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(path).status_code == 410
