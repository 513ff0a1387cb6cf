"""What a provider is: one frozen definition, read from a catalogue file or from a workspace's own provider.

`oauth_provider` turns a definition into the values that `integrations.oauth` works with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from integrations.models import GrantType
from integrations.oauth.client import ClientAuthMethod as ClientAuth
from integrations.oauth.scopes import ScopeComparison, ScopePattern

__all__ = [
    "CATEGORIES",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "DEFAULT_PARAMETER_PATTERN",
    "ClientAuth",
    "ConfigValue",
    "CredentialKind",
    "GrantType",
    "MetadataField",
    "MetadataSource",
    "Parameter",
    "ProviderNotFound",
    "ProviderSpec",
    "ScopeComparison",
    "ScopeDefinition",
    "ScopePattern",
]

DEFAULT_PARAMETER_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.))*"
# What a built-in provider's category may be; a workspace's own provider says anything.
CATEGORIES = (
    "Advertising and marketing",
    "Analytics",
    "Cloud and infrastructure",
    "Commerce",
    "Communication",
    "CRM",
    "Customer support",
    "Data",
    "Design",
    "Development",
    "Device management",
    "Education",
    "Files and documents",
    "Finance",
    "Forms and scheduling",
    "Gaming",
    "Health and fitness",
    "HR",
    "Identity",
    "MCP servers",
    "Media and streaming",
    "Monitoring and security",
    "Productivity",
    "Project management",
    "Social",
    "Testing",
)
# Parameters of these keys are the client's credentials, asked for each connection instead of kept by the integration.
CLIENT_ID, CLIENT_SECRET = "client_id", "client_secret"


class CredentialKind(StrEnum):
    """What an integration keeps as its secret."""

    CLIENT_SECRET = "client_secret"  # noqa: S105 (a name)
    SERVICE_ACCOUNT_KEY = "service_account_key"  # a JSON key file; the client_credentials grant only


class ProviderNotFound(LookupError):
    """The workspace knows no provider by this id (another workspace's custom one included)."""


@dataclass(frozen=True, slots=True)
class ScopeDefinition:
    """A scope that the provider's definition names."""

    name: str
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value asked from people and used as `{{key}}` in endpoints."""

    key: str
    label: str
    type: str = "text"  # text, password, dropdown
    options: tuple[str, ...] = ()
    pattern: str = DEFAULT_PARAMETER_PATTERN
    help: str = ""
    placeholder: str = ""
    default: str = ""
    # Files of the catalogue only:
    optional: bool = False  # asked, but may stay blank
    grant_type: GrantType | None = None  # None: asked under each


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """A value that the definition itself fixes, in the same `{{key}}` namespace as the parameters.

    It is `value`, or what the helper of that name makes of the parameters. `value` is None where no key opens it.
    """

    key: str
    label: str
    value: str | None = field(default="", repr=False)  # may be a password
    helper: str = ""
    type: str = "text"  # text, password
    visible: bool = True

    @property
    def is_secret(self) -> bool:
        """Whether its value is stored sealed and shown to nobody."""
        return not self.helper and (self.type == "password" or not self.visible)


class MetadataSource(StrEnum):
    """Where a kept value comes from."""

    TOKEN = "token"  # noqa: S105 (a name)
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class MetadataField:
    """What a connection keeps of the token answer or the callback, and may use as `{{key}}` (not secret).

    `field` is a dotted path in the answer, or the name of a callback parameter. The text must match `pattern` in full;
    the pattern's first group, if it has one, is what is kept.
    """

    key: str
    label: str
    source: MetadataSource
    field: str
    pattern: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider's whole definition, as in the API's provider shape."""

    provider_id: str
    name: str
    token_endpoint: str
    grant_types: tuple[GrantType, ...]
    authorization_endpoint: str = ""
    category: str = "Other"
    description: str = ""
    refresh_endpoint: str = ""  # empty: the token endpoint
    revocation_endpoint: str = ""
    introspection_endpoint: str = ""
    userinfo_endpoint: str = ""
    issuer: str = ""
    api_base_url: str = ""
    # Definitions by grant type; most providers use one list for both.
    scopes: Mapping[GrantType, tuple[ScopeDefinition, ...]] = field(default_factory=dict)
    suggested_scopes: tuple[ScopeDefinition, ...] = ()
    scope_separator: str = " "
    scope_parameter: str = "scope"  # Slack's user token: user_scope
    scope_comparison: ScopeComparison = field(default_factory=ScopeComparison)  # how answers name what was requested
    client_id_parameter: str = "client_id"
    client_secret_parameter: str = "client_secret"  # noqa: S105 # a name
    response_type: str = "code"  # or "": left out
    allow_scope_customization: bool = False
    allow_additional_scopes: bool = True
    scope_input_delimiter: str = "space"
    additional_scopes_help: str = ""
    allowed_scope_patterns: tuple[ScopePattern, ...] = ()
    denied_scope_patterns: tuple[ScopePattern, ...] = ()
    pkce: str = "S256"  # or "off"
    token_endpoint_auth_method: ClientAuth = ClientAuth.CLIENT_SECRET_BASIC
    assertion_audience: str = "token_endpoint"  # or "issuer": whom a private_key_jwt assertion names
    basic_auth_encoding: str = "form"  # or "raw": the provider does not decode id and secret (RFC 6749 §2.3.1)
    token_request_format: str = "form"  # noqa: S105 # or "json"
    revocation_request_format: str = "form"  # or "json"
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    token_params: Mapping[str, str] = field(default_factory=dict)
    refresh_params: Mapping[str, str] = field(default_factory=dict)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    token_response: Mapping[str, object] = field(default_factory=dict)  # knobs of oauth.TokenResponseRules
    userinfo_method: str = "GET"  # or "POST"
    userinfo_body: str = ""  # JSON text, with POST
    userinfo_headers: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[MetadataField, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    config_values: tuple[ConfigValue, ...] = ()
    account_fields: tuple[str, ...] = ()  # userinfo keys (dots lead inside) for the account's label, first present wins
    account_id_field: str = "sub"
    refresh_margin_seconds: int | None = None
    refuses_early_refresh: bool = False  # due when the token expires, not before
    refresh_token_idle_seconds: int | None = None  # a refresh token dies when it is not used for so long
    refresh_token_lifetime_seconds: int | None = None  # of each refresh token, where answers do not name it
    max_concurrent_refreshes: int | None = None  # calls at once to its host, over all workers; None: the usual 64
    credential: CredentialKind = CredentialKind.CLIENT_SECRET
    resource: str = ""  # an MCP server's URL: endpoints are discovered and a client is registered for each workspace
    brand_icon: str = ""  # name of a symbol in static/vendor/simple-icons/sprite.svg
    monogram: str = ""
    color: str = "slate"  # a colour class of the UI
    docs_url: str = ""
    setup_hint: str = ""
    unverified: bool = False
    unverified_note: str = ""
    popular: bool = False
    custom: bool = False
    version: int = 1
    draft: bool = False

    def client_auth(self, chosen: str) -> ClientAuth:
        """The client authentication where an integration chose this one; empty is as the definition says."""
        return ClientAuth(chosen or self.token_endpoint_auth_method)

    @property
    def asks_credentials(self) -> bool:
        """Whether client id and secret are asked for each connection (product row 10)."""
        return any(parameter.key == CLIENT_ID for parameter in self.parameters)

    def uses_service_account_key(self, grant_type: str) -> bool:
        """Whether a JSON key takes the client secret's place under a grant type."""
        return self.credential is CredentialKind.SERVICE_ACCOUNT_KEY and grant_type == GrantType.CLIENT_CREDENTIALS

    def under(self, grant_type: str) -> ProviderSpec:
        """The definition as it counts under one grant type: without parameters of the other."""
        own = tuple(p for p in self.parameters if p.grant_type in (None, grant_type))
        return self if len(own) == len(self.parameters) else replace(self, parameters=own)

    def supports(self, grant_type: str) -> bool:
        """Whether the provider offers the grant type."""
        return grant_type in self.grant_types

    def scopes_for(self, grant_type: str) -> tuple[ScopeDefinition, ...]:
        """The scopes its definition names for a grant type."""
        return self.scopes.get(GrantType(grant_type), ())

    def base_scopes(self, grant_type: str) -> tuple[str, ...]:
        """The required ones: always requested, never removable."""
        return tuple(scope.name for scope in self.scopes_for(grant_type) if scope.required)

    def default_scopes(self, grant_type: str) -> tuple[str, ...]:
        """Every scope the definition names, required ones first."""
        scopes = self.scopes_for(grant_type)
        return tuple(s.name for s in scopes if s.required) + tuple(s.name for s in scopes if not s.required)

    def expression(self, grant_type: str) -> str:
        """The secret expression that actions and MCP headers write."""
        kind = "USER" if grant_type == GrantType.AUTHORIZATION_CODE else "SERVICE"
        return f"${{{{ SECRETS.{self.provider_id}_oauth.{self.provider_id.upper()}_{kind}_TOKEN }}}}"
