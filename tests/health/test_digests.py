"""E-mail digests: what is mailed, when, and to whom. Alice owns the workspace."""

from __future__ import annotations

import threading
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends import locmem
from django.db import close_old_connections, connections

from integrations.connections.revocation import delete_connection
from integrations.health import mailing
from integrations.health.gathering import gather_digests
from integrations.health.mailing import send_mails
from integrations.health.preferences import choose_mails
from integrations.models import (
    Connection,
    ConnectionState,
    Integration,
    MailChoice,
    Notice,
    NoticeDigest,
    NoticeKind,
    NoticeMail,
)
from integrations.notices import notice_of_integration
from integrations.tasks import send_digests
from tests.factories import make_connection, make_integration, make_member, make_user
from tests.health.conftest import NOON, after, beat, beats, becomes, client_refused, consent_ends
from workspaces.audit import Actor
from workspaces.members import remove_member
from workspaces.models import Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db
CONNECTED, DEGRADED = ConnectionState.CONNECTED, ConnectionState.DEGRADED
DEAD, MISCONFIGURED = ConnectionState.RECONNECT_REQUIRED, ConnectionState.MISCONFIGURED


def subjects() -> list[str]:
    return [message.subject for message in mail.outbox]


def test_a_renewal_that_fails_for_less_than_ten_minutes_is_mailed_to_nobody(connection: Connection) -> None:
    becomes(connection, DEGRADED, 0, "server_error")
    becomes(connection, CONNECTED, 9)
    assert beats(0, 90) == 0
    assert not Notice.objects.filter(mailed_at=None).exists()  # dealt with, and not looked at again


def test_a_renewal_that_goes_on_failing_is_mailed_after_ten_minutes_and_so_is_its_end(connection: Connection) -> None:
    becomes(connection, DEGRADED, 0, "server_error")
    assert beats(0, 9) == 0
    assert beat(10) == 1
    becomes(connection, CONNECTED, 20)
    assert beats(11, 69) == 0  # one an hour
    assert beat(70) == 1
    assert subjects() == [
        "[Grantry] Acme: renewal of 1 connection is failing",
        "[Grantry] Acme: 1 connection recovered",
    ]


def test_what_breaks_within_two_minutes_of_the_first_is_one_mail_and_the_rest_one_an_hour_later(
    slack: Integration,
) -> None:
    for number in range(5):
        becomes(make_connection(slack, f"team-{number}"), DEAD, number, "invalid_grant")
        beat(number)
    assert subjects() == ["[Grantry] Acme: 3 connections need consent again"]
    beats(5, 61)
    assert len(mail.outbox) == 1
    beat(62)
    assert subjects()[1:] == ["[Grantry] Acme: 2 connections need consent again"]


def test_a_storm_of_five_hundred_is_one_line_of_one_mail(slack: Integration) -> None:
    Connection.objects.bulk_create(
        Connection(workspace=slack.workspace, integration=slack, name=f"team-{number:03}", state=DEAD)
        for number in range(500)
    )
    Notice.objects.bulk_create(
        Notice(
            workspace=slack.workspace,
            kind=NoticeKind.RECONNECT_REQUIRED,
            at=NOON,
            integration=slack,
            connection=connection,
            provider_id="slack",
            grant_type="authorization_code",
            connection_name=connection.name,
            code="invalid_grant",
        )
        for connection in Connection.objects.order_by("name")
    )
    assert beat(2) == 1
    [message] = mail.outbox
    assert message.subject == "[Grantry] Acme: 500 connections need consent again"
    assert "Slack (delegated user): 500 connections need consent again." in message.body
    assert "team-000, team-001, team-002 and 497 more" in message.body
    assert message.body.count("slack/authorization_code/connections/?status=reconnect_required") == 1
    assert len(message.body) < 1500


def test_a_refused_client_of_many_connections_is_one_line_that_leads_to_the_configuration(slack: Integration) -> None:
    for number in range(3):
        make_connection(slack, f"team-{number}")
    client_refused(slack, 0)
    assert beat(2) == 1
    [message] = mail.outbox
    assert message.subject == "[Grantry] Acme: 3 connections are misconfigured"
    assert "Slack (delegated user): The client is refused, 3 connections wait." in message.body
    assert "http://localhost:8000/w/acme/integrations/slack/authorization_code/configuration/" in message.body


def test_a_refused_client_whose_credentials_were_corrected_meanwhile_is_not_mailed(slack: Integration) -> None:
    make_connection(slack)
    client_refused(slack, 0)
    Integration.objects.update(client_error_code="")
    assert beats(0, 70) == 0


def test_a_recovery_is_mailed_only_if_its_trouble_was(slack: Integration) -> None:
    told, untold = make_connection(slack, "told"), make_connection(slack, "untold")
    becomes(told, DEAD, 0, "invalid_grant")
    beat(2)
    becomes(untold, DEAD, 10, "invalid_grant")
    becomes(untold, CONNECTED, 20)
    becomes(told, CONNECTED, 20)
    assert beats(3, 90) == 1
    assert "told" in mail.outbox[1].body
    assert "untold" not in mail.outbox[1].body


def test_an_integration_that_recovers_ends_what_was_told_of_it_as_a_whole(slack: Integration) -> None:
    make_connection(slack)
    client_refused(slack, 0)
    beat(2)
    Integration.objects.update(client_error_code="")
    notice_of_integration(slack, NoticeKind.RECOVERED, at=after(30))
    assert beats(3, 70) == 1
    assert "Slack (delegated user): The integration recovered." in mail.outbox[1].body


def test_trouble_that_ended_without_a_notice_is_not_mailed(connection: Connection) -> None:
    becomes(connection, DEAD, 0, "invalid_grant")
    Connection.objects.update(state=ConnectionState.CONFIGURED)  # disconnected
    assert beats(0, 70) == 0


def test_consent_that_all_of_an_integration_need_is_one_line_until_the_last_has_given_it(slack: Integration) -> None:
    for number in range(3):
        make_connection(slack, f"team-{number}", state=DEAD)
    Connection.objects.filter(name="team-0").update(state=CONNECTED)
    notice_of_integration(slack, NoticeKind.RECONNECT_REQUIRED, at=NOON, code="endpoint_changed")
    assert beat(2) == 1
    assert subjects() == ["[Grantry] Acme: 2 connections need consent again"]
    notice_of_integration(slack, NoticeKind.RECONNECT_REQUIRED, at=after(60), code="endpoint_changed")
    Connection.objects.update(state=CONNECTED)
    assert beats(62, 130) == 0


def test_a_connection_that_was_deleted_is_not_mailed_about(connection: Connection) -> None:
    becomes(connection, DEAD, 0, "invalid_grant")
    delete_connection(connection, actor=Actor.operator(), force=True)
    assert beats(0, 70) == 0


def test_consent_that_ends_soon_is_mailed_with_its_day(connection: Connection) -> None:
    consent_ends(connection, 0)
    assert beat(2) == 1
    [message] = mail.outbox
    assert message.subject == "[Grantry] Acme: consent for 1 connection ends soon"
    assert "1 Dec 2026" in message.body
    assert f"/connections/{connection.pk}/" in message.body


def test_consent_that_was_given_again_is_not_mailed_about(connection: Connection) -> None:
    consent_ends(connection, 0)
    Connection.objects.update(connected_at=after(1))
    assert beats(0, 70) == 0


def test_the_worst_leads_in_the_subject(slack: Integration, workspace: Workspace) -> None:
    becomes(make_connection(slack, "failing"), DEGRADED, 0, "server_error")
    becomes(make_connection(slack, "dead"), DEAD, 8, "invalid_grant")
    becomes(make_connection(make_integration(workspace), "wrong"), MISCONFIGURED, 8, "invalid_scope")
    assert beat(10) == 1
    assert subjects() == ["[Grantry] Acme: 1 connection is misconfigured"]
    body = mail.outbox[0].body
    assert body.index("misconfigured") < body.index("consent again") < body.index("failing")


def test_a_mail_has_no_more_than_twenty_lines(workspace: Workspace) -> None:
    from integrations.providers.registry import builtin_specs

    delegated = [s for s in builtin_specs().values() if s.supports("authorization_code")]
    for spec in delegated[:23]:
        becomes(make_connection(make_integration(workspace, spec.provider_id)), DEAD, 0, "invalid_grant")
    beat(2)
    assert mail.outbox[0].body.count("\n* ") == 20
    assert "And 3 more on the Health page." in mail.outbox[0].body


def test_both_parts_say_the_same_in_our_words_and_escape_peoples(slack: Integration, workspace: Workspace) -> None:
    Workspace.objects.update(name="Acme\r\nBcc: all@example.com <b>")
    becomes(make_connection(slack, "<script>x</script>"), DEAD, 0, "code-of-theirs")
    Notice.objects.update(message="What the provider wrote")
    beat(2)
    [message] = mail.outbox
    assert message.subject.startswith("[Grantry] Acme Bcc: all@example.com <b>: ")
    [(html, kind)] = message.alternatives  # type: ignore[attr-defined] # of EmailMultiAlternatives
    assert kind == "text/html"
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    for text in (message.body, html):
        assert "What the provider wrote" not in text
        assert "not part of the OAuth standards" in text
        assert "/w/acme/settings/notifications/" in text


def test_a_mail_says_where_to_unsubscribe_and_that_a_program_wrote_it(connection: Connection) -> None:
    becomes(connection, DEAD, 0)
    beat(2)
    headers = mail.outbox[0].extra_headers
    assert headers["List-Unsubscribe"] == "<http://localhost:8000/w/acme/settings/notifications/>"
    assert headers["Auto-Submitted"] == "auto-generated"


# --- who -------------------------------------------------------------------------------------------------


def test_admins_and_owners_hear_of_it_and_others_who_asked(workspace: Workspace, connection: Connection) -> None:
    for role in Role:
        make_member(workspace, make_user(f"{role.value}@example.com"), role)
    asked = make_member(workspace, make_user("asked@example.com"), Role.VIEWER)
    choose_mails(asked, MailChoice.ALL)
    becomes(connection, DEAD, 0)
    beat(2)
    to = sorted(address for message in mail.outbox for address in message.to)
    assert to == ["admin@example.com", "alice@example.com", "asked@example.com", "owner@example.com"]
    assert all(len(message.to) == 1 for message in mail.outbox)  # nobody learns who else is a member


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (MailChoice.ALL, ["failing", "recovered", "consent again", "recovered"]),
        (MailChoice.PERSON, ["consent again", "recovered"]),
        (MailChoice.NONE, []),
    ],
)
def test_each_member_gets_what_they_chose(
    alice: User, slack: Integration, choice: MailChoice, expected: list[str]
) -> None:
    choose_mails(Membership.objects.get(user=alice), choice)
    one, other = make_connection(slack, "one"), make_connection(slack, "other")
    becomes(one, DEGRADED, 0, "server_error")
    beats(10, 11)
    becomes(one, CONNECTED, 15)
    beats(70, 71)
    becomes(other, DEAD, 100, "invalid_grant")
    beats(130, 131)
    becomes(other, CONNECTED, 150)
    beats(190, 192)
    found = [next(word for word in expected if word in subject) for subject in subjects()]
    assert found == expected


def test_somebody_who_chose_what_the_role_has_anyway_follows_the_role(workspace: Workspace) -> None:
    member = make_member(workspace, role=Role.ADMIN)
    choose_mails(member, MailChoice.ALL)
    member.role = Role.VIEWER
    member.save()
    becomes(make_connection(make_integration(workspace)), DEAD, 0)
    beat(2)
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]


def test_a_member_removed_or_switched_off_before_the_mail_goes_out_gets_nothing(
    workspace: Workspace, connection: Connection, alice: User, bob: User
) -> None:
    gone = make_member(workspace, make_user("gone@example.com"), Role.ADMIN)
    becomes(connection, DEAD, 0)
    gather_digests(after(2))
    assert NoticeMail.objects.count() == 3
    owner = Membership.objects.get(user=alice)
    remove_member(gone, by=owner, actor=Actor.member(alice))
    User.objects.filter(pk=bob.pk).update(is_active=False)
    send_mails(after(2))
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]
    assert not NoticeMail.objects.filter(due_at__isnull=False).exists()


def test_who_unsubscribes_before_the_mail_goes_out_gets_nothing(connection: Connection, alice: User) -> None:
    becomes(connection, DEAD, 0)
    gather_digests(after(2))
    choose_mails(Membership.objects.get(user=alice), MailChoice.NONE)
    assert send_mails(after(2)) == 0


def test_other_workspaces_hear_nothing(connection: Connection, charlie: User) -> None:
    becomes(connection, DEAD, 0)
    beat(2)
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]


# --- once ------------------------------------------------------------------------------------------------


def test_a_mail_server_that_is_away_delays_the_mail_and_loses_none(
    connection: Connection, bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(locmem.EmailBackend):
        def send_messages(self, messages: Any) -> int:
            assert messages
            raise ConnectionRefusedError("nobody at mail.example.com with secret words")

    becomes(connection, DEAD, 0)
    with monkeypatch.context() as patch:
        patch.setattr(locmem, "EmailBackend", Away)
        assert beats(2, 4) == 0
    assert "ConnectionRefusedError" in caplog.text
    assert "secret words" not in caplog.text
    assert beats(5, 15) == 2
    assert sorted(message.to for message in mail.outbox) == [["alice@example.com"], ["bob@example.com"]]


def test_one_address_that_is_refused_holds_nobody_else_up_and_is_given_up_after_a_day(
    connection: Connection, bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from smtplib import SMTPRecipientsRefused

    class Picky(locmem.EmailBackend):
        def send_messages(self, messages: Any) -> int:
            if messages[0].to == ["alice@example.com"]:
                raise SMTPRecipientsRefused({"alice@example.com": (550, b"no such person")})
            return super().send_messages(messages)

    monkeypatch.setattr(locmem, "EmailBackend", Picky)
    becomes(connection, DEAD, 0)
    assert beat(2) == 1
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]
    for minutes in (10, 60, 600, 24 * 60 + 3):
        beat(minutes)
    assert "given up" in caplog.text
    assert not NoticeMail.objects.filter(due_at__isnull=False).exists()


def test_a_worker_that_dies_before_it_marks_the_mail_lets_it_be_sent_again_and_not_at_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies(locmem.EmailBackend):
        def send_messages(self, messages: Any) -> int:
            super().send_messages(messages)
            raise SystemExit

    becomes(connection, DEAD, 0)
    gather_digests(after(2))
    with monkeypatch.context() as patch:
        patch.setattr(locmem, "EmailBackend", Dies)
        with pytest.raises(SystemExit):
            send_mails(after(2))
    assert beats(3, 6) == 0
    assert beat(7) == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_make_one_digest_and_send_one_mail(connection: Connection, bob: User) -> None:
    becomes(connection, DEAD, 0)
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            start.wait()
            gather_digests(after(2))
            send_mails(after(2))
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()
    assert failures == []
    assert NoticeDigest.objects.count() == 1
    assert sorted(message.to for message in mail.outbox) == [["alice@example.com"], ["bob@example.com"]]


def test_a_mail_that_cannot_be_written_holds_nobody_else_up(
    connection: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mailing.write_mail

    def write(*args: Any, to: str) -> Any:
        if to == "alice@example.com":
            raise ValueError("nobody foresaw this")
        return real(*args, to=to)

    monkeypatch.setattr(mailing, "write_mail", write)
    becomes(connection, DEAD, 0)
    assert beat(2) == 1
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]
    put_off = NoticeMail.objects.get(due_at__isnull=False)
    assert put_off.attempts == 1


def test_an_error_in_the_middle_of_a_batch_leaves_the_rest_for_later(
    connection: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Drops(locmem.EmailBackend):
        def send_messages(self, messages: Any) -> int:
            calls.append(messages[0].to)
            raise SMTPServerDisconnected("gone")

    becomes(connection, DEAD, 0)
    with monkeypatch.context() as patch:
        patch.setattr(locmem, "EmailBackend", Drops)
        beat(2)
    assert len(calls) == 1  # the second would have waited for the same
    assert beat(3) == 2


@pytest.mark.django_db(transaction=True)
def test_the_task_mails_what_waits(connection: Connection) -> None:
    becomes(connection, DEAD, 0)  # long ago, by the clock of the database
    Notice.objects.update(at=after(-60 * 24 * 365))
    send_digests()
    assert len(mail.outbox) == 1
