"""What a member has seen of a workspace's notices, and which of them are mailed."""

from __future__ import annotations

from django.db import models

from workspaces.models import Membership
from workspaces.roles import Role


class MailChoice(models.TextChoices):
    """Which notices a member gets by e-mail."""

    ALL = "all", "All trouble"
    PERSON = "person", "Only what needs a person"
    NONE = "none", "Nothing"


# Of those who have not chosen: a dying connection is heard of by whoever can mend it.
DEFAULT_OF_ROLE = {Role.OWNER: MailChoice.ALL, Role.ADMIN: MailChoice.ALL}


class NoticeSettings(models.Model):
    """One member's, in one workspace; gone with the membership. Without a row the role's defaults count."""

    membership = models.OneToOneField(
        Membership, primary_key=True, on_delete=models.CASCADE, related_name="notice_settings"
    )
    # Empty: as the role has it, also when the role changes.
    mails = models.CharField(max_length=10, choices=MailChoice.choices, blank=True, default="", db_default="")
    # The newest notice when the member last said "seen"; notice ids only rise.
    seen_notice_id = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(mails__in=["", *MailChoice.values]), name="notice_settings_mails_known"
            ),
        )

    def __str__(self) -> str:
        return f"notices for {self.membership_id}"


def mail_choice_of(membership: Membership) -> MailChoice:
    """What the member chose, else the role's default. Reads the settings unless they were loaded along."""
    settings: NoticeSettings | None = getattr(membership, "notice_settings", None)
    if settings is not None and settings.mails:
        return MailChoice(settings.mails)
    return default_mail_choice(membership.role)


def default_mail_choice(role: str) -> MailChoice:
    """What a role gets whose member has not chosen: admins and owners everything, others nothing."""
    return DEFAULT_OF_ROLE.get(Role(role), MailChoice.NONE) if role in Role.values else MailChoice.NONE
