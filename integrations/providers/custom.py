"""A workspace's own providers: create, change, publish, delete.

Each change makes a new version; versions are never rewritten. A published version counts at once for every
connection; a draft leaves connections on the version they were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from integrations.errors import HasDependants
from integrations.models import CustomProvider, CustomProviderVersion, GrantType, ProviderVersionSecrets
from integrations.providers.base import ProviderSpec
from integrations.providers.definition import (
    READ_ONLY_FIELDS,
    InvalidDefinition,
    definition_of,
    read_definition,
    spec_from_definition,
)
from integrations.providers.endpoint_change import (
    drop_parameters,
    forget_secrets,
    integrations_of,
    moved_defaults,
    moves_secrets,
    password_keys,
)
from integrations.providers.ids import custom_provider_id
from integrations.providers.registry import current_version, find_newest_spec, spec_of
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import User, Workspace

__all__ = [
    "HasDependants",
    "InvalidDefinition",
    "create_custom_provider",
    "custom_provider_id",
    "definition_of",
    "delete_custom_provider",
    "dependants_of",
    "discard_drafts",
    "drafted",
    "find_custom_provider",
    "publish",
    "spec_from_definition",
    "update_custom_provider",
]

# Each lost race means that another provider was made; nobody makes so many at once.
MAX_ID_RACES = 50
# What decides when a token is renewed and when consent ends.
RENEWAL_FACTS = (
    "refresh_margin_seconds",
    "refuses_early_refresh",
    "refresh_token_idle_seconds",
    "refresh_token_lifetime_seconds",
)

type_DeleteIntegration = Callable[..., Any]


def find_custom_provider(workspace: Workspace, provider_id: str) -> CustomProvider:
    """The workspace's own provider. Raises CustomProvider.DoesNotExist, for another workspace's too."""
    return CustomProvider.objects.select_related("workspace").get(workspace=workspace, provider_id=provider_id)


def create_custom_provider(
    workspace: Workspace,
    definition: Mapping[str, Any],
    *,
    actor: Actor,
    created_by: User | None = None,
    draft: bool = False,
) -> CustomProvider:
    """Check a definition in the API's shape and make a provider of it. Raises InvalidDefinition.

    `provider_id` and `draft` in the definition count as the form's fields of these names do.
    """
    wanted_id = _text_field(definition, "provider_id")
    draft = draft or _wants_draft(definition)
    spec = _checked(definition, provider_id="")
    for _ in range(MAX_ID_RACES):
        provider_id = custom_provider_id(workspace, spec.name, wanted_id)
        try:
            with transaction.atomic():
                provider = CustomProvider.objects.create(workspace=workspace, provider_id=provider_id)
                _add_version(provider, spec, number=1, draft=draft, created_by=created_by)
                record(
                    workspace,
                    AuditAction.PROVIDER_CREATED,
                    actor,
                    target=provider,
                    detail={"name": spec.name, "draft": draft},
                )
                return provider
        except IntegrityError:
            # Another request took the id between the look and the insert; anything else is not ours to retry.
            if not workspace.custom_providers.filter(provider_id=provider_id).exists():
                raise
    raise InvalidDefinition({"provider_id": ["Many providers with this id are being made just now. Try again."]})


def update_custom_provider(
    provider: CustomProvider,
    changes: Mapping[str, Any],
    *,
    actor: Actor,
    created_by: User | None = None,
    draft: bool | None = None,
) -> CustomProviderVersion:
    """Make a new version of the newest one with `changes` applied; None resets a field. Raises InvalidDefinition.

    Moving an endpoint that receives secrets to another origin, once it counts, clears the client secrets and makes
    the connections `reconnect_required`. The caller has made sure that an admin asks.
    """
    wants_draft = _wants_draft(changes) if draft is None else draft
    if _text_field(changes, "provider_id") not in ("", provider.provider_id):
        raise InvalidDefinition({"provider_id": ["The id cannot be changed: expressions and programs use it."]})
    with transaction.atomic():
        versions = _locked_versions(provider)
        newest = max(versions, key=lambda version: version.number)
        spec = _changed(spec_of(newest), changes)
        _keep_used_grant_types(provider, spec)
        before = spec_of(current_version(versions))
        added = _add_version(provider, spec, number=newest.number + 1, draft=wants_draft, created_by=created_by)
        fields = sorted(set(changes) - READ_ONLY_FIELDS)
        _take_effect(provider, before, [*versions, added], actor, {"changed": fields, "draft": wants_draft})
    return added


def publish(provider: CustomProvider, *, actor: Actor) -> CustomProviderVersion:
    """Let the newest draft count, for every connection. Publishing what is published already changes nothing."""
    with transaction.atomic():
        versions = _locked_versions(provider)
        newest = max(versions, key=lambda version: version.number)
        if newest.draft:
            before = spec_of(current_version(versions))
            newest.draft = False
            newest.save(update_fields=["draft"])
            _take_effect(provider, before, versions, actor, {"published": newest.number})
    return newest


def discard_drafts(provider: CustomProvider, *, actor: Actor) -> int:
    """Delete the drafts above the published version; returns how many. While none is published, there is none to go.

    No connection stands on them: what is published counts as long as there is something.
    """
    with transaction.atomic():
        versions = _locked_versions(provider)
        current = current_version(versions)
        drafts = [version for version in versions if version.number > current.number]
        if drafts:
            CustomProviderVersion.objects.filter(pk__in=[version.pk for version in drafts]).delete()
            numbers = sorted(version.number for version in drafts)
            record(
                provider.workspace, AuditAction.PROVIDER_CHANGED, actor, target=provider, detail={"discarded": numbers}
            )
    return len(drafts)


def drafted(provider: CustomProvider, changes: Mapping[str, Any]) -> ProviderSpec:
    """The definition that `update_custom_provider` would make. Raises InvalidDefinition; saves nothing."""
    spec = _changed(find_newest_spec(provider.workspace, provider.provider_id), changes)
    _keep_used_grant_types(provider, spec)
    return spec


def dependants_of(provider: CustomProvider) -> list[str]:
    """What a deletion would take along: integrations and their connections, in words."""
    named: list[str] = []
    for integration in integrations_of(provider):
        named.append(f"Integration “{integration}”")
        names = integration.connections.order_by("name").values_list("name", flat=True)
        named.extend(f"Connection “{name}” of “{integration}”" for name in names)
    return named


def delete_custom_provider(
    provider: CustomProvider,
    *,
    actor: Actor,
    force: bool = False,
    delete_integration: type_DeleteIntegration | None = None,
) -> None:
    """Delete a provider and its versions. Raises HasDependants when integrations use it, unless forced.

    Forced, each integration goes first through `delete_integration(integration, actor=…, force=True)`, which is
    connections' verb: it revokes tokens at the provider, so it must not run inside this function's transaction.
    """
    dependants = dependants_of(provider)
    if dependants and (not force or delete_integration is None):
        raise HasDependants(dependants)
    if force and delete_integration is not None:
        for integration in integrations_of(provider):
            delete_integration(integration, actor=actor, force=True)
    with transaction.atomic():
        _locked_versions(provider)
        if late := dependants_of(provider):  # set up while the others were being revoked
            raise HasDependants(late)
        record(provider.workspace, AuditAction.PROVIDER_DELETED, actor, target=provider)
        provider.delete()


def _checked(definition: Mapping[str, Any], *, provider_id: str) -> ProviderSpec:
    return read_definition(definition, provider_id=provider_id, allowed_hosts=list(settings.OUTBOUND_ALLOWED_HOSTS))


def _changed(spec: ProviderSpec, changes: Mapping[str, Any]) -> ProviderSpec:
    """The definition with the changes, checked. Raises InvalidDefinition."""
    merged, kept = _merged(spec, changes)
    changed = _checked(merged, provider_id=spec.provider_id)
    _refuse_kept_secrets_elsewhere(spec, changed, kept)
    return changed


def _merged(spec: ProviderSpec, changes: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The whole definition with the changes, and the keys of config values whose stored secret it keeps."""
    definition = definition_of(spec)
    if "scopes" in changes or "base_scopes" in changes:
        # They say the same twice; what was not sent must not bring removed scopes back.
        definition.pop("base_scopes")
    merged = {**definition, **changes}
    merged["config_values"], kept = _with_kept_secrets(spec, merged.get("config_values"))
    return merged, kept


def _with_kept_secrets(spec: ProviderSpec, config_values: Any) -> tuple[Any, frozenset[str]]:
    """A secret config value that comes back blank keeps what is stored: nobody was shown it."""
    stored = {item.key: item.value for item in spec.config_values if item.is_secret and item.value}
    if not stored or not isinstance(config_values, list):
        return config_values, frozenset()
    kept = frozenset(item["key"] for item in config_values if _keeps_secret(item, stored))
    filled = [{**item, "value": stored[item["key"]]} if _keeps_secret(item, stored) else item for item in config_values]
    return filled, kept


def _keeps_secret(item: Any, stored: Mapping[str, str]) -> bool:
    """Whether an entry stands for what is stored: it names it, says nothing else, and leaves it a secret."""
    return (
        isinstance(item, Mapping)
        and isinstance(item.get("key"), str)
        and item["key"] in stored
        and not item.get("value")
        and not item.get("helper")
        and (item.get("type") == "password" or item.get("visible") is False)
    )


def _refuse_kept_secrets_elsewhere(before: ProviderSpec, after: ProviderSpec, kept: Collection[str]) -> None:
    """As the client secret is cleared when endpoints move: nobody has a secret sent to another host unseen."""
    if kept and (moves_secrets(before, after) or moved_defaults(before, after)):
        sentences = [f"Enter “{key}” again: the stored secret is not sent to another host." for key in sorted(kept)]
        raise InvalidDefinition({"config_values": sentences})


def _keep_used_grant_types(provider: CustomProvider, spec: ProviderSpec) -> None:
    for integration in integrations_of(provider):
        if not spec.supports(integration.grant_type):
            label = GrantType(integration.grant_type).label
            raise InvalidDefinition(
                {"grant_types": [f"{label} is set up for this provider. Delete that integration first, or keep it."]}
            )


def _take_effect(
    provider: CustomProvider,
    before: ProviderSpec,
    versions: list[CustomProviderVersion],
    actor: Actor,
    detail: dict[str, Any],
) -> None:
    after = spec_of(current_version(versions))
    passwords = password_keys(before, after)
    # What was entered as a password is not shown because it is called a text now.
    drop_parameters(integrations_of(provider), password_keys(before) - password_keys(after))
    if moves_secrets(before, after):
        connections = forget_secrets(provider, passwords=passwords)
        detail = {**detail, "endpoint_changed": True, "connections": connections}
    elif moved := moved_defaults(before, after):
        connections = forget_secrets(provider, passwords=passwords, relying_on=moved)
        detail = {**detail, "endpoint_changed": True, "connections": connections}
    if any(getattr(before, name) != getattr(after, name) for name in RENEWAL_FACTS):
        # A worker makes the schedules of its connections anew.
        Workspace.objects.filter(pk=provider.workspace_id).update(schedule_stale_since=Now())
    record(provider.workspace, AuditAction.PROVIDER_CHANGED, actor, target=provider, detail=detail)


def _locked_versions(provider: CustomProvider) -> list[CustomProviderVersion]:
    """The versions, with the provider's row locked so that changes come one after the other."""
    CustomProvider.objects.select_for_update().get(pk=provider.pk)
    return list(provider.versions.select_related("provider__workspace", "secrets").order_by("-number"))


def _add_version(
    provider: CustomProvider, spec: ProviderSpec, *, number: int, draft: bool, created_by: User | None
) -> CustomProviderVersion:
    definition = {name: value for name, value in definition_of(spec).items() if name not in READ_ONLY_FIELDS}
    version = CustomProviderVersion.objects.create(
        provider=provider, number=number, definition=definition, draft=draft, created_by=created_by
    )
    if secrets := {item.key: item.value for item in spec.config_values if item.is_secret and item.value}:
        sealed = ProviderVersionSecrets(version=version, workspace_id=provider.workspace_id)
        sealed.values = secrets
        sealed.save(force_insert=True)
    return version


def _text_field(definition: Mapping[str, Any], field: str) -> str:
    value = definition.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 100:
        raise InvalidDefinition({field: ["Write text of at most 100 characters, or leave it out."]})
    return value


def _wants_draft(definition: Mapping[str, Any]) -> bool:
    draft = definition.get("draft")
    if draft is not None and not isinstance(draft, bool):
        raise InvalidDefinition({"draft": ["Write true or false."]})
    return bool(draft)
