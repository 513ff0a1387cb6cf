"""Setting a provider up in a workspace: client credentials, additional scopes, parameters, client authentication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction

from integrations.clock import database_now
from integrations.models import ConnectionState, GrantType, Integration, TokenSchedule
from integrations.oauth.scopes import ordered_union
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.client_keys import create_key
from integrations.providers.endpoint_change import forget_passwords, forget_tokens, password_keys
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import (
    admin_parameters,
    integration_parameters,
    secret_keys,
    without_config_values,
)
from integrations.providers.rendering import ParameterRefused, check_value, placeholders
from integrations.providers.scope_rules import ScopesRefused, check_additional_scopes
from integrations.providers.service_account_key import KeyRefused, read_key_file
from integrations.wake import wake_worker
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import Workspace

_CLIENT_ERROR_FIELDS = ("client_error_code", "client_error_message", "client_error_at", "next_probe_at")
_STOPPED = (ConnectionState.MISCONFIGURED, ConnectionState.DEGRADED)
_SECRET_AGAIN = "Enter the client secret again: the stored one is not sent to another host."  # noqa: S105 # words
_PER_CONNECTION = "asks for client ID and client secret with each connection: leave them out here."
_KEY_MISSING = "Upload the JSON key of the service account, or paste it."
MAX_CLIENT_ID_LENGTH = 512
MAX_CLIENT_SECRET_LENGTH = 4096


class InvalidSetup(Exception):
    """An integration cannot be saved so. `errors` maps each field to sentences that say what to do."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {' '.join(sentences)}" for field, sentences in self.errors.items()))


def redirect_uri(workspace: Workspace) -> str:
    """The redirect URI to register at every provider (RFC 6749 §3.1.2), never taken from a request's Host.

    A redirect host forwards it to PUBLIC_BASE_URL; what was sent stays what the exchange sends.
    """
    return f"{workspace.connect_base_url}/oauth/callback"


def client_auth_method(spec: ProviderSpec, integration: Integration | None) -> ClientAuth:
    """The client authentication in use: the integration's choice, else the provider's."""
    return spec.client_auth(integration.token_endpoint_auth_method if integration is not None else "")


def knows_endpoints(spec: ProviderSpec, integration: Integration | None) -> bool:
    """Whether there is a token endpoint: stated by the definition, or discovered for this workspace."""
    return bool(spec.token_endpoint) or (integration is not None and integration.discovered is not None)


def is_configured(spec: ProviderSpec, integration: Integration | None) -> bool:
    """Whether client credentials are saved: a client id, with the secret or key that its authentication needs.

    A provider whose endpoints are discovered for each workspace needs those, too. Where each connection brings its own
    client, there is nothing to save.
    """
    if integration is None or not knows_endpoints(spec, integration):
        return False
    if spec.asks_credentials:
        return True  # each connection brings its own
    if not integration.client_id:
        return False
    if spec.uses_service_account_key(integration.grant_type):
        return integration.has_client_secret
    method = client_auth_method(spec, integration)
    if method is ClientAuth.PRIVATE_KEY_JWT:
        return integration.client_key is not None
    return integration.has_client_secret or method is ClientAuth.NONE


@dataclass(frozen=True, slots=True)
class _Setup:
    client_id: str | None  # None keeps
    client_secret: str | None  # None keeps
    clear_client_secret: bool
    additional_scopes: list[str]
    parameters: dict[str, str] | None  # None keeps
    token_endpoint_auth_method: str | None  # None keeps, empty is as the provider says


def save_integration(
    workspace: Workspace,
    spec: ProviderSpec,
    grant_type: str,
    *,
    client_id: str = "",
    client_secret: str | None = None,
    clear_client_secret: bool = False,
    additional_scopes: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    token_endpoint_auth_method: str | None = None,
    actor: Actor,
) -> Integration:
    """Save an integration, new or not. Raises InvalidSetup with every error that was found.

    A client secret of None or "" keeps the stored one; clearing it is explicit. White space around id and secret is
    dropped: it comes from copying. Where each connection brings credentials of its own, none are taken here; where a
    service account's JSON key takes the secret's place, the client id is the key's `client_email`, whatever `client_id`
    says. A parameter that decides the host is changed only together with the client secret, and tokens from the old
    host are forgotten. Changed credentials end the pause of a refused client, and what waited for it is due at once.
    The first time that the client authentication is private_key_jwt a key is made; it stays when another is chosen.
    """
    spec = spec.under(grant_type)
    setup = _read_setup(
        spec,
        grant_type,
        client_id=client_id,
        client_secret=client_secret,
        clear_client_secret=clear_client_secret,
        additional_scopes=additional_scopes,
        parameters=parameters,
        token_endpoint_auth_method=token_endpoint_auth_method,
    )
    with transaction.atomic():
        integration, created = workspace.integrations.get_or_create(provider_id=spec.provider_id, grant_type=grant_type)
        if not created:
            integration = workspace.integrations.select_for_update().get(pk=integration.pk)
        if spec.uses_service_account_key(grant_type) and setup.client_secret is None:
            if not integration.has_client_secret:
                raise InvalidSetup({"client_secret": [_KEY_MISSING]})
            setup = replace(setup, client_id=integration.client_id)
        hosts_before = _host_values(spec, integration)
        changed = _apply(integration, setup)
        moved = not created and _host_values(spec, integration) != hosts_before
        if moved and "client_secret" not in changed and integration.has_client_secret:
            raise InvalidSetup({"client_secret": [_SECRET_AGAIN]})
        if created or changed:
            integration.save()
            if moved:
                forget_passwords([integration], password_keys(spec))
                forget_tokens(workspace.connections.filter(integration=integration))
            record(
                workspace,
                AuditAction.INTEGRATION_CONFIGURED,
                actor,
                target=integration,
                detail={"changed": changed, "created": created},
            )
        if client_auth_method(spec, integration) is ClientAuth.PRIVATE_KEY_JWT and integration.client_key is None:
            create_key(integration, actor=actor)
            changed.append("client_key")
        if {"client_id", "client_secret", "client_key", "token_endpoint_auth_method", "parameters"} & set(changed):
            resume(integration, now=database_now())
    return integration


def resume(integration: Integration, *, now: datetime) -> None:
    """End the pause of a client that the provider refused; what renews itself and was stopped is due now."""
    schedules = TokenSchedule.objects.filter(connection__integration=integration, refresh_due_at__isnull=False)
    if integration.client_error_code:
        integration.client_error_code = integration.client_error_message = ""
        integration.client_error_at = integration.next_probe_at = None
        integration.save(update_fields=[*_CLIENT_ERROR_FIELDS, "updated_at"])
    else:
        # Nothing was paused: connections that are fine keep their own time, so that they don't all renew at once.
        schedules = schedules.filter(connection__state__in=_STOPPED)
    if schedules.update(refresh_due_at=now, attempts=0):
        wake_worker()


def _read_setup(
    spec: ProviderSpec,
    grant_type: str,
    *,
    client_id: str,
    client_secret: str | None,
    clear_client_secret: bool,
    additional_scopes: Sequence[str],
    parameters: Mapping[str, Any] | None,
    token_endpoint_auth_method: str | None,
) -> _Setup:
    errors: dict[str, list[str]] = {}
    if not spec.supports(grant_type):
        raise InvalidSetup({"grant_type": [f"{spec.name} does not support this grant type."]})
    client_id = client_id.strip()
    secret = (client_secret or "").strip()
    if spec.uses_service_account_key(grant_type):
        client_id, secret = _read_key(spec, secret, clear_client_secret, errors)
        if token_endpoint_auth_method:
            _collect(errors, "token_endpoint_auth_method", "Leave it out: an assertion signed with the key is sent.")
    else:
        if spec.asks_credentials:
            for field, sent in (("client_id", client_id), ("client_secret", secret)):
                _collect(errors, field, f"{spec.name} {_PER_CONNECTION}" if sent else "")
        else:
            _collect(errors, "client_id", _client_id_problem(spec, client_id))
            _collect(errors, "client_secret", _client_secret_problem(secret, clear=clear_client_secret))
        problem = _auth_method_problem(spec, grant_type, token_endpoint_auth_method)
        _collect(errors, "token_endpoint_auth_method", problem)
    scopes = _read_scopes(spec, grant_type, additional_scopes, errors)
    values = None if parameters is None else _read_parameters(spec, grant_type, parameters, errors)
    if errors:
        raise InvalidSetup(errors)
    # What is stored from before the definition asked for them per connection stays, unused.
    return _Setup(
        None if spec.asks_credentials else client_id,
        secret or None,
        clear_client_secret,
        scopes,
        values,
        token_endpoint_auth_method,
    )


def _read_key(spec: ProviderSpec, text: str, clear: bool, errors: dict[str, list[str]]) -> tuple[str, str]:
    """Client id and secret of a service account's JSON key; both empty when none was given."""
    if not text:
        return "", ""
    if clear:
        _collect(errors, "client_secret", "Either enter a new JSON key or clear the stored one.")
    try:
        key = read_key_file(text, token_endpoint=spec.token_endpoint)
    except KeyRefused as refused:
        errors.setdefault("client_secret", []).extend(refused.sentences)
        return "", ""
    return key.client_email, key.to_json()


def _collect(errors: dict[str, list[str]], field: str, sentence: str) -> None:
    if sentence:
        errors.setdefault(field, []).append(sentence)


def _client_id_problem(spec: ProviderSpec, client_id: str) -> str:
    if hidden := [key for key in placeholders(client_id) if key in secret_keys(spec)]:
        return f"Remove {{{{{hidden[0]}}}}}: it is a secret, and browsers see the client ID."
    if not client_id:
        return "Enter the client ID that the provider gave to your app."
    if len(client_id) > MAX_CLIENT_ID_LENGTH:
        return f"A client ID has at most {MAX_CLIENT_ID_LENGTH} characters."
    return (
        "" if client_id.isprintable() else "The client ID contains line breaks or invisible characters. Copy it again."
    )


def _client_secret_problem(secret: str, *, clear: bool) -> str:
    if clear and secret:
        return "Either enter a new client secret or clear the stored one."
    if len(secret) > MAX_CLIENT_SECRET_LENGTH:
        return f"A client secret has at most {MAX_CLIENT_SECRET_LENGTH} characters."
    return (
        "" if secret.isprintable() else "The client secret contains line breaks or invisible characters. Copy it again."
    )


def _auth_method_problem(spec: ProviderSpec, grant_type: str, method: str | None) -> str:
    if method and method not in list(ClientAuth):
        return f"Choose one of: {', '.join(ClientAuth)}."
    effective = spec.client_auth(method or "")
    if grant_type == GrantType.CLIENT_CREDENTIALS and effective is ClientAuth.NONE:
        # RFC 6749 §4.4: this grant is for confidential clients only.
        return "A service account authenticates with its client secret. Choose another method than none."
    if effective is ClientAuth.NONE and spec.pkce == "off":
        return f"Choose another method than none: {spec.name} has PKCE off, so that nothing would protect the code."
    return ""


def _read_scopes(
    spec: ProviderSpec, grant_type: str, additional_scopes: Sequence[str], errors: dict[str, list[str]]
) -> list[str]:
    base = set(spec.base_scopes(grant_type))
    scopes = [scope for scope in ordered_union(scope.strip() for scope in additional_scopes) if scope]
    try:
        check_additional_scopes(spec, grant_type, scopes)
    except ScopesRefused as error:
        _collect(errors, "additional_scopes", error.message)
    return [scope for scope in scopes if scope not in base]


def _read_parameters(
    spec: ProviderSpec, grant_type: str, given: Mapping[str, Any], errors: dict[str, list[str]]
) -> dict[str, str]:
    """Values that are set for every connection; an empty one leaves the question to whoever connects."""
    by_key = {parameter.key: parameter for parameter in integration_parameters(spec)}
    values: dict[str, str] = {}
    for key, value in without_config_values(spec, given).items():
        if key not in by_key and key in {parameter.key for parameter in spec.parameters}:
            _collect(errors, "parameters", f"“{key}” is a secret of each connection. Give it when connecting.")
        elif key not in by_key:
            _collect(errors, "parameters", f"{spec.name} has no parameter “{key}”. Remove it.")
        elif value not in (None, ""):
            try:
                values[key] = check_value(by_key[key], value)
            except ParameterRefused as error:
                _collect(errors, "parameters", error.message)
    try:
        provider_for(spec, grant_type).check_parameters(values)
    except ParameterRefused as error:
        _collect(errors, f"parameters.{error.key}", error.message)
    for parameter in admin_parameters(spec):
        if not values.get(parameter.key) and not parameter.default:
            _collect(errors, "parameters", f"Enter a value for {parameter.label}: it decides which host is called.")
    return values


def _host_values(spec: ProviderSpec, integration: Integration) -> list[str]:
    """The values that decide which host is sent the client secret and tokens."""
    values = integration.readable_parameters
    return [values.get(parameter.key) or parameter.default for parameter in admin_parameters(spec)]


def _apply(integration: Integration, setup: _Setup) -> list[str]:
    """Set what differs and name it. An unreadable stored secret is never opened here, only replaced or kept."""
    changed: list[str] = []
    wanted = {
        "client_id": setup.client_id,
        "additional_scopes": setup.additional_scopes,
        "parameters": setup.parameters,
        "token_endpoint_auth_method": setup.token_endpoint_auth_method,
    }
    for field, value in wanted.items():
        stored = integration.readable_parameters if field == "parameters" else getattr(integration, field)
        if value is not None and stored != value:
            setattr(integration, field, value)
            changed.append(field)
    if setup.client_secret is not None or (setup.clear_client_secret and integration.has_client_secret):
        integration.client_secret = setup.client_secret  # type: ignore[assignment] # text in, sealed when saved
        changed.append("client_secret")
    return changed
