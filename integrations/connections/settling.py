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
from integrations.connections.renewal import Applied, Job, Renewed
from integrations.oauth.errors import OAuthError
from integrations.oauth.token_response import TokenResponse
from integrations.outbound import client as outbound
from workspaces.audit import Actor

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
    except OAuthError as error:
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
            raise
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
    try:
        return patience.commit(partial(applying.apply_renewal, renewed, now=clock.now(), actor=actor))
    except DatabaseAway:
        spool.put(renewed)
        raise
    except Exception:
        # Nobody foresaw this one; the token must survive it all the same.
        spool.put(renewed)
        raise


def _revoke_late_answer(job: Job, renewed: Renewed) -> None:
    """The connection was disconnected or deleted during the call: the token that came after must not live on."""
    logger.info("Connection %s is gone; the token issued meanwhile is revoked.", job.connection.pk)
    give_back_connection()
    http, secrets = outbound.session(outbound.TOKEN), renewed.issued.secrets
    provider, server, client = job.parties.provider, job.parties.server, job.parties.client
    if secrets.refresh_token:
        provider.revoke(http, server, client, token=secrets.refresh_token, token_type_hint="refresh_token")  # noqa: S106 (a name, not a token)
    provider.revoke(http, server, client, token=secrets.access_token, token_type_hint="access_token")  # noqa: S106 (a name, not a token)
