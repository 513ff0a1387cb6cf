"""Forms of the workspaces app: text in, domain values out, and the words a person reads when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError

from workspaces.audit import AuditAction
from workspaces.models import User, Workspace
from workspaces.return_urls import clean_return_urls
from workspaces.roles import SCOPE_DESCRIPTIONS, KeyScope, Role
from workspaces.workspaces import check_redirect_host, check_token_policy

_NO_EXPIRY = "never"
_EXPIRIES = (("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year"), (_NO_EXPIRY, "Never"))
_OVERLAPS = (
    ("0", "At once"),
    ("3600", "In an hour"),
    ("86400", "In a day"),
    ("604800", "In a week"),
)


class InviteForm(forms.Form):
    """Whom to invite, and as what: only roles that the inviter may give are on offer."""

    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.TypedChoiceField(label="Role", coerce=Role)

    def __init__(self, *args: Any, roles: Iterable[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [(role.value, f"{role.label}: {role.description}") for role in roles]  # type: ignore[attr-defined]


class RoleForm(forms.Form):
    """The role that a member is to have."""

    role = forms.TypedChoiceField(label="Role", coerce=Role, choices=Role.choices)


class AcceptForm(forms.Form):
    """What a new person says about themselves; the address is the invitation's."""

    name = forms.CharField(label="Your name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        label="Choose a password",
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email
        self.fields["password"].help_text = " ".join(password_validators_help_texts())

    def clean(self) -> dict[str, Any]:
        """Judge the password with the name and address at hand, which it must not resemble."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "password" in cleaned:
            try:
                validate_password(cleaned["password"], User(email=self.email, name=cleaned.get("name", "")))
            except ValidationError as error:
                self.add_error("password", error)
        return cleaned


class ApiKeyForm(forms.Form):
    """A new key: only scopes that the creator's role covers are on offer."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="What will use it, so that you recognise it in this list and the audit log.",
    )
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one scope."},
    )
    expires = forms.ChoiceField(label="Expires", choices=_EXPIRIES, initial="90")

    def __init__(self, *args: Any, scopes: Iterable[KeyScope], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [(scope.value, SCOPE_DESCRIPTIONS[scope]) for scope in scopes]  # type: ignore[attr-defined]

    def clean_expires(self) -> timedelta | None:
        """How long it lives; None for ever."""
        chosen = self.cleaned_data["expires"]
        return None if chosen == _NO_EXPIRY else timedelta(days=int(chosen))


class RollForm(forms.Form):
    """When the key being replaced stops."""

    overlap = forms.ChoiceField(label="The old key stops", choices=_OVERLAPS, initial="86400")

    def clean_overlap(self) -> timedelta:
        """How long the old key works on."""
        return timedelta(seconds=int(self.cleaned_data["overlap"]))


class AuditFilterForm(forms.Form):
    """Filters of the audit log, all in the URL. A value that cannot be read is shown as an error and not applied."""

    action = forms.ChoiceField(
        label="Action", required=False, choices=[("", "Every action"), *((a.value, a.label) for a in AuditAction)]
    )
    actor = forms.CharField(
        label="Who",
        required=False,
        max_length=254,
        widget=forms.TextInput(attrs={"placeholder": "Address or key name"}),
    )
    target = forms.CharField(
        label="What", required=False, max_length=254, widget=forms.TextInput(attrs={"placeholder": "Name or id"})
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))


class SettingsForm(forms.Form):
    """The workspace's name, and where connect links may send people back to."""

    name = forms.CharField(label="Name", max_length=100)
    return_urls = forms.CharField(
        label="Return URLs for connect links",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "g-mono"}),
        help_text=(
            "One per line, beginning with https://. A connect link may send people back to one of these "
            "and to anything below it."
        ),
    )

    def clean_return_urls(self) -> list[str]:
        """One URL per line. The error names each line that cannot stand."""
        return clean_return_urls(self.cleaned_data["return_urls"].splitlines())


class TokenPolicyForm(forms.Form):
    """How old an access token may be, and when it is renewed: in minutes, blank for what the provider says."""

    max_age = forms.IntegerField(
        label="Maximum lifetime of an access token",
        required=False,
        help_text=(
            "Minutes. An older token is never handed out: it is renewed, and where nothing can renew it, a person has "
            "to consent again. Blank: tokens are handed out until they expire."
        ),
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off", "placeholder": "No maximum"}),
    )
    margin = forms.IntegerField(
        label="Refresh margin",
        required=False,
        help_text=(
            "Minutes before the end at which a token is renewed; half of its lifetime at most. It counts for every "
            "provider but those that refuse to renew what has not expired. Blank: as the provider’s definition says, "
            "else a fifth of the lifetime and 15 minutes at most."
        ),
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off", "placeholder": "As the provider says"}),
    )

    @classmethod
    def of(cls, workspace: Workspace) -> TokenPolicyForm:
        """With what is stored."""
        stored = {"max_age": workspace.max_token_age_seconds, "margin": workspace.refresh_margin_seconds}
        return cls(initial={name: value and value // 60 for name, value in stored.items()})

    @property
    def max_age_seconds(self) -> int | None:
        """As it is stored."""
        return _in_seconds(self.cleaned_data.get("max_age"))

    @property
    def margin_seconds(self) -> int | None:
        """As it is stored."""
        return _in_seconds(self.cleaned_data.get("margin"))

    def clean(self) -> dict[str, Any]:
        """Within bounds that can work."""
        try:
            check_token_policy(self.max_age_seconds, self.margin_seconds)
        except forms.ValidationError as error:
            for field, sentences in error.message_dict.items():
                if field not in self.errors:
                    self.add_error(field, sentences)
        return self.cleaned_data


def _in_seconds(minutes: int | None) -> int | None:
    return None if minutes is None else minutes * 60


class RedirectHostForm(forms.Form):
    """A redirect host of the workspace's own. Blank is an error: to stop using one is a step of its own."""

    redirect_host = forms.CharField(
        label="Redirect host",
        strip=True,
        widget=forms.TextInput(
            attrs={
                "class": "g-mono", "placeholder": "https://connect.example.com", "autocapitalize": "none",
                "autocomplete": "off", "spellcheck": "false", "inputmode": "url",
            }
        ),
        help_text="Beginning with https://, without a path. Its DNS must lead to this server.",
        error_messages={"required": "Enter a host, such as https://connect.example.com."},
    )  # fmt: skip

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace

    def clean_redirect_host(self) -> str:
        """The origin in its one spelling."""
        return check_redirect_host(self.workspace, self.cleaned_data["redirect_host"])
