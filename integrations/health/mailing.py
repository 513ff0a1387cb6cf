"""Sends the mails in the outbox.

Each is claimed by a compare-and-swap before it is sent and marked after, outside any transaction. So two workers never
send one; a worker that dies between sending and marking lets it be sent once more, five minutes later. A mail server
that is away costs nothing but time: the mail stays due, with growing pauses, for a day.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException

from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError

from integrations.connections.stopping import THIS_PROCESS
from integrations.health.digests import Group
from integrations.health.mail_text import write_mail
from integrations.models import MailChoice, NoticeMail, mail_choice_of
from integrations.providers.registry import specs_for

logger = logging.getLogger(__name__)

CLAIM = timedelta(minutes=5)  # longer than a mail server may take (EMAIL_TIMEOUT)
GIVE_UP = timedelta(days=1)
LONGEST_PAUSE = timedelta(hours=1)
AT_ONCE = 200  # mails in one run; the next one is a minute away


def send_mails(now: datetime) -> int:
    """Send what is due; returns how many went out. Stops at a mail server that cannot be reached."""
    due = NoticeMail.objects.filter(due_at__lte=now).order_by("due_at", "id").values_list("pk", "due_at", "attempts")
    backend = get_connection()
    sent = 0
    try:
        for pk, due_at, attempts in list(due[:AT_ONCE]):
            if THIS_PROCESS:
                break  # asked to stop: what is due stays due
            if not _claim(pk, due_at, now):
                continue
            mail = _load(pk)
            if mail is None:
                continue
            try:
                sent += _send(mail, backend, now)
            except (SMTPException, OSError) as error:
                _put_off(mail, error, attempts + 1, now)
                if not isinstance(error, SMTPRecipientsRefused | SMTPResponseException):
                    break  # nobody there: the others would wait for the same time-out
            except DatabaseError:
                raise
            except Exception as error:
                # A mail that cannot be written is one workspace's; the others' go out.
                logger.exception("Notice mail %s could not be written.", pk)
                _put_off(mail, error, attempts + 1, now)
    finally:
        backend.close()
    return sent


def _claim(pk: int, due_at: datetime | None, now: datetime) -> bool:
    """Put a mail off for everybody else; False when somebody was quicker."""
    return bool(NoticeMail.objects.filter(pk=pk, due_at=due_at).update(due_at=now + CLAIM))


def _load(pk: int) -> NoticeMail | None:
    """The mail with all it needs; None when its member was removed meanwhile."""
    of = "digest__workspace", "membership__user", "membership__notice_settings"
    return NoticeMail.objects.select_related(*of).filter(pk=pk).first()


def _send(mail: NoticeMail, backend: BaseEmailBackend, now: datetime) -> bool:
    """Send it unless its reader no longer wants it. Raises SMTPException or OSError."""
    groups = _wanted(mail)
    if not groups or not mail.membership.user.is_active:
        NoticeMail.objects.filter(pk=mail.pk).update(due_at=None)
        return False
    workspace = mail.digest.workspace
    message = write_mail(workspace, groups, _provider_names(mail, groups), to=mail.membership.user.email)
    message.connection = backend
    message.send()
    NoticeMail.objects.filter(pk=mail.pk).update(due_at=None, sent_at=now)
    return True


def _wanted(mail: NoticeMail) -> list[Group]:
    groups = [Group.from_json(stored) for stored in mail.digest.groups]
    choice = mail_choice_of(mail.membership)
    if choice == MailChoice.ALL:
        return groups
    return [group for group in groups if group.needs_person] if choice == MailChoice.PERSON else []


def _provider_names(mail: NoticeMail, groups: list[Group]) -> dict[str, str]:
    wanted = {group.provider_id for group in groups}
    return {spec.provider_id: spec.name for spec in specs_for(mail.digest.workspace) if spec.provider_id in wanted}


def _put_off(mail: NoticeMail, error: Exception, attempts: int, now: datetime) -> None:
    """Try again later; after a day, no more. The notices stay on the Health page either way."""
    name = type(error).__name__
    if now - mail.digest.made_at >= GIVE_UP:
        logger.error("Notice mail %s could not be sent for a day and is given up: %s", mail.pk, name)
        NoticeMail.objects.filter(pk=mail.pk).update(due_at=None, attempts=attempts)
        return
    pause = min(timedelta(minutes=2 ** min(attempts - 1, 6)), LONGEST_PAUSE)
    logger.warning("Notice mail %s could not be sent (%s); next try in %s.", mail.pk, name, pause)
    NoticeMail.objects.filter(pk=mail.pk).update(due_at=now + pause, attempts=attempts)
