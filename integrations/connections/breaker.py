"""The outage breaker: while a provider does not answer, one call at a time tries, and the others wait.

It stands per workspace, provider and origin of the token endpoint, for built-in providers too. No tenant is held for
another one's failures: who has a broken client, or an instance of their own that is down, would otherwise stop people
whose calls succeed. What others' failures change is how many of one's own it takes: five connections in a row without
an answer in between; one, when another workspace sees the same built-in provider at the same origin fail. So an
outage costs each workspace a handful of calls and one an interval, however many connections it has.

It holds scheduled calls and those of readers. Connect, Test and a forced refresh always try, and any answer ends it:
also a refusal, which only a provider that works can give.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from integrations.connections.errors import PROVIDER_OUTAGE, sentence
from integrations.connections.parties import Parties
from integrations.models import Integration, NoticeKind, ProviderOutage, TokenSchedule
from integrations.notices import notice_of_integration
from integrations.oauth.errors import ClientRefused, DeadGrant, OAuthError, Outage, TransientFailure, UnknownRefusal
from integrations.wake import wake_worker
from workspaces.audit import Actor, AuditAction, record
from workspaces.models import AuditResult

logger = logging.getLogger(__name__)

OPENS_AFTER = 5  # connections
OPENS_AFTER_CONFIRMED = 1  # when another workspace sees it too
FAILURES_COUNT_FOR = timedelta(minutes=5)
FIRST_PROBE = timedelta(seconds=30)
LONGEST_PROBE = timedelta(minutes=5)
# An open outage that nobody has tried for so long is about nothing any more: no connection of it is due.
FORGOTTEN_AFTER = timedelta(minutes=15)
# Once it is over: so many renewals a second at first on average, and everybody within ten minutes.
RAMP_PER_SECOND = 20
LONGEST_RAMP_SECONDS = 600
RAMPED_AT_MOST = 50_000  # what is due beyond that keeps its own time; the caps on calls hold

# Keys with a row, as this process knows: a renewal that succeeds asks the database only about these.
_watched: set[str] = set()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workspace's calls go."""

    workspace_id: UUID
    provider_id: str
    origin: str
    is_custom: bool

    @classmethod
    def of(cls, integration: Integration, parties: Parties) -> Place:
        """Of an integration's calls with these parties."""
        endpoint = urlsplit(parties.server.token_endpoint)
        origin = f"{endpoint.scheme}://{endpoint.netloc.lower()}"
        return cls(integration.workspace_id, integration.provider_id, origin[:300], parties.spec.custom)

    @property
    def key(self) -> str:
        """Of the row."""
        return _digest(str(self.workspace_id), self.provider_id, self.origin)

    @property
    def provider_key(self) -> str:
        """What is the same provider in another workspace; a custom one is nobody else's."""
        return self.key if self.is_custom else _digest(self.provider_id, self.origin)


def counts(error: OAuthError) -> bool:
    """Whether an error speaks for an outage."""
    return isinstance(error, Outage | TransientFailure) and error.code != "too_early"


def is_answer(error: OAuthError) -> bool:
    """Whether only a provider that works gives this error."""
    return isinstance(error, DeadGrant | ClientRefused | UnknownRefusal)


def load_outages(workspace_id: UUID | None = None) -> dict[str, ProviderOutage]:
    """Every place with failures, or a workspace's."""
    rows = ProviderOutage.objects.all()
    found = {row.key: row for row in (rows if workspace_id is None else rows.filter(workspace_id=workspace_id))}
    _watched.update(found)
    return found


def is_watched(place: Place) -> bool:
    """Whether an answer from there is news."""
    return place.key in _watched


def may_probe(outage: ProviderOutage, now: datetime) -> bool:
    """Take the one call that an open outage allows for this interval."""
    interval = min(LONGEST_PROBE, FIRST_PROBE * (1 << min(outage.probes + 1, 10)))
    due = ProviderOutage.objects.filter(key=outage.key, next_probe_at__lte=now)
    if not due.update(next_probe_at=now + interval, probes=F("probes") + 1):
        return False
    outage.next_probe_at = now + interval
    return True


def note_failure(
    place: Place, connection_id: UUID, error: OAuthError, *, now: datetime, actor: Actor
) -> ProviderOutage:
    """Count a failure; the one that makes it an outage raises one alarm for each integration."""
    _watched.add(place.key)
    with transaction.atomic():
        defaults = {
            "provider_key": place.provider_key,
            "workspace_id": place.workspace_id,
            "provider_id": place.provider_id,
            "origin": place.origin,
            "code": error.code[:64],
            "last_failure_at": now,
        }
        ProviderOutage.objects.get_or_create(key=place.key, defaults=defaults)
        outage = ProviderOutage.objects.select_for_update().get(key=place.key)
        if outage.opened_at is not None:
            return outage
        recent = outage.failing if outage.last_failure_at > now - FAILURES_COUNT_FOR else []
        outage.failing = list(dict.fromkeys([*recent, str(connection_id)]))[-OPENS_AFTER:]
        outage.last_failure_at, outage.code = now, error.code[:64]
        if len(outage.failing) >= _threshold(place):
            outage.opened_at, outage.next_probe_at, outage.probes = now, now + FIRST_PROBE, 0
            _tell_of(place, now=now, actor=actor)
        outage.save()
    return outage


def note_answer(place: Place, *, now: datetime, actor: Actor) -> None:
    """The provider answers, so its failures are forgotten; whoever an outage held comes back, spread over time."""
    with transaction.atomic():
        outage = ProviderOutage.objects.select_for_update().filter(key=place.key).first()
        _watched.discard(place.key)
        if outage is None:
            return
        outage.delete()
        if outage.opened_at is None:
            return
        _tell_recovered(place, now=now, actor=actor)
        let_go(place, now=now)
        # Others who see the same provider need not take our word for it, but they may try at once.
        others = ProviderOutage.objects.filter(provider_key=place.provider_key, opened_at__isnull=False)
        others.update(next_probe_at=now)
    wake_worker()


def let_go(place: Place, *, now: datetime) -> int:
    """Spread what was held over the next minutes, what expires first comes first. Returns how many.

    The rate grows from nothing: a provider that has just come back is not thrown down again.
    """
    held = TokenSchedule.objects.filter(
        connection__workspace_id=place.workspace_id,
        connection__integration__provider_id=place.provider_id,
        lease_id__isnull=True,
        refresh_due_at__lte=now + LONGEST_PROBE + timedelta(seconds=30),
    ).order_by("connection__token__expires_at")
    ids = list(held.values_list("pk", flat=True)[:RAMPED_AT_MOST])
    for second, group in _ramp(ids):
        TokenSchedule.objects.filter(pk__in=group, lease_id__isnull=True).update(
            refresh_due_at=now + timedelta(seconds=second), attempts=0
        )
    return len(ids)


def sweep(now: datetime) -> int:
    """Forget failures that nobody follows up. Returns how many rows went."""
    stale = ProviderOutage.objects.filter(opened_at__isnull=True, last_failure_at__lt=now - FAILURES_COUNT_FOR)
    count = stale.delete()[0]
    for outage in ProviderOutage.objects.filter(next_probe_at__lt=now - FORGOTTEN_AFTER):
        _integrations(outage.workspace_id, outage.provider_id).update(outage_since=None)
        count += outage.delete()[0]
    return count


def _threshold(place: Place) -> int:
    if place.is_custom:
        return OPENS_AFTER
    elsewhere = ProviderOutage.objects.filter(provider_key=place.provider_key, opened_at__isnull=False)
    return OPENS_AFTER_CONFIRMED if elsewhere.exclude(key=place.key).exists() else OPENS_AFTER


def _tell_of(place: Place, *, now: datetime, actor: Actor) -> None:
    logger.warning("%s at %s does not answer; one call at a time tries.", place.provider_id, place.origin)
    rows = _integrations(place.workspace_id, place.provider_id)
    for integration in rows.filter(outage_since__isnull=True, connections__token__isnull=False).distinct():
        rows.filter(pk=integration.pk).update(outage_since=now)
        message = sentence(PROVIDER_OUTAGE)
        notice_of_integration(integration, NoticeKind.DEGRADED, at=now, code=PROVIDER_OUTAGE, message=message)
        record(
            place.workspace_id,
            AuditAction.INTEGRATION_OUTAGE,
            actor,
            target=integration,
            result=AuditResult.FAILED,
            detail={"code": PROVIDER_OUTAGE, "origin": place.origin},
        )


def _tell_recovered(place: Place, *, now: datetime, actor: Actor) -> None:
    # Another origin of the same provider may still be away.
    if ProviderOutage.objects.filter(
        workspace_id=place.workspace_id, provider_id=place.provider_id, opened_at__isnull=False
    ).exists():
        return
    for integration in _integrations(place.workspace_id, place.provider_id).filter(outage_since__isnull=False):
        notice_of_integration(integration, NoticeKind.RECOVERED, at=now)
        record(place.workspace_id, AuditAction.INTEGRATION_RECOVERED, actor, target=integration)
    _integrations(place.workspace_id, place.provider_id).update(outage_since=None)


def _integrations(workspace_id: UUID, provider_id: str) -> QuerySet[Integration]:
    return Integration.objects.filter(workspace_id=workspace_id, provider_id=provider_id)


def _ramp(ids: list[UUID]) -> Iterable[tuple[int, list[UUID]]]:
    """Groups by the second in which they come; the square root makes the rate grow evenly."""
    seconds = min(LONGEST_RAMP_SECONDS, max(10, math.ceil(len(ids) / RAMP_PER_SECOND)))
    groups: dict[int, list[UUID]] = {}
    for position, pk in enumerate(ids):
        groups.setdefault(int(seconds * math.sqrt(position / len(ids))), []).append(pk)
    return groups.items()


def _digest(*parts: str) -> str:
    return sha256("\x00".join(parts).encode()).hexdigest()
