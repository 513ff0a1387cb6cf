"""Every address that changes something: who may, and what a request needs besides a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.test import Client
from django.urls import resolve, reverse

from integrations.models import ClientKeyAlgorithm, Connection, GrantType, Integration, WebhookDelivery
from integrations.providers.client_keys import create_key
from integrations.webhooks.endpoints import create_endpoint
from tests.factories import make_connection, make_integration, make_member
from tests.security.conftest import browser_of
from tests.security.pages import links_of
from tests.servers.scripted import ScriptedServer
from tests.tenancy.routes import all_routes
from workspaces.api_keys import create_api_key
from workspaces.audit import Actor
from workspaces.invitations import invite
from workspaces.models import Membership, User, Workspace
from workspaces.roles import KeyScope, Role

pytestmark = pytest.mark.django_db
VIEWER, EDITOR, ADMIN = Role.VIEWER, Role.EDITOR, Role.ADMIN

# The lowest role that may POST, by route. Written down here once more, independently of the table in the code.
LOWEST = {
    "workspaces:member_invite": ADMIN,
    "workspaces:member_leave": VIEWER,
    "workspaces:member_role": ADMIN,
    "workspaces:member_remove": ADMIN,
    "workspaces:member_invitation_resend": ADMIN,
    "workspaces:member_invitation_revoke": ADMIN,
    "workspaces:api_key_new": ADMIN,
    "workspaces:api_key_roll": ADMIN,
    "workspaces:api_key_revoke": ADMIN,
    "workspaces:settings": ADMIN,
    "redirect_host:change": ADMIN,
    "redirect_host:clear": ADMIN,
    "token_policy:change": ADMIN,
    "webhooks:new": ADMIN,
    "webhooks:edit": ADMIN,
    "webhooks:switch": ADMIN,
    "webhooks:test": ADMIN,
    "webhooks:replay_failed": ADMIN,
    "webhooks:roll": ADMIN,
    "webhooks:delete": ADMIN,
    "webhooks:delivery_replay": ADMIN,
    "health:seen": VIEWER,
    "health:notifications": VIEWER,
    "integrations:sandbox_connect": ADMIN,
    "integrations:custom_new": ADMIN,
    "integrations:custom_edit": ADMIN,
    "integrations:custom_import": ADMIN,
    "integrations:custom_publish": ADMIN,
    "integrations:custom_discard": ADMIN,
    "integrations:custom_inspect": VIEWER,
    "integrations:inspect": VIEWER,
    "integrations:provider_delete": ADMIN,
    "integrations:configuration": ADMIN,
    "integrations:scopes": ADMIN,
    "integrations:integration_delete": ADMIN,
    "integrations:client_key_rotate": ADMIN,
    "integrations:discover": ADMIN,
    "integrations:client_key_delete": ADMIN,
    "integrations:connection_new": EDITOR,
    "integrations:connection_edit": EDITOR,
    "integrations:connect": EDITOR,
    "integrations:fetch_token": EDITOR,
    "integrations:test": EDITOR,
    "integrations:connect_link_create": EDITOR,
    "integrations:connection_change": EDITOR,
    "integrations:refresh": EDITOR,
    "integrations:disconnect": EDITOR,
    "integrations:connection_delete": EDITOR,
}
# Pages that are only looked at.
READ_ONLY = {
    "workspaces:members", "workspaces:api_keys", "workspaces:audit", "workspaces:audit_export", "integrations:list",
    "integrations:detail", "integrations:overview", "integrations:connections", "integrations:activity",
    "integrations:connection", "integrations:custom_export", "webhooks:list", "webhooks:detail", "webhooks:delivery",
    "health:page",
}  # fmt: skip
INSIDE = sorted({route.name for route in all_routes() if route.template.startswith("w/")})


@pytest.fixture
def address(
    workspace: Workspace, alice: User, delegated: Integration, connected: Connection, provider_server: ScriptedServer
) -> Callable[[str], str]:
    """Where a route leads to, with real ids."""
    provider_server.answer("/token", status=400, json={"error": "invalid_grant"})
    owner = Membership.objects.get(workspace=workspace, user=alice)
    invitation = invite(workspace, email="n@example.com", role=VIEWER, by=owner, actor=Actor.member(alice))
    key = create_api_key(
        workspace, name="k", scopes=[KeyScope.TOKENS_READ], actor=Actor.operator(), created_by=None
    ).api_key
    member = make_member(workspace, role=VIEWER)
    provider_server.answer("/hook", status=500)
    hook = create_endpoint(workspace, url=f"{provider_server.url}/hook", actor=Actor.operator()).endpoint
    delivery = WebhookDelivery.objects.create(workspace=workspace, endpoint=hook, event_type="webhook.test", body="{}")
    values: dict[str, Any] = {
        "workspace": "acme",
        "provider_id": delegated.provider_id,
        "grant_type": delegated.grant_type,
        "connection_id": connected.pk,
        "membership_id": member.pk,
        "invitation_id": invitation.pk,
        "key_id": key.pk,
        "endpoint_id": hook.pk,
        "delivery_id": delivery.pk,
        "client_key_id": create_key(delegated, actor=Actor.operator(), algorithm=ClientKeyAlgorithm.ES256).pk,
    }
    routes = {route.name: route for route in all_routes()}
    return lambda name: reverse(name, kwargs={one: values[one] for one in routes[name].parameters})


def test_every_route_says_who_may_post() -> None:
    assert set(INSIDE) == set(LOWEST) | READ_ONLY


@pytest.mark.parametrize("name", INSIDE)
def test_nobody_below_the_lowest_role_may_post(
    name: str, address: Callable[[str], str], sign_in: Callable[[Role], Client]
) -> None:
    path = address(name)
    for role in (VIEWER, EDITOR, ADMIN):
        answer = sign_in(role).post(path)
        if name in READ_ONLY:
            assert answer.status_code in (403, 405)
        elif role.rank < LOWEST[name].rank:
            assert answer.status_code == 403, (name, role)
        else:
            assert answer.status_code not in (403, 405), (name, role)


@pytest.mark.parametrize("name", sorted(LOWEST))
@pytest.mark.parametrize("override", ["HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE", None])
def test_only_a_post_of_our_own_page_changes_anything(
    name: str, override: str | None, address: Callable[[str], str], alice: User
) -> None:
    """A GET never does, with whatever header; a POST needs the token of a page, from our own origin."""
    path = address(name)
    browser = browser_of(alice, enforce_csrf_checks=True)
    before = _everything()
    if override:
        browser.get(path, {"_method": "POST", "confirm": "custom_acme"}, **{override: "POST"})
    else:
        assert browser.post(path, {"confirm": "custom_acme"}).status_code == 403
        cross = {"HTTP_ORIGIN": "https://evil.example", "HTTP_REFERER": "https://evil.example/"}
        assert browser.post(path, {"confirm": "custom_acme"}, **cross).status_code == 403
    assert _everything() == before


def _everything() -> dict[str, list[Any]]:
    from django.apps import apps

    return {
        model._meta.label: sorted(
            str({f.attname: str(row.__dict__[f.attname]) for f in model._meta.concrete_fields})
            for row in model._base_manager.all()
        )
        for model in apps.get_models()
        if model._meta.app_label in ("integrations", "workspaces")
    }


def test_open_addresses_need_the_token_too(delegated: Integration) -> None:
    from integrations.connections.connect_links import create_connect_link

    url, _ = create_connect_link(delegated, actor=Actor.operator())
    stranger = Client(enforce_csrf_checks=True)
    for path in (url.removeprefix("http://localhost:8000"), "/accounts/login/", "/accounts/password/reset/"):
        assert stranger.post(path).status_code == 403
    assert stranger.post("/oauth/callback", {"state": "a", "code": "b"}).status_code in (403, 405)


def test_a_connection_answers_under_its_own_integration_only(
    address: Callable[[str], str], connected: Connection, service: Integration, alice: User
) -> None:
    """Another integration of the same workspace in the path, a connection of this one behind it."""
    make_connection(service, "elsewhere")
    make_integration(connected.workspace, "github")
    browser = browser_of(alice)
    for provider_id, grant_type in (("github", "authorization_code"), (service.provider_id, "client_credentials")):
        for name in (
            "connection",
            "refresh",
            "disconnect",
            "connection_delete",
            "connection_change",
            "connection_edit",
        ):
            kwargs = {"workspace": "acme", "provider_id": provider_id, "grant_type": grant_type}
            path = reverse(f"integrations:{name}", kwargs={**kwargs, "connection_id": connected.pk})
            assert {browser.get(path).status_code, browser.post(path).status_code} <= {404, 405}, path
        for name in ("connect", "test", "fetch_token"):
            kwargs = {"workspace": "acme", "provider_id": provider_id, "grant_type": grant_type}
            found = browser.post(reverse(f"integrations:{name}", kwargs=kwargs), {"connection": str(connected.pk)})
            assert found.status_code == 404
    assert Connection.objects.get(pk=connected.pk).state == "connected"


def test_an_editor_cannot_smuggle_what_an_admin_decides_into_a_connect(
    delegated: Integration, sign_in: Callable[[Role], Client]
) -> None:
    crafted = {
        "additional_scopes": "admin", "scopes": "admin", "scope": "admin", "client_id": "mine", "redirect_uri": "https://e",
        "parameters": "{}", "token_endpoint": "https://evil.example", "return_url": "https://evil.example",
    }  # fmt: skip
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code"
    # Choosing scopes has fields on the form of a new connection, judged by their own rules: see below.
    unknown = {name: value for name, value in crafted.items() if name not in ("scopes", "additional_scopes")}
    for path, fields in (("connect/", crafted), ("connections/new/", {**unknown, "name": "new"})):
        page = sign_in(EDITOR).post(f"{base}/{path}", fields).content.decode()
        sent = page.partition('id="continue" href="')[2].partition('"')[0]
        assert "client_id=client-1" in sent
        assert "scope=read%20write&" in sent
        assert "evil" not in sent
    assert Integration.objects.get(pk=delegated.pk).additional_scopes == []


def test_an_editor_chooses_no_scopes_where_the_provider_allows_no_choice(
    delegated: Integration, sign_in: Callable[[Role], Client]
) -> None:
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code"
    answer = sign_in(EDITOR).post(f"{base}/connections/new/", {"name": "new", "scopes": "admin"})
    assert answer.status_code == 422
    assert 'id="continue"' not in answer.content.decode()
    assert not delegated.pending_authorizations.exists()


# --- answers --------------------------------------------------------------------------------------------
SAME_KIND = 6  # pages of two hundred providers, and filters in any combination, are the same page
HOSTILE_TEXT = "<img src=x onerror=alert(1)>'\"><script>alert(1)</script>"


def kind_of(link: str) -> tuple[str, ...]:
    """The view and the names of its filters."""
    parts = urlsplit(link)
    return (resolve(parts.path).view_name, *dict.fromkeys(name for name, _ in parse_qsl(parts.query, True)))


@pytest.mark.usefixtures("_as_in_production")
def test_hostile_names_are_text_on_every_page(
    workspace: Workspace, delegated: Integration, connected: Connection, alice: User
) -> None:
    """What tenants and providers name things: escaped wherever it stands, under a policy that would stop it anyway."""
    Connection.objects.filter(pk=connected.pk).update(
        name=HOSTILE_TEXT,
        account={"id": "1", "label": HOSTILE_TEXT},
        granted_scopes=[HOSTILE_TEXT],
        requested_scopes=["read", HOSTILE_TEXT],
        last_error_code=HOSTILE_TEXT[:64],
        last_error_message=HOSTILE_TEXT,
        state="degraded",
    )
    workspace.name = HOSTILE_TEXT
    workspace.save()
    for version in workspace.custom_providers.get().versions.all():
        text = ("name", "description", "category", "additional_scopes_help")
        version.definition |= dict.fromkeys(text, HOSTILE_TEXT)
        version.save()
    User.objects.filter(pk=alice.pk).update(name=HOSTILE_TEXT)
    Integration.objects.filter(pk=delegated.pk).update(client_id=HOSTILE_TEXT, additional_scopes=[HOSTILE_TEXT])
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code"
    tabs = ("", "configuration/", "scopes/", "connections/", "activity/", f"connections/{connected.pk}/disconnect/")
    seen = {f"{base}/{tab}" for tab in tabs} | {"/w/acme/integrations/", "/w/acme/integrations/?status="}
    browser = browser_of(alice)
    waiting = sorted(seen)
    of_a_kind: Counter[tuple[str, ...]] = Counter()
    shown = 0
    while waiting:
        path = waiting.pop(0)
        answer = browser.get(path, follow=True)
        if "html" not in answer.headers["Content-Type"]:
            continue
        html = answer.content.decode()
        assert "<script>alert" not in html, path
        assert "<img src=x" not in html, path
        shown += "&lt;script&gt;alert" in html
        assert "script-src 'self'" in answer["Content-Security-Policy"], path
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"], path
        assert answer["X-Content-Type-Options"] == "nosniff"
        for link in sorted({link for link in links_of(path, html) if link.startswith("/w/acme/")} - seen):
            seen.add(link)
            if delegated.provider_id in link or of_a_kind[kind_of(link)] < SAME_KIND:
                of_a_kind[kind_of(link)] += 1
                waiting.append(link)
    assert shown >= 8


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "JaVaScRiPt:alert(1)", "//evil.example"])
@pytest.mark.parametrize("field", ["docs_url", "issuer", "authorization_endpoint", "token_endpoint", "api_base_url"])
def test_no_definition_makes_a_link_that_runs(field: str, url: str, define: Callable[..., str]) -> None:
    from integrations.providers.definition import InvalidDefinition

    with pytest.raises(InvalidDefinition) as refused:
        define(**{field: url})
    assert field in refused.value.errors


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_leads_to_our_own_pages_only(target: str, alice: User) -> None:
    from tests.factories import PASSWORD

    posted = {"login": alice.email, "password": PASSWORD, "next": target}
    answer = Client().post(f"/accounts/login/?next={target}", posted)
    assert answer.status_code == 302
    assert "evil" not in answer["Location"]
    assert "javascript" not in answer["Location"]


def test_a_host_header_moves_no_link_in_a_mail(alice: User, mailoutbox: list[Any], settings: Any) -> None:
    Client().post("/accounts/password/reset/", {"email": alice.email}, headers={"Host": "evil.example"})
    Client().post("/accounts/password/reset/", {"email": alice.email}, headers={"X-Forwarded-Host": "evil.example"})
    assert len(mailoutbox) >= 1
    for mail in mailoutbox:
        assert "evil.example" not in mail.body
        assert settings.PUBLIC_BASE_URL in mail.body


def test_nothing_that_is_shown_once_or_to_one_is_cached(delegated: Integration, alice: User) -> None:
    browser = browser_of(alice)
    base = f"/w/acme/integrations/{delegated.provider_id}/authorization_code"
    answers = [
        browser.post("/w/acme/api-keys/new/", {"name": "k", "scopes": ["tokens:read"], "expires": "30"}),
        browser.post(f"{base}/connect-links/", {"name": "x"}),
        browser.post(f"{base}/connect/"),
        browser.get("/oauth/callback?state=a&code=b"),
        browser.get("/w/acme/audit/export/"),
        browser.post("/w/acme/integrations/custom/new/", {"name": "x", "client_secret": "s", "go": "next"}),
    ]
    for answer in answers:
        assert "no-store" in answer["Cache-Control"], answer.request["PATH_INFO"]


# --- limits ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("{code}/connect/", {}),
        ("{code}/test/", {}),
        ("{code}/connect-links/", {"name": "x"}),
        ("{service}/fetch-token/", {}),
        ("{service}/test/", {}),
        ("{service}/connections/new/", {"name": "n"}),
    ],
)
def test_tries_are_limited(
    path: str, data: dict[str, str], delegated: Integration, service: Integration, alice: User, settings: Any,
    provider_server: ScriptedServer,
) -> None:  # fmt: skip
    """Whatever calls a provider, or makes it answer, on behalf of a person."""
    settings.RATE_LIMIT_SCALE = 0.1  # three tries
    provider_server.answer("/token", status=400, json={"error": "invalid_scope"})
    base = f"/w/acme/integrations/{delegated.provider_id}/"
    grants = {"code": base + GrantType.AUTHORIZATION_CODE, "service": base + GrantType.CLIENT_CREDENTIALS}
    browser = browser_of(alice)
    statuses = [browser.post(path.format(**grants), data).status_code for _ in range(5)]
    assert statuses[0] != 429
    assert statuses[-1] == 429


def test_guesses_of_links_are_limited(settings: Any) -> None:
    settings.RATE_LIMIT_SCALE = 0.05
    statuses = [Client().get(f"/connect/guess-{number}/").status_code for number in range(6)]
    assert (statuses[0], statuses[-1]) == (404, 429)


def test_guesses_of_passwords_are_limited(alice: User) -> None:
    answers = [
        Client().post("/accounts/login/", {"login": alice.email, "password": f"guess-{number}"}) for number in range(8)
    ]
    assert "Too many" in answers[-1].content.decode()
