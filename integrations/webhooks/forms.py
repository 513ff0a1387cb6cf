"""Forms of the webhook pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms

from integrations.models import DeliveryStatus, WebhookEndpoint
from integrations.webhooks.endpoints import MAX_DESCRIPTION, WebhookRefused, clean_url
from integrations.webhooks.events import CHOICES

_ALL, _CHOSEN = "all", "chosen"
_OVERLAPS = (("0", "At once"), ("3600", "In an hour"), ("86400", "In a day"), ("604800", "In a week"))
_SINCE = (
    ("3600", "The last hour"),
    ("86400", "The last day"),
    ("604800", "The last week"),
    ("2592000", "The last 30 days"),
)


class EndpointForm(forms.Form):
    """Where events go, and which. `for_all` includes events that a later release adds."""

    url = forms.CharField(
        label="URL",
        max_length=2000,
        widget=forms.TextInput(
            attrs={
                "class": "g-mono", "placeholder": "https://hooks.example.com/grantry", "autocapitalize": "none",
                "autocomplete": "off", "spellcheck": "false", "inputmode": "url",
            }
        ),
        help_text="Beginning with https://, on the public internet. Stored encrypted; only admins see it in full.",
        error_messages={"required": "Enter a URL, such as https://hooks.example.com/grantry."},
    )  # fmt: skip
    description = forms.CharField(
        label="Description",
        required=False,
        max_length=MAX_DESCRIPTION,
        help_text="What receives the events, so that you recognise it in the list.",
    )
    which = forms.ChoiceField(
        label="Events",
        widget=forms.RadioSelect,
        choices=((_ALL, "All, also those of later releases"), (_CHOSEN, "Only the ones chosen below")),
        initial=_ALL,
    )
    events = forms.MultipleChoiceField(
        label="Chosen events",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        choices=[(event.value, event.label) for event in CHOICES],
    )

    @classmethod
    def initial_of(cls, endpoint: WebhookEndpoint) -> dict[str, Any]:
        """The form's values for an endpoint that exists. Raises crypto.SealError."""
        return {
            "url": endpoint.url,
            "description": endpoint.description,
            "which": _CHOSEN if endpoint.events else _ALL,
            "events": endpoint.events,
        }

    def clean_url(self) -> str:
        """A URL that the outbound door would let through."""
        url: str = self.cleaned_data["url"]
        try:
            clean_url(url)
        except WebhookRefused as error:
            raise forms.ValidationError(error.message) from error
        return url

    def clean(self) -> dict[str, Any]:
        """No events at all are a mistake, not all of them."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("which") == _ALL:
            cleaned["events"] = []
        elif "events" in cleaned and not cleaned["events"]:
            self.add_error("events", "Choose at least one event, or all of them.")
        return cleaned


class RollSecretForm(forms.Form):
    """When the secret being replaced stops."""

    overlap = forms.ChoiceField(label="The old secret stops", choices=_OVERLAPS, initial="86400")

    def clean_overlap(self) -> timedelta:
        """How long the old secret signs too."""
        return timedelta(seconds=int(self.cleaned_data["overlap"]))


class ReplayForm(forms.Form):
    """How far back to replay what failed."""

    since = forms.ChoiceField(label="How far back", choices=_SINCE, initial="86400")

    def clean_since(self) -> timedelta:
        """How long ago it begins."""
        return timedelta(seconds=int(self.cleaned_data["since"]))


class LogFilterForm(forms.Form):
    """The filter of the delivery log, in the URL. A value that is none counts as no filter."""

    status = forms.ChoiceField(label="Status", required=False, choices=[("", "Every status"), *DeliveryStatus.choices])
