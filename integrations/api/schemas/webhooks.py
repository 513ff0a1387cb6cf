"""Webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import NEXT, Input, Output, example
from integrations.models import DeliveryStatus, DisabledBecause

WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="Beginning with https://, on the public internet. Stored encrypted: it may hold a secret.",
        examples=["https://hooks.example.com/grantry"],
    ),
]
Description = Annotated[str, Field(max_length=200, description="What receives the events.")]
Events = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(
        max_length=50,
        description="Kinds of events that are sent there; empty: all, also those of later releases.",
        examples=[["connection.reconnect_required", "connection.recovered"]],
    ),
]


class WebhookOut(Output):
    """Where events are sent, and how that goes. Never its signing secret."""

    model_config = ConfigDict(title="Webhook")

    id: UUID
    url: str = Field(repr=False)
    description: str
    events: list[str] = Field(description="Empty: all.")
    enabled: bool
    disabled_because: DisabledBecause | None = Field(
        description="`member`: somebody disabled it. `failing`: nothing could be delivered for five days. "
        "`gone`: it answered 410."
    )
    disabled_at: datetime | None
    failing_since: datetime | None = Field(description="Since when nothing but failures; null when it works.")
    last_delivered_at: datetime | None
    previous_secret_until: datetime | None = Field(description="Until then the secret before the last roll signs too.")
    created_at: datetime


class WebhookCreatedOut(WebhookOut):
    """A new webhook, or one with a new secret."""

    model_config = ConfigDict(title="Webhook with its secret")

    secret: str = Field(repr=False, description="Shown once.", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class WebhookPage(Output):
    """All webhooks of the workspace."""

    model_config = ConfigDict(title="Webhooks")

    items: list[WebhookOut]
    next: str | None = NEXT


class WebhookCreate(Input):
    """A new webhook."""

    model_config = ConfigDict(
        title="New webhook",
        json_schema_extra=example(
            {"url": "https://hooks.example.com/grantry", "events": ["connection.reconnect_required"]}
        ),
    )

    url: WebhookUrl = Field(repr=False)
    description: Description = ""
    events: Events = []


class WebhookChange(Input):
    """What is absent stays as it is."""

    model_config = ConfigDict(title="Webhook change", json_schema_extra=example({"enabled": False}))

    url: WebhookUrl | None = Field(default=None, repr=False)
    description: Description | None = None
    events: Events | None = None
    enabled: bool | None = Field(default=None, description="False: nothing more is sent, and what waits is given up.")


class SecretRoll(Input):
    """How long the old secret goes on."""

    model_config = ConfigDict(title="Secret roll", json_schema_extra=example({"overlap_seconds": 86400}))

    overlap_seconds: int = Field(
        default=86400, ge=0, le=604800, description="For so long each message carries a signature of both secrets."
    )


class WebhookDeliveryOut(Output):
    """One event for one webhook, with how far it is."""

    model_config = ConfigDict(title="Webhook delivery")

    id: UUID
    webhook_id: UUID
    event_id: UUID = Field(description="The header `webhook-id`: the same for each attempt and replay.")
    event_type: str = Field(examples=["connection.reconnect_required"])
    payload: dict[str, Any] = Field(description="What is sent.")
    status: DeliveryStatus = Field(
        description="`pending`: not tried yet. `failed`: will be tried again. `delivered`. `given_up`."
    )
    attempts: int = Field(description="Since it was made or last replayed.")
    next_attempt_at: datetime | None
    last_status: int | None = Field(description="HTTP status of the last answer; null when there was none.")
    last_error: str | None = Field(
        description="`refused`, `redirect`, `throttled`, `gone`, `timeout`, `unreachable`, …; null when it went well."
    )
    last_message: str | None = Field(description="What happened, for a person.")
    created_at: datetime
    delivered_at: datetime | None


class WebhookDeliveryPage(Output):
    """A page of deliveries, newest first."""

    model_config = ConfigDict(title="Webhook deliveries")

    items: list[WebhookDeliveryOut]
    next: str | None = NEXT
