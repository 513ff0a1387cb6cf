"""The authorization code flow (RFC 6749 §4.1, RFC 7636, RFC 9207, RFC 9700): start, and what the browser brings back.

The state is 256 random bits, stored as a digest in a row that is bound to the person or link, the browser, and the
whole tuple of provider and client. The row is consumed by one conditional UPDATE before the exchange; a second hit
shows the first outcome. Until the new token is stored, in the last step, an existing connection is not touched.
"""

from __future__ import annotations

import hmac
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction

from integrations.clock import Clock, start_clock
from integrations.connections.commits import DatabaseAway, Patience, give_back_connection
from integrations.connections.connect_links import bind_to_browser, check_request, check_usable, digest, link_actor
from integrations.connections.errors import FlowRefused, LinkGone, describe_code, message_of
from integrations.connections.parties import Parties, parties_of, scopes_to_request
from integrations.connections.policies import refuse_client, refuses_client
from integrations.connections.revocation import revoke_secrets
from integrations.connections.storing import Granted, store_extra_later, store_grant
from integrations.crypto import SealError
from integrations.models import Connection, ConnectLink, Integration, PendingAuthorization, Token, TokenSecrets
from integrations.oauth import grants
from integrations.oauth.callback import CallbackRefusal, CallbackSuccess, check_issuer, read_callback
from integrations.oauth.errors import ConfigurationRefused, OAuthError
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound
from integrations.outbound.addresses import check_url
from integrations.outbound.errors import AddressRefused
from integrations.providers.setup import redirect_uri
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult, Membership, User
from workspaces.return_urls import permits
from workspaces.roles import Permission, permissions_of

logger = logging.getLogger(__name__)

COMMIT_PATIENCE_SECONDS = 10.0
# Longer than any exchange: a consumed row without an outcome belongs to a process that died.
SHORTEST_TOKEN = 8  # shorter ones may stand in a name by chance
EXCHANGE_TAKES_AT_MOST = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class StartedAuthorization:
    """Where to send the browser. The state stands in the URL; we keep its digest."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    pending: PendingAuthorization


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


# --- start ----------------------------------------------------------------------------------------------
def start_authorization(
    integration: Integration,
    *,
    binding: str,
    user: User | None = None,
    link: ConnectLink | None = None,
    connection: Connection | None = None,
    connection_name: str = "default",
    additional_scopes: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    actor: Actor,
    now: datetime | None = None,
) -> StartedAuthorization:
    """Begin a flow for a signed-in person or a connect link, bound to the browser that holds `binding`.

    Reconnects `connection`, or the one of that name, with the scopes and parameters it was made with unless others
    are given. Raises FlowRefused, and LinkGone for a link that cannot be used.
    """
    if (user is None) == (link is None) or not binding:
        raise ValueError("An authorization is started by a person or a link, in a browser.")
    clock = start_clock(now)
    if link is not None:
        check_usable(link, clock.now())
        bind_to_browser(link, binding)
        connection_name, additional_scopes = link.connection_name, link.additional_scopes
        parameters = {**link.parameters, **(parameters or {})} or None
    if connection is None:
        connection = Connection.objects.filter(integration=integration, name=connection_name).first()
    if connection is not None:
        connection_name = connection.name
        additional_scopes = additional_scopes or connection.additional_scopes
        parameters = connection.parameters if parameters is None else parameters
    check_request(integration, connection_name, parameters or {}, additional_scopes)
    parties = _parties(integration, connection, parameters or {})
    return _begin(
        integration, connection, parties, binding, user, link, connection_name, additional_scopes, parameters or {},
        actor, clock,
    )  # fmt: skip


def _parties(integration: Integration, connection: Connection | None, parameters: Mapping[str, Any]) -> Parties:
    # A reconnect follows the definition that counts today, not the one the connection was made with.
    del connection
    try:
        return parties_of(integration, parameters=parameters)
    except ConfigurationRefused as error:
        raise FlowRefused(error.code, error.description) from error


def _begin(
    integration: Integration,
    connection: Connection | None,
    parties: Parties,
    binding: str,
    user: User | None,
    link: ConnectLink | None,
    name: str,
    additional_scopes: Sequence[str],
    parameters: Mapping[str, Any],
    actor: Actor,
    clock: Clock,
) -> StartedAuthorization:
    state = grants.new_state()
    verifier = grants.new_code_verifier() if parties.server.pkce == "S256" else None
    scopes = scopes_to_request(parties, integration, list(additional_scopes))
    _check_consent_page(parties)
    try:
        url = grants.authorization_url(
            parties.server,
            parties.client.client_id,
            redirect_uri=redirect_uri(),
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
            redirect_uri=redirect_uri(),
            issuer=parties.server.issuer,
            authorization_endpoint=parties.server.authorization_endpoint,
            token_endpoint=parties.server.token_endpoint,
            client_id=parties.client.client_id,
            provider_version=parties.spec.version if parties.spec.custom else None,
            requested_scopes=list(scopes),
            additional_scopes=list(additional_scopes),
            parameters=dict(parameters),
            created_at=clock.now(),
            expires_at=clock.now() + timedelta(seconds=settings.PENDING_AUTHORIZATION_SECONDS),
        )
        detail = {"connection": name, "scopes": list(scopes)}
        target = connection or integration
        record(integration.workspace_id, AuditAction.CONNECTION_STARTED, actor, target=target, detail=detail)
    return StartedAuthorization(url, state, pending)


def _check_consent_page(parties: Parties) -> None:
    """Judge where people are sent by the rules of today: they may have changed since the definition was saved."""
    endpoint = parties.server.authorization_endpoint
    try:
        if endpoint:
            check_url(endpoint, allowed_hosts=settings.OUTBOUND_ALLOWED_HOSTS)
    except AddressRefused as error:
        raise FlowRefused("address_refused", error.message, "Correct the provider's authorization endpoint.") from error


# --- callback -------------------------------------------------------------------------------------------
class _Failed(Exception):
    """The flow ends here; the outcome says how."""

    def __init__(self, code: str, message: str = "", next_step: str = "", provider_text: str = "") -> None:
        words = describe_code(code)
        self.code = code
        self.message = message or words.happened
        self.next_step = next_step or words.next_step
        self.provider_text = provider_text
        super().__init__(code)

    @classmethod
    def by(cls, error: OAuthError) -> _Failed:
        if error.code == "parameter_refused":
            return cls(error.code, message_of(error), " ")
        return cls(error.code, provider_text=error.description)


def complete_authorization(
    query: list[tuple[str, str]],
    *,
    binding: str,
    user: User | None = None,
    now: datetime | None = None,
    request_id: uuid.UUID | None = None,
) -> AuthorizationOutcome:
    """Finish a flow with what the browser brought back. Never raises for bad input; each failure is an outcome.

    `query` has the pairs as they came, repetitions included. Whoever comes without the browser's `binding`, or as
    another person, learns nothing and uses nothing up.
    """
    reference = request_id or uuid.uuid4()
    clock = start_clock(now)
    try:
        callback = read_callback(query)
    except OAuthError as error:
        return _unknown_flow(_Failed.by(error), reference)
    found = PendingAuthorization.objects.select_related(
        "workspace", "integration", "integration__workspace", "connection", "connect_link", "user"
    )
    pending = found.filter(state_hash=digest(callback.state)).first()
    if pending is None:
        return _unknown_flow(_Failed("unknown_state"), reference)
    if not _is_same_browser(pending, binding, user):
        return _unknown_flow(_Failed("foreign_session"), reference)
    if pending.consumed_at is not None:
        return _first_outcome(pending, reference, clock.now())
    return _complete(pending, callback, reference, clock)


def _complete(
    pending: PendingAuthorization, callback: CallbackSuccess | CallbackRefusal, reference: uuid.UUID, clock: Clock
) -> AuthorizationOutcome:
    actor = _actor(pending, reference)
    try:
        if not _consume(pending, clock.now()):
            pending.refresh_from_db(fields=["consumed_at", "outcome", "expires_at"])
            if pending.consumed_at is None:
                return _unfinished(pending, _Failed("expired_state"), reference)
            return _first_outcome(pending, reference, clock.now())
        connection, answer, warning = _exchange(pending, callback, clock, actor)
    except _Failed as failure:
        outcome = _unfinished(pending, failure, reference)
        _note_failure(pending, outcome, actor)
        return outcome
    except DatabaseAway:
        # The row cannot be written either: a second hit will say that the attempt was interrupted.
        logger.exception("A granted token could not be stored (reference %s).", reference)
        return _unfinished(pending, _Failed("not_stored"), reference)
    store_extra_later(connection, answer.extra)
    return _succeeded(pending, connection, warning, reference)


def _is_same_browser(pending: PendingAuthorization, binding: str, user: User | None) -> bool:
    if not binding or not hmac.compare_digest(pending.session_hash, digest(binding)):
        return False
    return pending.user_id is None or (user is not None and user.pk == pending.user_id)


def _consume(pending: PendingAuthorization, now: datetime) -> bool:
    """Use the row up, and check in the same transaction that whoever started it still may finish it.

    Raises _Failed when they may not: the row is used up then, too.
    """
    with transaction.atomic():
        fresh = PendingAuthorization.objects.filter(pk=pending.pk, consumed_at__isnull=True, expires_at__gt=now)
        if not fresh.update(consumed_at=now):
            return False
        refused = _why_not_permitted(pending, now)
    if refused is not None:
        raise refused
    return True


def _why_not_permitted(pending: PendingAuthorization, now: datetime) -> _Failed | None:
    if pending.connect_link_id is not None:
        link = ConnectLink.objects.select_for_update().filter(pk=pending.connect_link_id).first()
        try:
            if link is None:
                raise LinkGone("unknown_link")
            check_usable(link, now)
        except LinkGone as gone:
            return _Failed(gone.code)
        return None
    members = Membership.objects.filter(workspace_id=pending.workspace_id, user__is_active=True)
    membership = members.filter(user=pending.user).first() if pending.user is not None else None
    if membership is None or Permission.CONNECTION_USE not in permissions_of(membership.role):
        return _Failed("no_permission")
    return None


def _exchange(
    pending: PendingAuthorization, callback: CallbackSuccess | CallbackRefusal, clock: Clock, actor: Actor
) -> tuple[Connection, TokenResponse, str]:
    """From the callback to a stored token. Raises _Failed, DatabaseAway."""
    try:
        check_issuer(pending.issuer, callback.iss)
        if isinstance(callback, CallbackRefusal):
            raise callback.as_error().without((callback.state, *_secrets_of(pending)))
        parties, verifier = _unchanged_parties(pending)
        give_back_connection()
        http = outbound.session(outbound.TOKEN)
        requested_at = clock.now()
        answer = grants.exchange_code(
            http,
            parties.server,
            parties.client,
            code=callback.code,
            redirect_uri=pending.redirect_uri,
            code_verifier=verifier,
            now=requested_at,
        )
    except OAuthError as error:
        _alarm_if_nothing_works(pending.integration, error, clock, actor)
        raise _Failed.by(error) from error
    account = _account(parties, answer)
    warning = _check_account(pending, parties, answer, account)
    granted = Granted(
        integration=pending.integration,
        parties=parties,
        answer=answer,
        requested_at=requested_at,
        name=pending.connection_name,
        requested_scopes=pending.requested_scopes,
        additional_scopes=pending.additional_scopes,
        parameters=pending.parameters,
        account=account,
    )
    store = partial(_store, pending, granted, clock, actor, clock.now())
    try:
        return Patience(COMMIT_PATIENCE_SECONDS).commit(store), answer, warning
    except _Failed as failure:
        if failure.code == "account_differs":
            revoke_secrets(parties, TokenSecrets(answer.access_token, answer.refresh_token))
        raise


def _alarm_if_nothing_works(integration: Integration, error: OAuthError, clock: Clock, actor: Actor) -> None:
    """A client refused on the first connect is misconfigured. Where tokens exist, they are judged by their renewal."""
    at_token_endpoint = error.status is not None
    if not at_token_endpoint or not refuses_client(error):
        return
    with transaction.atomic():
        if not Token.objects.filter(connection__integration=integration).exists():
            refuse_client(integration, error, now=clock.now(), actor=actor)


def _secrets_of(pending: PendingAuthorization) -> tuple[str, ...]:
    """What the provider knows and might quote; none that no key opens."""
    try:
        return pending.integration.client_secret or "", pending.code_verifier or ""
    except SealError:
        return ()


def _unchanged_parties(pending: PendingAuthorization) -> tuple[Parties, str | None]:
    """The parties as they are now, which must be those that the person was sent to (mix-up, RFC 9700 §4.4)."""
    try:
        integration = Integration.objects.select_related("workspace").get(pk=pending.integration_id)
    except Integration.DoesNotExist as error:
        raise _Failed("provider_changed") from error
    parties = parties_of(integration, parameters=pending.parameters)
    now = (parties.server.authorization_endpoint, parties.server.token_endpoint, parties.server.issuer)
    then = (pending.authorization_endpoint, pending.token_endpoint, pending.issuer)
    if now != then or parties.client.client_id != pending.client_id or pending.redirect_uri != redirect_uri():
        raise _Failed("provider_changed")
    try:
        return parties, pending.code_verifier
    except SealError as error:
        raise _Failed("undecryptable") from error


def _account(parties: Parties, answer: TokenResponse) -> dict[str, str] | None:
    """Whose account it is, for display. Not knowing it never fails a connect."""
    if not parties.server.userinfo_endpoint:
        return parties.provider.account_from(answer.extra) or None
    try:
        userinfo = grants.userinfo(outbound.session(outbound.TOKEN), parties.server, answer.access_token)
    except OAuthError as error:
        logger.info("Whose account it is could not be asked: %s", error.code)
        return None
    account = parties.provider.account_from(userinfo)
    tokens = [token for token in (answer.access_token, answer.refresh_token) if token and len(token) >= SHORTEST_TOKEN]
    if any(token in text for text in account.values() for token in tokens):
        return None  # it is shown to everybody
    return account or None


def _check_account(
    pending: PendingAuthorization, parties: Parties, answer: TokenResponse, account: dict[str, str] | None
) -> str:
    """A member is warned when another account than before was connected; a link is refused. Raises _Failed."""
    known = pending.connection.account.get("id") if pending.connection is not None else None
    if not known or not account or account.get("id") in (None, "", known):
        return ""
    if pending.connect_link_id is None:
        before = pending.connection.account.get("label") or known if pending.connection is not None else known
        return f"This is another account than before: it was {before}."
    revoke_secrets(parties, TokenSecrets(answer.access_token, answer.refresh_token))
    raise _Failed("account_differs")


def _store(
    pending: PendingAuthorization, granted: Granted, clock: Clock, actor: Actor, used_at: datetime
) -> Connection:
    """Connection, token, link, outcome and event in one transaction. Raises _Failed when they were deleted meanwhile,
    or the link was used in another tab.

    May run again when it is unknown whether the first commit arrived: the same token is stored again then.
    """
    with transaction.atomic():
        if pending.connection_id is not None and not Connection.objects.filter(pk=pending.connection_id).exists():
            raise _Failed("connection_gone")
        # Locked: a connection of this name is either there now or made by us.
        if Integration.objects.select_for_update().only("pk").filter(pk=pending.integration_id).first() is None:
            raise _Failed("provider_changed")
        _use_link_up(pending, granted, used_at)
        return store_grant(granted, pending.connection, now=clock.now(), actor=actor)


def _use_link_up(pending: PendingAuthorization, granted: Granted, used_at: datetime) -> None:
    """Use the link up if there is one, once, and leave what was connected meanwhile alone. Raises _Failed."""
    if pending.connect_link_id is None:
        return
    links = ConnectLink.objects.filter(pk=pending.connect_link_id)
    if links.filter(used_at=used_at).exists():
        return  # our first commit arrived, only its confirmation was lost
    if not links.filter(used_at__isnull=True).update(used_at=used_at):
        raise _Failed("link_used")
    if pending.connection_id is not None:
        return  # judged before: it was there when the person left
    made = Connection.objects.filter(
        integration_id=pending.integration_id, name=pending.connection_name, token__isnull=False
    ).first()
    if made is not None and not _is_same_account(made, granted.account):
        raise _Failed("account_differs")


def _is_same_account(connection: Connection, account: Mapping[str, str] | None) -> bool:
    known = connection.account.get("id")
    return bool(known and account and account.get("id") == known)


# --- outcomes -------------------------------------------------------------------------------------------
def _actor(pending: PendingAuthorization, reference: uuid.UUID) -> Actor:
    if pending.connect_link is not None:
        return link_actor(pending.connect_link, reference)
    assert pending.user is not None  # noqa: S101 (a constraint of the table)
    return Actor.member(pending.user, reference)


def _unknown_flow(failure: _Failed, reference: uuid.UUID) -> AuthorizationOutcome:
    return AuthorizationOutcome(False, failure.code, failure.message, failure.next_step, reference)


def _unfinished(pending: PendingAuthorization, failure: _Failed, reference: uuid.UUID) -> AuthorizationOutcome:
    outcome = AuthorizationOutcome(
        False, failure.code, failure.message, failure.next_step, reference, provider_text=failure.provider_text
    )
    return _with_place(pending, outcome)


def _succeeded(
    pending: PendingAuthorization, connection: Connection, warning: str, reference: uuid.UUID
) -> AuthorizationOutcome:
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


def _note_failure(pending: PendingAuthorization, outcome: AuthorizationOutcome, actor: Actor) -> None:
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


def _first_outcome(pending: PendingAuthorization, reference: uuid.UUID, now: datetime) -> AuthorizationOutcome:
    """What the first hit came to."""
    stored = pending.outcome
    if stored is None:
        taken = now - (pending.consumed_at or now)
        return _unfinished(
            pending, _Failed("in_progress" if taken < EXCHANGE_TAKES_AT_MOST else "interrupted"), reference
        )
    connection_id = stored.get("connection_id")
    outcome = AuthorizationOutcome(
        **{name: stored[name] for name in _REMEMBERED},
        reference=uuid.UUID(stored["reference"]),
        connection_id=uuid.UUID(connection_id) if connection_id else None,
    )
    return _with_place(pending, outcome)
