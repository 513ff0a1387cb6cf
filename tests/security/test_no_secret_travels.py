"""The main flows with canary values for secrets, and then a look everywhere: none of them may have gone anywhere.

Only the answer to a token read carries the access token, and only pages that show something once show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib import admin
from django.urls import reverse
from django.utils import timezone

from integrations import tasks
from integrations.connections.batch import refresh_due
from integrations.models import Connection, Token, TokenSchedule, WebhookEndpoint
from integrations.webhooks.deliverer import deliver_webhooks
from tests.factories import make_member, make_user
from tests.security.conftest import definition
from tests.security.evidence import (
    Notes,
    Seen,
    Watched,
    database_text,
    file_text,
    noted_logs,
    redis_text,
    session_text,
    spellings,
)
from tests.security.pages import links_of
from tests.servers.scripted import Answer, Received, ScriptedServer
from workspaces import audit
from workspaces.api_keys import scopes_for
from workspaces.models import User, Workspace
from workspaces.roles import NOT_OFFERED, Role

pytestmark = pytest.mark.django_db(transaction=True)

CLIENT_SECRET = "canary-client-secret-Zq81LmXw"
NEW_CLIENT_SECRET = "canary-new-client-secret-Pb72Vd"
SERVICE_SECRET = "canary-service-secret-Ty55Gh"
REFUSED_SECRET = "canary-refused-secret-Wn46Rk"
CODE = "canary-authorization-code-Jf93"
ID_TOKEN = "canary-id-token-Cx27"
PASSWORD_PARAMETER = "canary-password-parameter-Uo64"
HOOK_PATH = "canary-hook-path-Re83Mw"
PROVIDER = "/integrations/custom_acme"


class Provider:
    """Issues canary tokens, and says back in its errors and extra fields whatever it was told."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.issued: list[str] = []
        self.verifiers: list[str] = []
        self.refuse = False
        server.respond("/token", self.token)
        server.respond("/userinfo", self.userinfo)
        server.respond("/revoke", self.echo)

    def token(self, asked: Received) -> Answer:
        if verifier := asked.form.get("code_verifier"):
            self.verifiers.append(verifier)
        if self.refuse or REFUSED_SECRET in self._told(asked):
            return self.echo(asked)
        number = len(self.issued)
        access, refresh = f"canary-access-{number}-Kd58Qs", f"canary-refresh-{number}-Hy36Bn"
        self.issued += [access, refresh]
        answer = {
            "access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": "read",
            "id_token": ID_TOKEN, "echo": asked.form, "previous": {"client_secret": CLIENT_SECRET, "token": access},
        }  # fmt: skip
        if asked.form.get("grant_type") != "client_credentials":
            answer["refresh_token"] = refresh
        return _json(answer)

    def userinfo(self, asked: Received) -> Answer:
        return _json({"sub": "1", "email": "robin@example.com", "authorization": asked.headers.get("authorization")})

    def echo(self, asked: Received) -> Answer:
        """Repeats every secret, some of them where our cut of long texts would leave a part of them."""
        told = self._told(asked)
        return _json(
            {
                "error": "invalid_grant",
                "error_description": f"You said {told}",
                "error_uri": f"https://e.example/?{told}",
            },
            400,
        )

    @staticmethod
    def _told(asked: Received) -> str:
        from base64 import b64decode

        scheme, _, packed = asked.headers.get("authorization", "").partition(" ")
        header = b64decode(packed).decode() if scheme == "Basic" else packed
        return f"{header} {asked.body.decode()}"


def _json(value: dict[str, Any], status: int = 200) -> Answer:
    import json

    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@dataclass
class Story:
    """People, programs and what they were shown."""

    seen: Seen
    logs: Notes
    provider: Provider
    browsers: dict[str, Watched]
    api_key: str = ""
    shown_once: dict[str, str] = field(default_factory=dict)  # secret → the address that may show it

    def api(self, method: str, path: str, body: Any = None) -> Any:
        program = Watched(self.seen, "program", raise_request_exception=False)
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return program.generic(method, f"/api/v1{path}", _body(body), content_type="application/json", headers=headers)


def _body(body: Any) -> bytes:
    import json

    return json.dumps(body).encode() if body is not None else b""


@pytest.fixture
def story(
    workspace: Workspace, alice: User, provider_server: ScriptedServer, settings: Any, tmp_path: Path
) -> Iterator[Story]:
    settings.DEBUG = False
    settings.RATE_LIMIT_SCALE = 1.0
    seen = Seen()
    people = {"owner": alice}
    for role in (Role.ADMIN, Role.EDITOR, Role.VIEWER):
        people[role.value] = make_user(f"{role.value}@example.com")
        make_member(workspace, people[role.value], role)
    people["operator"] = make_user("operator@example.com", is_staff=True, is_superuser=True)
    browsers = {}
    for name, person in people.items():
        browsers[name] = Watched(seen, name, raise_request_exception=False)
        browsers[name].force_login(person)
    with noted_logs() as logs:
        yield Story(seen, logs, Provider(provider_server), browsers)


def make_api_key(story: Story) -> None:
    scopes = [scope.value for scope in scopes_for(Role.ADMIN) if scope not in NOT_OFFERED]
    answer = story.browsers["admin"].post(
        "/w/acme/api-keys/new/", {"name": "script", "scopes": scopes, "expires": "30"}
    )
    found = re.search(r"gr_[a-z0-9]{10}_[A-Za-z0-9]{40}", answer.content.decode())
    assert found, answer.content[:500]
    assert "no-store" in answer["Cache-Control"]
    story.api_key = found[0]
    story.shown_once[found[0].rpartition("_")[2]] = "/w/acme/api-keys/new/"


def set_up(story: Story) -> None:
    made = story.api("POST", "/providers", definition(story.provider.server))
    assert made.status_code == 201, made.content
    for grant, secret in (("authorization_code", CLIENT_SECRET), ("client_credentials", SERVICE_SECRET)):
        saved = story.api("PUT", f"{PROVIDER}/{grant}", {"client_id": "client-1", "client_secret": secret})
        assert saved.status_code == 200, saved.content
    page = "/w/acme/integrations/custom_acme/authorization_code/configuration/"
    data = {"client_id": "client-1", "client_secret": NEW_CLIENT_SECRET, "token_endpoint_auth_method": "bogus"}
    assert story.browsers["admin"].post(page, data).status_code == 422
    data["token_endpoint_auth_method"] = "client_secret_post"
    assert story.browsers["admin"].post(page, data).status_code == 302
    wizard = {
        "name": "Typed", "grant_types": ["authorization_code"], "token_endpoint": "http://bad", "step": "2",
        "client_id": "c", "client_secret": NEW_CLIENT_SECRET,
    }  # fmt: skip
    for go in ("next", "preview", "back", "create"):
        story.browsers["admin"].post("/w/acme/integrations/custom/new/", {**wizard, "go": go})
    pasted = {"answers": "authorization_code", "status": "200", "body": f'{{"access_token": "{NEW_CLIENT_SECRET}"}}'}
    story.browsers["admin"].post("/w/acme/integrations/custom/custom_acme/inspect/", pasted)
    story.api("POST", "/providers/custom_acme/inspect", {"body": pasted["body"]})


def left_for(answer: Any) -> dict[str, str]:
    """The query of the address that a "Continue" page leads to."""
    found = re.search(r'id="continue" href="([^"]*)"', answer.content.decode())
    assert found, answer.content[:800]
    return {name: values[0] for name, values in parse_qs(urlsplit(found[1].replace("&amp;", "&")).query).items()}


def connect(story: Story, **callback: str) -> Any:
    """The editor connects; what the provider sends back is its business."""
    browser = story.browsers["editor"]
    gone = left_for(browser.post("/w/acme/integrations/custom_acme/authorization_code/connect/"))
    story.shown_once[gone["state"]] = "/w/acme/integrations/custom_acme/authorization_code/connect/"
    query = {"state": gone["state"], **(callback or {"code": CODE})}
    answer = browser.get("/oauth/callback", query)
    assert answer.status_code == 303
    assert answer["Referrer-Policy"] == "no-referrer"
    assert browser.get("/oauth/callback", query).status_code == 303  # a second hit
    return browser.get(answer["Location"])


def crash_while_saving(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **values: object) -> None:
        raise RuntimeError("the database has gone")

    with monkeypatch.context() as patch:
        patch.setattr("integrations.connections.views.setup.save_integration", fail)
        page = "/w/acme/integrations/custom_acme/authorization_code/configuration/"
        answer = story.browsers["admin"].post(page, {"client_id": "c", "client_secret": NEW_CLIENT_SECRET})
        assert answer.status_code == 500
    with monkeypatch.context() as patch:
        patch.setattr("integrations.api.integrations.save_integration", fail)
        answer = story.api("PUT", f"{PROVIDER}/authorization_code", {"client_id": "c", "client_secret": CLIENT_SECRET})
        assert answer.status_code == 500


def use_webhooks(story: Story) -> None:
    """One that works and one that says back whatever it was told; secrets shown, rolled, signed with."""
    server, browser = story.provider.server, story.browsers["admin"]
    server.answer(f"/{HOOK_PATH}", status=204)
    server.respond(f"/{HOOK_PATH}-refusing", story.provider.echo)
    form = {"url": f"{server.url}/{HOOK_PATH}", "which": "all"}
    keep_signing_secret(story, browser.post("/w/acme/webhooks/new/", form), "/w/acme/webhooks/new/")
    assert browser.post("/w/acme/webhooks/new/", {**form, "url": f"ftp://x/{HOOK_PATH}"}).status_code == 422
    made = story.api("POST", "/webhooks", {"url": f"{server.url}/{HOOK_PATH}-refusing"})
    keep_signing_secret(story, made, "/api/v1/webhooks")
    story.api("PATCH", f"/webhooks/{made.json()['id']}", {"url": f"{server.url}/{HOOK_PATH}-refusing?more"})
    assert story.api("POST", f"/webhooks/{made.json()['id']}/test").json()["status"] == "given_up"
    for endpoint in WebhookEndpoint.objects.all():
        page = f"/w/acme/webhooks/{endpoint.pk}/"
        keep_signing_secret(story, browser.post(f"{page}roll-secret/", {"overlap": "3600"}), f"{page}roll-secret/")
        assert browser.post(f"{page}test/").status_code == 302


def keep_signing_secret(story: Story, answer: Any, shown_at: str) -> None:
    found = re.search(r"whsec_[A-Za-z0-9+/]+", answer.content.decode())
    assert found, answer.content[:500]
    assert "no-store" in answer["Cache-Control"]
    story.shown_once[found[0].removeprefix("whsec_")] = shown_at


def refresh_by_worker(story: Story) -> Connection:
    connection = Connection.objects.get(integration__grant_type="authorization_code", name="default")
    assert refresh_due(now=timezone.now() + timedelta(minutes=55)).renewed >= 1
    story.provider.refuse = True
    TokenSchedule.objects.filter(pk=connection.pk).update(refresh_due_at=timezone.now())
    assert refresh_due().failed == 1
    story.provider.refuse = False
    connection.refresh_from_db()
    assert connection.last_error_code == "invalid_grant"
    tasks.refresh_connection.delay(str(connection.pk))
    tasks.refresh_due.delay()
    return connection


def invite_and_accept(story: Story, mailoutbox: list[Any]) -> None:
    invited = {"email": "new@example.com", "role": "viewer"}
    assert story.browsers["admin"].post("/w/acme/members/invite/", invited).status_code == 302
    found = re.search(r"/invitations/([A-Za-z0-9_-]+)/", mailoutbox[-1].body)
    assert found
    address = found[0]
    story.shown_once[found[1]] = address
    stranger = Watched(story.seen, "invited", raise_request_exception=False)
    assert stranger.get(address).status_code == 200
    password = "canary-password-Sd84-Lk19"
    story.shown_once[password] = ""
    assert stranger.post(address, {"name": "New", "password": "short"}).status_code == 422
    assert stranger.post(address, {"name": "New", "password": password}).status_code == 302


def use_connect_link(story: Story) -> None:
    made = story.api("POST", f"{PROVIDER}/authorization_code/connect-links", {"connection": "customer"})
    address = urlsplit(made.json()["url"]).path
    story.shown_once[address.split("/")[2]] = "/connect"
    stranger = Watched(story.seen, "link", raise_request_exception=False)
    assert stranger.get(address).status_code == 200
    gone = left_for(stranger.post(address))
    story.shown_once[gone["state"]] = address
    back = stranger.get("/oauth/callback", {"state": gone["state"], "code": CODE})
    assert "Connected" in stranger.get(back["Location"]).content.decode()
    assert stranger.get(address).status_code == 410
    story.browsers["editor"].post(
        "/w/acme/integrations/custom_acme/authorization_code/connect-links/", {"name": "page-link"}
    )


def look_around(story: Story) -> None:
    """Everybody opens every page that they are led to, whole and as fragments; the operator opens the admin."""
    for name, browser in story.browsers.items():
        waiting = ["/w/acme/integrations/", "/accounts/2fa/", "/accounts/sessions/"]
        if name == "operator":
            waiting = [reverse("admin:index"), *_admin_pages()]
        seen = set(waiting)
        while waiting and len(seen) < 250:
            path = waiting.pop(0)
            answer = browser.get(path, follow=True)
            browser.get(path, headers={"HX-Request": "true"})
            if answer.status_code == 200 and "html" in answer["Content-Type"] and path.startswith("/w/acme"):
                found = [link for link in links_of(path, answer.content.decode()) if link.startswith("/w/acme")]
                new = {link: None for link in found if link not in seen and re.search("custom|github|webhooks", link)}
                waiting += list(new)
                seen.update(new)
    for address in ("/metrics", "/readyz", "/healthz", "/api/v1/openapi.json", "/api/v1/docs"):
        Watched(story.seen, "machine").get(address)
    for path in ("/providers", "/integrations", "/connections", "/audit-events", f"{PROVIDER}/authorization_code"):
        assert story.api("GET", path).status_code == 200
    assert story.browsers["owner"].get("/w/acme/audit/export/").status_code == 200


def _admin_pages() -> list[str]:
    pages = []
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages.append(reverse(f"{name}_changelist"))
        for row in model._default_manager.all()[:20]:
            pages += [reverse(f"{name}_change", args=[row.pk]), reverse(f"{name}_history", args=[row.pk])]
    return pages


@pytest.mark.usefixtures("_as_in_production")
def test_no_secret_is_found_anywhere(
    story: Story, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[Any], settings: Any
) -> None:
    make_api_key(story)
    set_up(story)
    crash_while_saving(story, monkeypatch)
    story.provider.refuse = True
    assert "custom_acme" in connect(story).content.decode()  # refused, with everything echoed
    story.provider.refuse = False
    connect(story, error="access_denied", error_description="No.")
    assert connect(story).status_code == 200
    read = story.api("GET", f"{PROVIDER}/authorization_code/token")
    assert read.json()["access_token"] in story.provider.issued
    for grant in ("authorization_code", "client_credentials"):
        story.browsers["editor"].post(f"/w/acme/integrations/custom_acme/{grant}/test/")
        assert story.api("POST", f"{PROVIDER}/{grant}/test").status_code == 200
    story.browsers["editor"].post("/w/acme/integrations/custom_acme/client_credentials/fetch-token/")
    invite_and_accept(story, mailoutbox)
    use_connect_link(story)
    use_webhooks(story)
    connection = refresh_by_worker(story)
    assert deliver_webhooks().sent >= 2
    story.api("PUT", f"{PROVIDER}/client_credentials", {"client_id": "client-1", "client_secret": REFUSED_SECRET})
    assert story.api("POST", f"{PROVIDER}/client_credentials/test").json()["ok"] is False
    look_around(story)
    one = f"/w/acme/integrations/custom_acme/authorization_code/connections/{connection.pk}/disconnect/"
    story.browsers["editor"].get(one)
    assert story.browsers["editor"].post(one, {"confirm": "custom_acme"}).status_code == 302
    for other in Connection.objects.exclude(pk=connection.pk):
        story.api("POST", f"/connections/{other.pk}/refresh")
    audit.flush()
    look_around(story)

    assert Token.objects.count() >= 2  # there was something to find
    assert len(story.provider.issued) >= 8
    assert len(story.provider.verifiers) >= 2
    assert len(story.seen.answers) > 300
    secrets = [CLIENT_SECRET, NEW_CLIENT_SECRET, SERVICE_SECRET, REFUSED_SECRET, CODE, ID_TOKEN]
    secrets += [*story.provider.issued, *story.provider.verifiers]
    assert found_at_rest([*secrets, HOOK_PATH, *story.shown_once], settings) == []
    assert found_in_logs(story, [*secrets, HOOK_PATH]) == []
    assert found_in_answers_of_those_who_may_not_manage(story, HOOK_PATH) == []
    assert found_in_answers(story, secrets) == []


def found_at_rest(secrets: list[str], settings: Any) -> list[str]:
    """Where tables, sessions, queues and files hold one of them, in any spelling."""
    places = [*database_text(), *session_text(), *redis_text()]
    assert len({place.partition(".")[0] for place, _ in places}) > 10
    for folder in {Path(django_settings.VAR_DIR), *_broker_folders()}:
        places += [(place, text) for place, text in file_text(folder)]
    return _found(places, secrets)


def _broker_folders() -> set[Path]:
    options = django_settings.CELERY_BROKER_TRANSPORT_OPTIONS
    return {Path(options["data_folder_out"])} if "data_folder_out" in options else set()


def found_in_logs(story: Story, secrets: list[str]) -> list[str]:
    """OAuth secrets are never logged at all; what stands in addresses of ours is cut out of the printed line."""
    loggers = {line.split(" ", 1)[0] for line in story.logs.printed}
    assert {"django.request", "integrations.api.api"} <= loggers  # refusals and the failure were noted
    printed = [("printed log", line) for line in story.logs.printed]
    raw = [("log", line) for line in story.logs.raw]
    return _found(raw, secrets) + _found(printed, list(story.shown_once))


def found_in_answers(story: Story, secrets: list[str]) -> list[str]:
    """Only the answer of a token read carries an access token; what is shown once stands in that one answer."""
    pages = [(f"{who} at {address}", text) for who, address, text in story.seen.answers]
    found = [
        place
        for place in _found(pages, secrets)
        if not re.search(r"program at /api/v1/\S+/token: canary-access", place)
    ]
    for secret, shown_at in story.shown_once.items():
        elsewhere = [(place, text) for place, text in pages if not shown_at or shown_at not in place]
        found += _found(elsewhere, [secret])
    return found


def found_in_answers_of_those_who_may_not_manage(story: Story, secret: str) -> list[str]:
    """The URL of a webhook may hold a secret: it is for admins, on its own pages and in the API."""
    pages = [
        (f"{who} at {address}", text)
        for who, address, text in story.seen.answers
        if not (who in ("owner", "admin", "program") and "/webhooks" in address)
    ]
    return _found(pages, [secret])


def _found(places: list[tuple[str, str]], secrets: list[str]) -> list[str]:
    needles = {spelling: secret for secret in secrets for spelling in spellings(secret)}
    return sorted(
        {f"{place}: {secret}" for place, text in places for needle, secret in needles.items() if needle in text}
    )


def test_the_look_itself_finds_what_is_there(story: Story) -> None:
    """A check of the check: a secret put into a table, a session and a log line is found, in each spelling."""
    import base64

    marker = "canary-to-be-found-Bz12"
    Workspace.objects.update(name=marker)
    browser = story.browsers["owner"]
    session = browser.session
    session["x"] = base64.b64encode(f"user:{marker}".encode()).decode()
    session.save()
    import logging

    logging.getLogger("integrations").debug("said %s", marker)
    assert [place.partition(":")[0] for place in _found([*database_text()], [marker])] == ["workspaces_workspace.name"]
    assert _found([*session_text()], [marker]) == [f"session: {marker}"]
    assert found_in_logs_of(story, marker)
    assert apps.ready


def found_in_logs_of(story: Story, marker: str) -> list[str]:
    return _found([("log", line) for line in story.logs.raw], [marker])
