"""What a flow came to: in words, kept with its row, shown again to a second hit."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.db import transaction

from integrations.connections.errors import describe_code, message_of
from integrations.models import Connection, ConnectLink, PendingAuthorization
from integrations.oauth.errors import OAuthError
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult
from workspaces.return_urls import permits

# Longer than any exchange: a consumed row without an outcome belongs to a process that died.
EXCHANGE_TAKES_AT_MOST = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class AuthorizationOutcome:
    """What a callback came to, in words. `provider_text` is the provider's, cleaned, to be shown escaped."""

    ok: bool
    code: str
    message: str
    next_step: str
    reference: uuid.UUID
    provider_text: str = ""
    workspace_slug: str = ""
    provider_id: str = ""
    grant_type: str = ""
    connection_id: uuid.UUID | None = None
    link: ConnectLink | None = None
    return_url: str = ""
    missing_scopes: list[str] = field(default_factory=list)
    warning: str = ""

    @property
    def return_location(self) -> str:
        """The link's return URL with `status` and, on success, `connection_id`; empty when there is none."""
        if not self.return_url:
            return ""
        result = {"status": "connected" if self.ok else "failed"}
        if self.connection_id is not None:
            result["connection_id"] = str(self.connection_id)
        return f"{self.return_url}{'&' if '?' in self.return_url else '?'}{urlencode(result)}"


class FlowFailed(Exception):
    """The flow ends here; the outcome says how."""

    def __init__(self, code: str, message: str = "", next_step: str = "", provider_text: str = "") -> None:
        words = describe_code(code)
        self.code = code
        self.message = message or words.happened
        self.next_step = next_step or words.next_step
        self.provider_text = provider_text
        super().__init__(code)

    @classmethod
    def by(cls, error: OAuthError) -> FlowFailed:
        """In our words for the error's code; the provider's own text beside them."""
        if error.code == "parameter_refused":
            return cls(error.code, message_of(error), " ")
        return cls(error.code, provider_text=error.description)


def unknown_flow(failure: FlowFailed, reference: uuid.UUID) -> AuthorizationOutcome:
    """A callback that fits no flow of this browser: it says nothing about anybody else's."""
    return AuthorizationOutcome(False, failure.code, failure.message, failure.next_step, reference)


def unfinished(pending: PendingAuthorization, failure: FlowFailed, reference: uuid.UUID) -> AuthorizationOutcome:
    """A failure, and where the person came from."""
    outcome = AuthorizationOutcome(
        False, failure.code, failure.message, failure.next_step, reference, provider_text=failure.provider_text
    )
    return _with_place(pending, outcome)


def succeeded(
    pending: PendingAuthorization, connection: Connection, warning: str, reference: uuid.UUID
) -> AuthorizationOutcome:
    """A success, kept for a second hit."""
    outcome = AuthorizationOutcome(
        ok=True,
        code="connected",
        message="Connected.",
        next_step="",
        reference=reference,
        connection_id=connection.pk,
        missing_scopes=connection.missing_scopes,
        warning=warning,
    )
    _remember(pending, outcome)
    return _with_place(pending, outcome)


def _with_place(pending: PendingAuthorization, outcome: AuthorizationOutcome) -> AuthorizationOutcome:
    """Add where the person came from. The return URL is judged again: the workspace's list may have changed."""
    link = pending.connect_link
    returns = link is not None and link.return_url and permits(pending.workspace.return_urls, link.return_url)
    return replace(
        outcome,
        workspace_slug=pending.workspace.slug,
        provider_id=pending.integration.provider_id,
        grant_type=pending.integration.grant_type,
        link=link,
        return_url=link.return_url if link is not None and returns else "",
    )


_REMEMBERED = ("ok", "code", "message", "next_step", "provider_text", "missing_scopes", "warning")


def _remember(pending: PendingAuthorization, outcome: AuthorizationOutcome) -> None:
    """Keep the outcome for a second hit."""
    values = {name: value for name, value in asdict(replace(outcome, link=None)).items() if name in _REMEMBERED}
    values["reference"] = str(outcome.reference)
    values["connection_id"] = str(outcome.connection_id) if outcome.connection_id is not None else None
    PendingAuthorization.objects.filter(pk=pending.pk).update(outcome=values)


def note_failure(pending: PendingAuthorization, outcome: AuthorizationOutcome, actor: Actor) -> None:
    """The outcome and its event. Nothing else changes: an existing connection stays as it was."""
    with transaction.atomic():
        _remember(pending, outcome)
        record(
            pending.workspace_id,
            AuditAction.CONNECTION_FAILED,
            actor,
            target=pending.connection or pending.integration,
            result=AuditResult.FAILED,
            detail={"code": outcome.code, "reference": str(outcome.reference)},
        )


def first_outcome(pending: PendingAuthorization, reference: uuid.UUID, now: datetime) -> AuthorizationOutcome:
    """What the first hit came to."""
    stored = pending.outcome
    if stored is None:
        taken = now - (pending.consumed_at or now)
        return unfinished(
            pending, FlowFailed("in_progress" if taken < EXCHANGE_TAKES_AT_MOST else "interrupted"), reference
        )
    connection_id = stored.get("connection_id")
    outcome = AuthorizationOutcome(
        **{name: stored[name] for name in _REMEMBERED},
        reference=uuid.UUID(stored["reference"]),
        connection_id=uuid.UUID(connection_id) if connection_id else None,
    )
    return _with_place(pending, outcome)
