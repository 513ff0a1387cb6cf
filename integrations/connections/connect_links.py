"""One-time links with which someone outside the workspace connects their account."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from integrations.connections.choices import (
    ALL_SCOPES,
    ChosenScopes,
    check_choices,
    definition_for,
    stored_parameters,
    with_stored,
)
from integrations.connections.errors import FlowRefused, LinkGone
from integrations.models import Connection, ConnectLink, GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.setup import is_configured
from workspaces.api_keys import effective_scopes
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import ActorKind, ApiKey, Membership, Workspace
from workspaces.return_urls import permits
from workspaces.roles import KeyScope, Permission, permissions_of


def digest(secret: str) -> str:
    """What is stored of a link's token, a state or a browser's secret: never the secret itself."""
    return sha256(secret.encode()).hexdigest()


def create_connect_link(
    integration: Integration,
    *,
    connection_name: str = "default",
    parameters: Mapping[str, Any] | None = None,
    chosen: ChosenScopes = ALL_SCOPES,
    return_url: str = "",
    confirm_account_change: bool = False,
    actor: Actor,
    now: datetime | None = None,
) -> tuple[str, ConnectLink]:
    """Make a link that lives 24 hours; returns its URL, which is shown once, and the row. Raises FlowRefused.

    What it does not decide and no existing connection has is asked from whoever uses it. `confirm_account_change` lets
    another account take the place of the one that the connection belongs to.
    """
    moment = now or timezone.now()
    if return_url and not permits(integration.workspace.return_urls, return_url):
        raise FlowRefused("return_url_refused")
    check_choices(
        check_startable(integration),
        integration,
        name=connection_name,
        chosen=chosen,
        parameters=parameters or {},
        complete=False,
    )
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        link = ConnectLink.objects.create(
            workspace_id=integration.workspace_id,
            integration=integration,
            token_hash=digest(token),
            connection_name=connection_name,
            parameters=dict(parameters or {}),  # type: ignore[misc] # a property
            scopes=chosen.stored_scopes,
            additional_scopes=list(chosen.additional),
            return_url=return_url,
            confirm_account_change=confirm_account_change,
            created_by=actor.label[:254],
            creator_kind=actor.kind,
            creator_id=actor.id,
            expires_at=moment + timedelta(seconds=settings.CONNECT_LINK_SECONDS),
        )
        detail = {"connection": connection_name}
        record(integration.workspace_id, AuditAction.CONNECT_LINK_CREATED, actor, target=integration, detail=detail)
    return f"{integration.workspace.connect_base_url}/connect/{token}/", link


def check_startable(integration: Integration) -> ProviderSpec:
    """The definition, where a person could be sent to the provider. Raises FlowRefused."""
    spec = definition_for(integration)
    if integration.grant_type != GrantType.AUTHORIZATION_CODE:
        raise FlowRefused("wrong_grant_type")
    if not is_configured(spec, integration):
        raise FlowRefused("not_configured")
    return spec


@dataclass(frozen=True, slots=True)
class LinkChoices:
    """What is decided for whoever uses a link: by the link, else by the connection that it reconnects."""

    connection: Connection | None
    chosen: ChosenScopes
    values: dict[str, Any] = field(repr=False)

    def scopes(self, spec: ProviderSpec, link: ConnectLink) -> tuple[str, ...]:
        """What the provider will be asked for."""
        return self.chosen.requested(spec, link.integration)


def choices_of_link(link: ConnectLink, spec: ProviderSpec) -> LinkChoices:
    """Everything that the link leaves no choice about. Raises FlowRefused when no key opens a stored value."""
    integration = link.integration
    connection = Connection.objects.filter(integration=integration, name=link.connection_name).first()
    chosen = ChosenScopes.of(connection, spec).but(link.scopes, link.additional_scopes or None)
    values = with_stored(spec, integration.readable_parameters, stored_parameters(connection), stored_parameters(link))
    return LinkChoices(connection, chosen, values)


def find_link(token: str, now: datetime | None = None, *, of: Workspace | None = None) -> ConnectLink:
    """The link that a URL's token belongs to; on a redirect host only one `of` its workspace. Raises LinkGone."""
    moment = now or timezone.now()
    links = ConnectLink.objects.select_related("workspace", "integration", "integration__workspace")
    link: ConnectLink | None = links.filter(token_hash=digest(token)).first()
    if link is None or (of is not None and link.workspace_id != of.pk):
        raise LinkGone("unknown_link")
    check_usable(link, moment)
    return link


def check_usable(link: ConnectLink, now: datetime) -> None:
    """Raises LinkGone when a link is used up, its time is over, or whoever made it could not make it any more."""
    if link.used_at is not None:
        raise LinkGone("link_used")
    if link.expires_at <= now:
        raise LinkGone("link_expired")
    if not _is_backed(link):
        raise LinkGone("link_withdrawn")


def _is_backed(link: ConnectLink) -> bool:
    """Whether its creator may still connect. A key that has merely expired leaves its links alone; a revoked one
    does not.
    """
    if link.creator_kind == ActorKind.MEMBER:
        members = Membership.objects.filter(workspace_id=link.workspace_id, user__is_active=True)
        membership = members.filter(user_id=link.creator_id).first()
        return membership is not None and Permission.CONNECTION_USE in permissions_of(membership.role)
    if link.creator_kind == ActorKind.API_KEY:
        keys = ApiKey.objects.select_related("workspace", "created_by").filter(workspace_id=link.workspace_id)
        api_key = keys.filter(pk=link.creator_id, revoked_at=None).first()
        return api_key is not None and KeyScope.CONNECTIONS_WRITE in effective_scopes(api_key)
    return link.creator_kind in (ActorKind.OPERATOR, ActorKind.WORKER)


def bind_to_browser(link: ConnectLink, binding: str) -> None:
    """Bind a link to the browser that posts it first; the same browser may try again. Raises LinkGone."""
    mine = digest(binding)
    rows = ConnectLink.objects.filter(pk=link.pk, used_at__isnull=True)
    if not rows.filter(browser_hash__in=["", mine]).update(browser_hash=mine):
        raise LinkGone("link_in_other_browser" if rows.exists() else "link_used")
    link.browser_hash = mine


def link_actor(link: ConnectLink, actor_request_id: Any = None) -> Actor:
    """Whoever uses a link is known only by it."""
    return Actor(ActorKind.CONNECT_LINK, str(link.pk), f"Connect link made by {link.created_by}", actor_request_id)
