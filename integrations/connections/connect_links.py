"""One-time links with which someone outside the workspace connects their account."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from integrations.connections.errors import FlowRefused, LinkGone
from integrations.models import ConnectLink, GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.parameters import admin_parameters, connection_parameters, without_config_values
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.providers.rendering import ParameterRefused, check_value
from integrations.providers.scope_rules import ScopesRefused, check_connection_scopes
from integrations.providers.setup import is_configured
from workspaces.api_keys import effective_scopes
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import ActorKind, ApiKey, Membership, Workspace
from workspaces.return_urls import permits
from workspaces.roles import KeyScope, Permission, permissions_of

MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class ChosenScopes:
    """What a connection asks for differently: a choice among the provider's own (None: all of them), and more."""

    scopes: Sequence[str] | None = None
    additional: tuple[str, ...] = ()

    @property
    def stored_scopes(self) -> list[str] | None:
        """As the column holds it."""
        return None if self.scopes is None else list(self.scopes)


def digest(secret: str) -> str:
    """What is stored of a link's token, a state or a browser's secret: never the secret itself."""
    return sha256(secret.encode()).hexdigest()


def create_connect_link(
    integration: Integration,
    *,
    connection_name: str = "default",
    parameters: Mapping[str, Any] | None = None,
    scopes: Sequence[str] | None = None,
    additional_scopes: Sequence[str] = (),
    return_url: str = "",
    actor: Actor,
    now: datetime | None = None,
) -> tuple[str, ConnectLink]:
    """Make a link that lives 24 hours; returns its URL, which is shown once, and the row. Raises FlowRefused."""
    moment = now or timezone.now()
    if return_url and not permits(integration.workspace.return_urls, return_url):
        raise FlowRefused("return_url_refused")
    chosen = ChosenScopes(scopes, tuple(additional_scopes))
    check_request(integration, connection_name, parameters or {}, chosen)
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
            created_by=actor.label[:254],
            creator_kind=actor.kind,
            creator_id=actor.id,
            expires_at=moment + timedelta(seconds=settings.CONNECT_LINK_SECONDS),
        )
        detail = {"connection": connection_name}
        record(integration.workspace_id, AuditAction.CONNECT_LINK_CREATED, actor, target=integration, detail=detail)
    return f"{integration.workspace.connect_base_url}/connect/{token}/", link


def check_request(integration: Integration, name: str, parameters: Mapping[str, Any], chosen: ChosenScopes) -> None:
    """Refuse what can never become a connection, before anybody is sent to a provider. Raises FlowRefused."""
    try:
        spec = find_spec(integration.workspace, integration.provider_id)
    except ProviderNotFound as error:
        raise FlowRefused("provider_missing") from error
    if integration.grant_type != GrantType.AUTHORIZATION_CODE:
        raise FlowRefused("wrong_grant_type")
    if not is_configured(spec, integration):
        raise FlowRefused("not_configured")
    check_name(name)
    check_scopes(spec, integration.grant_type, chosen)
    try:
        _check_parameters(spec.under(integration.grant_type), parameters)
    except ParameterRefused as error:
        raise FlowRefused("parameter_refused", error.message, "Correct the parameters.") from error


def check_name(name: str) -> None:
    """Raise FlowRefused unless a connection may be called so."""
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise FlowRefused("invalid_name", f"A connection's name has 1 to {MAX_NAME_LENGTH} characters.", "Change it.")


def check_scopes(spec: ProviderSpec, grant_type: str, chosen: ChosenScopes) -> None:
    """Raise FlowRefused unless the provider's rules let a connection have these."""
    try:
        check_connection_scopes(spec, grant_type, chosen.scopes, chosen.additional)
    except ScopesRefused as error:
        raise FlowRefused("scope_refused", str(error), "Change the scopes of this connection.") from error


def _check_parameters(spec: ProviderSpec, parameters: Mapping[str, Any]) -> None:
    """Those given have to fit; those missing may still be asked for."""
    known = {parameter.key: parameter for parameter in connection_parameters(spec)}
    decides_host = {parameter.key for parameter in admin_parameters(spec)}
    for key, value in without_config_values(spec, parameters).items():
        if key in decides_host:
            raise ParameterRefused(key, f"“{key}” decides which host is called: an admin sets it on the integration.")
        if key not in known:
            raise ParameterRefused(key, f"The provider has no parameter “{key}”.")
        check_value(known[key], value)


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
