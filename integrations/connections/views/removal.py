"""Disconnect and delete: what stops working is named first, and confirmed by name when something does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from integrations.connections.forms import ConfirmForm
from integrations.connections.integration_page import IntegrationPage, load_page
from integrations.connections.overview import token_of
from integrations.connections.revocation import Revocation, delete_connection, delete_integration
from integrations.connections.revocation import disconnect as disconnect_connection
from integrations.connections.usage import Reader, readers
from integrations.connections.views.header import actor_of
from integrations.connections.views.provider_edit import find_custom
from integrations.models import Connection
from integrations.providers.base import ProviderSpec
from integrations.providers.custom import delete_custom_provider
from integrations.providers.registry import find_newest_spec
from workspaces.access import workspace_view
from workspaces.http import WorkspaceRequest
from workspaces.models import Workspace
from workspaces.roles import Permission

LATELY = timedelta(days=30)  # a reader that was here since then counts as depending on it
UNPROCESSABLE = 422
SHOWN = 10  # connections that are named; of more the number is said


@dataclass(frozen=True, slots=True)
class Removal:
    """What is about to go, what it takes along, and the word that confirms it (none when nothing depends on it)."""

    title: str
    subtitle: str
    action: str
    button: str
    cancel_url: str
    word: str
    readers: list[Reader] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    consequences: list[tuple[str, str]] = field(default_factory=list)  # icon, sentence

    @property
    def first_connections(self) -> list[Connection]:
        """Those that are named; one more than SHOWN is named rather than counted."""
        return self.connections if len(self.connections) <= SHOWN + 1 else self.connections[:SHOWN]

    @property
    def more_connections(self) -> int:
        """How many go beside those that are named."""
        return len(self.connections) - len(self.first_connections)


def confirmed(request: WorkspaceRequest, removal: Removal) -> bool:
    """Whether the form says the word, where one is asked for."""
    return ConfirmForm(request.POST, word=removal.word).is_valid()


def confirm_page(
    request: WorkspaceRequest, removal: Removal, spec: ProviderSpec, *, missing: bool = False
) -> HttpResponse:
    """The page that does what the dialog does; it is also where a wrong word leads to."""
    context = {"removal": removal, "spec": spec, "missing": missing}
    return render(request, "integrations/confirm.html", context, status=UNPROCESSABLE if missing else 200)


def tell_revocation(request: WorkspaceRequest, what: str, revocation: Revocation | None) -> None:
    """Say what became of the tokens at the provider."""
    if revocation is None or revocation.result in ("revoked", "nothing"):
        detail = f" {revocation.message}" if revocation and revocation.message else ""
        messages.success(request, f"{what}{detail}")
    else:
        messages.warning(request, f"{what} {revocation.message}")


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.CONNECTION_USE)
def disconnect(request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID) -> HttpResponse:
    """Revoke the tokens at the provider and delete them here; the connection stays, ready to connect again."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = page.find(connection_id)
    removal = disconnect_removal(page, connection)
    if request.method != "POST":
        return confirm_page(request, removal, page.spec)
    if not confirmed(request, removal):
        return confirm_page(request, removal, page.spec, missing=True)
    revocation = disconnect_connection(connection, actor=actor_of(request))
    tell_revocation(request, f"“{connection.name}” is disconnected.", revocation)
    return redirect(page.url("connection", connection_id=connection.pk))


def disconnect_removal(page: IntegrationPage, connection: Connection) -> Removal:
    """What disconnecting does."""
    depending = readers(page.workspace, [connection], page.now - LATELY)
    return Removal(
        title=f"Disconnect {page.spec.name}?",
        subtitle=of_connection(connection),
        action=page.url("disconnect", connection_id=connection.pk),
        button="Disconnect",
        cancel_url=page.url("connection", connection_id=connection.pk),
        word=page.spec.provider_id if depending else "",
        readers=depending,
        consequences=[tokens_go(page), ("settings-check", stays(page, connection))],
    )


def of_connection(connection: Connection) -> str:
    """The connection by name and account."""
    account = connection.account.get("label")
    return f"Connection {connection.name}, {account}" if account else f"Connection {connection.name}"


def tokens_go(page: IntegrationPage) -> tuple[str, str]:
    """What becomes of the tokens."""
    if page.spec.revocation_endpoint:
        return "key-off", f"The tokens are revoked at {page.spec.name} and deleted here."
    return (
        "key-off",
        f"The tokens are deleted here. {page.spec.name} offers no revocation: remove the access there as well.",
    )


def stays(page: IntegrationPage, connection: Connection) -> str:
    """What is left as it is."""
    others = [other.name for other in page.connections if other.pk != connection.pk and token_of(other)]
    words = "Client ID, client secret and scopes stay, so that you can connect again."
    if len(others) == 1:
        return f"{words} The other connection, {others[0]}, is not touched."
    return f"{words} The {len(others)} other connections are not touched." if others else words


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.CONNECTION_USE)
def connection_delete(
    request: WorkspaceRequest, provider_id: str, grant_type: str, connection_id: UUID
) -> HttpResponse:
    """Disconnect, and forget the connection with its name and parameters."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    connection = page.find(connection_id)
    depending = readers(page.workspace, [connection], page.now - LATELY)
    removal = Removal(
        title=f"Delete the connection {connection.name}?",
        subtitle=of_connection(connection),
        action=page.url("connection_delete", connection_id=connection.pk),
        button="Delete connection",
        cancel_url=page.url("connections"),
        word=connection.name if depending else "",
        readers=depending,
        consequences=[tokens_go(page), ("settings-check", stays(page, connection))],
    )
    if request.method != "POST":
        return confirm_page(request, removal, page.spec)
    if not confirmed(request, removal):
        return confirm_page(request, removal, page.spec, missing=True)
    revocation = delete_connection(connection, actor=actor_of(request), force=True)
    tell_revocation(request, f"The connection “{connection.name}” was deleted.", revocation)
    return redirect(page.url("connections"))


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.INTEGRATION_MANAGE)
def integration_delete(request: WorkspaceRequest, provider_id: str, grant_type: str) -> HttpResponse:
    """Revoke every token and delete the integration with its credentials."""
    page = load_page(request, provider_id, grant_type, timezone.now())
    if page.integration is None:
        raise Http404
    depending = readers(page.workspace, page.connections, page.now - LATELY)
    removal = Removal(
        title=f"Delete the integration {page.spec.name}?",
        subtitle=str(page.grant_type.label),
        action=page.url("integration_delete"),
        button="Delete integration",
        cancel_url=page.url("configuration"),
        word=page.spec.provider_id if depending or page.connections else "",
        readers=depending,
        connections=list(page.connections),
        consequences=[tokens_go(page), ("trash", "Client ID, client secret and chosen scopes are deleted.")],
    )
    if request.method != "POST":
        return confirm_page(request, removal, page.spec)
    if not confirmed(request, removal):
        return confirm_page(request, removal, page.spec, missing=True)
    delete_integration(page.integration, actor=actor_of(request), force=True)
    messages.success(request, f"The integration {page.spec.name} was deleted.")
    return redirect(list_url(page.workspace))


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view(Permission.PROVIDER_MANAGE)
def provider_delete(request: WorkspaceRequest, provider_id: str) -> HttpResponse:
    """Delete a workspace's own provider with its integrations."""
    provider = find_custom(request, provider_id)
    spec = find_newest_spec(request.workspace, provider_id)
    connections = list(
        request.workspace.connections.filter(integration__provider_id=provider_id).select_related("integration")
    )
    depending = readers(request.workspace, connections, timezone.now() - LATELY)
    integrations = request.workspace.integrations.filter(provider_id=provider_id).count()
    removal = Removal(
        title=f"Delete the provider {spec.name}?",
        subtitle=provider_id,
        action=reverse(
            "integrations:provider_delete", kwargs={"workspace": request.workspace.slug, "provider_id": provider_id}
        ),
        button="Delete provider",
        cancel_url=reverse(
            "integrations:custom_edit", kwargs={"workspace": request.workspace.slug, "provider_id": provider_id}
        ),
        word=provider_id if integrations or depending else "",
        readers=depending,
        connections=connections,
        consequences=[
            ("key-off", "Tokens are revoked where the provider offers it, and deleted here."),
            ("trash", "The definition with all its versions is deleted, and so are the client credentials."),
        ],
    )
    if request.method != "POST":
        return confirm_page(request, removal, spec)
    if not confirmed(request, removal):
        return confirm_page(request, removal, spec, missing=True)
    delete_custom_provider(provider, actor=actor_of(request), force=True, delete_integration=delete_integration)
    messages.success(request, f"The provider {spec.name} was deleted.")
    return redirect(list_url(request.workspace))


def list_url(workspace: Workspace) -> str:
    """The Integrations page."""
    return reverse("integrations:list", kwargs={"workspace": workspace.slug})
