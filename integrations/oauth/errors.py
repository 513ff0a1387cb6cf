"""What can go wrong between us and an authorization server, one class per policy.

    OAuthError
    ├── DeadGrant               invalid_grant (RFC 6749 §5.2) and its synonyms: a person must consent again
    │   └── InteractionRequired interaction_required, login_required, consent_required (OpenID Connect Core §3.1.2.6)
    ├── ClientRefused           invalid_client, unauthorized_client, invalid_scope, …: the app's set-up is wrong
    ├── ConsentRefused          access_denied (RFC 6749 §4.1.2.1): the person or their administrator said no
    ├── AccessTokenRefused      invalid_token, insufficient_scope (RFC 6750 §3.1), from userinfo
    ├── Throttled               408, 425, 429: wait as long as `retry_after` says
    ├── Outage                  any 5xx
    ├── TransientFailure        temporarily_unavailable, server_error, slow_down
    │   └── NoAnswer            no complete HTTP answer in time, or one beyond the size cap
    ├── UnknownRefusal          an error code that nobody has defined: retried, with a cap
    ├── MalformedAnswer         an answer that is no token response: fails a connect, transient on refresh
    │   ├── Redirected          3xx, never followed
    │   └── CallbackMalformed   the browser brought back something that is no authorization response
    ├── DiscoveryFailed         no usable metadata was found (RFC 8414, RFC 9728); `tried` says where
    │   └── MetadataRefused     a document was found, and it cannot be used
    ├── RegistrationRefused     the client was not registered (RFC 7591 §3.2.2)
    └── ConfigurationRefused    we refuse to send: an endpoint or parameter breaks our own rules
        └── IssuerMismatch      `iss` is another authorization server's (RFC 9207)

Callers look at classes and codes, never at text. `describe(code)` has the words for people.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from integrations.oauth.discovery import Attempt

PROVIDER_TEXT_LIMIT = 500
CODE_LIMIT = 100
SHORTEST_SECRET = 4  # blanking shorter ones out would only garble the text


class ErrorClass(StrEnum):
    """The classes that have a policy each; stored beside a connection's last error."""

    DEAD_GRANT = "dead_grant"
    CLIENT_REFUSED = "client_refused"
    CONSENT_REFUSED = "consent_refused"
    TOKEN_REFUSED = "token_refused"  # noqa: S105  # the name of a class of errors
    THROTTLED = "throttled"
    OUTAGE = "outage"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    CONFIGURATION = "configuration"


class OAuthError(Exception):
    """A refusal or failure, with the provider's code or one of ours.

    `description` and `uri` are the provider's, cleaned, to be shown escaped. `status` is the HTTP status
    if there was an answer, `retry_after` is in seconds.
    """

    error_class: ClassVar[ErrorClass] = ErrorClass.UNKNOWN
    permanent: ClassVar[bool] = False

    def __init__(
        self,
        code: str,
        description: str = "",
        uri: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = clean_provider_text(code)[:CODE_LIMIT] or "unspecified"
        self.description = clean_provider_text(description)
        self.uri = clean_provider_text(uri)
        self._cut = {
            "code": len(code) > CODE_LIMIT,
            "description": len(description) > PROVIDER_TEXT_LIMIT,
            "uri": len(uri) > PROVIDER_TEXT_LIMIT,
        }
        self.status = status
        self.retry_after = retry_after
        super().__init__(self.code)

    @property
    def happened(self) -> str:
        """What happened, in one plain sentence."""
        return describe(self.code).happened

    @property
    def next_step(self) -> str:
        """What the reader can do about it, in one plain sentence."""
        return describe(self.code).next_step

    @property
    def message(self) -> str:
        """What happened and what to do next. Carries no token, URL query or response body."""
        return f"{self.happened} {self.next_step}"

    def without(self, secrets: tuple[str, ...]) -> OAuthError:
        """Blank out secrets that the provider echoed in its text; returns the error itself."""
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET:
                for name, is_cut in self._cut.items():
                    setattr(self, name, _blanked(getattr(self, name), secret, is_cut=is_cut))
        self.args = (self.code,)
        return self


class DeadGrant(OAuthError):
    """The grant is dead: read the row again, then ask a person to reconnect."""

    error_class = ErrorClass.DEAD_GRANT
    permanent = True


class InteractionRequired(DeadGrant):
    """The provider wants to see the person again."""


class ClientRefused(OAuthError):
    """The provider refuses the app itself: tokens are kept until its set-up is corrected."""

    error_class = ErrorClass.CLIENT_REFUSED
    permanent = True


class ConsentRefused(OAuthError):
    """The person, or their administrator, said no. An existing connection is untouched."""

    error_class = ErrorClass.CONSENT_REFUSED
    permanent = True


class AccessTokenRefused(OAuthError):
    """A protected resource does not accept the access token; the grant may still live."""

    error_class = ErrorClass.TOKEN_REFUSED
    permanent = True


class Throttled(OAuthError):
    """Too many requests: wait for `retry_after`, for the whole provider."""

    error_class = ErrorClass.THROTTLED


class Outage(OAuthError):
    """The provider has a failure on its side."""

    error_class = ErrorClass.OUTAGE


class TransientFailure(OAuthError):
    """A passing failure: tried again by itself."""

    error_class = ErrorClass.TRANSIENT


class NoAnswer(TransientFailure):
    """There was no complete HTTP answer."""


class UnknownRefusal(OAuthError):
    """An undefined error code: tried again with a cap, then somebody has to look."""

    error_class = ErrorClass.UNKNOWN


class MalformedAnswer(OAuthError):
    """An answer that is no token response: fails a connect, passes for transient on refresh."""

    error_class = ErrorClass.MALFORMED


class Redirected(MalformedAnswer):
    """A redirect, which is never followed: it would post the secret to another address."""


class CallbackMalformed(MalformedAnswer):
    """The browser brought back something that is no authorization response."""

    permanent = True


class DiscoveryFailed(OAuthError):
    """No usable metadata was found; nothing was changed. `tried` has one `discovery.Attempt` for each address."""

    error_class = ErrorClass.CONFIGURATION
    tried: tuple[Attempt, ...] = ()


class MetadataRefused(DiscoveryFailed):
    """A metadata document that cannot be used: another issuer's, or one without what is needed."""

    permanent = True


class RegistrationRefused(OAuthError):
    """The authorization server did not register a client, or registered one that cannot be used."""

    error_class = ErrorClass.CONFIGURATION
    permanent = True


class ConfigurationRefused(OAuthError):
    """We refuse to send, because the provider's definition breaks our own rules."""

    error_class = ErrorClass.CONFIGURATION
    permanent = True


class IssuerMismatch(ConfigurationRefused):
    """The answer comes from another authorization server (RFC 9207 §2.4)."""


def _blanked(text: str, secret: str, *, is_cut: bool) -> str:
    """The text without the secret, as it is and percent-encoded, and without a beginning of it that our cut left."""
    for spelling in {secret, quote(secret, safe=""), quote_plus(secret, safe="")}:
        text = text.replace(spelling, "…")
        for length in range(min(len(spelling) - 1, len(text)) if is_cut else 0, SHORTEST_SECRET - 1, -1):
            if text.endswith(spelling[:length]):
                text = text[:-length] + "…"
                break
    return text


# Cc: controls, Cf: bidi marks and other invisible ones, Cs: lone surrogates, Co and Cn: nobody's characters,
# Zl and Zp: line and paragraph separators.
_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean_provider_text(text: str) -> str:
    """Make a provider's text fit to be shown: no control or bidi characters, at most 500 characters."""
    # The cut before the walk bounds the work on a megabyte of text.
    shown = (
        " " if character in "\t\r\n" else character
        for character in text[: PROVIDER_TEXT_LIMIT * 4]
        if character in "\t\r\n" or unicodedata.category(character) not in _UNSHOWABLE
    )
    return " ".join("".join(shown).split())[:PROVIDER_TEXT_LIMIT]


@dataclass(frozen=True)
class Description:
    """Two plain sentences about an error code."""

    happened: str
    next_step: str


def describe(code: str) -> Description:
    """Say what a code means and what to do; unknown codes get a general answer."""
    known = _DESCRIPTIONS.get(code)
    if known is not None:
        return Description(*known)
    if code.startswith("http_"):
        return Description(
            "The provider answered with an error status and no reason that a program can read.",
            "Check that the endpoint is the provider's OAuth endpoint, then try again.",
        )
    return Description(
        "The provider refused with a code that is not part of the OAuth standards.",
        "Look the code up in the provider's documentation, then try again.",
    )


_RECONNECT = "Reconnect with OAuth to grant access again."
_CHECK_CLIENT = "Check the client ID, and the client secret or registered key, against the app at the provider."
_TRY_LATER = "Nothing needs to be done: it is tried again by itself."
_CHECK_ENDPOINT = "Check the token endpoint in the provider's documentation."

_DESCRIPTIONS: dict[str, tuple[str, str]] = {
    # RFC 6749 §4.1.2.1, the authorization endpoint
    "access_denied": (
        "Access was not granted: the request was refused on the provider's consent page.",
        "Connect again and accept, or ask an administrator of the account to allow the app.",
    ),
    "unauthorized_client": (
        "The app at the provider is not allowed to use this grant type.",
        "Enable the grant type in the app's settings at the provider, or choose the other one here.",
    ),
    "unsupported_response_type": (
        "The provider does not hand out authorization codes to this app.",
        "Enable the authorization code flow in the app's settings at the provider.",
    ),
    "invalid_scope": (
        "The provider does not know a requested scope, or does not allow it for this app.",
        "Compare the scopes here with those enabled for the app at the provider.",
    ),
    "server_error": ("The provider reported an error on its side.", _TRY_LATER),
    "temporarily_unavailable": (
        "The provider is overloaded or under maintenance at the moment.",
        _TRY_LATER,
    ),
    # RFC 6749 §5.2, the token endpoint
    "invalid_request": (
        "The provider could not make sense of the request.",
        "Check the endpoints, the redirect URI and the extra parameters of the provider.",
    ),
    "invalid_client": ("The provider refused the client ID or the client secret.", _CHECK_CLIENT),
    "invalid_grant": (
        "The provider no longer accepts the authorization: it has expired, was revoked or was already used.",
        _RECONNECT,
    ),
    "unsupported_grant_type": (
        "The provider does not support this grant type at its token endpoint.",
        "Choose the other grant type, or check the token endpoint.",
    ),
    # RFC 8707, RFC 8628, RFC 7009
    "invalid_target": (
        "The provider does not know the requested resource.",
        "Check the resource or audience parameter of the provider.",
    ),
    "slow_down": ("The provider asks for fewer requests.", _TRY_LATER),
    "unsupported_token_type": (
        "The provider uses a kind of token that is not supported here, or cannot revoke this kind.",
        "Check in the provider's documentation how to get bearer tokens.",
    ),
    # OpenID Connect Core §3.1.2.6
    "interaction_required": ("The provider wants the person to take part again.", _RECONNECT),
    "login_required": ("The provider wants the person to sign in again.", _RECONNECT),
    "consent_required": ("The provider wants the person to consent again.", _RECONNECT),
    "account_selection_required": (
        "The provider wants the person to choose an account.",
        _RECONNECT,
    ),
    # RFC 6750 §3.1, protected resources
    "invalid_token": (
        "The provider does not accept the access token.",
        "Refresh the connection; if that does not help, reconnect with OAuth.",
    ),
    "insufficient_scope": (
        "The access token lacks a scope that this call needs.",
        "Add the missing scope, then reconnect to grant it.",
    ),
    # Codes that well-known providers use instead of the standard ones
    "redirect_uri_mismatch": (
        "The redirect URI is not the one registered for the app at the provider.",
        "Copy the redirect URI shown here into the app's settings at the provider, letter for letter.",
    ),
    "bad_verification_code": (
        "The authorization code is wrong, has expired or was already used.",
        "Connect again.",
    ),
    "token_revoked": ("The authorization was revoked at the provider.", _RECONNECT),
    "token_expired": ("The authorization has expired.", _RECONNECT),
    "account_inactive": ("The account at the provider was deactivated.", _RECONNECT),
    "disabled_client": (
        "The app is disabled at the provider.",
        "Enable the app in its settings at the provider.",
    ),
    "deleted_client": (
        "The app no longer exists at the provider.",
        "Register a new app and save its client ID and client secret.",
    ),
    "admin_policy_enforced": (
        "An administrator of the account has blocked the app.",
        "Ask that administrator to allow the app, then connect again.",
    ),
    # Microsoft's numbers
    "AADSTS7000215": (
        "The provider refused the client secret.",
        "Copy the secret's value, not its ID, from the app registration, or make a new one.",
    ),
    "AADSTS7000222": (
        "The client secret has expired.",
        "Make a new one under Certificates & secrets of the app registration and save its value here.",
    ),
    "AADSTS700016": (
        "There is no app with this client ID in the tenant.",
        "Check the client ID and the tenant; an app of another tenant has to be consented to there first.",
    ),
    "AADSTS90002": ("There is no such tenant.", "Correct the tenant: the directory's ID or domain."),
    "AADSTS700082": ("The authorization has expired: it was not used for too long.", _RECONNECT),
    "AADSTS50173": (
        "The authorization has ended: the password was changed, or an administrator ended all sessions.",
        _RECONNECT,
    ),
    "AADSTS70043": (
        "The authorization has expired: a policy of the organisation asks people to sign in again from time to time.",
        _RECONNECT,
    ),
    "AADSTS65001": (
        "Consent to a requested scope is missing.",
        "Reconnect with OAuth and accept; some scopes have to be accepted by an administrator.",
    ),
    "AADSTS53003": (
        "A policy of the organisation (conditional access) does not allow this sign-in.",
        "Ask an administrator of the organisation, then reconnect with OAuth.",
    ),
    # Salesforce's
    "inactive_user": ("The account at the provider was deactivated.", _RECONNECT),
    "inactive_org": ("The organisation at the provider is locked or closed.", _RECONNECT),
    # Our own codes: service accounts
    "subject_refused": (
        "The service account may not act as this person for these scopes.",
        "Delegate each scope to it in the Google Workspace admin console, or correct “Act as”.",
    ),
    "unusable_service_account_key": (
        "The key of the service account is missing or cannot be read.",
        "Upload a new JSON key in the configuration of the integration.",
    ),
    # Our own codes: no complete answer
    "unreachable": (
        "The provider could not be reached.",
        "Check the host name of the endpoint. If it is right, the provider or the network is down.",
    ),
    "host_unresolvable": (
        "The host name of the endpoint could not be found.",
        "Check the spelling of the host name.",
    ),
    "tls_failed": (
        "No secure connection to the provider could be made: its certificate was not accepted.",
        "Check the host name; if it is right, the provider has to renew or correct its certificate.",
    ),
    "timeout": (
        "The provider did not answer in time.",
        "Nothing needs to be done unless it lasts: then check the endpoint.",
    ),
    "connection_broken": (
        "The provider broke the connection off before its answer was complete.",
        _TRY_LATER,
    ),
    "too_large": (
        "The provider's answer was far too large for a token response.",
        _CHECK_ENDPOINT,
    ),
    # Our own codes: an answer that cannot be used
    "throttled": ("The provider limits how often it may be asked.", _TRY_LATER),
    "outage": ("The provider has a failure on its side.", _TRY_LATER),
    "redirected": (
        "The endpoint redirects to another address, and redirects are not followed with credentials.",
        "Enter the final address of the endpoint, as given in the provider's documentation.",
    ),
    "html_answer": (
        "The endpoint answered with a web page instead of a token response.",
        _CHECK_ENDPOINT,
    ),
    "wrong_endpoint": (
        "There is no OAuth endpoint at this address.",
        _CHECK_ENDPOINT,
    ),
    "not_json": (
        "The endpoint answered with something that is no token response.",
        _CHECK_ENDPOINT,
    ),
    "empty_answer": ("The endpoint gave an empty answer.", _CHECK_ENDPOINT),
    "no_access_token": (
        "The provider's answer contains no usable access token.",
        "Check the token endpoint and, if the provider nests its token, the path to it.",
    ),
    "duplicate_field": (
        "The provider's answer contains the same field more than once.",
        _CHECK_ENDPOINT,
    ),
    "unspecified": (
        "The provider refused without giving a reason.",
        "Try again; if it persists, check the app's settings at the provider.",
    ),
    # Our own codes: refused before anything was sent
    "address_refused": (
        "The endpoint's address is not allowed: it must be https and on the public internet.",
        "Correct the endpoint, or ask the operator to add its host to OUTBOUND_ALLOWED_HOSTS.",
    ),
    "invalid_endpoint": (
        "The endpoint is not a valid address.",
        "Enter a full https address, as given in the provider's documentation.",
    ),
    "missing_endpoint": (
        "The provider has no such endpoint configured.",
        "Add the endpoint to the provider's definition.",
    ),
    "reserved_parameter": (
        "The extra parameters contain one that OAuth itself sets.",
        "Remove it from the extra parameters or from the endpoint's query.",
    ),
    "missing_client_secret": (
        "The chosen client authentication needs a client secret, and none is saved.",
        "Save the client secret, or choose client authentication none for a public client.",
    ),
    "missing_signing_key": (
        "The chosen client authentication needs a key, and none was made yet.",
        "Save the configuration of the integration: that makes one. Then register it at the provider.",
    ),
    "unusable_signing_key": (
        "The stored key cannot sign.",
        "Make another one with Rotate key, and delete this one.",
    ),
    "missing_audience": (
        "Client assertions are addressed to the issuer, and the provider's definition names none.",
        "Add the issuer to the provider's definition.",
    ),
    "issuer_mismatch": (
        "The answer came from another authorization server than the one that was asked.",
        "Do not try again before the issuer in the provider's definition has been checked.",
    ),
    "missing_issuer": (
        "The answer does not say which authorization server it comes from, although this provider always says so.",
        "Connect again; if it happens again, check the provider's definition.",
    ),
    # Our own codes: discovery (RFC 8414, OpenID Connect Discovery, RFC 9728)
    "issuer_refused": (
        "This address cannot be an issuer.",
        "Enter the https address of the authorization server, without a query or fragment.",
    ),
    "metadata_not_found": (
        "No metadata document was found under the issuer's well-known addresses.",
        "Check the issuer in the provider's documentation, or enter the endpoints yourself.",
    ),
    "metadata_not_json": (
        "What stands at the well-known addresses is no metadata document.",
        "Check the issuer in the provider's documentation, or enter the endpoints yourself.",
    ),
    "metadata_redirected": (
        "The well-known address redirects to another one, and redirects are not followed.",
        "Enter the issuer that the provider's documentation states, or enter the endpoints yourself.",
    ),
    "metadata_too_large": (
        "The metadata document is far larger than any real one.",
        "Check the issuer, or enter the endpoints yourself.",
    ),
    "metadata_no_issuer": (
        "The metadata document does not say which issuer it belongs to.",
        "Enter the endpoints yourself, as given in the provider's documentation.",
    ),
    "metadata_issuer_mismatch": (
        "The metadata document belongs to another issuer than the one that was asked.",
        "Enter the issuer exactly as the provider's documentation states it.",
    ),
    "metadata_no_token_endpoint": (
        "The metadata document names no usable token endpoint.",
        "Enter the endpoints yourself, as given in the provider's documentation.",
    ),
    "metadata_resource_mismatch": (
        "The metadata document belongs to another resource than the one that was asked.",
        "Check the address of the resource in its documentation.",
    ),
    "metadata_no_authorization_server": (
        "The resource names no usable authorization server.",
        "Enter the issuer instead, as given in the provider's documentation.",
    ),
    "not_discovered": (
        "The endpoints of this provider are not known yet: they are discovered for each workspace.",
        "Choose “Discover and register” on the configuration page.",
    ),
    # RFC 7591 §3.2.2, the registration endpoint, and our own codes about its answer
    "invalid_redirect_uri": (
        "The authorization server does not accept the redirect URI.",
        "Ask the provider which redirect URIs it accepts, or register the app by hand with the one shown here.",
    ),
    "invalid_client_metadata": (
        "The authorization server does not accept something about the client to be registered.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "invalid_software_statement": (
        "The authorization server does not accept the software statement.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "unapproved_software_statement": (
        "The authorization server registers only software that it has approved.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "registration_not_offered": (
        "The authorization server offers no client registration.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "registration_token_required": (
        "The authorization server registers clients only with an initial access token that it accepts.",
        "Ask the provider for one, or register the app by hand.",
    ),
    "registration_malformed": (
        "The answer to the registration names no usable client.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "registration_without_secret": (
        "The authorization server registered the client without the client secret that it has to authenticate with.",
        "Register the app by hand at the provider, then save its client ID and client secret.",
    ),
    "registration_unknown_auth_method": (
        "The authorization server registered the client for a client authentication that is not supported here.",
        "Register the app by hand at the provider with client_secret_basic or client_secret_post.",
    ),
    "registration_other_redirect_uri": (
        "The authorization server registered the client with another redirect URI than the one that is used here.",
        "Register the app by hand at the provider with the redirect URI shown here.",
    ),
    # Our own codes: the browser's return
    "missing_state": ("The provider sent the browser back without a state.", "Connect again."),
    "missing_code": (
        "The provider sent the browser back with neither an authorization code nor an error.",
        "Connect again; if it happens again, check the authorization endpoint.",
    ),
    "code_and_error": (
        "The provider sent the browser back with both an authorization code and an error.",
        "Connect again.",
    ),
    "duplicate_parameter": (
        "The address that the browser came back to was tampered with or broken.",
        "Connect again.",
    ),
    "parameter_too_long": (
        "The address that the browser came back to was tampered with or broken.",
        "Connect again.",
    ),
}
KNOWN_CODES: frozenset[str] = frozenset(_DESCRIPTIONS)
