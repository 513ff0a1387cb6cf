"""A receiver that answers as told and checks signatures, endpoints that lead to it, notices to tell."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.clock import Clock
from integrations.models import Connection, Notice, NoticeKind, WebhookDelivery, WebhookEndpoint
from integrations.notices import notice_of_integration
from integrations.webhooks.deliverer import Summary, deliver_webhooks
from integrations.webhooks.endpoints import NewSecret, create_endpoint
from tests.factories import make_connection, make_integration
from tests.servers.scripted import Received, ScriptedServer
from workspaces.audit import Actor
from workspaces.models import Workspace

# After the real present: endpoints are made by the database's clock, and hear of what happens later.
NOW = datetime(2040, 1, 2, 12, 0, 0, tzinfo=UTC)
HOOK = "/hooks/secret-path"
OPERATOR = Actor.operator()


@pytest.fixture
def receiver(provider_server: ScriptedServer) -> ScriptedServer:
    """Listens on the loopback; the door lets it through."""
    return provider_server


@pytest.fixture
def new_endpoint(workspace: Workspace, receiver: ScriptedServer) -> NewSecret:
    """An endpoint for everything, with its secret."""
    return create_endpoint(workspace, url=f"{receiver.url}{HOOK}?key=query-secret", actor=OPERATOR)


@pytest.fixture
def endpoint(new_endpoint: NewSecret) -> WebhookEndpoint:
    return new_endpoint.endpoint


@pytest.fixture
def connection(workspace: Workspace) -> Connection:
    return make_connection(make_integration(workspace))


@pytest.fixture
def notice(connection: Connection) -> Callable[..., Notice]:
    """Write a notice about the integration or, with `about_connection`, its connection."""

    def _notice(
        kind: NoticeKind = NoticeKind.DEGRADED, *, at: datetime = NOW, about_connection: bool = False, **fields: Any
    ) -> Notice:
        made = notice_of_integration(connection.integration, kind, at=at)
        names = {"connection": connection, "connection_name": connection.name} if about_connection else {}
        for name, value in {**names, **fields}.items():
            setattr(made, name, value)
        made.save()
        return made

    return _notice


def run(now: datetime = NOW, **more: Any) -> Summary:
    """One run of a worker at a moment that stands still, without jitter."""
    return deliver_webhooks(clock=Clock.standing_at(now), **{"rng": NoJitter(), **more})


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def only_delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def verifies(received: Received, secret: str) -> bool:
    """What a receiver does, by the specification alone: nothing of ours is called."""
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    signatures = [one.partition(",") for one in received.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(mac, expected) for version, _, mac in signatures)


def later(**delta: float) -> datetime:
    return NOW + timedelta(**delta)
