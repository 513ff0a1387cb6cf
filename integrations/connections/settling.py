"""What came of a call, settled: a new token stored whatever happens to the database, or the error's policy applied."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial

from integrations.clock import Clock
from integrations.connections import applying, policies, schedule, spool
from integrations.connections import lease as leases
from integrations.connections.commits import DatabaseAway, Patience, give_back_connection
from integrations.connections.parties import parties_of
from integrations.connections.renewal import Applied, Job, Renewed
from integrations.connections.revocation import revoke_secrets
from integrations.models import Connection, Integration
from integrations.oauth.errors import ConfigurationRefused, OAuthError
from integrations.oauth.token_response import TokenResponse
from workspaces.audit import WORKER, Actor

logger = logging.getLogger(__name__)


def settle(
    job: Job,
    result: Callable[[], tuple[Renewed, TokenResponse]],
    clock: Clock,
    patience: Patience,
    *,
    actor: Actor,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> Applied:
    """Store what `result` brings, or apply the policy of the OAuthError that it raises, and raise that again.

    SUPERSEDED: somebody else was faster, so neither answer nor error counts. Raises DatabaseAway when nothing could be
    committed for minutes; a new token is in a file then.
    """
    try:
        renewed, answer = result()
    except OAuthError as told:
        error = policies.as_known(told, outcome_unknown=job.outcome_unknown)
        fail = partial(
            policies.apply_failure,
            job.connection,
            job.lease,
            job.version,
            error,
            now=clock.now(),
            pause_key=job.parties.pause_key,
            own_client=job.parties.spec.asks_credentials,
            actor=actor,
            rng=rng,
        )
        if patience.commit(fail):
            raise error from told
        return Applied.SUPERSEDED
    applied = _store(renewed, clock, patience, actor)
    if applied == Applied.STORED:
        applying.save_extra(renewed.version, job.connection, answer.extra)
        applying.save_metadata(job, answer)
    elif applied == Applied.GONE:
        _revoke_late_answer(job, renewed)
    else:
        patience.commit(partial(leases.release, job.lease))
    return applied


def _store(renewed: Renewed, clock: Clock, patience: Patience, actor: Actor) -> Applied:
    """Commit an answer. While the database is away it is in the spool too, so that no kill can cost it."""
    kept = spool.Kept(renewed)
    try:
        store = partial(applying.apply_renewal, renewed, now=clock.now(), actor=actor)
        applied = patience.commit(store, keep=kept.put)
    except DatabaseAway:
        raise
    except Exception:
        # Nobody foresaw this one; the token must survive it all the same.
        kept.put()
        raise
    kept.forget()
    return applied


def store_kept(renewed: Renewed, clock: Clock, patience: Patience) -> Applied:
    """Commit an answer from the spool; one whose connection is gone meanwhile is revoked. Raises DatabaseAway."""
    applied = patience.commit(partial(applying.apply_renewal, renewed, now=clock.now(), actor=WORKER))
    if applied == Applied.GONE:
        _revoke_kept(renewed)
    return applied


def _revoke_late_answer(job: Job, renewed: Renewed) -> None:
    """The connection was disconnected or deleted during the call: the token that came after must not live on."""
    logger.info("Connection %s is gone; the token issued meanwhile is revoked.", job.connection.pk)
    give_back_connection()
    revoke_secrets(job.parties, renewed.issued.secrets)


def _revoke_kept(renewed: Renewed) -> None:
    connection = Connection.objects.select_related("workspace", "integration").filter(pk=renewed.connection_id).first()
    integration = connection.integration if connection is not None else _integration_of(renewed)
    if integration is None:
        logger.warning(
            "Connection %s is gone with its client; its last token cannot be revoked.", renewed.connection_id
        )
        return
    try:
        # A deleted connection took its own parameters along.
        parties = parties_of(integration, connection, parameters=None if connection is not None else {})
    except ConfigurationRefused as error:
        logger.warning("The last token of %s cannot be revoked: %s", renewed.connection_id, error.code)
        return
    logger.info("Connection %s is gone; the token that was kept for it is revoked.", renewed.connection_id)
    give_back_connection()
    revoke_secrets(parties, renewed.issued.secrets)


def _integration_of(renewed: Renewed) -> Integration | None:
    rows = Integration.objects.select_related("workspace").filter(workspace_id=renewed.workspace_id)
    return rows.filter(pk=renewed.integration_id).first()
