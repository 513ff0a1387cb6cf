"""Every route, called with another workspace's ids: 404, and nothing changed. A new route without a fixture fails."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.test import Client
from django.utils import timezone

from integrations.connections.connect_links import create_connect_link
from integrations.models import (
    ClientKey,
    ClientKeyAlgorithm,
    Connection,
    GrantType,
    Integration,
    NoticeKind,
    WebhookDelivery,
    WebhookEndpoint,
)
from integrations.notices import notice_of_integration
from integrations.providers.client_keys import create_key
from integrations.providers.custom import create_custom_provider
from integrations.webhooks.endpoints import create_endpoint
from tests.factories import make_connection, make_integration, make_member, make_user, make_workspace
from tests.tenancy.routes import PLACEHOLDER, Route, all_routes
from workspaces.api_keys import create_api_key
from workspaces.audit import Actor
from workspaces.invitations import invite
from workspaces.models import ApiKey, Invitation, Membership, Workspace
from workspaces.roles import KeyScope, Role

# Routes that know no workspace in their address, each with the reason.
OPEN_ROUTES = {
    "workspaces:home": "sends people to a workspace of their own",
    "workspaces:switch": "takes the workspace from the form; tested with the switcher",
    "workspaces:invitation_accept": "for people who are no members yet; its secret is the address",
    "integrations:oauth_callback": "finds its flow by state and browser; tested with the flow",
    "integrations:callback_result": "shows the outcome of this browser's own flow; tested with the flow",
    "integrations:jwks": "public keys for providers; tested with the client keys",
    "integrations:connect_link": "for people outside; its secret is the address",
    "integrations:connect_link_again": "a link that this browser used; tested with redirect hosts",
    "healthz": "a probe",
    "readyz": "a probe",
    "metrics": "counts only; has a test of its own",
    "integrations:api:openapi": "a document",
    "integrations:api:reference": "a document",
    "integrations:api:unknown": "answers 404 always",
}
METHODS = ("get", "post", "put", "patch", "delete")


class Tenant:
    """A workspace with one of everything, and somebody in it."""

    def __init__(self, slug: str) -> None:
        self.owner = make_user(f"owner@{slug}.example")
        self.workspace: Workspace = make_workspace(slug.title(), owner=self.owner, slug=slug)
        actor = Actor.member(self.owner)
        self.member: Membership = make_member(self.workspace, role=Role.EDITOR)
        self.invitation: Invitation = invite(
            self.workspace,
            email=f"new@{slug}.example",
            role=Role.VIEWER,
            by=Membership.objects.get(workspace=self.workspace, user=self.owner),
            actor=actor,
        )
        new_key = create_api_key(self.workspace, name="all", scopes=list(KeyScope), actor=actor, created_by=self.owner)
        self.api_key: ApiKey = new_key.api_key
        self.raw_key: str = new_key.key
        self.provider = create_custom_provider(self.workspace, _definition(slug), actor=actor, created_by=self.owner)
        self.integration: Integration = make_integration(self.workspace, self.provider.provider_id)
        self.service: Integration = make_integration(
            self.workspace, self.provider.provider_id, GrantType.CLIENT_CREDENTIALS
        )
        self.client_key: ClientKey = create_key(self.integration, actor=actor, algorithm=ClientKeyAlgorithm.ES256)
        self.connection: Connection = make_connection(self.integration)
        make_connection(self.service)
        hook = create_endpoint(self.workspace, url=f"https://{slug}.example/hook", description=slug, actor=actor)
        self.webhook: WebhookEndpoint = hook.endpoint
        self.delivery = WebhookDelivery.objects.create(
            workspace=self.workspace,
            endpoint=self.webhook,
            event_type="connection.degraded",
            body='{"type": "connection.degraded"}',
            status="given_up",
        )
        notice_of_integration(self.integration, NoticeKind.MISCONFIGURED, at=timezone.now())
        create_connect_link(self.integration, connection_name="by-link", actor=actor)


def _definition(slug: str) -> dict[str, Any]:
    return {
        "name": f"{slug} id",
        "grant_types": ["authorization_code", "client_credentials"],
        "authorization_endpoint": f"https://{slug}.example/authorize",
        "token_endpoint": f"https://{slug}.example/token",
        "scopes": [{"name": "read", "required": True}],
    }


# What each placeholder is filled with, from the workspace whose data must stay unseen.
VALUES: dict[str, Callable[[Tenant], Any]] = {
    "workspace": lambda t: t.workspace.slug,
    "provider_id": lambda t: t.provider.provider_id,
    "grant_type": lambda t: t.integration.grant_type,
    "connection_id": lambda t: t.connection.pk,
    "connection": lambda t: t.connection.pk,
    "client_key_id": lambda t: t.client_key.pk,
    "membership_id": lambda t: t.member.pk,
    "endpoint_id": lambda t: t.webhook.pk,
    "webhook_id": lambda t: t.webhook.pk,
    "delivery_id": lambda t: t.delivery.pk,
    "member_id": lambda t: t.member.pk,
    "invitation_id": lambda t: t.invitation.pk,
    "api_key_id": lambda t: t.api_key.pk,
    "key_id": lambda t: t.api_key.pk,
}


@pytest.fixture
def ours(db: None) -> Tenant:
    return Tenant("acme")


@pytest.fixture
def theirs(db: None) -> Tenant:
    return Tenant("zenith")


def _snapshot(tenant: Tenant) -> str:
    """Everything stored for a workspace, as text; ciphertext included."""
    rows = []
    for model in apps.get_models():
        names = {field.name for field in model._meta.fields}
        if model is Workspace:
            queryset = model.objects.filter(pk=tenant.workspace.pk)
        elif "workspace" in names:
            queryset = model._base_manager.filter(workspace=tenant.workspace)
        else:
            continue
        open_fields = [f for f in model._meta.fields if type(f).__name__ != "SealedTextField"]
        rows += [
            serializers.serialize("json", [row], fields=[f.name for f in open_fields])
            for row in queryset.defer(None).order_by("pk")
        ]
    return "\n".join(rows)


def _fill(route: Route, tenant: Tenant, **ours: Any) -> str:
    values = {name: VALUES[name](tenant) for name in route.parameters} | ours
    return "/" + PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), route.template)


def _inside_a_workspace() -> list[Route]:
    return [route for route in all_routes() if route.template.startswith("w/")]


def _of_the_api() -> list[Route]:
    routes = [r for r in all_routes() if r.template.startswith("api/") and r.name not in OPEN_ROUTES]
    return list({route.template: route for route in routes}.values())  # one per address; methods are tried below


def test_every_route_is_inside_a_workspace_or_of_the_api_or_open_for_a_stated_reason() -> None:
    stray = [
        str(route)
        for route in all_routes() + all_routes(settings.REDIRECT_HOST_URLCONF)
        if not route.template.startswith(("w/", "api/")) and route.name not in OPEN_ROUTES
    ]
    assert stray == []


def test_every_placeholder_has_a_fixture() -> None:
    guarded = _inside_a_workspace() + _of_the_api()
    unknown = {f"{name} in {route}" for route in guarded for name in route.parameters if name not in VALUES}
    assert unknown == set()
    assert len(_inside_a_workspace()) > 20
    assert len(_of_the_api()) > 10


@pytest.mark.parametrize("route", _inside_a_workspace(), ids=str)
@pytest.mark.parametrize("htmx", [False, True], ids=["page", "fragment"])
def test_an_outsider_finds_no_page_and_changes_nothing(
    route: Route, htmx: bool, ours: Tenant, theirs: Tenant, client: Client
) -> None:
    client.force_login(ours.owner)
    before = _snapshot(theirs)
    headers = {"HX-Request": "true"} if htmx else {}
    answers = [getattr(client, method)(_fill(route, theirs), headers=headers) for method in ("get", "post")]
    # 405: the route has no such method at all, whoever asks. Every route has one of the two.
    assert {answer.status_code for answer in answers} <= {404, 405}
    assert 404 in {answer.status_code for answer in answers}
    assert all(theirs.workspace.name.encode() not in answer.content for answer in answers)
    assert _snapshot(theirs) == before


@pytest.mark.parametrize(
    "route", [r for r in _inside_a_workspace() if set(r.parameters) - {"workspace", "grant_type", "tab"}], ids=str
)
def test_someone_elses_object_is_not_found_in_ones_own_workspace(
    route: Route, ours: Tenant, theirs: Tenant, client: Client
) -> None:
    client.force_login(ours.owner)
    before = _snapshot(theirs)
    path = _fill(route, theirs, workspace=ours.workspace.slug)
    statuses = {getattr(client, method)(path).status_code for method in ("get", "post")}
    assert statuses <= {404, 405}
    assert 404 in statuses
    assert _snapshot(theirs) == before


@pytest.mark.parametrize("route", [r for r in _of_the_api() if r.parameters], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_key_of_another_workspace_finds_nothing_and_changes_nothing(
    route: Route, method: str, ours: Tenant, theirs: Tenant, client: Client
) -> None:
    before = _snapshot(theirs)
    path = _fill(route, theirs)
    answer = client.generic(
        method.upper(),
        path,
        json.dumps({}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {ours.raw_key}"},
    )
    # 422 comes from a body that is judged before anything is looked up; 405: no such method. Neither tells anything.
    assert answer.status_code in (404, 405, 422), f"{method} {route} answered {answer.status_code}"
    text = answer.content.decode()
    assert path not in text
    assert theirs.provider.provider_id not in text
    assert _snapshot(theirs) == before


def test_lists_hold_only_ones_own(ours: Tenant, theirs: Tenant, client: Client) -> None:
    headers = {"Authorization": f"Bearer {ours.raw_key}"}
    for path in ("providers", "integrations", "webhooks", "audit-events", "notices"):
        text = client.get(f"/api/v1/{path}", headers=headers).content.decode()
        assert "zenith" not in text.lower(), path


def test_an_expired_or_foreign_key_is_refused_before_anything_else(ours: Tenant, client: Client) -> None:
    ours.api_key.expires_at = timezone.now() - timedelta(seconds=1)
    ours.api_key.save(update_fields=["expires_at"])
    for key in (ours.raw_key, f"gr_{ours.api_key.prefix}_{secrets.token_urlsafe(32)}"):
        answer = client.get("/api/v1/providers", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 401
