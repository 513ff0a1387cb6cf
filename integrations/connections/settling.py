"""What came of a call, settled: a new token stored whatever happens to the database, or the error's policy applied."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

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
        _save_the_rest(job, renewed, answer)
    elif applied == Applied.GONE:
        _revoke_late_answer(job, renewed)
    else:
        patience.commit(partial(leases.release, job.lease))
    return applied


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call; `result` brings it, or raises the call's error."""

    job: Job
    result: Callable[[], tuple[Renewed, TokenResponse]]


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of one renewal: what became of the answer, or the error that there was instead."""

    job: Job
    applied: Applied | None
    error: Exception | None = None


def settle_all(
    answers: Sequence[Answer],
    clock: Clock,
    patience: Patience,
    *,
    actor: Actor,
    rng: random.Random = schedule.SYSTEM_RANDOM,
) -> Iterator[Settled]:
    """Settle answers whose new tokens may share one commit; each one that needs more is settled by itself.

    Raises nothing: one answer's error never keeps the others from being stored.
    """
    stored = _store_together(answers, clock, patience, actor) if len(answers) > 1 else set()
    for answer in answers:
        try:
            if answer.job.connection.pk in stored:
                _save_the_rest(answer.job, *answer.result())
                applied = Applied.STORED
            else:
                applied = settle(answer.job, answer.result, clock, patience, actor=actor, rng=rng)
        except Exception as error:  # noqa: BLE001 (handed on to whoever counts)
            yield Settled(answer.job, None, error)
        else:
            yield Settled(answer.job, applied)


def _store_together(answers: Sequence[Answer], clock: Clock, patience: Patience, actor: Actor) -> set[UUID]:
    renewals: list[Renewed] = []
    for answer in answers:
        with suppress(Exception):  # raised again when it is settled by itself
            renewals.append(answer.result()[0])
    together = partial(applying.apply_together, renewals, now=clock.now(), actor=actor)
    try:
        return patience.commit(together) if renewals else set()
    except DatabaseAway:
        return set()  # each of them goes into a file


def _save_the_rest(job: Job, renewed: Renewed, answer: TokenResponse) -> None:
    """What came beside a token that is stored by now."""
    applying.save_extra(renewed.version, job.connection, answer.extra)
    applying.save_metadata(job, answer)


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
