"""Operators' view of integrations: looking, and two actions. No secret in any list, form, history or export.

Encrypted columns, digests, provider definitions and parameter values (which may be passwords) are not fields; tokens
are not registered at all. Changes go through the same verbs as the pages, so that rules and audit hold here too.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from integrations.connections.commits import DatabaseAway
from integrations.connections.reconnection import require_reconnection
from integrations.connections.refresh import refresh_connection
from integrations.models import (
    ClientKey,
    Connection,
    ConnectionStatus,
    CustomProvider,
    CustomProviderVersion,
    Integration,
    PendingAuthorization,
    TokenSchedule,
    WebhookEndpoint,
)
from workspaces.audit import Actor
from workspaces.models import User

# Each is a call to a provider within the request.
MAX_REFRESHES = 20


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable when the process runs
    """Looking only."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 (Django's signature)
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 (Django's signature)
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 (Django's signature)
        """No: tokens have to be revoked at the provider first; the workspace's pages do."""
        return False


@admin.register(Integration)
class IntegrationAdmin(ReadOnlyAdmin):
    """Integrations, without their client secrets."""

    list_display = ("provider_id", "grant_type", "workspace", "client_id", "secret", "client_error_code", "updated_at")
    list_filter = ("grant_type", "client_error_code")
    list_select_related = ("workspace",)
    search_fields = ("provider_id", "client_id", "workspace__slug", "workspace__name")
    fields = (
        "workspace",
        "provider_id",
        "grant_type",
        "client_id",
        "secret",
        "token_endpoint_auth_method",
        "additional_scopes",
        "discovered",
        "client_error_code",
        "client_error_message",
        "client_error_at",
        "next_probe_at",
        "created_at",
        "updated_at",
    )
    readonly_fields = ("secret",)

    @admin.display(description="Client secret")
    def secret(self, integration: Integration) -> str:
        """Whether there is one."""
        return "stored" if integration.has_client_secret else "none"


@admin.register(ClientKey)
class ClientKeyAdmin(ReadOnlyAdmin):
    """Keys of integrations, without their private halves."""

    list_display = ("kid", "integration", "workspace", "algorithm", "created_at", "signs_from", "retires_at")
    list_select_related = ("workspace", "integration")
    search_fields = ("kid", "integration__provider_id", "workspace__slug")
    fields = ("workspace", "integration", "kid", "algorithm", "public_jwk", "created_at", "signs_from", "retires_at")


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Connections, without tokens and parameter values."""

    list_display = ("name", "integration", "workspace", "status", "refresh_due_at", "last_error_code", "connected_at")
    list_filter = ("state", "last_error_code")
    list_select_related = ("workspace", "integration", "token", "schedule")
    search_fields = ("name", "integration__provider_id", "workspace__slug", "last_error_reference")
    fields = (
        "workspace",
        "integration",
        "name",
        "is_default",
        "status",
        "refresh_due_at",
        "requested_scopes",
        "granted_scopes",
        "account",
        "connected_at",
        "connected_by",
        "last_refreshed_at",
        "last_error_code",
        "last_error_message",
        "last_error_at",
        "last_error_reference",
        "created_at",
    )
    readonly_fields = ("status", "refresh_due_at")
    actions = ("refresh_now", "require_reconnection")

    @admin.display(description="Status")
    def status(self, connection: Connection) -> str:
        """The status that people see."""
        return ConnectionStatus(connection.status_at(timezone.now())).label

    @admin.display(description="Next renewal")
    def refresh_due_at(self, connection: Connection) -> datetime | None:
        """When a worker renews the token by itself."""
        schedule: TokenSchedule | None = getattr(connection, "schedule", None)
        return schedule.refresh_due_at if schedule is not None else None

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever may change connections; the admin itself never lets them be edited."""
        return request.user.has_perm("integrations.change_connection")

    @admin.action(description="Refresh now", permissions=["operate"])
    def refresh_now(self, request: HttpRequest, queryset: QuerySet[Connection]) -> None:
        """Renew the chosen tokens at once, and say what came of each."""
        chosen = list(queryset.values_list("pk", flat=True)[: MAX_REFRESHES + 1])
        if len(chosen) > MAX_REFRESHES:
            messages.error(request, f"Choose at most {MAX_REFRESHES} connections at once.")
            return
        for connection_id in chosen:
            self._refresh(request, connection_id)

    def _refresh(self, request: HttpRequest, connection_id: UUID) -> None:
        row = Connection.objects.filter(pk=connection_id).select_related("integration", "workspace").first()
        if row is None:
            return
        try:
            outcome = refresh_connection(row.pk, forced=True, actor=_operator(request))
        except (Connection.DoesNotExist, DatabaseAway):
            messages.error(request, f"{row}: the renewal could not be completed.")
            return
        if outcome.refreshed:
            messages.success(request, f"{row} ({row.workspace}): renewed.")
        else:
            messages.warning(request, f"{row} ({row.workspace}): {outcome.message}")

    @admin.action(description="Require reconnection", permissions=["operate"])
    def require_reconnection(self, request: HttpRequest, queryset: QuerySet[Connection]) -> None:
        """Stop the chosen connections until a person consents again."""
        chosen = list(queryset.select_related("integration"))
        stopped = sum(require_reconnection(connection, actor=_operator(request)) for connection in chosen)
        messages.success(request, f"{stopped} of {len(chosen)} connections now wait for a person to consent again.")


class VersionInline(admin.TabularInline):  # type: ignore[type-arg] # as above
    """Which versions there are. Definitions may hold passwords among their config values."""

    model = CustomProviderVersion
    fields = ("number", "draft", "created_by", "created_at")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 (Django's signature)
        """No."""
        return False


@admin.register(CustomProvider)
class CustomProviderAdmin(ReadOnlyAdmin):
    """Workspaces' own providers."""

    list_display = ("provider_id", "workspace", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("provider_id", "workspace__slug", "workspace__name")
    fields = ("workspace", "provider_id", "created_at")
    inlines = (VersionInline,)


@admin.register(PendingAuthorization)
class PendingAuthorizationAdmin(ReadOnlyAdmin):
    """Authorizations under way, without state, code verifier and parameter values."""

    list_display = (
        "id",
        "integration",
        "workspace",
        "connection_name",
        "user",
        "created_at",
        "expires_at",
        "consumed_at",
    )
    list_select_related = ("integration", "workspace", "user")
    search_fields = ("integration__provider_id", "workspace__slug", "user__email")
    fields = (
        "workspace",
        "integration",
        "connection_name",
        "user",
        "redirect_uri",
        "requested_scopes",
        "created_at",
        "expires_at",
        "consumed_at",
    )


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """Where workspaces have events sent, without paths, queries and signing secrets."""

    list_display = ("origin", "workspace", "description", "enabled", "failing_since", "last_delivered_at")
    list_filter = ("enabled", "disabled_because")
    list_select_related = ("workspace",)
    search_fields = ("origin", "description", "workspace__slug", "workspace__name")
    fields = (
        "workspace",
        "origin",
        "description",
        "events",
        "enabled",
        "disabled_because",
        "disabled_at",
        "failing_since",
        "failures",
        "paused_until",
        "last_delivered_at",
        "secret_set_at",
        "created_at",
    )


def _operator(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)  # noqa: S101 (narrows the type; the admin lets nobody else in)
    return Actor.operator(request.user.email)
