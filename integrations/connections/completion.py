"""Finishing the authorization code flow (RFC 6749 §4.1.2, RFC 9207, RFC 9700): what the browser brings back.

The row is consumed by one conditional UPDATE before the exchange; a second hit shows the first outcome. Until the new
token is stored, in the last step, an existing connection is not touched.
"""

from __future__ import annotations

import hmac
import logging
import uuid
from datetime import datetime
from functools import partial

from django.db import transaction

from integrations.clock import Clock, start_clock
from integrations.connections.accounts import account_name, is_another_account, is_known_to_be
from integrations.connections.commits import DatabaseAway, Patience, give_back_connection
from integrations.connections.connect_links import check_usable, digest, link_actor
from integrations.connections.errors import LinkGone
from integrations.connections.outcomes import (
    AuthorizationOutcome,
    FlowFailed,
    first_outcome,
    note_failure,
    succeeded,
    unfinished,
    unknown_flow,
)
from integrations.connections.parties import Parties, after_answer, parties_of, shows_token, with_metadata
from integrations.connections.policies import refuse_client, refuses_client
from integrations.connections.recognition import CallbackQuery, was_noted
from integrations.connections.revocation import revoke_secrets
from integrations.connections.storing import Granted, store_extra_later, store_grant
from integrations.crypto import SealError
from integrations.models import Connection, ConnectLink, Integration, PendingAuthorization, Token, TokenSecrets
from integrations.oauth.callback import CallbackRefusal, CallbackSuccess, check_issuer, read_callback
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound
from integrations.providers.metadata import of_callback
from integrations.providers.registration import promises_iss
from integrations.providers.setup import redirect_uri
from workspaces.audit import Actor
from workspaces.models import Membership, User
from workspaces.roles import Permission, permissions_of

logger = logging.getLogger(__name__)

COMMIT_PATIENCE_SECONDS = 10.0


def complete_authorization(
    query: CallbackQuery,
    *,
    binding: str,
    user: User | None = None,
    now: datetime | None = None,
    request_id: uuid.UUID | None = None,
) -> AuthorizationOutcome:
    """Finish a flow with what the browser brought back. Never raises for bad input; each failure is an outcome.

    Whoever comes without the browser's `binding`, or as another person, learns nothing and uses nothing up. A browser
    that a redirect host knew again needs no binding here yet: the flow is bound to the one that it brings.
    """
    reference = request_id or uuid.uuid4()
    clock = start_clock(now)
    try:
        callback = read_callback(query)
    except OAuthError as error:
        return unknown_flow(FlowFailed.by(error), reference)
    found = PendingAuthorization.objects.select_related(
        "workspace", "integration", "integration__workspace", "connection", "connect_link", "user"
    )
    pending = found.filter(state_hash=digest(callback.state)).first()
    if pending is None:
        return unknown_flow(FlowFailed("unknown_state"), reference)
    if not _is_same_browser(pending, binding, user) and not was_noted(pending, query, clock.now()):
        return unknown_flow(FlowFailed("foreign_session"), reference)
    if pending.consumed_at is not None:
        return first_outcome(pending, reference, clock.now())
    return _complete(pending, callback, query, binding, reference, clock)


def _complete(
    pending: PendingAuthorization,
    callback: CallbackSuccess | CallbackRefusal,
    query: CallbackQuery,
    binding: str,
    reference: uuid.UUID,
    clock: Clock,
) -> AuthorizationOutcome:
    actor = _actor(pending, reference)
    try:
        if not _consume(pending, binding, clock.now()):
            pending.refresh_from_db(fields=["consumed_at", "outcome", "expires_at"])
            if pending.consumed_at is None:
                return unfinished(pending, FlowFailed("expired_state"), reference)
            return first_outcome(pending, reference, clock.now())
        connection, answer, warning = _exchange(pending, callback, query, clock, actor)
    except FlowFailed as failure:
        outcome = unfinished(pending, failure, reference)
        note_failure(pending, outcome, actor)
        return outcome
    except DatabaseAway:
        # The row cannot be written either: a second hit will say that the attempt was interrupted.
        logger.exception("A granted token could not be stored (reference %s).", reference)
        return unfinished(pending, FlowFailed("not_stored"), reference)
    store_extra_later(connection, answer.extra)
    return succeeded(pending, connection, warning, reference)


def _is_same_browser(pending: PendingAuthorization, binding: str, user: User | None) -> bool:
    if not binding or not hmac.compare_digest(pending.session_hash, digest(binding)):
        return False
    return pending.user_id is None or (user is not None and user.pk == pending.user_id)


def _consume(pending: PendingAuthorization, binding: str, now: datetime) -> bool:
    """Use the row and its mark up, and check in the same transaction that whoever started it still may finish it.

    Raises FlowFailed when they may not: the row is used up then, too.
    """
    with transaction.atomic():
        fresh = PendingAuthorization.objects.filter(pk=pending.pk, consumed_at__isnull=True, expires_at__gt=now)
        if not fresh.update(consumed_at=now, session_hash=digest(binding), browser_seen_at=None):
            return False
        refused = _why_not_permitted(pending, now)
    if refused is not None:
        raise refused
    return True


def _why_not_permitted(pending: PendingAuthorization, now: datetime) -> FlowFailed | None:
    if pending.connect_link_id is not None:
        link = ConnectLink.objects.select_for_update().filter(pk=pending.connect_link_id).first()
        try:
            if link is None:
                raise LinkGone("unknown_link")
            check_usable(link, now)
        except LinkGone as gone:
            return FlowFailed(gone.code)
        return None
    members = Membership.objects.filter(workspace_id=pending.workspace_id, user__is_active=True)
    membership = members.filter(user=pending.user).first() if pending.user is not None else None
    if membership is None or Permission.CONNECTION_USE not in permissions_of(membership.role):
        return FlowFailed("no_permission")
    return None


def _exchange(
    pending: PendingAuthorization,
    callback: CallbackSuccess | CallbackRefusal,
    query: CallbackQuery,
    clock: Clock,
    actor: Actor,
) -> tuple[Connection, TokenResponse, str]:
    """From the callback to a stored token. Raises FlowFailed, DatabaseAway."""
    parties: Parties | None = None
    try:
        check_issuer(pending.issuer, callback.iss, required=promises_iss(pending.integration))
        if isinstance(callback, CallbackRefusal):
            raise callback.as_error().without((callback.state, *_secrets_of(pending)))
        parties, verifier = _unchanged_parties(pending)
        told = of_callback(parties.spec, query)
        parties = with_metadata(parties, pending.integration, told)
        give_back_connection()
        http = outbound.session(outbound.TOKEN)
        requested_at = clock.now()
        answer = parties.provider.exchange_code(
            http,
            parties.server,
            parties.client,
            code=callback.code,
            redirect_uri=pending.redirect_uri,
            code_verifier=verifier,
            now=requested_at,
        )
    except OAuthError as error:
        own_client = parties is not None and parties.spec.asks_credentials
        _alarm_if_nothing_works(pending.integration, error, clock, actor, own_client=own_client)
        raise FlowFailed.by(error) from error
    parties, metadata = after_answer(parties, pending.integration, told, answer)
    account = _account(parties, answer)
    warning = _check_account(pending, parties, answer, account)
    granted = Granted(
        integration=pending.integration,
        parties=parties,
        answer=answer,
        requested_at=requested_at,
        name=pending.connection_name,
        requested_scopes=pending.requested_scopes,
        scopes=pending.scopes,
        additional_scopes=pending.additional_scopes,
        parameters=pending.parameters,
        account=account,
        metadata=metadata,
    )
    store = partial(_store, pending, granted, clock, actor, clock.now())
    try:
        return Patience(COMMIT_PATIENCE_SECONDS).commit(store), answer, warning
    except FlowFailed as failure:
        if failure.code == "account_differs":
            revoke_secrets(parties, TokenSecrets(answer.access_token, answer.refresh_token))
        raise


def _alarm_if_nothing_works(
    integration: Integration, error: OAuthError, clock: Clock, actor: Actor, *, own_client: bool
) -> None:
    """A client refused on the first connect is misconfigured. Where tokens exist, they are judged by their renewal."""
    at_token_endpoint = error.status is not None
    if not at_token_endpoint or not refuses_client(error, own_client=own_client):
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
        raise FlowFailed("provider_changed") from error
    try:
        parties, verifier = parties_of(integration, parameters=pending.parameters), pending.code_verifier
        then = (pending.authorization_endpoint, pending.token_endpoint, pending.issuer)
    except SealError as error:
        raise FlowFailed("undecryptable") from error
    now = (parties.server.authorization_endpoint, parties.server.token_endpoint, parties.server.issuer)
    uri = redirect_uri(integration.workspace)
    if now != then or parties.client.client_id != pending.client_id or pending.redirect_uri != uri:
        raise FlowFailed("provider_changed")
    return parties, verifier


def _account(parties: Parties, answer: TokenResponse) -> dict[str, str] | None:
    """Whose account it is, for display. Not knowing it never fails a connect."""
    if not parties.server.userinfo_endpoint:
        account = parties.provider.account_from(answer.extra)
    else:
        try:
            userinfo = parties.provider.userinfo(outbound.session(outbound.TOKEN), parties.server, answer.access_token)
        except OAuthError as error:
            logger.info("Whose account it is could not be asked: %s", error.code)
            userinfo = {}
        except Exception:  # nobody foresaw this one; the token must survive it all the same
            logger.exception("Whose account it is could not be asked.")
            userinfo = {}
        account = parties.provider.account_from(userinfo) or parties.provider.account_from_token(answer.extra)
    if any(shows_token(text, answer) for text in account.values()):
        return None
    return account or None


def _check_account(
    pending: PendingAuthorization, parties: Parties, answer: TokenResponse, account: dict[str, str] | None
) -> str:
    """A member is warned when another account than before was connected; a link is refused unless its maker agreed,
    for an account that nobody can name too. Raises FlowFailed.
    """
    before = pending.connection.account if pending.connection is not None else {}
    link = pending.connect_link
    known_by = "id" if before.get("id") else "label"
    is_unknown = bool(before.get(known_by)) and not (account or {}).get(known_by)
    if link is not None and not link.confirm_account_change and is_unknown:
        # Not revoked: it may be the known account's, whose other tokens could end with this one.
        raise FlowFailed("account_unknown")
    if not is_another_account(before, account):
        return ""
    if pending.connect_link is None or pending.connect_link.confirm_account_change:
        return f"This is another account than before: it was {account_name(before)}."
    revoke_secrets(parties, TokenSecrets(answer.access_token, answer.refresh_token))
    raise FlowFailed("account_differs")


def _store(
    pending: PendingAuthorization, granted: Granted, clock: Clock, actor: Actor, used_at: datetime
) -> Connection:
    """Connection, token, link, outcome and event in one transaction.

    Raises FlowFailed when they were deleted meanwhile, or the link was used in another tab.

    May run again when it is unknown whether the first commit arrived: the same token is stored again then.
    """
    with transaction.atomic():
        if pending.connection_id is not None and not Connection.objects.filter(pk=pending.connection_id).exists():
            raise FlowFailed("connection_gone")
        # Locked: a connection of this name is either there now or made by us.
        if Integration.objects.select_for_update().only("pk").filter(pk=pending.integration_id).first() is None:
            raise FlowFailed("provider_changed")
        _use_link_up(pending, granted, used_at)
        return store_grant(granted, pending.connection, now=clock.now(), actor=actor)


def _use_link_up(pending: PendingAuthorization, granted: Granted, used_at: datetime) -> None:
    """Use the link up if there is one, once, and leave what was connected meanwhile alone. Raises FlowFailed."""
    if pending.connect_link_id is None:
        return
    links = ConnectLink.objects.filter(pk=pending.connect_link_id)
    if links.filter(used_at=used_at).exists():
        return  # our first commit arrived, only its confirmation was lost
    if not links.filter(used_at__isnull=True).update(used_at=used_at):
        raise FlowFailed("link_used")
    if pending.connection_id is not None:
        return  # judged before: it was there when the person left
    if pending.connect_link is not None and pending.connect_link.confirm_account_change:
        return
    made = Connection.objects.filter(
        integration_id=pending.integration_id, name=pending.connection_name, token__isnull=False
    ).first()
    if made is not None and not is_known_to_be(made.account, granted.account):
        raise FlowFailed("account_differs")


def _actor(pending: PendingAuthorization, reference: uuid.UUID) -> Actor:
    if pending.connect_link is not None:
        return link_actor(pending.connect_link, reference)
    assert pending.user is not None  # noqa: S101 (a constraint of the table)
    return Actor.member(pending.user, reference)
