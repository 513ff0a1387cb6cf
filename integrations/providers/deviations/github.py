"""GitHub. No field of a definition can say these:

- A token is revoked at the API, below the app's client id, by DELETE with Basic and a JSON body. Only the token is
  deleted: deleting the grant would end every connection that the same person made with the app.
- User tokens of GitHub Apps have permissions of the app instead of scopes; their answers name an empty scope.

That answers are form-encoded, errors come with 200 and scopes are separated by commas is what the parser reads anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from integrations.oauth.calls import call
from integrations.oauth.client import AuthorizationServer, BasicAuth, OAuthClient, basic_header
from integrations.oauth.revocation import Revocation, TokenTypeHint, not_this_kind, result_of
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse
from integrations.providers.oauth_provider import AuthorizationCodeOAuthProvider, register

OF_A_GITHUB_APP = "ghu_"
NOT_FOUND = 404  # the app has no such token any more


@register("github")
class GitHubProvider(AuthorizationCodeOAuthProvider):
    """OAuth apps and GitHub Apps, for people."""

    def revoke(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        token: str,
        token_type_hint: TokenTypeHint,
    ) -> Revocation:
        """Delete the token at the API. Its refresh token ends with it."""
        if token_type_hint == "refresh_token" or not client.client_secret:  # noqa: S105 # a name
            return not_this_kind()
        url = f"{server.revocation_endpoint.rstrip('/')}/{quote(client.client_id, safe='')}/token"
        auth = BasicAuth(basic_header(server, client))
        return result_of(
            lambda: call(http, "DELETE", url, auth=auth, json={"access_token": token}),
            secrets=(token, client.client_secret),
            gone=NOT_FOUND,
        )

    def granted_scopes(self, requested: Sequence[str], answer: TokenResponse) -> tuple[str, ...] | None:
        """None for a GitHub App's token: nothing was asked for, so nothing is missing."""
        if not answer.scope and answer.access_token.startswith(OF_A_GITHUB_APP):
            return None
        return super().granted_scopes(requested, answer)
