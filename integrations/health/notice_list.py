"""Notices on the page and for programs: newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db.models import QuerySet
from django.urls import reverse

from integrations.connections.errors import describe_code, naming
from integrations.models import GrantType, Notice, NoticeKind
from integrations.providers.base import ProviderSpec
from workspaces.models import Workspace
from workspaces.time_words import counted_words

_HAPPENED = {
    NoticeKind.DEGRADED: "Renewal is failing",
    NoticeKind.MISCONFIGURED: "Misconfigured",
    NoticeKind.RECONNECT_REQUIRED: "Consent is needed again",
    NoticeKind.CONSENT_EXPIRING: "Consent ends soon",
    NoticeKind.RECOVERED: "Recovered",
}
PAGE = 20  # rows
AT_ONCE = 500  # notices read for them
_TONES = {
    NoticeKind.DEGRADED: ("waiting", "refresh-alert"),
    NoticeKind.MISCONFIGURED: ("bad", "settings-exclamation"),
    NoticeKind.RECONNECT_REQUIRED: ("bad", "clock-x"),
    NoticeKind.CONSENT_EXPIRING: ("waiting", "hourglass"),
    NoticeKind.RECOVERED: ("good", "circle-check"),
}


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice in words, or several in a row that say the same of one integration's connections."""

    notice: Notice  # the latest of them
    name: str
    url: str
    cause: str
    is_new: bool
    count: int

    @property
    def about(self) -> str:
        """What it is about: "Slack · team-7", "Slack · 214 connections"."""
        of = self.notice.connection_name
        title = counted_words(self.count, "connection") if self.count > 1 else "" if of == "default" else of
        return f"{self.name} · {title}" if title else self.name

    @property
    def happened(self) -> str:
        """What happened, as a sentence."""
        words = _HAPPENED[NoticeKind(self.notice.kind)]
        return f"{words}." if self.notice.connection_name else f"{words}, for the whole integration."

    @property
    def tone(self) -> str:
        """Its colour role."""
        return _TONES[NoticeKind(self.notice.kind)][0]

    @property
    def icon(self) -> str:
        """Its icon."""
        return _TONES[NoticeKind(self.notice.kind)][1]


@dataclass(frozen=True, slots=True)
class NoticePage:
    """Some notices, and the cursor of the next page (None on the last)."""

    rows: tuple[NoticeRow, ...]
    next_before: int | None


def find_notices(workspace: Workspace, *, kind: str = "", since: datetime | None = None) -> QuerySet[Notice]:
    """A workspace's notices, newest first."""
    found = workspace.notices.order_by("-pk")
    if kind:
        found = found.filter(kind=kind)
    return found if since is None else found.filter(at__gte=since)


def read_notices(
    workspace: Workspace,
    specs: Mapping[str, ProviderSpec],
    *,
    before: int | None,
    kind: str,
    seen: int,
    joined_at: datetime,
) -> NoticePage:
    """One page. New are those beyond `seen` that came after the member joined."""
    found = find_notices(workspace, kind=kind)
    if before is not None:
        found = found.filter(pk__lt=before)
    read = list(found[: AT_ONCE + 1])

    def is_new(notice: Notice) -> bool:
        return notice.pk > seen and notice.at >= joined_at

    runs = [list(run) for _, run in groupby(read[:AT_ONCE], key=lambda one: (*_sameness(one), is_new(one)))]
    rows = tuple(_row(workspace, specs.get(run[0].provider_id), run, is_new=is_new(run[0])) for run in runs[:PAGE])
    last = runs[:PAGE][-1][-1] if runs else None
    return NoticePage(rows, last.pk if last is not None and last is not read[-1] else None)


def _sameness(notice: Notice) -> tuple[object, ...]:
    """Neighbours with the same one are one row: a storm says one thing, not five hundred."""
    single = None if notice.connection_name else notice.pk
    return notice.kind, notice.integration_id, notice.provider_id, notice.grant_type, notice.code, single


def _row(workspace: Workspace, spec: ProviderSpec | None, run: Sequence[Notice], *, is_new: bool) -> NoticeRow:
    notice = run[0]
    name = spec.name if spec is not None else notice.provider_id
    words = describe_code(notice.code).happened if notice.code else ""
    count = len({one.connection_id or one.connection_name for one in run})
    return NoticeRow(notice, name, _url(workspace, notice, count), naming(words, name), is_new, count)


def _url(workspace: Workspace, notice: Notice, count: int) -> str:
    """Where what it is about is; empty when that was deleted."""
    if notice.integration_id is None or notice.grant_type not in GrantType.values:
        return ""
    base = {"workspace": workspace.slug, "provider_id": notice.provider_id, "grant_type": notice.grant_type}
    if count > 1:
        return reverse("integrations:connections", kwargs=base)
    if notice.connection_id is not None:
        return reverse("integrations:connection", kwargs={**base, "connection_id": notice.connection_id})
    return "" if notice.connection_name else reverse("integrations:detail", kwargs=base)
