"""Schedules made anew after the rules have changed: a workspace's token policy, or a definition's facts on renewal.

The change only marks the workspace (`schedule_stale_since`), so it is quick however many connections there are, and
nothing is forgotten when a task gets lost. A worker goes through the connections in batches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from integrations.clock import start_clock
from integrations.connections import schedule
from integrations.connections.forecast import ConsentEnd, RefreshTokenEnd, notice_due_at
from integrations.connections.policies import ERROR_FIELDS, clear_error
from integrations.connections.renewal import planned
from integrations.models import Connection, ConnectionState, Token, TokenSchedule
from integrations.notices import notice_of_connection
from integrations.providers.base import ProviderSpec
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.wake import wake_worker
from workspaces.models import Workspace

logger = logging.getLogger(__name__)

BATCH = 200  # short enough that no answer waits long for a token that is locked here
IDS_AT_ONCE = 50_000
# An answer that was under way at the change is stored by the older rules; by then the last of them has arrived.
SETTLED = timedelta(seconds=90)
# What is due at once by the new rules is spread over so long for each connection, and at most the usual margin.
SPREAD_PER_CONNECTION = timedelta(milliseconds=100)
TOO_OLD = "token_too_old"


def reschedule_stale(now: datetime | None = None) -> int:
    """Go through every workspace that is marked; returns how many schedules changed. Harmless if run twice at once."""
    clock = start_clock(now)
    changed = 0
    stale = Workspace.objects.filter(schedule_stale_since__isnull=False).order_by("schedule_stale_since")
    for workspace in stale:
        began, since = clock.now(), workspace.schedule_stale_since
        changed += _Pass.over(workspace, began).run()
        if since is not None and began >= since + SETTLED:
            Workspace.objects.filter(pk=workspace.pk, schedule_stale_since=since).update(schedule_stale_since=None)
    return changed


@dataclass
class _Pass:
    """One way through a workspace's connections."""

    workspace: Workspace
    now: datetime
    window: timedelta
    specs: dict[tuple[str, int | None], ProviderSpec | None]

    @classmethod
    def over(cls, workspace: Workspace, now: datetime) -> _Pass:
        count = Token.objects.filter(workspace=workspace).count()
        return cls(workspace, now, min(schedule.MAX_MARGIN, SPREAD_PER_CONNECTION * count), {})

    def run(self) -> int:
        changed = 0
        for ids in self._batches():
            with transaction.atomic():
                moved = self._batch(ids)
                if moved:
                    wake_worker()
            changed += moved
        return changed

    def _batches(self) -> Iterator[list[UUID]]:
        last: UUID | None = None
        while True:
            rows = Token.objects.filter(workspace=self.workspace).order_by("pk")
            ids = list((rows.filter(pk__gt=last) if last else rows).values_list("pk", flat=True)[:IDS_AT_ONCE])
            for start in range(0, len(ids), BATCH):
                yield ids[start : start + BATCH]
            if len(ids) < IDS_AT_ONCE:
                return
            last = ids[-1]

    def _batch(self, ids: list[UUID]) -> int:
        """Tokens are locked first, as whoever stores an answer does; one that is being stored is by the new rules, or
        comes up in the next pass.
        """
        rows = Token.objects.filter(pk__in=ids).defer("ciphertext", "extra")
        tokens = {token.pk: token for token in rows.select_for_update(skip_locked=True, of=("self",))}
        connections = Connection.objects.filter(pk__in=tokens).select_related("integration", "schedule")
        schedules: list[TokenSchedule] = []
        retold: list[Token] = []
        for connection in connections:
            connection.workspace = self.workspace
            token, row = tokens[connection.pk], getattr(connection, "schedule", None)
            if connection.state == ConnectionState.RECONNECT_REQUIRED and not self._comes_back(connection, token):
                continue
            if (plan := self._plan(connection, token)) is None:
                continue
            due_at, end = plan
            if row is not None and self._moves(connection, row, due_at):
                schedules.append(row)
            if _forecast_changes(token, end):
                retold.append(token)
        TokenSchedule.objects.bulk_update(schedules, ["refresh_due_at"])
        Token.objects.bulk_update(retold, ["consent_ends_at", "consent_notice_due_at"])
        return len(schedules)

    def _plan(self, connection: Connection, token: Token) -> tuple[datetime | None, ConsentEnd | None] | None:
        spec = self._spec(connection.integration.provider_id, connection.provider_version)
        if spec is None:
            return None
        return planned(
            connection.pk,
            grant_type=connection.integration.grant_type,
            issued_at=token.issued_at,
            expires_at=token.expires_at,
            has_refresh_token=token.has_refresh_token,
            refresh_token=RefreshTokenEnd(token.refresh_token_expires_at, token.refresh_token_end_moves),
            rules=schedule.Rules.of(spec, self.workspace),
        )

    def _spec(self, provider_id: str, version: int | None) -> ProviderSpec | None:
        key = (provider_id, version)
        if key not in self.specs:
            try:
                self.specs[key] = find_spec(self.workspace, provider_id, version=version)
            except ProviderNotFound:
                self.specs[key] = None
        return self.specs[key]

    def _moves(self, connection: Connection, row: TokenSchedule, due_at: datetime | None) -> bool:
        """Set the row's new time if it has one. What backs off, is held or is being renewed keeps its own."""
        waits = row.attempts or row.lease_id is not None or connection.integration.client_error_code
        if waits or connection.state not in (ConnectionState.CONNECTED, ConnectionState.DEGRADED):
            return False
        if due_at is not None and due_at <= self.now:
            if row.refresh_due_at is not None and row.refresh_due_at <= self.now:
                return False  # due already
            since = self.workspace.schedule_stale_since or self.now
            due_at = max(due_at, since + schedule.spread(connection.pk, self.window))
        if row.refresh_due_at == due_at:
            return False
        row.refresh_due_at = due_at
        return True

    def _comes_back(self, connection: Connection, token: Token) -> bool:
        """A connection that ended by the policy alone is good again when the policy allows its token again."""
        if connection.last_error_code != TOO_OLD or token.is_over(self.now, self.workspace.max_token_age):
            return False
        before, connection.state = connection.state, ConnectionState.CONNECTED
        clear_error(connection)
        connection.save(update_fields=["state", "updated_at", *ERROR_FIELDS])
        notice_of_connection(connection, before, at=self.now)
        return True


def _forecast_changes(token: Token, end: ConsentEnd | None) -> bool:
    """Set the token's forecast; whether it is another one than before."""
    before = (token.consent_ends_at, token.consent_notice_due_at)
    notice = notice_due_at(end, token.issued_at, token)
    token.consent_ends_at, token.consent_notice_due_at = None if end is None else end.at, notice
    return before != (token.consent_ends_at, token.consent_notice_due_at)
