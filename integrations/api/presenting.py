"""Turns integrations and connections into the API's shapes. No queries of its own beyond what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from integrations.api.schemas.base import LastError, StatusReason
from integrations.api.schemas.connections import Account, ConnectionOut
from integrations.api.schemas.integrations import AskedParameter, ClientKeyOut, DiscoveredEndpoints, IntegrationOut
from integrations.connections.choices import ChosenScopes, scope_drift
from integrations.connections.forecast import forecast
from integrations.connections.status import StatusExplanation, explain, integration_status
from integrations.models import ClientKey, ClientKeyAlgorithm, Connection, GrantType, Integration
from integrations.providers.base import ProviderSpec
from integrations.providers.client_keys import jwks_uri
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import open_parameters, public_parameters
from integrations.providers.registration import registered_client
from integrations.providers.setup import client_auth_method, redirect_uri
from workspaces.models import Workspace


def connection_out(connection: Connection, spec: ProviderSpec, now: datetime) -> ConnectionOut:
    """A connection; its integration, token and schedule have to be loaded with it."""
    integration = connection.integration
    grant_type = GrantType(integration.grant_type)
    status = connection.status_at(now)
    explanation = explain(
        status,
        spec=spec,
        grant_type=grant_type,
        integration=integration,
        connection=connection,
        now=now,
    )
    token, schedule = getattr(connection, "token", None), getattr(connection, "schedule", None)
    return ConnectionOut(
        id=connection.pk,
        name=connection.name,
        provider_id=integration.provider_id,
        grant_type=grant_type,
        status=status,
        status_reason=_reason(explanation),
        is_default=connection.is_default,
        account=_account(connection),
        scopes=ChosenScopes.of(connection, spec).stored_scopes,
        additional_scopes=connection.additional_scopes,
        requested_scopes=connection.requested_scopes,
        granted_scopes=connection.granted_scopes,
        missing_scopes=connection.missing_scopes,
        scope_drift=scope_drift(connection, spec),
        parameters=public_parameters(spec, connection.readable_parameters),
        metadata={str(key): str(text) for key, text in connection.metadata.items()},
        expires_at=token.expires_at if token else None,
        consent_expires_at=end.at if (end := forecast(connection, now)) is not None else None,
        last_refreshed_at=connection.last_refreshed_at,
        next_refresh_at=schedule.refresh_due_at if token and schedule else None,
        last_error=_last_error(connection.last_error_code, connection.last_error_message, connection.last_error_at),
        created_at=connection.created_at,
    )


def integration_out(
    workspace: Workspace,
    spec: ProviderSpec,
    grant_type: GrantType,
    integration: Integration | None,
    connections: Sequence[Connection],
    now: datetime,
) -> IntegrationOut:
    """An integration, saved or not, with its connections' worst status."""
    status = integration_status(spec, integration, connections, now)
    worst = next((one for one in connections if one.status_at(now) == status), None)
    explanation = explain(status, spec=spec, grant_type=grant_type, integration=integration, connection=worst, now=now)
    additional = integration.additional_scopes if integration else []
    provider = provider_for(spec, grant_type)
    key = integration.client_key if integration else None
    return IntegrationOut(
        provider_id=spec.provider_id,
        provider_name=spec.name,
        grant_type=grant_type,
        status=status,
        status_reason=_reason(explanation),
        redirect_uri=redirect_uri(workspace),
        client_id=integration.client_id if integration else "",
        has_client_secret=integration.has_client_secret if integration else False,
        token_endpoint_auth_method=client_auth_method(spec, integration),
        jwks_uri=jwks_uri(key.integration) if key else None,
        client_key=client_key_out(key) if key else None,
        base_scopes=list(spec.base_scopes(grant_type)),
        additional_scopes=additional,
        scopes=list(provider.effective_scopes(integration_additional=additional)),
        parameters=[
            AskedParameter(key=p.key, label=p.label, type=p.type, options=list(p.options))
            for p in open_parameters(spec.under(grant_type), integration.readable_parameters if integration else {})
        ],
        credentials_per_connection=spec.asks_credentials,
        expression=spec.expression(grant_type),
        discovered=_discovered(integration),
        last_error=_client_error(integration),
        created_at=integration.created_at if integration else None,
        updated_at=integration.updated_at if integration else None,
    )


def client_key_out(key: ClientKey) -> ClientKeyOut:
    """A client key's public side."""
    return ClientKeyOut(
        kid=key.kid,
        algorithm=ClientKeyAlgorithm(key.algorithm),
        created_at=key.created_at,
        signs_from=key.signs_from,
    )


def _reason(explanation: StatusExplanation) -> StatusReason:
    return StatusReason(cause=explanation.cause, next_step=explanation.next_step_label)


def _account(connection: Connection) -> Account | None:
    account = connection.account
    return Account(id=str(account.get("id", "")), label=str(account.get("label", ""))) if account else None


def _discovered(integration: Integration | None) -> DiscoveredEndpoints | None:
    if integration is None or integration.discovered is None:
        return None
    client = registered_client(integration)
    return DiscoveredEndpoints(
        endpoints=integration.discovered["endpoints"],
        resource=integration.discovered["resource"],
        at=integration.discovered["at"],
        client_registered=client is not None,
        client_secret_expires_at=client["client_secret_expires_at"] if client else None,
    )


def _client_error(integration: Integration | None) -> LastError | None:
    if integration is None:
        return None
    return _last_error(integration.client_error_code, integration.client_error_message, integration.client_error_at)


def _last_error(code: str, message: str, at: datetime | None) -> LastError | None:
    return LastError(code=code, message=message, at=at) if code else None
