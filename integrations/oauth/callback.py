"""Reading what the browser brings back from the authorization endpoint (RFC 6749 §4.1.2, RFC 9207)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from integrations.oauth.errors import CallbackMalformed, IssuerMismatch, OAuthError
from integrations.oauth.refusals import class_at_callback

# Some providers' codes are encrypted tokens of more than a kilobyte; nobody's come near this.
MAX_CODE_LENGTH = 8192
MAX_STATE_LENGTH = 512
_ONCE = ("code", "error", "error_description", "error_uri", "state", "iss")


@dataclass(frozen=True)
class CallbackSuccess:
    """An authorization code, to be exchanged once."""

    code: str = field(repr=False)
    state: str = field(repr=False)
    iss: str | None = None


@dataclass(frozen=True)
class CallbackRefusal:
    """An error from the authorization endpoint; the texts are the provider's."""

    error: str
    description: str
    uri: str
    state: str = field(repr=False)
    iss: str | None = None

    def as_error(self) -> OAuthError:
        """Return the refusal as the error class that its code belongs to, its texts cleaned."""
        return class_at_callback(self.error)(self.error, self.description, self.uri)


def read_callback(query: Iterable[tuple[str, str]]) -> CallbackSuccess | CallbackRefusal:
    """Read the callback's query as (name, value) pairs, repetitions included.

    There must be exactly one state, and exactly one code or one error. Raises CallbackMalformed.
    Unknown parameters are ignored (RFC 6749 §4.1.2).
    """
    pairs = [(name, value) for name, value in query if name in _ONCE]
    if any(count > 1 for count in Counter(name for name, _ in pairs).values()):
        raise CallbackMalformed("duplicate_parameter")
    given = dict(pairs)
    code, error, state = given.get("code", ""), given.get("error", ""), given.get("state", "")
    if not state:
        raise CallbackMalformed("missing_state")
    if len(state) > MAX_STATE_LENGTH or len(code) > MAX_CODE_LENGTH:
        raise CallbackMalformed("parameter_too_long")
    if code and error:
        raise CallbackMalformed("code_and_error")
    if code:
        return CallbackSuccess(code, state, given.get("iss"))
    if not error:
        raise CallbackMalformed("missing_code")
    return CallbackRefusal(
        error, given.get("error_description", ""), given.get("error_uri", ""), state, given.get("iss")
    )


def check_issuer(expected: str, received: str | None, *, required: bool = False) -> None:
    """Compare `iss` with the issuer that was asked, character by character (RFC 9207 §2.4).

    `required` is for servers whose metadata promises `iss`. Raises IssuerMismatch. Without an expected
    issuer there is nothing to compare.
    """
    if not expected:
        return
    if received is None:
        if required:
            raise IssuerMismatch("missing_issuer")
        return
    if received != expected:
        raise IssuerMismatch("issuer_mismatch")
