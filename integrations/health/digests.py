"""Which notices make one e-mail, and when. Pure: notices and moments in, a plan out.

A reader hears of trouble that lasts, once, and of its end. So what counts of each connection (or integration) is the
last thing that happened to it: what was over before it was mailed is mailed to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from integrations.models import NoticeKind

GATHER = timedelta(minutes=2)  # after the first news, so that what breaks together is told together
LASTS = timedelta(minutes=10)  # a renewal that failed for less is nobody's business
QUIET = timedelta(hours=1)  # between two digests of a workspace
MAX_GROUPS = 20  # lines of a mail; the page has them all
NAMED = 3  # connections that a line names

WORST_FIRST = (
    NoticeKind.MISCONFIGURED,
    NoticeKind.RECONNECT_REQUIRED,
    NoticeKind.CONSENT_EXPIRING,
    NoticeKind.DEGRADED,
    NoticeKind.RECOVERED,
)
NEEDS_PERSON = frozenset(WORST_FIRST[:3])

# What a notice is about: consent that ends is apart from the state of the connection.
Subject = tuple[bool, UUID | None, UUID | None]


@dataclass(frozen=True, slots=True)
class Told:
    """A notice as it is judged here."""

    id: int
    kind: NoticeKind
    at: datetime
    integration_id: UUID | None
    connection_id: UUID | None
    provider_id: str
    grant_type: str
    connection_name: str
    code: str = ""
    ends_at: datetime | None = None

    @property
    def subject(self) -> Subject:
        """What it is about; of a whole integration without a connection."""
        return self.kind == NoticeKind.CONSENT_EXPIRING, self.integration_id, self.connection_id

    @property
    def is_of_all(self) -> bool:
        """Whether it is about all connections of an integration at once."""
        return not self.connection_name

    @property
    def is_orphaned(self) -> bool:
        """Whether what it was about has been deleted."""
        return self.integration_id is None or (not self.is_of_all and self.connection_id is None)

    @property
    def ripe_at(self) -> datetime:
        """From when on it may be mailed."""
        return self.at + (LASTS if self.kind == NoticeKind.DEGRADED else GATHER)


@dataclass(frozen=True, slots=True)
class Carried:
    """A notice that goes into the digest. `needs_person`: of a recovery, whether its trouble did."""

    told: Told
    needs_person: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the notices that no digest has dealt with: carry now, drop, or leave for later."""

    carried: tuple[Carried, ...]
    dropped: tuple[int, ...]


def last_of_each(pending: Iterable[Told]) -> tuple[list[Told], list[int]]:
    """The last notice about each subject (the one that counts), and the ids of those it makes void."""
    by_subject: dict[Subject, list[Told]] = defaultdict(list)
    void = []
    for told in sorted(pending, key=lambda one: one.id):
        if told.is_orphaned:
            void.append(told.id)
        else:
            by_subject[told.subject].append(told)
    void += [told.id for row in by_subject.values() for told in row[:-1]]
    return [row[-1] for row in by_subject.values()], void


def make_plan(
    latest: Sequence[Told],
    *,
    over: frozenset[int],
    mailed: Mapping[Subject, NoticeKind],
    last_digest_at: datetime | None,
    now: datetime,
) -> Plan:
    """Decide about the last notice of each subject.

    `over`: ids of those whose trouble has gone without a notice (disconnected, corrected). `mailed`: the kind that a
    digest last carried about a subject; a recovery is told only to whom its trouble was told.
    """
    dropped = []
    waiting = []
    for told in latest:
        trouble = _mailed_trouble(told, mailed)
        if told.id in over or (told.kind == NoticeKind.RECOVERED and trouble is None):
            dropped.append(told.id)
        else:
            waiting.append(Carried(told, (trouble or told.kind) in NEEDS_PERSON))
    may_send = last_digest_at is None or last_digest_at + QUIET <= now
    if not may_send or not any(one.told.ripe_at <= now for one in waiting):
        return Plan((), tuple(dropped))
    # What is new and certain goes along; only a failing renewal has to have lasted.
    goes = tuple(one for one in waiting if one.told.kind != NoticeKind.DEGRADED or one.told.ripe_at <= now)
    return Plan(goes, tuple(dropped))


def _mailed_trouble(told: Told, mailed: Mapping[Subject, NoticeKind]) -> NoticeKind | None:
    """The trouble that a recovery ends, if it was mailed: the connection's own, or that of its whole integration."""
    if told.kind != NoticeKind.RECOVERED:
        return None
    consent, integration_id, _ = told.subject
    for subject in (told.subject, (consent, integration_id, None)):
        if (kind := mailed.get(subject)) is not None:
            return None if kind == NoticeKind.RECOVERED else kind
    return None


@dataclass(frozen=True, slots=True)
class Group:
    """One line of a digest: the same thing happened to so many connections of one integration."""

    kind: NoticeKind
    provider_id: str
    grant_type: str
    count: int
    needs_person: bool
    of_all: bool = False  # told of the integration as a whole
    names: tuple[str, ...] = ()  # of the first few connections
    connection_id: str = ""  # where it is only one
    code: str = ""
    since: str = ""  # ISO 8601
    ends_at: str = ""  # of consent: the first that ends

    def to_json(self) -> dict[str, Any]:
        """As it is stored with the digest."""
        return {**asdict(self), "names": list(self.names)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Group:
        """Read what `to_json` wrote."""
        return cls(**{**stored, "kind": NoticeKind(stored["kind"]), "names": tuple(stored["names"])})


def make_groups(carried: Iterable[Carried], numbers: Mapping[tuple[UUID | None, NoticeKind], int]) -> list[Group]:
    """Lines for a digest, worst first. `numbers`: how many connections a notice about all of them is about.

    A notice about the whole integration takes those about its connections of the same kind in.
    """
    gathered: dict[tuple[NoticeKind, UUID | None, bool], list[Told]] = defaultdict(list)
    for one in carried:
        gathered[one.told.kind, one.told.integration_id, one.needs_person].append(one.told)
    groups = [
        _group(kind, told, needs_person, numbers.get((integration_id, kind), 0))
        for (kind, integration_id, needs_person), told in gathered.items()
    ]
    return sorted(groups, key=lambda group: (WORST_FIRST.index(group.kind), -group.count, group.provider_id))


def _group(kind: NoticeKind, told: Sequence[Told], needs_person: bool, number: int) -> Group:
    first = min(told, key=lambda one: (one.at, one.id))
    of_all = any(one.is_of_all for one in told)
    singles = [one for one in told if not one.is_of_all]
    ends = [one.ends_at for one in told if one.ends_at is not None]
    alone = len(singles) == 1 and not of_all
    return Group(
        kind=kind,
        provider_id=first.provider_id,
        grant_type=first.grant_type,
        count=max(number, len(singles)) if of_all else len(singles),
        needs_person=needs_person,
        of_all=of_all,
        names=() if of_all else tuple(one.connection_name for one in singles[:NAMED]),
        connection_id=str(singles[0].connection_id) if alone else "",
        code=first.code,
        since=first.at.isoformat(),
        ends_at=min(ends).isoformat() if ends else "",
    )
