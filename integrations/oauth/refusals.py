"""Which class an error code belongs to, by RFC and by what well-known providers send instead."""

from __future__ import annotations

from integrations.oauth.errors import (
    AccessTokenRefused,
    ClientRefused,
    ConsentRefused,
    DeadGrant,
    InteractionRequired,
    OAuthError,
    Throttled,
    TransientFailure,
    UnknownRefusal,
)

CLIENT_CREDENTIALS = "client_credentials"

DEAD_GRANT_CODES = frozenset(
    {
        "invalid_grant",
        # GitHub
        "bad_refresh_token",
        "bad_verification_code",
        # Slack
        "invalid_refresh_token",
        "token_revoked",
        "token_expired",
        "invalid_code",
        "code_already_used",
        "account_inactive",
        # Microsoft's numbers
        "AADSTS700082",
        "AADSTS50173",
        "AADSTS70043",
        # RFC 8628 §3.5, used for refresh tokens too
        "expired_token",
    }
)
INTERACTION_CODES = frozenset(
    {"interaction_required", "login_required", "consent_required", "account_selection_required"}
)
CLIENT_REFUSED_CODES = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
        "invalid_scope",
        "invalid_target",
        "invalid_request",
        # GitHub
        "incorrect_client_credentials",
        "redirect_uri_mismatch",
        # Slack
        "invalid_client_id",
        "bad_client_secret",
        "bad_redirect_uri",
        # Google
        "disabled_client",
        "deleted_client",
        "admin_policy_enforced",
        "org_internal",
        # Microsoft
        "invalid_resource",
        "AADSTS7000215",
        "AADSTS7000222",
        "AADSTS700016",
    }
)
TRANSIENT_CODES = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
THROTTLED_CODES = frozenset({"ratelimited", "rate_limited", "too_many_requests"})
TOKEN_REFUSED_CODES = frozenset({"invalid_token", "insufficient_scope"})


def class_of(code: str, *, grant_type: str, dead_grant_codes: frozenset[str] = frozenset()) -> type[OAuthError]:
    """Tell the class of an error code at the token endpoint.

    `dead_grant_codes` are a provider's own synonyms of invalid_grant. Under client_credentials there is no
    person who could consent again, so what asks for one means that the app is set up wrongly.
    """
    nobody_to_ask = grant_type == CLIENT_CREDENTIALS
    if code in DEAD_GRANT_CODES or code in dead_grant_codes:
        return ClientRefused if nobody_to_ask else DeadGrant
    if code in INTERACTION_CODES:
        return ClientRefused if nobody_to_ask else InteractionRequired
    if code in CLIENT_REFUSED_CODES:
        return ClientRefused
    if code in THROTTLED_CODES:
        return Throttled
    if code in TRANSIENT_CODES:
        return TransientFailure
    return UnknownRefusal


def class_at_resource(code: str) -> type[OAuthError]:
    """Tell the class of an error code from a protected resource such as userinfo (RFC 6750 §3.1)."""
    if code in TOKEN_REFUSED_CODES:
        return AccessTokenRefused
    return class_of(code, grant_type="")


def class_at_callback(code: str) -> type[OAuthError]:
    """Tell the class of an error code that the browser brought back (RFC 6749 §4.1.2.1)."""
    if code == "access_denied":
        return ConsentRefused
    return class_of(code, grant_type="authorization_code")
