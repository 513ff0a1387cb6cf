"""Slack. No field of a definition can say these:

- An account is a person in a workspace: its id takes `user_id` and `team_id` together (`authed_user.id` and `team.id`
  in the token answer).
- A token is revoked by the API method auth.revoke, which wants it as the bearer and answers `{"ok": true, "revoked":
  true}`. Refresh tokens cannot be revoked; they are of no use without their access token's grant.
- API methods call a stale token by names of their own, at status 200.

That the token is inside `authed_user` and errors come with 200 and `ok: false` is said by `token_path` and the parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from integrations.oauth.calls import BearerAuth, call
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import AccessTokenRefused, OAuthError
from integrations.oauth.revocation import Revocation, TokenTypeHint, not_this_kind, result_of
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import value_at
from integrations.providers.oauth_provider import AuthorizationCodeOAuthProvider, register

STALE_TOKEN_CODES = frozenset(
    {"invalid_auth", "not_authed", "token_expired", "token_revoked", "account_inactive", "missing_scope"}
)


@register("slack")
class SlackProvider(AuthorizationCodeOAuthProvider):
    """Slack's user tokens, or the bot's where only a bot was authorized."""

    def revoke(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        token: str,
        token_type_hint: TokenTypeHint,
    ) -> Revocation:
        """Call auth.revoke with the token to be revoked as the bearer."""
        del client  # the token speaks for itself
        if token_type_hint == "refresh_token":  # noqa: S105 # a name
            return not_this_kind()
        return result_of(lambda: _auth_revoke(http, server.revocation_endpoint, token), secrets=(token,))

    def userinfo(self, http: HTTPClient, server: AuthorizationServer, access_token: str) -> dict[str, Any]:
        """Ask auth.test; what it calls a stale token is a refused access token, which a refresh may mend."""
        with _stale_token_refused():
            return super().userinfo(http, server, access_token)

    def account_from(self, userinfo: Mapping[str, Any]) -> dict[str, str]:
        """The person within the workspace, from auth.test or from the token answer."""
        person = _text(userinfo, "user_id") or _text(userinfo, "id")
        team = _text(userinfo, "team_id") or _text(userinfo, "team.id")
        if not person or not team:
            return {}
        named = _text(userinfo, "user") or person
        where = _text(userinfo, "team") or _text(userinfo, "team.name")
        return {"id": f"{team}:{person}", "label": f"{named} ({where})" if where else named}

    def account_from_token(self, extra: Mapping[str, Any]) -> dict[str, str]:
        """The same ids as auth.test's, so they never look like another account."""
        return self.account_from(extra)


@contextmanager
def _stale_token_refused() -> Iterator[None]:
    try:
        yield
    except OAuthError as error:
        if error.code not in STALE_TOKEN_CODES:
            raise
        code = "insufficient_scope" if error.code == "missing_scope" else "invalid_token"
        raise AccessTokenRefused(code, error.code, status=error.status) from error


def _auth_revoke(http: HTTPClient, url: str, token: str) -> None:
    with _stale_token_refused():
        answer = call(http, "POST", url, auth=BearerAuth(token))
    if answer.get("revoked") is not True:
        raise OAuthError("unspecified")


def _text(answer: Mapping[str, Any], path: str) -> str:
    found = value_at(answer, path)
    return "".join(filter(str.isprintable, found[:100])).strip() if isinstance(found, str) else ""
