"""Who is mailed what. Each member chooses for themselves."""

from __future__ import annotations

from django import forms

from integrations.models import MailChoice, NoticeSettings, default_mail_choice, mail_choice_of
from workspaces.models import Membership

CHOICES = (
    (MailChoice.ALL, "All trouble: renewals that keep failing too, and when it is over"),
    (MailChoice.PERSON, "Only what needs a person: consent, credentials"),
    (MailChoice.NONE, "Nothing"),
)


class MailChoiceForm(forms.Form):
    """Which notices of this workspace come by e-mail."""

    mails = forms.TypedChoiceField(
        label="Send me", coerce=MailChoice, choices=CHOICES, widget=forms.RadioSelect, initial=MailChoice.NONE
    )


def form_for(membership: Membership) -> MailChoiceForm:
    """The form with what counts now."""
    return MailChoiceForm(initial={"mails": mail_choice_of(membership)})


def choose_mails(membership: Membership, choice: MailChoice) -> None:
    """Keep a member's choice. What the role has anyway is not kept, so that it follows the role."""
    mails = "" if choice == default_mail_choice(membership.role) else choice.value
    NoticeSettings.objects.update_or_create(membership=membership, defaults={"mails": mails})
