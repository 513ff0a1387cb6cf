"""Microsoft Entra ID, whatever the API behind it. No field of a definition can say these:

- What went wrong is a number in `error_description` (AADSTS700082); the OAuth code beside it is often the same.
- A service account belongs to one tenant: `common`, `organizations` and `consumers` are for people.
- A service account asks for `<resource>/.default` alone: its permissions are granted to the app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from integrations.models import GrantType
from integrations.oauth.client import AuthorizationServer, OAuthClient
from integrations.oauth.errors import (
    ClientRefused,
    ConfigurationRefused,
    DeadGrant,
    InteractionRequired,
    OAuthError,
)
from integrations.oauth.session import HTTPClient
from integrations.oauth.token_response import TokenResponse
from integrations.providers.oauth_provider import (
    AuthorizationCodeOAuthProvider,
    ClientCredentialsOAuthProvider,
    register,
)
from integrations.providers.rendering import ParameterRefused

MICROSOFT_IDS = (
    "azure_blob_storage",
    "azure_log_analytics",
    "azure_management",
    "microsoft",
    "microsoft_ads",
    "microsoft_defender_endpoint",
    "microsoft_defender_xdr",
    "microsoft_entra",
    "microsoft_excel",
    "microsoft_graph",
    "microsoft_people",
    "microsoft_planner",
    "microsoft_power_bi",
    "microsoft_powerpoint",
    "microsoft_sentinel",
    "microsoft_teams",
    "microsoft_teams_bot",
    "microsoft_word",
    "one_note",
    "onedrive",
    "outlook",
    "sharepoint_online",
)
TENANT = "tenant"
TENANTS_OF_PEOPLE = frozenset({"common", "organizations", "consumers"})
DEFAULT_SCOPE = "/.default"
_NUMBER = re.compile(r"\bAADSTS(\d{5,8})\b")

# Number → class and code; "" keeps the number as the code, and `oauth.errors` has the words.
_MEANINGS: dict[int, tuple[type[OAuthError], str]] = {
    # the app
    7000215: (ClientRefused, ""),
    7000222: (ClientRefused, ""),
    700016: (ClientRefused, ""),
    7000112: (ClientRefused, "disabled_client"),
    90002: (ConfigurationRefused, ""),  # of one connection: the tenant is its parameter
    50011: (ClientRefused, "redirect_uri_mismatch"),
    # what was asked for
    70011: (ClientRefused, "invalid_scope"),
    1002012: (ClientRefused, "invalid_scope"),
    500011: (ClientRefused, "invalid_resource"),
    # the grant
    70008: (DeadGrant, "invalid_grant"),
    700084: (DeadGrant, "invalid_grant"),
    54005: (DeadGrant, "invalid_grant"),
    700082: (DeadGrant, ""),
    50173: (DeadGrant, ""),
    70043: (DeadGrant, ""),
    # the person
    65001: (InteractionRequired, ""),
    50074: (InteractionRequired, "interaction_required"),
    50076: (InteractionRequired, "interaction_required"),
    50079: (InteractionRequired, "interaction_required"),
    53003: (InteractionRequired, ""),
}


@register(*MICROSOFT_IDS)
class MicrosoftProvider(AuthorizationCodeOAuthProvider):
    """On behalf of a person."""

    def exchange_code(self, *args: Any, **kwargs: Any) -> TokenResponse:
        """Exchange a code; Microsoft's numbers decide what a refusal means."""
        with _by_number(self.grant_type):
            return super().exchange_code(*args, **kwargs)

    def refresh_token(self, *args: Any, **kwargs: Any) -> TokenResponse:
        """Renew a token; Microsoft's numbers decide what a refusal means."""
        with _by_number(self.grant_type):
            return super().refresh_token(*args, **kwargs)


@register(*MICROSOFT_IDS)
class MicrosoftServiceProvider(ClientCredentialsOAuthProvider):
    """A service principal."""

    def check_parameters(self, values: Mapping[str, str]) -> None:
        """Refuse the tenants that stand for many."""
        if values.get(TENANT, "").casefold() in TENANTS_OF_PEOPLE:
            raise ParameterRefused(
                TENANT,
                f"“{values[TENANT]}” stands for many tenants, and a service account belongs to one. "
                "Enter the directory's ID or domain.",
            )

    def additional_scope_problem(self, scopes: Sequence[str]) -> str:
        """Nothing but one `.default`."""
        base = self.spec.base_scopes(self.grant_type)
        if not base and len(scopes) == 1 and scopes[0].endswith(DEFAULT_SCOPE):
            return ""
        asked = base[0] if base else f"<resource>{DEFAULT_SCOPE}"
        return (
            f"Remove “{scopes[0][:80]}”: a service account asks for {asked} alone, and has the application permissions "
            "that an administrator granted to the app."
        )

    def fetch_token(
        self,
        http: HTTPClient,
        server: AuthorizationServer,
        client: OAuthClient,
        *,
        scopes: Sequence[str],
        values: Mapping[str, str],
        now: datetime,
    ) -> TokenResponse:
        """Fetch a token; Microsoft's numbers decide what a refusal means."""
        with _by_number(self.grant_type):
            return super().fetch_token(http, server, client, scopes=scopes, values=values, now=now)


@contextmanager
def _by_number(grant_type: GrantType) -> Iterator[None]:
    try:
        yield
    except OAuthError as error:
        found = _NUMBER.search(error.description)
        meaning = _MEANINGS.get(int(found[1])) if found else None
        if found is None or meaning is None:
            raise
        error_class, code = meaning
        if grant_type == GrantType.CLIENT_CREDENTIALS and issubclass(error_class, DeadGrant):
            error_class = ClientRefused  # no person who could consent again
        raise error_class(
            code or found[0], error.description, error.uri, status=error.status, retry_after=error.retry_after
        ) from error
