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
from integrations.connections import applying, breaker, policies, schedule, spool
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
        place = breaker.Place.of(job.integration, job.parties)
        in_outage = False
        if breaker.counts(error):
            note = partial(breaker.note_failure, place, job.connection.pk, error, now=clock.now(), actor=actor)
            in_outage = patience.commit(note).opened_at is not None
        elif breaker.is_answer(error):
            _note_answer(job, clock, patience, actor)
        fail = partial(
            policies.apply_failure,
            job.connection,
            job.lease,
            job.version,
            error,
            now=clock.now(),
            pause_key=job.parties.pause_key,
            own_client=job.parties.spec.asks_credentials,
            in_outage=in_outage,
            actor=actor,
            rng=rng,
        )
        if patience.commit(fail):
            raise error from told
        return Applied.SUPERSEDED
    applied = _store(renewed, clock, patience, actor)
    if applied == Applied.STORED:
        _save_the_rest(job, renewed, answer)
    elif applied == Applied.GONE:
        _revoke_late_answer(job, renewed)
    else:
        patience.commit(partial(leases.release, job.lease))
    _note_answer(job, clock, patience, actor)
    return applied


def _note_answer(job: Job, clock: Clock, patience: Patience, actor: Actor) -> None:
    """The provider answers, which ends its outage if there is one."""
    if breaker.is_watched(place := breaker.Place.of(job.integration, job.parties)):
        patience.commit(partial(breaker.note_answer, place, now=clock.now(), actor=actor))


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
                _note_answer(answer.job, clock, patience, actor)
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
