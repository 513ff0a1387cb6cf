"""Every form and every call, fed with what no honest person sends: refused with words, never an internal error."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import got_request_exception
from django.db import transaction
from django.test import Client
from django.urls import resolve

from integrations.connections.connect_links import create_connect_link
from integrations.models import Connection, Integration
from integrations.providers.catalogue import catalogue
from integrations.providers.custom import create_custom_provider
from tests.api.client import make_key
from tests.factories import make_connection, make_member, make_user
from tests.security.conftest import browser_of, definition
from tests.security.pages import Form, forms_of, links_of
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.invitations import invite
from workspaces.models import Membership, User, Workspace
from workspaces.roles import Role

HOSTILE = {
    "nul": "a\x00b",
    "long": "x" * 70_000,
    "bidi": "\u202etxt.exe\u2066\ufeff",
    "markup": '"><script>alert(1)</script>{{ 7*7 }}{% x %}',
    "number": "9" * 400,
    "negative": "-1",
    "lines": "a\r\nSet-Cookie: x=1\r\n\r\nb",
    "astral": "\U0001f4a3\U000e0041" * 50,
    "json": "[" * 5_000,
    "empty": "",
}
# Pages of ours and of allauth's; links found on them are followed.
STARTS = ["/accounts/email/", "/accounts/password/change/", "/accounts/2fa/", "/accounts/sessions/", "/workspaces/"]
# Pages of one view are alike: of hundreds of providers and filters this many are opened, so that no other kind waits
# behind them.
OF_A_KIND = 4
ALONE = 1


SHARED_FORMS = {"integrations:custom_edit": "integrations:custom_new"}  # ProviderForm
# What the walk must have found a form of.
SENT_TO_INTEGRATIONS = [
    "configuration", "scopes", "custom_new", "custom_edit", "provider_delete", "integration_delete", "connect", "test",
    "fetch_token", "connection_new", "connection_change", "connect_link_create", "disconnect", "connection_delete",
]  # fmt: skip
SENT_TO_WORKSPACES = [
    "settings", "member_invite", "member_role", "member_remove", "member_invitation_resend", "api_key_new",
    "api_key_roll", "api_key_revoke",
]  # fmt: skip


@pytest.fixture
def crashes() -> Iterator[list[str]]:
    """Exceptions that reached the edge."""
    found: list[str] = []

    def note(sender: object, request: Any = None, **_: object) -> None:
        import traceback

        found.append(traceback.format_exc(limit=-4))

    got_request_exception.connect(note)
    yield found
    got_request_exception.disconnect(note)


@pytest.fixture
def full_workspace(
    workspace: Workspace,
    alice: User,
    delegated: Integration,
    service: Integration,
    connected: Connection,
    provider_server: ScriptedServer,
) -> Workspace:
    """One of everything that has a page."""
    make_connection(service)
    make_connection(delegated, "second")
    make_member(workspace, make_user("viewer@example.com"), Role.VIEWER)
    owner = Membership.objects.get(workspace=workspace, user=alice)
    invite(workspace, email="new@example.com", role=Role.EDITOR, by=owner, actor=Actor.member(alice))
    make_key(workspace)
    hosted = {
        "authorization_endpoint": "https://{{host}}/authorize",
        "token_endpoint": "https://{{host}}/token?r={{region}}",
        "revocation_endpoint": "",
        "userinfo_endpoint": "",
        "parameters": [
            {"label": "Host", "key": "host"},
            {"label": "Region", "key": "region", "type": "dropdown", "options": ["eu", "us"]},
        ],
    }
    create_custom_provider(
        workspace, {**definition(provider_server), "name": "Hosted", **hosted}, actor=Actor.operator()
    )
    provider_server.answer("/token", status=400, json={"error": "invalid_grant"})
    return workspace


def crawl(client: Client, starts: list[str]) -> tuple[list[str], list[Form]]:
    """Pages reached from some, and every form on them: one per view and set of fields."""
    waiting, seen, forms = list(starts), set(starts), {}
    kinds: Counter[tuple[str, ...]] = Counter()
    pages = []
    while waiting:
        path = waiting.pop(0)
        answer = client.get(path, follow=True)
        assert answer.status_code < 500, path
        if "text/html" not in answer.headers.get("Content-Type", ""):
            continue
        pages.append(path)
        html = answer.content.decode()
        for form in forms_of(path, html):
            forms.setdefault((form.method, kind_of(form.action)[0], *sorted(form.fields)), form)
        for link in links_of(path, html):
            kind = kind_of(link)
            if link in seen or kinds[kind] >= OF_A_KIND or link.startswith(("/static/", "/accounts/logout")):
                continue
            seen.add(link)
            kinds[kind] += 1
            waiting.append(link)
    return pages, list(forms.values())


def kind_of(address: str) -> tuple[str, ...]:
    """The view behind an address, and the names in its query."""
    parts = urlsplit(address)
    return resolve(parts.path).view_name, *sorted(dict(parse_qsl(parts.query, keep_blank_values=True)))


def one_provider_per_set_of_parameters() -> list[str]:
    """Configuration pages on which every field that a provider of the catalogue asks for stands once."""
    found = {tuple(sorted(one.key for one in spec.parameters)): spec for spec in catalogue().values()}
    return [
        f"/w/acme/integrations/{spec.provider_id}/{spec.grant_types[0].value}/configuration/" for spec in found.values()
    ]


def field_of(form: Form, name: str) -> tuple[str, ...]:
    """What judges a field: its view, or the form that two views share, and its name without the number of its row."""
    view = kind_of(form.action)[0]
    return form.method, SHARED_FORMS.get(view, view), re.sub(r"-\d+-", "-", name)


def hostile_posts(forms: list[Form]) -> Iterator[tuple[Form, str, dict[str, str]]]:
    """Each form with all of its fields replaced at once, and each field alone, on the first form that has it.

    Alone, fields take turns with all kinds but the first: fields of one kind are cleaned by the same code.
    """
    tried: set[tuple[str, ...]] = set()
    first, *others = HOSTILE.items()
    turns = cycle(others)
    for form in forms:
        names = [name for name in form.fields if name != "csrfmiddlewaretoken"]
        new = list({field_of(form, name): name for name in names if field_of(form, name) not in tried}.values())
        tried |= {field_of(form, name) for name in names}
        if names:
            for kind, value in HOSTILE.items():
                yield form, f"all: {kind}", dict.fromkeys(names, value)
        for name in new:
            for kind, value in (first, *islice(turns, ALONE)):
                yield form, f"{name}: {kind}", {**form.fields, name: value}
            yield form, f"{name} twice", {**form.fields, name: [first[1], "b"]}  # type: ignore[dict-item] # sent twice


@pytest.mark.django_db
@pytest.mark.usefixtures("_as_in_production")
def test_no_form_crashes_on_hostile_text(full_workspace: Workspace, alice: User, crashes: list[str]) -> None:
    client = browser_of(alice, raise_request_exception=False)
    base = f"/w/{full_workspace.slug}/integrations/"
    set_up = [f"{base}{one.provider_id}/{one.grant_type}/" for one in full_workspace.integrations.all()]
    pages, forms = crawl(client, [*set_up, base, *STARTS, *one_provider_per_set_of_parameters()])
    assert len(pages) > 100
    views = {kind_of(form.action)[0] for form in forms if form.method == "post"}
    assert views >= {f"integrations:{name}" for name in SENT_TO_INTEGRATIONS}
    assert views >= {f"workspaces:{name}" for name in SENT_TO_WORKSPACES}
    assert len(forms) > 50
    failed = []
    for form, what, data in hostile_posts(forms):
        savepoint = transaction.savepoint()
        send = client.post if form.method == "post" else client.get
        answer = send(form.action, data)
        transaction.savepoint_rollback(savepoint)
        if answer.status_code >= 500:
            failed.append(f"{form} {what}: {answer.status_code}")
        if "logout" in form.action or not client.session.get("_auth_user_id"):
            client.force_login(alice)
    assert failed == [], "\n".join([*failed[:20], *crashes[:3]])


@pytest.mark.django_db
@pytest.mark.usefixtures("_as_in_production")
def test_no_form_of_a_stranger_crashes_on_hostile_text(
    full_workspace: Workspace, delegated: Integration, alice: User, crashes: list[str], mailoutbox: list[Any]
) -> None:
    owner = Membership.objects.get(workspace=full_workspace, user=alice)
    invite(full_workspace, email="other@example.com", role=Role.EDITOR, by=owner, actor=Actor.member(alice))
    invitation = next(word for word in mailoutbox[-1].body.split() if "/invitations/" in word)
    link, _ = create_connect_link(delegated, connection_name="outside", actor=Actor.member(alice))
    starts = ["/accounts/login/", "/accounts/password/reset/", "/accounts/signup/"]
    starts += ["/" + address.split("/", 3)[3] for address in (invitation, link)]
    client = Client(raise_request_exception=False)
    _, forms = crawl(client, starts)
    assert len(forms) >= 4
    failed = []
    for form, what, data in hostile_posts(forms):
        savepoint = transaction.savepoint()
        answer = (client.post if form.method == "post" else client.get)(form.action, data)
        transaction.savepoint_rollback(savepoint)
        if answer.status_code >= 500:
            failed.append(f"{form} {what}: {answer.status_code}")
    assert failed == [], "\n".join([*failed[:20], *crashes[:3]])


ODD_PATHS = [
    "/w/%00/integrations/",
    "/w/acme/integrations/?q=%00&status=%00&category=%00&grant=%00&page=-1",
    "/w/acme/integrations/custom_acme/authorization_code/activity/?before=99999999999999999999",
    "/w/acme/integrations/custom_acme/authorization_code/activity/?before=999999999999999999",
    "/w/acme/integrations/custom_acme/authorization_code/activity/?before=%00",
    "/w/acme/integrations/custom_acme/authorization_code/connections/?rename=%00",
    "/w/acme/integrations/custom_acme%00/authorization_code/",
    "/w/acme/audit/?before=9999999999999999999&actor=%00&target=%00&action=%00&since=%00",
    "/w/acme/audit/?since=0001-01-01&until=0001-01-01",
    "/w/acme/audit/?since=9999-12-31&until=9999-12-31",
    "/w/acme/audit/export/?since=0001-01-01&until=9999-12-31&actor=%00&action=x%00",
    "/connect/%00/",
    "/connect/%ED%A0%80/",
    "/connect/" + "x" * 5_000 + "/",
    "/invitations/%00/",
    "/invitations/%ED%A0%80/",
    "/oauth/callback",
    "/oauth/callback?state=%00&code=%00",
    "/oauth/callback?state=a&state=b&code=c",
    "/oauth/callback?state=%ED%A0%80&error=%00&error_description=%ED%A0%80",
    "/oauth/callback?" + "a=1&" * 5_000,
    "/oauth/callback/result/00000000-0000-0000-0000-000000000000/",
    "/accounts/confirm-email/%00/",
    "/accounts/confirm-email/x:y:z/",
    "/accounts/password/reset/key/%00-%00/",
    "/accounts/password/reset/key/zzzzzzzzzzzzzzzzzzzz-set-password/",
    "/accounts/login/?next=//evil.example/",
    "/%00",
    "/static/%00",
    "/static/../config/settings.py",
    "/static/%2e%2e/config/settings.py",
    "/admin/workspaces/user/%00/change/",
    "/admin/workspaces/auditevent/99999999999999999999999/change/",
]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ODD_PATHS, ids=lambda path: path[:60])
def test_no_odd_address_crashes(path: str, full_workspace: Workspace, alice: User, crashes: list[str]) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    for client in (browser_of(alice, raise_request_exception=False), Client(raise_request_exception=False)):
        answer = client.get(path)
        assert answer.status_code < 500, crashes


def _key_calls(delegated: Integration, connected: Connection) -> list[tuple[str, str, Any]]:
    one = f"/integrations/{delegated.provider_id}/authorization_code"
    service = f"/integrations/{delegated.provider_id}/client_credentials"
    return [
        ("POST", "/providers", {**definition_body(), "name": "Hostile"}),
        ("PATCH", f"/providers/{delegated.provider_id}", definition_body()),
        ("PUT", one, {"client_id": "c", "client_secret": "s", "additional_scopes": ["a"], "parameters": {"k": "v"}}),
        ("POST", f"{one}/connect-links", {"connection": "c", "return_url": "https://a.example",
                                          "parameters": {"k": "v"}, "additional_scopes": ["s"]}),
        ("POST", f"{one}/test", {"connection": "default"}),
        ("POST", f"{service}/connections", {"name": "n", "parameters": {"k": "v"}, "additional_scopes": ["s"]}),
        ("PATCH", f"/connections/{connected.pk}", {"name": "n", "is_default": True}),
    ]  # fmt: skip


def definition_body() -> dict[str, Any]:
    return {
        "name": "N",
        "category": "Other",
        "description": "d",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": "https://a.example/authorize",
        "token_endpoint": "https://a.example/token",
        "revocation_endpoint": "https://a.example/revoke",
        "introspection_endpoint": "https://a.example/introspect",
        "userinfo_endpoint": "https://a.example/me",
        "issuer": "https://a.example",
        "api_base_url": "https://a.example/api",
        "scopes": [{"name": "read", "required": True, "description": "d"}],
        "allow_additional_scopes": True,
        "additional_scopes_help": "h",
        "scope_separator": " ",
        "allowed_scope_patterns": [{"pattern": "r.*", "description": "d"}],
        "denied_scope_patterns": [{"pattern": "x.*", "description": "d"}],
        "authorization_params": {"prompt": "consent"},
        "token_params": {"audience": "x"},
        "parameters": [{"label": "L", "key": "k", "type": "text", "pattern": ".*", "default": "d", "help": "h"}],
        "config_values": [{"label": "L", "key": "c", "value": "v"}],
        "docs_url": "https://a.example/docs",
    }


JSON_HOSTILE: dict[str, Any] = {
    **HOSTILE,
    "surrogate": "\ud800",
    "null": None,
    "true": True,
    "int": 10**30,
    "float": 1e308,
    "list": [[[]]],
    "object": {"": {}},
    "many": ["s"] * 3_000,
}


def replaced(body: Any, value: Any) -> Iterator[Any]:
    """The body with one value (or name) at a time replaced, at any depth."""
    if isinstance(body, dict):
        for name, child in body.items():
            yield {**body, name: value}
            for changed in replaced(child, value):
                yield {**body, name: changed}
        if isinstance(value, str):
            yield {**body, value: "x"}
    elif isinstance(body, list):
        for position, child in enumerate(body):
            yield [*body[:position], value, *body[position + 1 :]]
            for changed in replaced(child, value):
                yield [*body[:position], changed, *body[position + 1 :]]


@pytest.mark.django_db
@pytest.mark.parametrize("kind", JSON_HOSTILE)
def test_no_call_crashes_on_hostile_json(
    kind: str, full_workspace: Workspace, delegated: Integration, connected: Connection, crashes: list[str]
) -> None:
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {make_key(full_workspace)}"}
    failed = []
    for method, path, body in _key_calls(delegated, connected):
        for changed in [JSON_HOSTILE[kind], *replaced(body, JSON_HOSTILE[kind])]:
            savepoint = transaction.savepoint()
            answer = client.generic(
                method, f"/api/v1{path}", json.dumps(changed), content_type="application/json", headers=headers
            )
            transaction.savepoint_rollback(savepoint)
            if answer.status_code == 500:
                failed.append(f"{method} {path}: {json.dumps(changed)[:300]}")
    assert failed == [], "\n".join([*failed[:10], *crashes[:3]])


BROKEN_BODIES = {
    "deep": b"[" * 200_000,
    "ten megabytes": b'{"name": "' + b"x" * 10_000_000 + b'"}',
    "not json": b"\x00\xff",
    "bom": b"\xef\xbb\xbf{}",
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "nan": b'{"name": NaN}',
    "huge number": b'{"name": ' + b"9" * 5_000 + b"}",
    "twice": b'{"name": "a", "name": "b"}',
    "empty": b"",
}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", BROKEN_BODIES)
def test_no_call_crashes_on_a_broken_body(
    kind: str, full_workspace: Workspace, delegated: Integration, connected: Connection, crashes: list[str]
) -> None:
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {make_key(full_workspace)}"}
    for method, path, _ in _key_calls(delegated, connected):
        answer = client.generic(
            method, f"/api/v1{path}", BROKEN_BODIES[kind], content_type="application/json", headers=headers
        )
        assert answer.status_code < 500, (method, path, crashes)


QUERIES = [
    "cursor=%00", "cursor=x", "cursor=" + "A" * 3_000, "limit=-1", "limit=0", "limit=1e9", "limit=9" + "9" * 400,
    "min_ttl=-1", "min_ttl=99999999999999999999", "min_ttl=NaN", "connection=%00", "connection=%ED%A0%80",
    "connection=" + "x" * 5_000, "action=%00", "force=%00", "limit=1&limit=2", "cursor=a&cursor=b",
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_no_call_crashes_on_an_odd_query(
    query: str, full_workspace: Workspace, delegated: Integration, connected: Connection, crashes: list[str]
) -> None:
    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {make_key(full_workspace)}"}
    one = f"/integrations/{delegated.provider_id}/authorization_code"
    for path in ("/providers", "/integrations", "/connections", "/audit-events", f"{one}/connections", f"{one}/token",
                 f"{one}%00", f"/connections/{connected.pk}/token", f"/providers/{'x' * 5_000}"):  # fmt: skip
        answer = client.get(f"/api/v1{path}?{query}", headers=headers)
        assert answer.status_code < 500, (path, crashes)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [[10**30], [-(10**30)], ["x"], [None], [True], [{}], [], [["a"]], ["a\x00", "b"], ["\ud800", "b"],
     ["0001-01-01T00:00:00+14:00", "00000000-0000-0000-0000-000000000000"],
     ["9999-12-31T23:59:59-14:00", "00000000-0000-0000-0000-000000000000"],
     ["2020-01-01T00:00:00+00:00", "x"], ["2020-01-01", "00000000-0000-0000-0000-000000000000"], [1.5], ["a"] * 500],
    ids=str,
)  # fmt: skip
def test_no_forged_cursor_crashes(values: list[Any], full_workspace: Workspace, crashes: list[str]) -> None:
    from base64 import urlsafe_b64encode

    client = Client(raise_request_exception=False)
    headers = {"Authorization": f"Bearer {make_key(full_workspace)}"}
    forged = urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    for path in ("/providers", "/integrations", "/connections", "/audit-events"):
        answer = client.get(f"/api/v1{path}", {"cursor": forged}, headers=headers)
        assert answer.status_code < 500, (path, crashes)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": 'grantry_session="abcdefgh\\000ijklmnop"; grantry_csrf="\\000"'},
        {"Cookie": "grantry_session=" + "x" * 5_000},
        {"Cookie": 'messages="\\000"'},
        {"Accept-Language": "\x7f,,,;q=9" * 100},
        {"X-Forwarded-For": "\x7f,,\u00ff"},
        {"Authorization": "Bearer \u00ff"},
        {"HX-Request": "true", "HX-Current-URL": "javascript:alert(1)", "HX-Target": "\u00ff"},
        {"Content-Type": "multipart/form-data; boundary=\u00ff"},
        {"Referer": "http://\u00ff"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_odd_header_crashes(headers: dict[str, str], full_workspace: Workspace, crashes: list[str]) -> None:
    client = Client(raise_request_exception=False)
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    for path in ("/accounts/login/", "/w/acme/integrations/", "/oauth/callback?state=a&code=b", "/api/v1/providers"):
        for method in ("GET", "POST"):
            answer = client.generic(method, path, b"a=b", **environ)
            assert answer.status_code < 500, (method, path, crashes)


@pytest.mark.django_db
def test_an_uploaded_file_is_read_and_written_nowhere(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """Nothing here takes files; a stranger's must not fill the disk."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("A file was written.")

    monkeypatch.setattr("django.core.files.uploadedfile.tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("django.core.files.uploadhandler.BytesIO", refuse)
    upload = SimpleUploadedFile("x.bin", b"x" * 3_000_000)
    assert client.post("/accounts/login/", {"login": "a@example.com", "file": upload}).status_code == 200
