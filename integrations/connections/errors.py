"""What the verbs of this package refuse, and the words for our own codes.

    FlowRefused        an authorization cannot be started
    LinkGone           a connect link is unknown, expired, used, or belongs to another browser
    TokenUnavailable   there is no token to hand out
    HasDependants      something else would stop working

Errors of the protocol are `integrations.oauth.errors.OAuthError`. Callers look at types and codes, never at text.
"""

from __future__ import annotations

import re

from integrations.errors import HasDependants
from integrations.oauth.errors import Description, OAuthError, describe

__all__ = [
    "FlowRefused",
    "HasDependants",
    "LinkGone",
    "TokenUnavailable",
    "describe_code",
    "message_of",
    "naming",
    "sentence",
]

NAME_TAKEN = "Another connection of this integration has this name. Choose a different one."
NOT_CONNECTED = "not_connected"
RECONNECT_REQUIRED = "reconnect_required"
MISCONFIGURED = "misconfigured"
TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"
OUTCOME_UNKNOWN = "refresh_outcome_unknown"
PROVIDER_OUTAGE = "provider_outage"


class FlowRefused(Exception):
    """An authorization cannot be started; nothing was changed."""

    def __init__(self, code: str, message: str = "", next_step: str = "") -> None:
        described = describe_code(code)
        self.code = code
        self.message = message or described.happened
        self.next_step = next_step or described.next_step
        super().__init__(code)


class LinkGone(Exception):
    """A connect link that cannot be used: its code says why (`unknown_link`, `link_expired`, `link_used`, …)."""

    def __init__(self, code: str) -> None:
        self.code = code
        described = describe_code(code)
        self.message, self.next_step = described.happened, described.next_step
        super().__init__(code)


class TokenUnavailable(Exception):
    """No token can be handed out.

    `code`: not_connected, reconnect_required, misconfigured or temporarily_unavailable; `retry_after` in seconds.
    """

    def __init__(self, code: str, message: str, retry_after: int | None = None) -> None:
        self.code = code
        self.message = message
        self.retry_after = retry_after
        super().__init__(code)


def describe_code(code: str) -> Description:
    """What a code means and what to do: ours first, then the protocol's."""
    known = _OURS.get(code)
    return Description(*known) if known else describe(code)


def sentence(code: str) -> str:
    """What a code means and what to do, as one text."""
    words = describe_code(code)
    return f"{words.happened} {words.next_step}"


def message_of(error: OAuthError) -> str:
    """The same for an error of the protocol; for an unfit parameter its own sentence, which names it."""
    if error.code == "parameter_refused" and error.description:
        return error.description
    return sentence(error.code)


_THE_PROVIDER = re.compile(r"\b[Tt]he provider\b")


def naming(text: str, provider_name: str) -> str:
    """The same words with the provider's name in them: our sentences say "the provider" and nothing else for it."""
    return _THE_PROVIDER.sub(lambda _: provider_name, text) if provider_name else text


_AGAIN = "Go back to the integration and connect again."
_NEW_LINK = "Ask whoever sent it for a new link."

_OURS: dict[str, tuple[str, str]] = {
    "not_configured": ("No client credentials are saved for this integration.", "Set the integration up first."),
    "wrong_grant_type": ("This integration does not use this grant type.", "Choose the other integration."),
    "provider_missing": (
        "The provider of this integration no longer exists.",
        "Delete the integration, or add the provider again under the same id.",
    ),
    "parameter_refused": ("A parameter of the connection is missing or does not fit.", "Correct the parameters."),
    "undecryptable": (
        "A stored secret cannot be decrypted with the configured keys.",
        "Ask the operator to restore the missing key in FERNET_KEYS. Nothing was overwritten.",
    ),
    "no_permission": (
        "Your role in the workspace no longer allows connecting, or you are no longer a member.",
        "Ask an admin of the workspace.",
    ),
    "unknown_state": (
        "This answer does not belong to any connection attempt that is known here.",
        "Start again from the integration's page, and follow the link only once.",
    ),
    "expired_state": ("The connection attempt was started more than ten minutes ago.", _AGAIN),
    "foreign_session": (
        "The connection attempt was started in another browser or by another person.",
        "Finish it in the browser where it was started, or start again here.",
    ),
    "in_progress": (
        "This answer is being processed already.",
        "Wait a moment, then look at the integration's page.",
    ),
    "interrupted": ("The connection attempt was interrupted before it was complete.", _AGAIN),
    "provider_changed": (
        "The provider, its client credentials or the redirect host were changed while you were at the consent page.",
        _AGAIN,
    ),
    "connected_meanwhile": ("Somebody connected it meanwhile. Nothing was changed.", "Open it and try again."),
    "connection_gone": ("The connection was deleted while you were at the consent page.", _AGAIN),
    "account_differs": (
        "You consented with another account than the one this connection belongs to.",
        "Sign in at the provider with the first account, or ask for a link that lets another one take its place.",
    ),
    "account_unknown": (
        "The provider did not say whose account this is, and the connection belongs to a known one.",
        "Try again and allow the account to be read, or ask for a link to a new connection.",
    ),
    "not_stored": (
        "The provider granted access, but the database could not be reached to store it.",
        "Connect again in a moment.",
    ),
    "unknown_link": ("This link does not exist.", _NEW_LINK),
    "link_expired": ("This link has expired.", _NEW_LINK),
    "link_withdrawn": ("This link is no longer valid.", _NEW_LINK),
    "link_used": ("This link has been used.", _NEW_LINK),
    "link_in_other_browser": (
        "This link is being used in another browser.",
        "Open it in the browser where you first used it, or ask for a new link.",
    ),
    "return_url_refused": (
        "The return URL is not on the workspace's list.",
        "Ask an admin to add it to the workspace's settings.",
    ),
    "nothing_to_refresh": (
        "There is nothing to refresh: the provider issued no refresh token.",
        "Reconnect with OAuth when the token has expired.",
    ),
    "not_connected": ("There is no token yet.", "Connect first."),
    "refresh_in_progress": ("A renewal is under way.", "Try again in a moment."),
    "too_early": (
        "The provider renews a token only once it has expired, and this one is still valid.",
        "Nothing needs to be done: it is renewed at its expiry.",
    ),
    "untestable": (
        "The provider has neither a userinfo nor an introspection endpoint, and issued no refresh token.",
        "Call the provider's API with the token to see whether it works.",
    ),
    "token_inactive": (
        "The provider says that the access token is no longer active.",
        "Refresh the connection; if that does not help, reconnect with OAuth.",
    ),
    "reconnect_required": ("A person has to consent again.", "Reconnect with OAuth."),
    OUTCOME_UNKNOWN: (
        "A worker was stopped between asking for a new token and storing it. The provider may have issued one that "
        "nobody has, and it no longer accepts the one before.",
        "Reconnect with OAuth.",
    ),
    PROVIDER_OUTAGE: (
        "The provider has not been answering, for several connections in a row.",
        "Nothing needs to be done: one connection at a time tries whether it is back, and the others follow.",
    ),
    "required_by_operator": ("An operator asked for a new consent.", "Reconnect with OAuth."),
    "endpoint_changed": (
        "The provider's endpoints were changed, so its credentials were cleared.",
        "Enter the client secret again, then reconnect with OAuth.",
    ),
}
