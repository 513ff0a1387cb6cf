"""Operators' view of tenancy. Changes go through the same verbs as the pages, so that rules and audit hold here too.

Generic bases stand without their parameter: ModelAdmin and ModelForm are not subscriptable when the process runs.
No secret in any list, form, history or export: passwords, digests, token hashes and second factors are not fields.
"""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from workspaces.api_keys import revoke_api_key
from workspaces.audit import Actor, AuditAction, record
from workspaces.members import change_role, is_last_owner, remove_member
from workspaces.models import ApiKey, AuditEvent, Invitation, Membership, User, Workspace
from workspaces.return_urls import clean_return_urls
from workspaces.roles import Role
from workspaces.workspaces import change_redirect_host, change_settings, check_redirect_host

# Operators sign in where everybody does: with the same limits and second factors, not by a form of the admin's own.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "Grantry operators"

for secret_model in (Authenticator, EmailConfirmation, UserSession):  # TOTP secrets, confirmation and session keys
    if admin.site.is_registered(secret_model):
        admin.site.unregister(secret_model)


def _operator(request: HttpRequest) -> Actor:
    assert isinstance(request.user, User)  # noqa: S101 (narrows the type; the admin lets nobody else in)
    return Actor.operator(request.user.email)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Looking only."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """No."""
        return False


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """People. They come by invitation and are deactivated, not deleted: the audit trail names them."""

    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    fields = ("email", "name", "is_active", "is_staff", "is_superuser", "groups", "last_login", "date_joined")
    filter_horizontal = ("groups",)
    ordering = ("email",)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """No: by invitation, or by `create_workspace`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """No: deactivate instead."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """The address is changed by its owner, who proves the new one; power is given by superusers only."""
        fixed = ("email", "last_login", "date_joined")
        is_superuser = isinstance(request.user, User) and request.user.is_superuser
        return fixed if is_superuser else (*fixed, "is_staff", "is_superuser", "groups")


class WorkspaceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks return URLs and redirect host as the settings page does."""

    class Meta:
        model = Workspace
        fields = ("name", "return_urls", "redirect_host")

    def clean_return_urls(self) -> list[str]:
        """A JSON list of URLs."""
        urls = self.cleaned_data["return_urls"]
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise ValidationError("Enter a JSON list of URLs.")
        return clean_return_urls(urls)

    def clean_redirect_host(self) -> str:
        """An origin, or nothing."""
        host: str = self.cleaned_data["redirect_host"]
        return check_redirect_host(self.instance, host) if host.strip() else ""


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Workspaces. They are made by `create_workspace`; the slug stands in other people's URLs and stays."""

    form = WorkspaceForm
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("slug", "max_token_age_seconds", "refresh_margin_seconds", "created_at")
    fields = ("name", "slug", "return_urls", "redirect_host", *readonly_fields[1:])

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """No: a workspace needs an owner; `create_workspace` makes both."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """No: its tokens have to be revoked at the providers first."""
        return False

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:  # noqa: ARG002
        """Change it by the verb, which records who did."""
        change_settings(obj, name=obj.name, return_urls=obj.return_urls, actor=_operator(request))
        change_redirect_host(obj, obj.redirect_host, actor=_operator(request))


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    """Says in words why the last owner stays one."""

    class Meta:
        model = Membership
        fields = ("workspace", "user", "role")

    def clean_role(self) -> str:
        """Refuse to demote the last owner."""
        role: str = self.cleaned_data["role"]
        if not self.instance._state.adding and role != Role.OWNER:
            stored = Membership.objects.select_related("workspace").get(pk=self.instance.pk)
            if is_last_owner(stored):
                raise ValidationError("A workspace needs an owner. Make someone else an owner first.")
        return role


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who belongs where. Nobody can be moved to another workspace; the last owner stays."""

    form = MembershipForm
    list_display = ("user", "workspace", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "workspace")
    search_fields = ("user__email", "workspace__slug", "workspace__name")
    autocomplete_fields = ("workspace", "user")
    actions = None  # removing goes one by one, with its rules

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """Only the role of a membership changes."""
        return ("workspace", "user") if obj is not None else ()

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """Not for the last owner."""
        return super().has_delete_permission(request, obj) and not (obj is not None and is_last_owner(obj))

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:  # noqa: ARG002
        """Change the role by the verb; record who was added."""
        if change:
            change_role(obj, Role(obj.role), by=None, actor=_operator(request))
            return
        obj.save()
        record(obj.workspace, AuditAction.MEMBER_JOINED, _operator(request), target=obj.user, detail={"role": obj.role})

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """Remove by the verb."""
        remove_member(obj, by=None, actor=_operator(request))


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Invitations, without their tokens."""

    list_display = ("email", "workspace", "role", "invited_by", "created_at", "expires_at", "accepted_at")
    list_select_related = ("workspace", "invited_by")
    search_fields = ("email", "workspace__slug")
    fields = ("workspace", "email", "role", "invited_by", "created_at", "expires_at", "accepted_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """API keys by prefix; neither key nor digest. One thing can be done to them: stop them."""

    list_display = ("name", "prefix", "workspace", "created_by", "expires_at", "revoked_at", "last_used_at")
    list_filter = ("created_by_operator",)
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "prefix", "workspace__slug", "created_by__email")
    fields = (
        "workspace",
        "name",
        "prefix",
        "scopes",
        "created_by",
        "created_by_operator",
        "role",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    actions = ("revoke_selected",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whoever may change API keys; the admin itself never lets them be edited."""
        return request.user.has_perm("workspaces.change_apikey")

    @admin.action(description="Revoke selected API keys", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Stop the chosen keys at once."""
        keys = list(queryset.select_related("workspace"))
        for key in keys:
            revoke_api_key(key, actor=_operator(request))
        messages.success(request, f"{len(keys)} API keys revoked.")


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """The audit trail of all workspaces."""

    list_display = ("at", "workspace", "actor_label", "action", "target_label", "result")
    list_filter = ("result", "actor_kind")
    list_select_related = ("workspace",)
    search_fields = ("actor_label", "target_label", "action", "workspace__slug", "request_id")
    show_full_result_count = False  # counting a long trail takes longer than showing it
