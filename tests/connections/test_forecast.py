"""When a person has to consent again: what two answers show, what a renewal puts off, and who is told when."""

from __future__ import annotations

import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from integrations.connections import consent_notices, spool
from integrations.connections.batch import refresh_due
from integrations.connections.consent_notices import tell_consents_ending
from integrations.connections.forecast import (
    ConsentEnd,
    ConsentReason,
    RefreshTokenEnd,
    connections_needing_consent,
    consent_end,
    forecast,
    notice_due_at,
    refresh_token_end,
)
from integrations.connections.parties import parties_of
from integrations.connections.renewal import Renewed
from integrations.connections.storing import Granted, store_grant
from integrations.models import (
    Connection,
    ConnectionState,
    ConnectionStatus,
    GrantType,
    Integration,
    IssuedToken,
    Notice,
    Token,
    TokenSchedule,
    TokenSecrets,
)
from integrations.oauth.token_response import TokenResponse
from tests.connections.conftest import NOW, TOKEN, define_provider, token_answer
from tests.factories import make_connection, make_integration, make_workspace
from tests.servers.scripted import ScriptedServer
from workspaces.audit import WORKER, Actor
from workspaces.models import AuditEvent, Workspace
from workspaces.workspaces import change_token_policy

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


# --- the end of a refresh token: pure -------------------------------------------------------------------
def before(ends_at: timedelta | None, moves: bool | None = None, age: timedelta = HOUR) -> Token:
    return Token(
        issued_at=NOW - age,
        refresh_token_expires_at=None if ends_at is None else NOW + ends_at,
        refresh_token_end_moves=moves,
    )


CASES: list[tuple[str, Token | None, timedelta | None, bool, timedelta | None, timedelta | None, bool | None]] = [
    # what, the token before, named, rotated, the provider's known lifetime → the end, whether it moves
    ("a consent that names an end", None, 30 * DAY, True, None, 30 * DAY, None),
    ("a consent that names none", None, None, True, None, None, None),
    ("a consent at a provider with a known lifetime", None, None, True, 60 * DAY, 60 * DAY, None),
    ("the answer's word comes before the definition's", None, 30 * DAY, True, 60 * DAY, 30 * DAY, None),
    ("not rotated, no end named: the end stays", before(20 * DAY), None, False, None, 20 * DAY, False),
    ("not rotated, known lifetime: the end stays", before(20 * DAY), None, False, 60 * DAY, 20 * DAY, False),
    ("rotated, no end named: the old end is not inherited", before(20 * DAY), None, True, None, None, None),
    ("rotated, known lifetime: a new end", before(20 * DAY), None, True, 60 * DAY, 60 * DAY, True),
    ("the end is put off", before(30 * DAY - HOUR), 30 * DAY, True, None, 30 * DAY, True),
    ("the same end is named again", before(20 * DAY), 20 * DAY - timedelta(seconds=3), False, None, 20 * DAY, False),
    ("rotated, and still the same end", before(20 * DAY), 20 * DAY + timedelta(seconds=2), True, None, 20 * DAY, False),
    ("an earlier end", before(20 * DAY), 10 * DAY, True, None, 10 * DAY, False),
    ("an end where there was none", before(None), 10 * DAY, True, None, 10 * DAY, None),
    (
        "too soon after the last answer to tell",
        before(20 * DAY, True, timedelta(seconds=2)), 20 * DAY, True, None, 20 * DAY, True,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "token", "named", "rotated", "lifetime", "end", "moves"), CASES)
def test_what_an_answer_says_of_the_refresh_tokens_end(
    what: str,
    token: Token | None,
    named: timedelta | None,
    rotated: bool,
    lifetime: timedelta | None,
    end: timedelta | None,
    moves: bool | None,
) -> None:
    found = refresh_token_end(issued_at=NOW, named=named, lifetime=lifetime, before=token, rotated=rotated)
    assert found == RefreshTokenEnd(None if end is None else NOW + end, moves), what


# --- the end of consent: pure ---------------------------------------------------------------------------
def end_of(**facts: Any) -> ConsentEnd | None:
    usual: dict[str, Any] = {
        "grant_type": GrantType.AUTHORIZATION_CODE,
        "issued_at": NOW,
        "expires_at": NOW + HOUR,
        "has_refresh_token": True,
        "refresh_token": RefreshTokenEnd(None),
        "max_age": None,
        "renews_at": NOW + 0.8 * HOUR,
    }
    return consent_end(**{**usual, **facts})


def test_without_a_refresh_token_consent_ends_with_the_access_token() -> None:
    alone: dict[str, Any] = {"has_refresh_token": False, "renews_at": None}
    assert end_of(**alone) == ConsentEnd(NOW + HOUR, ConsentReason.NOTHING_TO_RENEW)
    assert end_of(**alone, max_age=DAY) == ConsentEnd(NOW + HOUR, ConsentReason.NOTHING_TO_RENEW)
    assert end_of(**alone, max_age=HOUR / 2) == ConsentEnd(NOW + HOUR / 2, ConsentReason.MAX_AGE)
    assert end_of(**alone, expires_at=None) is None
    assert end_of(**alone, expires_at=None, max_age=DAY) == ConsentEnd(NOW + DAY, ConsentReason.MAX_AGE)


def test_an_end_that_a_renewal_puts_off_or_may_put_off_is_no_end_of_consent() -> None:
    for moves in (True, None):
        assert end_of(refresh_token=RefreshTokenEnd(NOW + DAY, moves)) is None
    fixed = end_of(refresh_token=RefreshTokenEnd(NOW + DAY, False))
    assert fixed == ConsentEnd(NOW + DAY, ConsentReason.REFRESH_TOKEN_ENDS)


def test_an_end_that_comes_before_any_renewal_counts_even_if_a_renewal_would_move_it() -> None:
    refresh_token = RefreshTokenEnd(NOW + HOUR / 2, True)
    assert end_of(refresh_token=refresh_token) == ConsentEnd(NOW + HOUR, ConsentReason.REFRESH_TOKEN_ENDS)


def test_a_service_account_and_a_token_that_never_ends_need_nobody() -> None:
    fixed = RefreshTokenEnd(NOW + DAY, False)
    assert end_of(grant_type=GrantType.CLIENT_CREDENTIALS, refresh_token=fixed) is None
    assert end_of(expires_at=None, refresh_token=fixed, renews_at=None) is None
    assert end_of() is None


@pytest.mark.parametrize(
    ("left", "reason", "notice"),
    [
        (60 * DAY, ConsentReason.REFRESH_TOKEN_ENDS, 53 * DAY),
        (60 * DAY, ConsentReason.NOTHING_TO_RENEW, 53 * DAY),
        (10 * DAY, ConsentReason.REFRESH_TOKEN_ENDS, 8 * DAY),
        (HOUR, ConsentReason.NOTHING_TO_RENEW, HOUR),  # nobody would have read it before: only the end is told
        (HOUR, ConsentReason.REFRESH_TOKEN_ENDS, None),  # the renewal that fails tells of it
    ],
)
def test_notice_is_given_a_week_before_or_a_fifth_of_the_time_there_is(
    left: timedelta, reason: ConsentReason, notice: timedelta | None
) -> None:
    due = notice_due_at(ConsentEnd(NOW + left, reason), NOW)
    assert due == (None if notice is None else NOW + notice)


# --- what renewals make of it ---------------------------------------------------------------------------
def granted(integration: Integration, **answer: Any) -> Connection:
    """A connection as a consent makes it."""
    fields: dict[str, Any] = {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600.0} | answer
    lives = fields["expires_in"]
    response = TokenResponse(
        **{"scope": None, "extra": {}, **fields},
        expires_at=None if lives is None else NOW + timedelta(seconds=lives),
    )
    grant = Granted(integration, parties_of(integration), response, NOW, "default", ["read"])
    store_grant(grant, None, now=NOW, actor=WORKER)
    return stored(integration)


def stored(integration: Integration) -> Connection:
    rows = Connection.objects.select_related("workspace", "integration", "token", "schedule")
    return rows.get(integration=integration, name="default")


def renew(integration: Integration, server: ScriptedServer, after: timedelta, **answer: Any) -> Connection:
    server.forget()
    server.answer(TOKEN, json=token_answer(**answer))
    TokenSchedule.objects.update(refresh_due_at=NOW)
    assert refresh_due(now=NOW + after).renewed == 1
    return stored(integration)


def test_a_refresh_token_whose_end_stays_is_foreseen_from_the_first_renewal_on(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    one = granted(delegated, refresh_token_expires_in=30 * 86_400.0)
    assert forecast(one, NOW) is None  # a renewal comes first, and may put it off
    for hours in (1, 2, 3):
        left = 30 * 86_400 - hours * 3600
        one = renew(delegated, provider_server, hours * HOUR, refresh_token="r", refresh_token_expires_in=left)
        assert forecast(one, NOW) == ConsentEnd(NOW + 30 * DAY, ConsentReason.REFRESH_TOKEN_ENDS)
    assert one.token.consent_ends_at == NOW + 30 * DAY
    # A fifth of the time there is would be six days.
    assert one.token.consent_notice_due_at == NOW + 30 * DAY - (30 * DAY - HOUR) / 5


def test_a_refresh_token_whose_end_is_put_off_with_each_renewal_is_not(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    granted(delegated, refresh_token_expires_in=1800.0, expires_in=300.0)
    for minutes in (5, 10):
        one = renew(delegated, provider_server, timedelta(minutes=minutes), refresh_expires_in=1800, expires_in=300)
        assert (forecast(one, NOW), one.token.consent_ends_at) == (None, None)
        assert one.token.refresh_token_end_moves is True


def test_a_rotated_refresh_token_without_an_end_does_not_inherit_the_old_one(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    granted(delegated, refresh_token_expires_in=30 * 86_400.0)
    one = renew(delegated, provider_server, HOUR, refresh_token="refresh-2")
    assert (one.token.refresh_token_expires_at, forecast(one, NOW)) == (None, None)


def test_a_refresh_token_that_an_answer_does_not_repeat_stays_with_its_end(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    granted(delegated, refresh_token_expires_in=7 * 86_400.0)
    one = renew(delegated, provider_server, HOUR, refresh_token=None)
    assert one.token.open().refresh_token == "refresh-1"
    assert forecast(one, NOW) == ConsentEnd(NOW + 7 * DAY, ConsentReason.REFRESH_TOKEN_ENDS)


def test_a_lifetime_from_the_definition_counts_where_answers_name_none(
    workspace: Workspace, delegated: Integration, provider_server: ScriptedServer
) -> None:
    define_provider(workspace, provider_server, refresh_token_lifetime_seconds=10 * 86_400)
    granted(delegated)
    one = renew(delegated, provider_server, HOUR, refresh_token=None)
    assert forecast(one, NOW) == ConsentEnd(NOW + 10 * DAY, ConsentReason.REFRESH_TOKEN_ENDS)
    one = renew(delegated, provider_server, 2 * HOUR, refresh_token="refresh-2")
    assert one.token.refresh_token_expires_at == NOW + 10 * DAY + 2 * HOUR
    assert forecast(one, NOW) is None


def test_a_token_without_an_end_is_renewed_unread_before_its_refresh_token_dies_of_disuse(
    workspace: Workspace, delegated: Integration, provider_server: ScriptedServer
) -> None:
    define_provider(workspace, provider_server, refresh_token_idle_seconds=90 * 86_400)
    one = granted(delegated, expires_in=None)
    due = one.schedule.refresh_due_at
    assert due is not None
    assert NOW + 80 * DAY < due < NOW + 83 * DAY
    assert forecast(one, NOW) is None
    provider_server.answer(TOKEN, json=token_answer(expires_in=None))
    assert refresh_due(now=due - timedelta(seconds=1)).claimed == 0
    assert refresh_due(now=due).renewed == 1
    again = stored(delegated).schedule.refresh_due_at
    assert again is not None
    assert again > due + 80 * DAY


def test_an_announced_end_is_kept_off_once_and_not_chased_when_it_stays(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    one = granted(delegated, expires_in=None, refresh_token_expires_in=30 * 86_400.0)
    due = one.schedule.refresh_due_at
    assert due is not None
    assert NOW + 22 * DAY < due < NOW + 24 * DAY
    provider_server.answer(TOKEN, json=token_answer(refresh_token=None, expires_in=None))
    assert refresh_due(now=due).renewed == 1
    assert stored(delegated).schedule.refresh_due_at is None


# --- who is told ----------------------------------------------------------------------------------------
def told() -> list[tuple[str, str]]:
    return [(notice.event_type, notice.code) for notice in Notice.objects.order_by("id")]


def test_an_end_of_consent_is_told_once_a_week_before(delegated: Integration, provider_server: ScriptedServer) -> None:
    granted(delegated, refresh_token_expires_in=60 * 86_400.0)
    renew(delegated, provider_server, HOUR, refresh_token=None)
    assert tell_consents_ending(NOW + 53 * DAY - timedelta(seconds=1)) == 0
    assert tell_consents_ending(NOW + 53 * DAY) == 1
    assert tell_consents_ending(NOW + 53 * DAY) == 0
    # A later renewal that leaves the end where it is has nothing to add.
    renew(delegated, provider_server, 54 * DAY, refresh_token=None)
    assert tell_consents_ending(NOW + 59 * DAY) == 0
    notice = Notice.objects.get()
    assert (notice.event_type, notice.ends_at) == ("connection.consent_expiring", NOW + 60 * DAY)
    assert (notice.code, notice.message) == (
        "refresh_token_ends",
        "The refresh token ends then, and renewing does not put that off.",
    )


def test_another_end_after_a_new_consent_is_told_again(delegated: Integration) -> None:
    granted(delegated, refresh_token=None, expires_in=60 * 86_400.0)
    assert tell_consents_ending(NOW + 53 * DAY) == 1
    response = TokenResponse("access-2", expires_in=60 * 86_400.0, expires_at=NOW + 114 * DAY)
    grant = Granted(delegated, parties_of(delegated), response, NOW + 54 * DAY, "default", ["read"])
    store_grant(grant, None, now=NOW + 54 * DAY, actor=WORKER)
    assert tell_consents_ending(NOW + 100 * DAY) == 0
    assert tell_consents_ending(NOW + 107 * DAY) == 1


def test_a_token_that_ran_out_with_nothing_to_renew_it_is_told_once_and_recovers_by_a_new_consent(
    delegated: Integration,
) -> None:
    one = granted(delegated, refresh_token=None)
    assert tell_consents_ending(NOW + HOUR - timedelta(seconds=1)) == 0
    for _ in range(2):
        tell_consents_ending(NOW + HOUR)
    assert told() == [("connection.reconnect_required", "token_expired")]
    one = stored(delegated)
    assert one.state == ConnectionState.RECONNECT_REQUIRED
    assert one.status_at(NOW + HOUR) == ConnectionStatus.RECONNECT_REQUIRED
    event = AuditEvent.objects.get(action="connection:reconnect_required")
    assert event.detail["code"] == "token_expired"
    assert event.detail["reference"] == str(one.last_error_reference) == str(Notice.objects.get().reference)
    assert forecast(one, NOW) is None
    granted(delegated, refresh_token=None)
    assert told()[1:] == [("connection.recovered", "")]


def test_a_disconnected_or_ended_connection_is_not_told_of(delegated: Integration) -> None:
    granted(delegated, refresh_token=None)
    Connection.objects.update(state=ConnectionState.RECONNECT_REQUIRED)
    assert tell_consents_ending(NOW + DAY) == 0
    assert Token.objects.get().consent_notice_due_at is None
    assert told() == []


def test_a_row_that_nobody_foresaw_does_not_keep_the_others_from_being_told(
    delegated: Integration, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("default", "second"):
        ending(make_connection(delegated, name, refresh_token=None, issued_at=NOW - HOUR))
    real = consent_notices.foreseen

    def fails_for_second(connection: Connection) -> ConsentEnd | None:
        if connection.name == "second":
            raise RuntimeError("nobody foresaw this")
        return real(connection)

    monkeypatch.setattr(consent_notices, "foreseen", fails_for_second)
    assert tell_consents_ending(NOW) == 1
    assert told() == [("connection.reconnect_required", "token_expired")]
    assert Token.objects.get(connection__name="second").consent_notice_due_at == NOW + HOUR
    assert "could not be told" in caplog.text


def ending(connection: Connection) -> Connection:
    """Note in the token's row what storing it would have noted."""
    token = connection.token
    Token.objects.filter(pk=token.pk).update(consent_ends_at=token.expires_at, consent_notice_due_at=token.expires_at)
    return connection


def test_many_are_told_in_batches(delegated: Integration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_notices, "BATCH", 2)
    for number in range(5):
        ending(make_connection(delegated, f"c{number}", refresh_token=None, issued_at=NOW - HOUR))
    assert tell_consents_ending(NOW) == 5
    assert len(told()) == 5


@pytest.mark.django_db(transaction=True)
def test_beats_that_run_at_the_same_time_tell_each_end_once(provider_server: ScriptedServer) -> None:
    workspace = make_workspace()
    define_provider(workspace, provider_server)
    integration = make_integration(workspace, "custom_acme")
    for number in range(12):
        ending(make_connection(integration, f"c{number}", refresh_token=None, issued_at=NOW - HOUR))
    start = threading.Barrier(3)

    def beat() -> int:
        start.wait()
        try:
            return tell_consents_ending(NOW)
        finally:
            database.close()

    with ThreadPoolExecutor(3) as pool:
        counts = [future.result() for future in [pool.submit(beat) for _ in range(3)]]
    tell_consents_ending(NOW)
    assert sum(counts) <= 12  # what one had locked, another passed over
    assert Notice.objects.count() == 12
    assert Notice.objects.values("connection").distinct().count() == 12


def test_an_answer_that_waits_in_a_file_keeps_its_forecast(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    one = granted(delegated, refresh_token=None, expires_in=60 * 86_400.0)
    issued = IssuedToken(TokenSecrets("access-2"), NOW, NOW + DAY, NOW + 2 * DAY, False, NOW + 3 * DAY, NOW + 4 * DAY)
    renewed = Renewed(one.pk, one.workspace_id, one.token.version, issued, None, None, None)
    spool.put(renewed)
    kept: list[Renewed] = []
    assert spool.drain(kept.append) == 1
    assert kept == [renewed]


# --- what people and programs see -----------------------------------------------------------------------
def test_pages_say_when_and_why_consent_is_needed_again(as_alice: Client, delegated: Integration) -> None:
    now = timezone.now()
    make_connection(delegated, refresh_token=None, lifetime=20 * DAY, connected_at=now)
    base = "/w/acme/integrations/custom_acme/authorization_code/"
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", as_alice.get(base).content.decode()))
    assert "Needs consent again on" in words
    assert "because the access token expires then, and Acme issued nothing to renew it with." in words
    assert "consent again" in as_alice.get(f"{base}connections/").content.decode()
    Token.objects.update(has_refresh_token=True)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", as_alice.get(base).content.decode()))
    assert "Needs consent again" not in words
    assert "Asked again Not foreseen" in words


def test_the_overview_says_whose_margin_counts_and_until_when_the_refresh_token_lives_unused(
    as_alice: Client, workspace: Workspace, delegated: Integration, provider_server: ScriptedServer
) -> None:
    define_provider(workspace, provider_server, refresh_token_idle_seconds=90 * 86_400)
    make_connection(delegated, connected_at=NOW)
    base = "/w/acme/integrations/custom_acme/authorization_code/"
    assert "a fifth of its life" in as_alice.get(base).content.decode()
    change_token_policy(workspace, max_age_seconds=None, margin_seconds=600, actor=Actor.operator())
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", as_alice.get(base).content.decode()))
    assert "Renewal margin 10 minutes by the workspace’s token policy" in words
    assert "if unused" in words
    change_token_policy(workspace, max_age_seconds=1800, margin_seconds=600, actor=Actor.operator())
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", as_alice.get(base).content.decode()))
    assert "before it is older than the workspace allows" in words


# --- whose consent ends soon ----------------------------------------------------------------------------
def test_connections_whose_consent_ends_soon_are_found_soonest_first_in_their_workspace_only(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    other = make_workspace()
    define_provider(other, provider_server)
    for integration in (delegated, make_integration(other, "custom_acme")):
        for name, days in (("default", 5), ("sooner", 2), ("later", 40), ("over", -1)):
            lifetime = days * DAY + HOUR
            ending(make_connection(integration, name, refresh_token=None, issued_at=NOW - HOUR, lifetime=lifetime))
    found = connections_needing_consent(delegated.workspace, 7 * DAY, NOW)
    assert [one.name for one in found] == ["sooner", "default"]
    assert {one.workspace_id for one in found} == {delegated.workspace_id}


def test_the_look_ups_use_their_partial_indexes(workspace: Workspace) -> None:
    """On PostgreSQL the planner chooses by what is stored; that it may choose them is what counts here."""
    queries = (
        (Token.objects.filter(consent_notice_due_at__lte=NOW), "token_consent_notice_due"),
        (Token.objects.filter(workspace=workspace, consent_ends_at__lte=NOW), "token_consent_ends"),
    )
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
        for rows, index in queries:
            plan = rows.order_by(*[name for name in ("consent_notice_due_at",) if "notice" in index]).explain()
            assert index in plan, plan


def test_an_unknown_connection_is_foreseen_nothing_for(delegated: Integration) -> None:
    assert forecast(Connection(pk=uuid.uuid4(), integration=delegated, workspace=delegated.workspace), NOW) is None
