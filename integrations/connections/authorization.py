"""Starting the authorization code flow (RFC 6749 §4.1.1, RFC 7636): the pending authorization and the URL.

The state is 256 random bits, stored as a digest in a row that is bound to the person or link, the browser, and the
whole tuple of provider and client. `completion` finishes what is started here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from integrations.clock import Clock, start_clock
from integrations.connections.choices import (
    ChosenScopes,
    check_choices,
    open_choices,
    stored_parameters,
    with_stored,
)
from integrations.connections.connect_links import (
    bind_to_browser,
    check_startable,
    check_usable,
    choices_of_link,
    digest,
)
from integrations.connections.errors import FlowRefused
from integrations.connections.parties import Parties, parties_of
from integrations.models import Connection, ConnectLink, Integration, PendingAuthorization
from integrations.oauth import grants
from integrations.oauth.errors import ConfigurationRefused, OAuthError
from integrations.outbound.addresses import check_url
from integrations.outbound.errors import AddressRefused
from integrations.providers.parameters import without_config_values
from integrations.providers.setup import redirect_uri
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import User


@dataclass(frozen=True, slots=True)
class StartedAuthorization:
    """Where to send the browser. The state stands in the URL; we keep its digest."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    pending: PendingAuthorization


def start_authorization(
    integration: Integration,
    *,
    binding: str,
    user: User | None = None,
    link: ConnectLink | None = None,
    connection: Connection | None = None,
    connection_name: str = "default",
    chosen: ChosenScopes | None = None,
    parameters: Mapping[str, Any] | None = None,
    actor: Actor,
    now: datetime | None = None,
) -> StartedAuthorization:
    """Begin a flow for a signed-in person or a connect link, bound to the browser that holds `binding`.

    Reconnects `connection`, or the one of that name, with the scopes and parameters it has unless others are given.
    Whoever uses a link decides only what it leaves open. Raises FlowRefused, and LinkGone for a link that cannot be
    used.
    """
    if (user is None) == (link is None) or not binding:
        raise ValueError("An authorization is started by a person or a link, in a browser.")
    clock = start_clock(now)
    if link is not None:
        check_usable(link, clock.now())
        bind_to_browser(link, binding)
        connection_name = link.connection_name
    spec = check_startable(integration)
    if link is not None:
        decided = choices_of_link(link, spec)
        connection, chosen = decided.connection, decided.chosen
        open_keys = {parameter.key for parameter in open_choices(spec, integration, decided.values)}
        closed = {parameter.key for parameter in spec.parameters} - open_keys
        values = decided.values | {key: value for key, value in (parameters or {}).items() if key not in closed}
    else:
        if connection is None:
            connection = Connection.objects.filter(integration=integration, name=connection_name).first()
        chosen = chosen or ChosenScopes.of(connection, spec)
        values = with_stored(spec, integration.readable_parameters, stored_parameters(connection), parameters)
    if connection is not None:
        connection_name = connection.name
    check_choices(spec, integration, name=connection_name, chosen=chosen, parameters=values, complete=True)
    parties = _parties(integration, values)
    return _begin(integration, connection, parties, binding, user, link, connection_name, chosen, values, actor, clock)


def _parties(integration: Integration, parameters: Mapping[str, Any]) -> Parties:
    # A reconnect follows the definition that counts today, not the one the connection was made with.
    try:
        return parties_of(integration, parameters=parameters)
    except ConfigurationRefused as error:
        raise FlowRefused(error.code, error.description, " " if error.description else "") from error


def _begin(
    integration: Integration,
    connection: Connection | None,
    parties: Parties,
    binding: str,
    user: User | None,
    link: ConnectLink | None,
    name: str,
    chosen: ChosenScopes,
    parameters: Mapping[str, Any],
    actor: Actor,
    clock: Clock,
) -> StartedAuthorization:
    state = grants.new_state()
    verifier = grants.new_code_verifier() if parties.server.pkce == "S256" else None
    scopes = chosen.requested(parties.spec, integration)
    uri = redirect_uri(integration.workspace)
    _check_lengths(parties)
    _check_consent_page(parties)
    try:
        url = grants.authorization_url(
            parties.server,
            parties.client.client_id,
            redirect_uri=uri,
            scopes=scopes,
            state=state,
            code_verifier=verifier,
        )
    except OAuthError as error:
        raise FlowRefused(error.code) from error
    with transaction.atomic():
        pending = PendingAuthorization.objects.create(
            workspace_id=integration.workspace_id,
            integration=integration,
            connection=connection,
            connection_name=name,
            user=user,
            connect_link=link,
            state_hash=digest(state),
            session_hash=digest(binding),
            code_verifier=verifier,
            redirect_uri=uri,
            issuer=parties.server.issuer,
            authorization_endpoint=parties.server.authorization_endpoint,
            token_endpoint=parties.server.token_endpoint,
            client_id=parties.client.client_id,
            provider_version=parties.spec.version if parties.spec.custom else None,
            requested_scopes=list(scopes),
            scopes=chosen.stored_scopes,
            additional_scopes=list(chosen.additional),
            parameters=without_config_values(parties.spec, parameters),  # type: ignore[misc] # a property
            created_at=clock.now(),
            expires_at=clock.now() + timedelta(seconds=settings.PENDING_AUTHORIZATION_SECONDS),
        )
        detail = {"connection": name, "scopes": list(scopes)}
        target = connection or integration
        record(integration.workspace_id, AuditAction.CONNECTION_STARTED, actor, target=target, detail=detail)
    return StartedAuthorization(url, state, pending)


def _check_lengths(parties: Parties) -> None:
    """What parameters make of the client id and the issuer has to fit where the flow keeps it."""
    for name, value in (("client_id", parties.client.client_id), ("issuer", parties.server.issuer)):
        limit = getattr(PendingAuthorization._meta.get_field(name), "max_length", None)
        if limit is not None and len(value) > limit:
            message = f"With these parameters the {name} has more than {limit} characters."
            raise FlowRefused("parameter_refused", message, "Correct the parameters.")


def _check_consent_page(parties: Parties) -> None:
    """Judge where people are sent by the rules of today: they may have changed since the definition was saved."""
    endpoint = parties.server.authorization_endpoint
    try:
        if endpoint:
            check_url(endpoint, allowed_hosts=settings.OUTBOUND_ALLOWED_HOSTS)
    except AddressRefused as error:
        raise FlowRefused("address_refused", error.message, "Correct the provider's authorization endpoint.") from error
