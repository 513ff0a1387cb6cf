"""Puts notices into the outbox: one digest per workspace, one mail per member who wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TypeVar, cast
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from integrations.health.digests import (
    QUIET,
    Carried,
    Plan,
    Subject,
    Told,
    last_of_each,
    make_groups,
    make_plan,
)
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    MailChoice,
    Notice,
    NoticeDigest,
    NoticeKind,
    NoticeMail,
    mail_choice_of,
)
from workspaces.models import Membership, Workspace

MOST = 20_000  # notices that are judged at once; what is beyond waits for the next digest
CHUNK = 500  # ids in one statement

_STATE_OF = {
    NoticeKind.DEGRADED: ConnectionState.DEGRADED,
    NoticeKind.MISCONFIGURED: ConnectionState.MISCONFIGURED,
    NoticeKind.RECONNECT_REQUIRED: ConnectionState.RECONNECT_REQUIRED,
}
_FIELDS = (
    "id", "kind", "at", "integration_id", "connection_id", "provider_id", "grant_type", "connection_name", "code",
    "ends_at",
)  # fmt: skip

T = TypeVar("T")


def gather_digests(now: datetime) -> int:
    """Make the digests whose time has come; returns how many. Safe to run anywhere, any number of times at once."""
    waiting = Notice.objects.filter(mailed_at__isnull=True).order_by().values_list("workspace_id", flat=True).distinct()
    return sum(gather_digest(workspace_id, now) for workspace_id in list(waiting))


def gather_digest(workspace_id: UUID, now: datetime) -> bool:
    """Deal with one workspace's notices in one transaction; True when it made a digest.

    The workspace's row is locked meanwhile (on SQLite the whole database is), so that of two workers one makes the
    digest and the other finds its notices dealt with.
    """
    with transaction.atomic():
        rows = Workspace.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=workspace_id)
        workspace = rows.first()
        if workspace is None:
            return False
        newest = workspace.notice_digests.order_by("-made_at").values_list("made_at", flat=True).first()
        if newest is not None and now < newest + QUIET:
            return False
        return _gather(workspace, newest, now)


def _gather(workspace: Workspace, newest: datetime | None, now: datetime) -> bool:
    latest, void = last_of_each(_pending(workspace))
    plan = make_plan(
        latest,
        over=frozenset(_over(latest)),
        mailed=_mailed(workspace, latest),
        last_digest_at=newest,
        now=now,
    )
    mails = _mails(workspace, plan, now)
    digest = NoticeDigest.objects.create(workspace=workspace, made_at=now, groups=_groups(plan)) if mails else None
    for mail in mails:
        mail.digest = cast(NoticeDigest, digest)
    NoticeMail.objects.bulk_create(mails)
    _deal_with(workspace, [one.told.id for one in plan.carried], now, digest)
    _deal_with(workspace, [*void, *plan.dropped], now, None)
    return digest is not None


def _pending(workspace: Workspace) -> list[Told]:
    rows = workspace.notices.filter(mailed_at__isnull=True).order_by("id").values_list(*_FIELDS)[:MOST]
    return [Told(row[0], NoticeKind(row[1]), *row[2:]) for row in rows]


def _over(latest: Iterable[Told]) -> Iterator[int]:
    """Notices whose trouble has gone without another notice: somebody disconnected or corrected it."""
    latest = list(latest)
    single = [one for one in latest if one.connection_id is not None]
    for some in _chunks(single):
        rows = Connection.objects.filter(pk__in=[one.connection_id for one in some])
        found = {pk: (state, at) for pk, state, at in rows.values_list("pk", "state", "connected_at")}
        for told in some:
            state, connected_at = found.get(told.connection_id, ("", None))
            if told.kind == NoticeKind.CONSENT_EXPIRING:
                # Consent that was given again, or that is needed at once (its own notice says so).
                if state == ConnectionState.RECONNECT_REQUIRED or (connected_at and connected_at > told.at):
                    yield told.id
            elif told.kind in _STATE_OF and state != _STATE_OF[told.kind]:
                yield told.id
    of_all = {one.integration_id: one for one in latest if one.is_of_all and one.kind == NoticeKind.MISCONFIGURED}
    accepted = Integration.objects.filter(pk__in=[pk for pk in of_all if pk], client_error_code="")
    yield from (of_all[pk].id for pk in accepted.values_list("pk", flat=True))
    away = {one.integration_id: one for one in latest if one.is_of_all and one.kind == NoticeKind.DEGRADED}
    answering = Integration.objects.filter(pk__in=[pk for pk in away if pk], outage_since__isnull=True)
    yield from (away[pk].id for pk in answering.values_list("pk", flat=True))
    lost = {one.integration_id: one for one in latest if one.is_of_all and one.kind == NoticeKind.RECONNECT_REQUIRED}
    waiting = Connection.objects.filter(
        integration_id__in=[pk for pk in lost if pk], state=ConnectionState.RECONNECT_REQUIRED
    )
    still = set(waiting.order_by().values_list("integration_id", flat=True).distinct()) if lost else set()
    yield from (told.id for pk, told in lost.items() if pk not in still)


def _mailed(workspace: Workspace, latest: Iterable[Told]) -> dict[Subject, NoticeKind]:
    """What a digest last carried about those that recovered, and about their integrations."""
    recovered = [one for one in latest if one.kind == NoticeKind.RECOVERED]
    told = workspace.notices.filter(digest__isnull=False).exclude(kind=NoticeKind.CONSENT_EXPIRING).order_by("id")
    found: dict[Subject, NoticeKind] = {}
    whole = {one.integration_id for one in recovered if one.integration_id is not None}
    of_all = told.filter(integration_id__in=whole, connection_name="").values_list("integration_id", "kind")
    for integration_id, kind in of_all if whole else ():
        found[False, integration_id, None] = NoticeKind(kind)
    for ids in _chunks([one.connection_id for one in recovered if one.connection_id is not None]):
        rows = told.filter(connection_id__in=ids).values_list("integration_id", "connection_id", "kind")
        for integration_id, connection_id, kind in rows:
            found[False, integration_id, connection_id] = NoticeKind(kind)
    return found


def _groups(plan: Plan) -> list[dict[str, object]]:
    return [group.to_json() for group in make_groups(plan.carried, _numbers(plan.carried))]


def _numbers(carried: Iterable[Carried]) -> dict[tuple[UUID | None, NoticeKind], int]:
    """How many connections the notices about whole integrations are about."""
    whole = [one.told for one in carried if one.told.is_of_all]
    if not whole:
        return {}
    rows = (
        Connection.objects.filter(integration_id__in={one.integration_id for one in whole})
        .exclude(state=ConnectionState.CONFIGURED)
        .order_by()
        .values_list("integration_id", "state")
        .annotate(count=Count("pk"))
    )
    lost: Counter[UUID] = Counter()
    held: Counter[UUID] = Counter()
    for integration_id, state, count in rows:
        (lost if state == ConnectionState.RECONNECT_REQUIRED else held)[integration_id] += count
    return {
        (one.integration_id, one.kind): (lost if one.kind == NoticeKind.RECONNECT_REQUIRED else held)[
            one.integration_id
        ]
        for one in whole
        if one.integration_id is not None
    }


def _mails(workspace: Workspace, plan: Plan, now: datetime) -> list[NoticeMail]:
    """One for each member who wants something of what is carried."""
    if not plan.carried:
        return []
    needs_person = any(one.needs_person for one in plan.carried)
    members = workspace.memberships.filter(user__is_active=True).select_related("user", "notice_settings")
    return [NoticeMail(membership=member, due_at=now) for member in members if _wants(member, needs_person)]


def _wants(member: Membership, needs_person: bool) -> bool:
    choice = mail_choice_of(member)
    return choice == MailChoice.ALL or (choice == MailChoice.PERSON and needs_person)


def _deal_with(workspace: Workspace, ids: Iterable[int], now: datetime, digest: NoticeDigest | None) -> None:
    for some in _chunks(ids):
        workspace.notices.filter(pk__in=some, mailed_at__isnull=True).update(mailed_at=now, digest=digest)


def _chunks(rows: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
