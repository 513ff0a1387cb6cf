"""When an edit sends secrets somewhere new: what it costs the provider's integrations.

Otherwise whoever may edit a provider could have every stored secret sent to a host of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from integrations.crypto import SealError
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectLink,
    CustomProvider,
    Integration,
    NoticeKind,
    Token,
    TokenSchedule,
)
from integrations.models.parameter_values import WithParameters
from integrations.notices import notice_of_integration
from integrations.providers.base import ProviderSpec
from integrations.providers.parameters import admin_parameters, endpoint_template
from integrations.providers.rendering import origin_of, placeholders

ENDPOINT_CHANGED = "endpoint_changed"
ENDPOINT_CHANGED_MESSAGE = (
    "The provider's endpoints were moved to another host. Enter the client secret again, then connect again."
)
# Each is sent a client secret or a token.
SECRET_RECEIVING_FIELDS = (
    "token_endpoint",
    "refresh_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "api_base_url",
)


def moves_secrets(before: ProviderSpec, after: ProviderSpec) -> bool:
    """Whether a secret would go to an origin that the same endpoint did not have.

    An endpoint that was not there before may join the token endpoint's origin: that one has the secrets already.
    """
    known = _origin(before, endpoint_template(before, "token_endpoint"))
    for field in SECRET_RECEIVING_FIELDS:
        old, new = endpoint_template(before, field), endpoint_template(after, field)
        if new and _origin(after, new) != (_origin(before, old) if old else known):
            return True
    return False


def _origin(spec: ProviderSpec, template: str) -> tuple[str, ...]:
    """Scheme, host and port, and what makes the placeholders in the host: another helper leads elsewhere."""
    scheme, host, port = origin_of(template)
    made = {item.key: item.helper for item in spec.config_values if item.helper}
    kept = {item.key: f"{item.source} {item.field} {item.pattern}" for item in spec.metadata}
    return (scheme, host, port, *(f"{made.get(key, '')}{kept.get(key, '')}" for key in placeholders(host)))


@dataclass(frozen=True, slots=True)
class MovingCost:
    """What a change of endpoints takes away, before it is made."""

    integrations: int  # whose client secret is cleared
    connections: int  # that a person has to connect again


def cost_of_moving(provider: CustomProvider, before: ProviderSpec, after: ProviderSpec) -> MovingCost | None:
    """What `forget_secrets` would take if `after` counted instead of `before`; None for nothing."""
    everywhere = moves_secrets(before, after)
    moved = set() if everywhere else moved_defaults(before, after)
    if not everywhere and not moved:
        return None
    concerned = _relying(integrations_of(provider), None if everywhere else moved)
    connections = provider.workspace.connections.filter(integration__in=[one.pk for one in concerned])
    cost = MovingCost(
        integrations=sum(one.has_client_secret for one in concerned),
        connections=connections.exclude(state=ConnectionState.CONFIGURED).count(),
    )
    return cost if cost.integrations or cost.connections else None


def _relying(integrations: Iterable[Integration], keys: Collection[str] | None) -> list[Integration]:
    """Those that leave one of the parameters to its default; None is all."""
    return [
        integration
        for integration in integrations
        if keys is None or any(not integration.readable_parameters.get(key) for key in keys)
    ]


def moved_defaults(before: ProviderSpec, after: ProviderSpec) -> set[str]:
    """The parameters that decide the host and have another default than before."""
    defaults = {parameter.key: parameter.default for parameter in before.parameters}
    return {
        parameter.key
        for parameter in admin_parameters(after)
        if parameter.default and parameter.default != defaults.get(parameter.key, "")
    }


def forget_secrets(
    provider: CustomProvider, *, passwords: Collection[str] = (), relying_on: Collection[str] | None = None
) -> int:
    """Clear client secrets, `passwords` and tokens of the provider's integrations; its connections need a person again.

    `passwords` are keys of parameters. With `relying_on`, only integrations that leave one of these parameters to its
    default. No connection stays on the version it was made with: what is entered now is not for the old host. Runs in
    the caller's transaction; returns how many connections it concerns.
    """
    rows = provider.workspace.integrations.filter(provider_id=provider.provider_id).select_for_update()
    moved = _relying(rows, relying_on)
    for integration in moved:
        integration.client_secret = None  # type: ignore[assignment] # a text or none, sealed when saved
        integration.save(update_fields=["client_secret", "updated_at"])
    drop_parameters(moved, passwords)
    connections = provider.workspace.connections.filter(integration__in=[one.pk for one in moved])
    connections.update(provider_version=None)
    return forget_tokens(connections)


def password_keys(*specs: ProviderSpec) -> frozenset[str]:
    """The parameters that are passwords under one of these definitions."""
    return frozenset(p.key for spec in specs for p in spec.parameters if p.type == "password")


def drop_parameters(integrations: Collection[Integration], keys: Collection[str]) -> None:
    """Drop the values of these parameters from integrations and all that was made under them."""
    if keys:
        _drop(integrations, keys)
        forget_passwords(integrations, keys)


def forget_passwords(integrations: Collection[Integration], keys: Collection[str]) -> None:
    """Drop the values of these parameters that connections and links of these integrations hold."""
    ids = [integration.pk for integration in integrations]
    if keys and ids:
        _drop(Connection.objects.filter(integration__in=ids), keys)
        _drop(ConnectLink.objects.filter(integration__in=ids, used_at=None), keys)


def _drop(rows: Iterable[WithParameters], keys: Collection[str]) -> None:
    """Drop values from rows; as with a client secret, what no key opens goes too: it may be opened again later."""
    for row in rows:
        try:
            values = row.parameters
            kept = {key: value for key, value in values.items() if key not in keys}
            if kept == values:
                continue
        except SealError:
            kept = {}
        row.parameters = kept
        row.save(update_fields=["sealed_parameters"])


def forget_tokens(connections: QuerySet[Connection]) -> int:
    """Delete the tokens of connections whose endpoints moved; returns how many need a person again.

    They are not kept: a later disconnect would send them to the new revocation endpoint. A refresh under way finds
    no row to store its answer in. Runs in the caller's transaction.
    """
    now = timezone.now()
    Token.objects.filter(connection__in=connections).delete()
    TokenSchedule.objects.filter(connection__in=connections).update(
        refresh_due_at=None, lease_id=None, lease_until=None, attempts=0
    )
    # A disconnected connection has nothing to lose and stays disconnected.
    losing = connections.exclude(state=ConnectionState.CONFIGURED)
    for integration in Integration.objects.filter(connections__in=losing).distinct():
        notice_of_integration(
            integration,
            NoticeKind.RECONNECT_REQUIRED,
            at=now,
            code=ENDPOINT_CHANGED,
            message=ENDPOINT_CHANGED_MESSAGE,
        )
    return losing.update(
        state=ConnectionState.RECONNECT_REQUIRED,
        last_error_code=ENDPOINT_CHANGED,
        last_error_message=ENDPOINT_CHANGED_MESSAGE,
        last_error_at=now,
        last_error_reference=None,
        updated_at=now,
    )


def integrations_of(provider: CustomProvider) -> list[Integration]:
    """The provider's integrations, of its own workspace only."""
    return list(provider.workspace.integrations.filter(provider_id=provider.provider_id).order_by("grant_type"))
