"""Webhooks: list, create, change, test, roll the secret, delete; their deliveries, and replay."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from ninja import Path as PathValue
from ninja import Query, Router, Status

from integrations.api.authentication import ApiKeyAuth, ApiRequest, Path
from integrations.api.openapi import refusals
from integrations.api.paging import DEFAULT_LIMIT, Cursor, Limit, cut_page, decode_cursor, encode_cursor
from integrations.api.problems import Problem
from integrations.api.schemas.webhooks import (
    SecretRoll,
    WebhookChange,
    WebhookCreate,
    WebhookCreatedOut,
    WebhookDeliveryOut,
    WebhookDeliveryPage,
    WebhookOut,
    WebhookPage,
)
from integrations.models import DeliveryStatus, DisabledBecause, WebhookDelivery, WebhookEndpoint
from integrations.webhooks import deliveries, endpoints
from integrations.webhooks.log import find_deliveries, older_than
from workspaces.models import Workspace
from workspaces.roles import KeyScope

router = Router()
READ, WRITE = KeyScope.WEBHOOKS_READ, KeyScope.WEBHOOKS_WRITE

WebhookId = Annotated[str, PathValue(description="The webhook's `id`.", format="uuid")]
DeliveryId = Annotated[str, PathValue(description="The delivery's `id`.", format="uuid")]
StatusFilter = Annotated[DeliveryStatus | None, Query(description="Only deliveries with this status.")]


def find_webhook(workspace: Workspace, path: Path) -> WebhookEndpoint:
    """`{webhook_id}`."""
    found: WebhookEndpoint | None = (
        workspace.webhook_endpoints.select_related("workspace").filter(pk=_id(path, "webhook_id")).first()
    )
    if found is None:
        raise Problem("not_found")
    return found


def find_delivery(workspace: Workspace, path: Path) -> WebhookDelivery:
    """`{delivery_id}`."""
    rows = workspace.webhook_deliveries.select_related("endpoint")
    found: WebhookDelivery | None = rows.filter(pk=_id(path, "delivery_id")).first()
    if found is None:
        raise Problem("not_found")
    return found


@router.get(
    "/webhooks",
    auth=ApiKeyAuth(READ),
    response=WebhookPage,
    operation_id="list_webhooks",
    summary="List webhooks",
    openapi_extra=refusals(undecryptable="A URL cannot be read."),
)
def list_webhooks(request: ApiRequest[None]) -> WebhookPage:
    """All webhooks of the workspace, oldest first. There are never so many that pages would be needed."""
    return WebhookPage(items=[webhook_out(one) for one in request.auth.workspace.webhook_endpoints.all()], next=None)


@router.post(
    "/webhooks",
    auth=ApiKeyAuth(WRITE),
    response={201: WebhookCreatedOut},
    operation_id="create_webhook",
    summary="Create a webhook",
    openapi_extra=refusals(conflict="The workspace has as many as it may have."),
)
def create_webhook(request: ApiRequest[None], body: WebhookCreate) -> Status[WebhookCreatedOut]:
    """Make a webhook. Its signing secret is in this answer, and never again."""
    new = endpoints.create_endpoint(
        request.auth.workspace,
        url=body.url,
        description=body.description,
        events=body.events,
        actor=request.auth.actor,
    )
    return Status(201, _with_secret(new))


@router.get(
    "/webhooks/{webhook_id}",
    auth=ApiKeyAuth(READ, find_webhook),
    response=WebhookOut,
    operation_id="get_webhook",
    summary="Read a webhook",
    openapi_extra=refusals(undecryptable="Its URL cannot be read."),
)
def get_webhook(request: ApiRequest[WebhookEndpoint], webhook_id: WebhookId) -> WebhookOut:
    """Where it leads and how it fares."""
    return webhook_out(request.auth.target)


@router.patch(
    "/webhooks/{webhook_id}",
    auth=ApiKeyAuth(WRITE, find_webhook),
    response=WebhookOut,
    operation_id="change_webhook",
    summary="Change a webhook",
    openapi_extra=refusals(conflict="It was deleted meanwhile.", undecryptable="Its URL cannot be read."),
)
def change_webhook(request: ApiRequest[WebhookEndpoint], webhook_id: WebhookId, body: WebhookChange) -> WebhookOut:
    """Change URL, description or events, enable it, disable it. Enabling begins anew: old failures are forgotten."""
    endpoint = request.auth.target
    endpoints.change_endpoint(
        endpoint,
        url=body.url,
        description=body.description,
        events=body.events,
        enabled=body.enabled,
        actor=request.auth.actor,
    )
    return webhook_out(endpoint)


@router.delete(
    "/webhooks/{webhook_id}",
    auth=ApiKeyAuth(WRITE, find_webhook),
    response={204: None},
    operation_id="delete_webhook",
    summary="Delete a webhook",
    openapi_extra=refusals(conflict="It was deleted meanwhile."),
)
def delete_webhook(request: ApiRequest[WebhookEndpoint], webhook_id: WebhookId) -> Status[None]:
    """Delete it with its log and its secret."""
    endpoints.delete_endpoint(request.auth.target, actor=request.auth.actor)
    return Status(204, None)


@router.post(
    "/webhooks/{webhook_id}/test",
    auth=ApiKeyAuth(WRITE, find_webhook),
    response=WebhookDeliveryOut,
    operation_id="test_webhook",
    summary="Send a test event",
    openapi_extra=refusals(undecryptable="Its URL or secret cannot be read."),
)
def test_webhook(request: ApiRequest[WebhookEndpoint], webhook_id: WebhookId) -> WebhookDeliveryOut:
    """Send `webhook.test` now, once, also while it is disabled. 200 also when it failed: look at `status`."""
    return delivery_out(deliveries.send_test(request.auth.target, actor=request.auth.actor))


@router.post(
    "/webhooks/{webhook_id}/roll-secret",
    auth=ApiKeyAuth(WRITE, find_webhook),
    response=WebhookCreatedOut,
    operation_id="roll_webhook_secret",
    summary="Roll a webhook's signing secret",
    openapi_extra=refusals(conflict="It was deleted meanwhile.", undecryptable="Its secret cannot be read."),
)
def roll_webhook_secret(
    request: ApiRequest[WebhookEndpoint], webhook_id: WebhookId, body: SecretRoll
) -> WebhookCreatedOut:
    """Make a new secret, which is in this answer and never again. The old one signs too for a while."""
    overlap = timedelta(seconds=body.overlap_seconds)
    return _with_secret(endpoints.roll_secret(request.auth.target, overlap, actor=request.auth.actor))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    auth=ApiKeyAuth(READ, find_webhook),
    response=WebhookDeliveryPage,
    operation_id="list_webhook_deliveries",
    summary="List a webhook's deliveries",
)
def list_webhook_deliveries(
    request: ApiRequest[WebhookEndpoint],
    webhook_id: WebhookId,
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
    status: StatusFilter = None,
) -> WebhookDeliveryPage:
    """What was sent there in the last 30 days, newest first."""
    endpoint = request.auth.target
    found = find_deliveries(endpoint, status or "").defer(None)
    if key := decode_cursor(cursor, str):
        found = older_than(found, endpoint, _cursor_id(key[0]))
    page, following = cut_page(found[: limit + 1], limit, lambda one: encode_cursor(str(one.pk)))
    return WebhookDeliveryPage(items=[delivery_out(one) for one in page], next=following)


@router.post(
    "/webhook-deliveries/{delivery_id}/replay",
    auth=ApiKeyAuth(WRITE, find_delivery),
    response=WebhookDeliveryOut,
    operation_id="replay_webhook_delivery",
    summary="Replay a delivery",
    openapi_extra=refusals(conflict="The webhook is disabled, or the event was a test."),
)
def replay_webhook_delivery(request: ApiRequest[WebhookDelivery], delivery_id: DeliveryId) -> WebhookDeliveryOut:
    """Send the event again within seconds, under the same `webhook-id`, whatever became of it before."""
    delivery = request.auth.target
    deliveries.replay(delivery, actor=request.auth.actor)
    return delivery_out(delivery)


def webhook_out(endpoint: WebhookEndpoint) -> WebhookOut:
    """A webhook as the API says it. Raises SealError when its URL cannot be read."""
    return WebhookOut(
        id=endpoint.pk,
        url=str(endpoint.url),
        description=endpoint.description,
        events=endpoint.events,
        enabled=endpoint.enabled,
        disabled_because=DisabledBecause(endpoint.disabled_because) if endpoint.disabled_because else None,
        disabled_at=endpoint.disabled_at,
        failing_since=endpoint.failing_since,
        last_delivered_at=endpoint.last_delivered_at,
        previous_secret_until=endpoint.previous_until,
        created_at=endpoint.created_at,
    )


def delivery_out(delivery: WebhookDelivery) -> WebhookDeliveryOut:
    """A delivery as the API says it."""
    return WebhookDeliveryOut(
        id=delivery.pk,
        webhook_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        payload=json.loads(delivery.body),
        status=DeliveryStatus(delivery.status),
        attempts=delivery.attempts_made,
        next_attempt_at=delivery.next_attempt_at,
        last_status=delivery.last_status,
        last_error=delivery.last_error or None,
        last_message=delivery.last_message or None,
        created_at=delivery.created_at,
        delivered_at=delivery.delivered_at,
    )


def _with_secret(new: endpoints.NewSecret) -> WebhookCreatedOut:
    return WebhookCreatedOut(**webhook_out(new.endpoint).model_dump(), secret=new.secret)


def _id(path: Path, name: str) -> UUID:
    try:
        return UUID(str(path[name]))
    except ValueError as error:
        raise Problem("not_found") from error


def _cursor_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Problem("invalid_cursor") from error
