"""What the header and tabs of every integration page need, and who acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.connections.integration_page import IntegrationPage
from integrations.connections.overview import scope_table, token_of
from integrations.models import Connection
from integrations.providers.setup import redirect_uri
from workspaces.audit import Actor
from workspaces.http import WorkspaceRequest
from workspaces.roles import Permission


def actor_of(request: WorkspaceRequest) -> Actor:
    """The signed-in member as the one who acts."""
    return Actor.member(request.user, request.request_id)


def page_context(
    request: WorkspaceRequest, page: IntegrationPage, tab: str, connection: Connection | None = None
) -> dict[str, Any]:
    """What the header and tabs of every integration page need; the default connection's unless another is given."""
    connection = connection or page.default
    table = scope_table(page.spec, page.grant_type, connection, page.needed_scopes(connection))
    has_open_scopes = bool(connection and token_of(connection) and table.open)
    tabs = [
        _tab("overview", "Overview", page.url("detail"), tab),
        _tab("configuration", "Configuration", page.url("configuration"), tab),
        {
            **_tab("scopes", "Scopes", page.url("scopes"), tab),
            "count": table.open if has_open_scopes else 0,
            "tone": "waiting",
        },
        {**_tab("connections", "Connections", page.url("connections"), tab), "count": len(page.connections)},
        _tab("activity", "Activity", page.url("activity"), tab),
    ]
    return {
        "page": page,
        "spec": page.spec,
        "integration": page.integration,
        "tabs": tabs,
        "tab": tab,
        "connection": connection,
        "has_token": token_of(connection) is not None,
        "step": page.next_step(can=request.can),
        "urls": page_urls(page),
        "scopes": table,
        "has_open_scopes": has_open_scopes,
        "redirect_uri": redirect_uri(page.workspace) if page.needs_person else "",
        "may_use": Permission.CONNECTION_USE in request.can,
        "may_configure": Permission.INTEGRATION_MANAGE in request.can,
        "may_provide": Permission.PROVIDER_MANAGE in request.can,
    }


def _tab(key: str, label: str, url: str, current: str) -> dict[str, Any]:
    return {"label": label, "url": url, "current": key == current}


def page_urls(page: IntegrationPage) -> Mapping[str, str]:
    """The addresses that do not depend on a connection."""
    names = (
        "detail", "configuration", "scopes", "connections", "activity", "connect", "fetch_token", "test",
        "connect_link_create", "connection_new", "integration_delete", "inspect",
    )  # fmt: skip
    return {name: page.url(name) for name in names}
