"""One honest word for how things stand, with its cause and the next step: the same for pages and programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from integrations.connections.errors import PROVIDER_OUTAGE, describe_code, naming
from integrations.models import Connection, ConnectionStatus, GrantType, Integration, Token, TokenSchedule
from integrations.providers.base import ProviderSpec
from integrations.providers.setup import is_configured

# An integration with several connections shows the worst of theirs; a disconnected one does not count.
WORST_FIRST = (
    ConnectionStatus.MISCONFIGURED,
    ConnectionStatus.RECONNECT_REQUIRED,
    ConnectionStatus.DEGRADED,
    ConnectionStatus.CONNECTED,
)
_MEANWHILE = "The token is kept, and renewal resumes by itself once that is corrected."


@dataclass(frozen=True, slots=True)
class StatusExplanation:
    """A status in words. `code` and `reference` are for "details"; `since` is when the trouble was last seen."""

    status: ConnectionStatus
    label: str
    cause: str
    next_step_label: str
    next_step: str
    code: str = ""
    reference: UUID | None = None
    since: datetime | None = None
    retry_at: datetime | None = None


def integration_status(
    spec: ProviderSpec, integration: Integration | None, connections: Iterable[Connection], now: datetime
) -> ConnectionStatus:
    """The status of an integration, saved or not: its own, else the worst of its connections'."""
    if integration is None or not is_configured(spec, integration):
        return ConnectionStatus.NOT_CONFIGURED
    if integration.client_error_code:
        return ConnectionStatus.MISCONFIGURED
    found = {connection.status_at(now) for connection in connections}
    return next((status for status in WORST_FIRST if status in found), ConnectionStatus.CONFIGURED)


def explain(
    status: ConnectionStatus,
    *,
    spec: ProviderSpec,
    grant_type: str,
    integration: Integration | None = None,
    connection: Connection | None = None,
    now: datetime,
) -> StatusExplanation:
    """Say what a status means here, why it is so, and what to do next."""
    needs_person = grant_type == GrantType.AUTHORIZATION_CODE
    cause, label, step = _words(status, spec, needs_person, integration, connection, now)
    troubled = status in (WORST_FIRST[0], WORST_FIRST[1], WORST_FIRST[2])
    return StatusExplanation(
        status=status,
        label=status.label,
        cause=naming(cause, spec.name),
        next_step_label=label,
        next_step=naming(step, spec.name),
        code=_code(integration, connection) if troubled else "",
        reference=connection.last_error_reference if connection is not None and troubled else None,
        since=_seen_at(integration, connection) if troubled else None,
        retry_at=_due_at(connection) if status == ConnectionStatus.DEGRADED else None,
    )


def _words(
    status: ConnectionStatus,
    spec: ProviderSpec,
    needs_person: bool,
    integration: Integration | None,
    connection: Connection | None,
    now: datetime,
) -> tuple[str, str, str]:
    """Cause, the label of the next step, and the next step as a sentence."""
    if status == ConnectionStatus.NOT_CONFIGURED:
        return (
            "No client credentials are saved." if not spec.asks_credentials else "The integration is not set up.",
            "Set up",
            f"Register an app at {spec.name} and enter its client ID and client secret."
            if not spec.asks_credentials
            else "Save it; client ID and client secret are asked with each connection.",
        )
    if status == ConnectionStatus.CONFIGURED:
        if spec.asks_credentials:
            label = "Connect with OAuth" if needs_person else "Fetch token"
            return "The integration is set up; there is no connection with a token.", label, "Make a connection."
        if needs_person:
            cause = "The client credentials are saved; nobody has connected an account."
            return cause, "Connect with OAuth", f"Connect and consent at {spec.name}."
        return "The client credentials are saved; no token has been fetched.", "Fetch token", "Fetch a token."
    if status == ConnectionStatus.CONNECTED:
        return _connected(connection), "Manage", ""
    if status == ConnectionStatus.DEGRADED:
        return _degraded(connection, now), "Try now", "It is tried again by itself."
    if status == ConnectionStatus.MISCONFIGURED:
        code = _code(integration, connection)
        words = describe_code(code) if code else describe_code("invalid_client")
        step = f"{words.next_step} {_MEANWHILE}" if _token(connection) is not None else words.next_step
        return words.happened, "Check connection" if spec.asks_credentials else "Check configuration", step
    code = connection.last_error_code if connection is not None else ""
    happened = describe_code(code or code_of_end(_token(connection), now)).happened
    if not needs_person:
        return happened, "Fetch token", "Check the client credentials, then fetch a token."
    return happened, "Reconnect with OAuth", f"Programs get no token until someone consents at {spec.name} again."


def code_of_end(token: Token | None, now: datetime) -> str:
    """Why a token that nothing renews is handed out no more: it expired, or it is older than its workspace allows."""
    return "token_expired" if token is None or token.is_expired(now) else "token_too_old"


def _connected(connection: Connection | None) -> str:
    token = _token(connection)
    if token is None:
        return "The token is usable."
    if token.expires_at is None:
        return "The token is usable; the provider named no lifetime for it."
    if _due_at(connection) is not None or token.has_refresh_token:
        return "The token is usable and renews itself."
    if connection is not None and connection.integration.grant_type == GrantType.CLIENT_CREDENTIALS:
        return "The token is usable and is fetched anew when needed."
    return "The token is usable until it expires; the provider issued nothing to renew it with."


def _degraded(connection: Connection | None, now: datetime) -> str:
    if connection is not None and (since := connection.integration.outage_since) is not None:
        happened = f"The provider has not been answering since {since:%H:%M} UTC."
    elif connection is None or not connection.last_error_code:
        return describe_code("temporarily_unavailable").happened
    else:
        happened = describe_code(connection.last_error_code).happened
    token = _token(connection)
    if token is not None and token.is_expired(now):
        return f"{happened} The last token has expired."
    return f"{happened} The token is still valid and is served."


def _code(integration: Integration | None, connection: Connection | None) -> str:
    if integration is not None and integration.client_error_code:
        return integration.client_error_code
    if connection is not None and connection.integration.outage_since is not None:
        return PROVIDER_OUTAGE
    return connection.last_error_code if connection is not None else ""


def _seen_at(integration: Integration | None, connection: Connection | None) -> datetime | None:
    if integration is not None and integration.client_error_code:
        return integration.client_error_at
    if connection is not None and connection.integration.outage_since is not None:
        return connection.integration.outage_since
    return connection.last_error_at if connection is not None else None


def _due_at(connection: Connection | None) -> datetime | None:
    row: TokenSchedule | None = getattr(connection, "schedule", None)
    return row.refresh_due_at if row is not None else None


def _token(connection: Connection | None) -> Token | None:
    return getattr(connection, "token", None)
