"""The card "Discover and register" of a provider whose endpoints are found for each workspace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django import forms

from integrations.connections.integration_page import IntegrationPage
from integrations.connections.overview import token_of
from integrations.oauth.errors import DiscoveryFailed, OAuthError
from integrations.providers.discovery import Attempt
from integrations.providers.registration import ForeignEndpointsFound, registered_client
from integrations.providers.setup import redirect_uri

# Where nothing was published: another address had it, or none had.
_NOTHING_THERE = frozenset({"metadata_not_found", "metadata_not_json", "names_none"})


class DiscoverForm(forms.Form):
    """What has to be confirmed before a client is registered."""

    confirm_foreign = forms.BooleanField(
        required=False, label="I looked these endpoints up: they belong to the provider"
    )
    confirm_client = forms.BooleanField(required=False)

    def __init__(self, data: Any = None, *, connected: int) -> None:
        super().__init__(data)
        self.connected = connected
        if not connected:
            del self.fields["confirm_client"]
        else:
            named = "1 connection was" if connected == 1 else f"{connected} connections were"
            self.fields["confirm_client"].label = f"Replace the client: {named} made with it and must connect again"

    def clean_confirm_client(self) -> bool:
        """A new client makes tokens of the old one worthless."""
        if not self.cleaned_data["confirm_client"]:
            raise forms.ValidationError("Confirm this, or keep the client that is saved.")
        return True


@dataclass(frozen=True, slots=True)
class ShownStep:
    """An address that was asked, with the tone and icon of what came of it."""

    attempt: Attempt
    tone: str
    icon: str
    word: str


@dataclass(frozen=True, slots=True)
class DiscoveryCard:
    """What the card shows: what is known, what was just tried, and what has to be confirmed."""

    url: str
    form: DiscoverForm
    issuer: str = ""
    found_at: datetime | None = None
    registered_at: datetime | None = None
    secret_ends_at: datetime | None = None
    other_redirect_uri: str = ""  # what the client was registered with, where it is another one now
    steps: tuple[ShownStep, ...] = ()
    failed: str = ""
    next_step: str = ""
    foreign: dict[str, str] = field(default_factory=dict)
    was_tried: bool = False

    @property
    def duration_ms(self) -> int:
        """How long the steps took together."""
        return sum(step.attempt.duration_ms for step in self.steps)

    @property
    def by_hand(self) -> bool:
        """Whether a client entered by hand is what remains: the endpoints are known, and no client was registered."""
        return bool(self.issuer) and self.registered_at is None


def discovery_card(
    page: IntegrationPage,
    *,
    form: DiscoverForm | None = None,
    tried: Sequence[Attempt] = (),
    error: OAuthError | None = None,
    unconfirmed: ForeignEndpointsFound | None = None,
) -> DiscoveryCard | None:
    """The card, with what has just been tried; None for providers that state their endpoints."""
    if not page.spec.resource:
        return None
    discovered = page.integration.discovered if page.integration else None
    client = registered_client(page.integration)
    return DiscoveryCard(
        url=page.url("discover"),
        form=form or DiscoverForm(connected=connected(page)),
        issuer=discovered["endpoints"]["issuer"] if discovered else "",
        found_at=datetime.fromisoformat(discovered["at"]) if discovered else None,
        registered_at=datetime.fromisoformat(client["at"]) if client else None,
        secret_ends_at=_moment(client["client_secret_expires_at"]) if client else None,
        other_redirect_uri=_other_redirect_uri(page, client),
        steps=tuple(_shown(tried)),
        failed=f"{error.happened} {error.description}".strip() if error else "",
        next_step=_next_step(error),
        foreign=_foreign(unconfirmed),
        was_tried=bool(tried),
    )


def connected(page: IntegrationPage) -> int:
    """How many connections hold a token that the present client got."""
    return sum(token_of(connection) is not None for connection in page.connections)


def _next_step(error: OAuthError | None) -> str:
    if isinstance(error, DiscoveryFailed):
        # The words of its own speak to somebody who has entered the issuer.
        return "Nothing was changed. Try again; if it stays so, the provider does not publish what is needed."
    return error.next_step if error else ""


def _foreign(unconfirmed: ForeignEndpointsFound | None) -> dict[str, str]:
    if unconfirmed is None:
        return {}
    return {one.field: one.url for one in unconfirmed.found.foreign if one.field in unconfirmed.errors}


def _other_redirect_uri(page: IntegrationPage, client: Mapping[str, Any] | None) -> str:
    if client is None or not page.needs_person or client["redirect_uri"] == redirect_uri(page.workspace):
        return ""
    return str(client["redirect_uri"])


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shown(tried: Iterable[Attempt]) -> Iterable[ShownStep]:
    for attempt in tried:
        if attempt.ok:
            yield ShownStep(attempt, "good", "circle-check", "Found")
        elif attempt.code in _NOTHING_THERE:
            yield ShownStep(attempt, "idle", "circle-dashed", "Nothing there")
        else:
            yield ShownStep(attempt, "bad", "circle-x", "Failed")
