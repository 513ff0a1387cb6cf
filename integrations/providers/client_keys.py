"""Keys of an integration for private_key_jwt: make, rotate, delete, publish (RFC 7517).

A new key is published at once and signs a little later, when servers that keep the key set have asked for it again;
the old one signs until then and stays published for a day.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone

from integrations.models import ClientKey, ClientKeyAlgorithm, Integration
from integrations.oauth.client_assertion import SigningAlgorithm, SigningKey, generate_signing_key, public_jwk
from integrations.providers.base import ClientAuth, ProviderSpec
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import Workspace

KEY_SET_MAX_AGE = timedelta(minutes=5)  # how long a server may keep the key set
PUBLISHED_BEFORE_SIGNING = 2 * KEY_SET_MAX_AGE
OVERLAP = timedelta(hours=24)  # how long the old key stays published
MAX_PUBLISHED = 4


class KeyRefused(Exception):
    """A key cannot be made, rotated or deleted as things are. The text says what to do."""


def jwks_uri(integration: Integration) -> str:
    """Where the integration's public keys are: the address to register at the provider."""
    path = reverse("integrations:jwks", kwargs={"integration_id": integration.pk})
    return f"{settings.PUBLIC_BASE_URL}{path}"


def key_set(integration_id: Any, *, now: datetime) -> dict[str, Any] | None:
    """The JSON Web Key Set of an integration of any workspace, newest first; None where there is no key."""
    # The id alone finds it, whoever asks: what is published says nothing about the workspace.
    keys = ClientKey.objects.filter(integration_id=integration_id).only("public_jwk", "retires_at")
    published = [key.public_jwk for key in keys if key.is_published(now)]
    return {"keys": published} if published else None


def public_keys(workspace: Workspace) -> Prefetch[Any]:
    """Loads `client_keys` with integrations, private halves left where they are: for pages and lists."""
    return Prefetch("client_keys", ClientKey.objects.filter(workspace=workspace).defer("private_key"))


def create_key(
    integration: Integration, *, actor: Actor, algorithm: str = ClientKeyAlgorithm.RS256, now: datetime | None = None
) -> ClientKey:
    """Make the integration's first key, which signs at once. Raises KeyRefused when there is one."""
    made, moment = generate_signing_key(SigningAlgorithm(algorithm)), now or timezone.now()
    with transaction.atomic():
        if _locked(integration).client_key is not None:
            raise KeyRefused("The integration has a key. Rotate it instead.")
        key = _store(integration, made, created_at=moment, signs_from=moment)
        _record(AuditAction.CLIENT_KEY_CREATED, key, actor)
    return key


def rotate_key(
    integration: Integration, *, actor: Actor, algorithm: str = "", now: datetime | None = None
) -> ClientKey:
    """Make a new key beside the present one, of the same algorithm unless told otherwise. Raises KeyRefused."""
    moment = now or timezone.now()
    with transaction.atomic():
        keys = [key for key in _locked(integration).client_keys.all() if key.is_published(moment)]
        old = next((key for key in keys if key.is_current), None)
        if old is None:
            raise KeyRefused("There is no key yet. Save the configuration with private_key_jwt to make one.")
        if len(keys) >= MAX_PUBLISHED:
            raise KeyRefused(f"{len(keys)} keys are published. Delete an old one first, or wait until one goes.")
        old.retires_at = moment + OVERLAP
        old.save(update_fields=["retires_at"])
        made = generate_signing_key(SigningAlgorithm(algorithm or old.algorithm))
        key = _store(integration, made, created_at=moment, signs_from=moment + PUBLISHED_BEFORE_SIGNING)
        _record(AuditAction.CLIENT_KEY_ROTATED, key, actor, {"old_kid": old.kid})
    return key


def delete_key(key: ClientKey, spec: ProviderSpec, *, actor: Actor) -> None:
    """Forget a key and stop publishing it at once. Raises KeyRefused for the newest one while it is in use."""
    with transaction.atomic():
        integration = _locked(key.integration)
        in_use = spec.client_auth(integration.token_endpoint_auth_method) is ClientAuth.PRIVATE_KEY_JWT
        current = integration.client_key
        if in_use and current is not None and current.pk == key.pk:
            raise KeyRefused("This key is in use. Rotate it, or save another client authentication first.")
        _record(AuditAction.CLIENT_KEY_DELETED, key, actor)
        ClientKey.objects.filter(pk=key.pk, workspace_id=integration.workspace_id).delete()


def _locked(integration: Integration) -> Integration:
    """The integration as it is now, held until the transaction ends."""
    found: Integration = Integration.objects.select_for_update().get(
        pk=integration.pk, workspace_id=integration.workspace_id
    )
    return found


def _store(integration: Integration, made: SigningKey, *, created_at: datetime, signs_from: datetime) -> ClientKey:
    key: ClientKey = ClientKey.objects.create(
        workspace_id=integration.workspace_id,
        integration=integration,
        kid=made.kid,
        algorithm=made.algorithm.value,
        private_key=made.private_key,
        public_jwk=public_jwk(made),
        created_at=created_at,
        signs_from=signs_from,
    )
    return key


def _record(action: AuditAction, key: ClientKey, actor: Actor, detail: dict[str, str] | None = None) -> None:
    """The event of a key stands at its integration, where people look."""
    more = {"kid": key.kid, "algorithm": key.algorithm, **(detail or {})}
    record(key.workspace_id, action, actor, target=key.integration, detail=more)
