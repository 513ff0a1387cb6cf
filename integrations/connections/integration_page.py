"""What every page of one integration knows: the provider, the connections, the status and the next step.

Loading takes a fixed number of queries, however many connections there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.http import Http404
from django.urls import reverse

from integrations.connections.choices import ChosenScopes
from integrations.connections.status import StatusExplanation, explain, integration_status
from integrations.models import Connection, ConnectionStatus, GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.client_keys import public_keys
from integrations.providers.registration import with_discovered
from integrations.providers.registry import ProviderNotFound, find_spec
from workspaces.http import WorkspaceRequest
from workspaces.models import Workspace
from workspaces.roles import Permission

# Worst first; `configured` is a connection that someone disconnected, or that was never connected.
WORST_FIRST = (
    ConnectionStatus.MISCONFIGURED,
    ConnectionStatus.RECONNECT_REQUIRED,
    ConnectionStatus.DEGRADED,
    ConnectionStatus.CONNECTED,
    ConnectionStatus.CONFIGURED,
)
NEEDS_ATTENTION = WORST_FIRST[:3]


@dataclass(frozen=True, slots=True)
class NextStep:
    """The one thing to do now: a link, or a POST that a form sends."""

    label: str
    url: str
    icon: str
    post: bool = False
    leaves: bool = False  # goes to the provider's consent page
    connection_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class IntegrationPage:
    """One provider with one grant type as a workspace sees it, set up or not."""

    workspace: Workspace
    spec: ProviderSpec
    grant_type: GrantType
    integration: Integration | None
    connections: tuple[Connection, ...]
    status: ConnectionStatus
    now: datetime

    @property
    def needs_person(self) -> bool:
        """Whether someone has to consent (authorization_code)."""
        return self.grant_type == GrantType.AUTHORIZATION_CODE

    @property
    def is_configured(self) -> bool:
        """Whether client credentials are saved."""
        return self.status != ConnectionStatus.NOT_CONFIGURED

    @property
    def default(self) -> Connection | None:
        """The connection that is used when none is named; else the first."""
        return next((c for c in self.connections if c.is_default), next(iter(self.connections), None))

    @property
    def worst(self) -> Connection | None:
        """The connection whose status the integration shows."""
        if not self.connections:
            return None
        return min(self.connections, key=lambda c: WORST_FIRST.index(c.status_at(self.now)))

    @property
    def other_grant_type(self) -> GrantType | None:
        """The grant type that the provider supports besides this one."""
        return next((grant for grant in self.spec.grant_types if grant != self.grant_type), None)

    def needed_scopes(self, connection: Connection | None) -> tuple[str, ...]:
        """What connecting (again) asks for today, base scopes first."""
        integration = self.integration or Integration(grant_type=self.grant_type)
        return ChosenScopes.of(connection, self.spec).requested(self.spec, integration)

    def find(self, connection_id: UUID) -> Connection:
        """The connection with this id. Raises Http404 when this integration has none."""
        for connection in self.connections:
            if connection.pk == connection_id:
                return connection
        raise Http404

    def explanation(self, connection: Connection | None) -> StatusExplanation:
        """Status, cause and next step in words, of a connection or (None) of the integration."""
        return explain(
            connection.status_at(self.now) if connection else self.status,
            spec=self.spec,
            grant_type=self.grant_type,
            integration=self.integration,
            connection=connection or self.worst,
            now=self.now,
        )

    def url(self, name: str, **more: object) -> str:
        """The address of one of this integration's pages."""
        base = {"workspace": self.workspace.slug, "provider_id": self.spec.provider_id, "grant_type": self.grant_type}
        return reverse(f"integrations:{name}", kwargs={**base, **more})

    def next_step(self, connection: Connection | None = None, *, can: frozenset[Permission]) -> NextStep:
        """The next step for the integration (or one connection) that these permissions allow."""
        subject = connection or self.worst
        status = subject.status_at(self.now) if connection and subject else self.status
        if status == ConnectionStatus.NOT_CONFIGURED:
            label = "Set up" if Permission.INTEGRATION_MANAGE in can else "View"
            return NextStep(label, self.url("configuration"), "settings")
        if status == ConnectionStatus.MISCONFIGURED and subject and self.spec.asks_credentials:
            if Permission.CONNECTION_USE in can:
                return NextStep("Check connection", self.url("connection_edit", connection_id=subject.pk), "pencil")
            return NextStep("View", self.url("connection", connection_id=subject.pk), "eye")
        if status == ConnectionStatus.MISCONFIGURED:
            label = "Check configuration" if Permission.INTEGRATION_MANAGE in can else "View configuration"
            return NextStep(label, self.url("configuration"), "settings-exclamation")
        if Permission.CONNECTION_USE not in can:
            return NextStep("View", self.url("detail"), "eye")
        if status == ConnectionStatus.CONNECTED:
            return NextStep("Manage", self.url("detail"), "settings")
        if status == ConnectionStatus.DEGRADED and subject:
            return NextStep("Try now", self.url("refresh", connection_id=subject.pk), "refresh", post=True)
        return self._connect_step(subject, status)

    def _connect_step(self, connection: Connection | None, status: ConnectionStatus) -> NextStep:
        connection_id = connection.pk if connection else None
        if not self.needs_person:
            return NextStep("Fetch token", self.url("fetch_token"), "refresh", post=True, connection_id=connection_id)
        again = status == ConnectionStatus.RECONNECT_REQUIRED
        label = "Reconnect with OAuth" if again else "Connect with OAuth"
        return NextStep(
            label, self.url("connect"), "plug-connected", post=True, leaves=True, connection_id=connection_id
        )


def load_page(request: WorkspaceRequest, provider_id: str, grant_type: str, now: datetime) -> IntegrationPage:
    """Load an integration of the request's workspace, saved or not. Raises Http404 for what the provider has not."""
    workspace = request.workspace
    try:
        spec = find_spec(workspace, provider_id)
    except ProviderNotFound as error:
        raise Http404 from error
    if not spec.supports(grant_type):
        raise Http404
    spec = spec.under(grant_type)
    saved = workspace.integrations.filter(provider_id=provider_id, grant_type=grant_type)
    integration = saved.prefetch_related(public_keys(workspace)).first()
    connections: tuple[Connection, ...] = ()
    if integration is not None:
        rows = workspace.connections.filter(integration=integration)
        connections = tuple(rows.select_related("integration", "token", "schedule"))
    return make_page(workspace, spec, GrantType(grant_type), integration, connections, now)


def make_page(
    workspace: Workspace,
    spec: ProviderSpec,
    grant_type: GrantType,
    integration: Integration | None,
    connections: tuple[Connection, ...],
    now: datetime,
) -> IntegrationPage:
    """Put loaded rows together; the status is judged here."""
    spec = with_discovered(spec, integration)
    status = integration_status(spec, integration, connections, now)
    return IntegrationPage(workspace, spec, grant_type, integration, connections, status, now)
