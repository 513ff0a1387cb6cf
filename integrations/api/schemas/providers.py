"""Providers: what an authorization server is to us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from integrations.api.schemas.base import LIST, NEXT, OBJECT, TEXT, Input, Output, example
from integrations.models import GrantType
from integrations.oauth.client import ClientAuthMethod
from integrations.providers.base import MetadataSource

Name = Annotated[str, Field(max_length=100)]
Endpoint = Annotated[str, Field(max_length=2000)]
WireName = Annotated[str, Field(max_length=50)]


class ScopeShape(Input):
    """A scope that the definition names; a required one is always requested."""

    model_config = ConfigDict(title="Scope")

    name: str = Field(max_length=500, examples=["repo"])
    required: bool = False
    description: str = ""


class PatternShape(Input):
    """A pattern that a whole scope must match (or must not), with words for the error."""

    model_config = ConfigDict(title="Scope pattern")

    pattern: str = Field(max_length=300, examples=["repo(:[a-z]+)?"])
    description: str = ""


class ParameterShape(Input):
    """A value asked from people and used as `{{key}}` in endpoints."""

    model_config = ConfigDict(title="Parameter")

    label: str = Field(max_length=100, examples=["Subdomain"])
    key: str = Field(max_length=50, examples=["subdomain"])
    type: Literal["text", "password", "dropdown"] = "text"
    options: list[str] = Field(default=[], description="Of a dropdown.")
    pattern: str = Field(default=r"[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.))*", description="A value must match it in full.")
    help: str = ""
    placeholder: str = ""
    default: str = ""


class ConfigValueShape(Input):
    """A value that the definition fixes, or that a helper makes of the parameters, in the parameters' namespace."""

    model_config = ConfigDict(title="Config value")

    label: str = Field(max_length=100)
    key: str = Field(max_length=50)
    value: str = Field(
        default="",
        max_length=500,
        description="Of a password or an invisible one it is never returned, and blank keeps what is stored.",
    )
    helper: str = Field(
        default="",
        max_length=110,
        description="Instead of a value: a helper's name, with the parameter that it reads in brackets.",
        examples=["lower_case_host(shop)"],
    )
    type: Literal["text", "password"] = "text"
    visible: bool = True

    @model_serializer(mode="wrap")
    def _either(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Value or helper, as it is posted."""
        shape: dict[str, Any] = write(self)
        shape.pop("value" if self.helper else "helper", None)
        return shape


class MetadataShape(Input):
    """What a connection keeps of the token answer or the callback, and may use as `{{key}}` in endpoints."""

    model_config = ConfigDict(title="Metadata field")

    key: str = Field(max_length=50, examples=["instance"])
    label: str = Field(max_length=100)
    source: MetadataSource = Field(description="`token`: the token answer; `callback`: the callback's query.")
    field: str = Field(max_length=100, description="A dotted path in the answer, or the callback parameter's name.")
    pattern: str = Field(max_length=300, description="The text must match it in full; a group is what is kept.")
    required: bool = False


ScopeLists = list[ScopeShape] | dict[GrantType, list[ScopeShape]]
NameLists = list[str] | dict[GrantType, list[str]]


def _form(value: Any) -> str | None:
    """Which alternative a value is meant for, so that errors are about that one alone."""
    if isinstance(value, Mapping | ScopeShape):
        return OBJECT
    return TEXT if isinstance(value, str) else LIST if isinstance(value, list) else None


def _told_apart(expected: str) -> Discriminator:
    return Discriminator(_form, custom_error_type="form", custom_error_message=expected)


GivenScope = Annotated[
    Annotated[str, Tag(TEXT), Field(max_length=500)] | Annotated[ScopeShape, Tag(OBJECT)],
    _told_apart("Send a scope's name, or an object with name, required and description."),
]
GivenScopeLists = Annotated[
    Annotated[list[GivenScope], Tag(LIST)] | Annotated[dict[GrantType, list[GivenScope]], Tag(OBJECT)],
    _told_apart("Send a list of scopes, or an object with such a list for each grant type."),
]
GivenNameLists = Annotated[
    Annotated[list[str], Tag(LIST)] | Annotated[dict[GrantType, list[str]], Tag(OBJECT)],
    _told_apart("Send a list of scopes' names, or an object with such a list for each grant type."),
]


class ProviderOut(Output):
    """A provider's definition."""

    model_config = ConfigDict(title="Provider")

    provider_id: str = Field(examples=["github"])
    name: str = Field(examples=["GitHub"])
    category: str
    description: str
    custom: bool = Field(description="The workspace's own; built-in ones cannot be changed.")
    grant_types: list[GrantType]
    authorization_endpoint: str
    token_endpoint: str
    refresh_endpoint: str = Field(description="Where refresh tokens are renewed; empty for the token endpoint.")
    revocation_endpoint: str = Field(description="Empty where there is none, like the other endpoints.")
    introspection_endpoint: str
    userinfo_endpoint: str
    issuer: str
    api_base_url: str = Field(description="Where the provider's API is.")
    base_scopes: NameLists = Field(description="Always requested. By grant type where they differ.")
    suggested_scopes: list[ScopeShape]
    scopes: ScopeLists = Field(description="By grant type where they differ.")
    allow_scope_customization: bool
    allow_additional_scopes: bool
    scope_input_delimiter: Literal["space", "comma"]
    additional_scopes_help: str
    scope_separator: str
    allowed_scope_patterns: list[PatternShape]
    denied_scope_patterns: list[PatternShape]
    pkce: Literal["S256", "off"]
    token_endpoint_auth_method: ClientAuthMethod
    assertion_audience: Literal["token_endpoint", "issuer"] = Field(
        description="Whom a client assertion is addressed to (private_key_jwt)."
    )
    basic_auth_encoding: Literal["form", "raw"]
    scope_parameter: str = Field(description="What the authorization URL calls the scopes.")
    scope_comparison: dict[str, Any] = Field(
        description="How answers name the scopes that were requested; see the guide to providers."
    )
    client_id_parameter: str = Field(description="What the provider calls client_id on the wire.")
    client_secret_parameter: str
    response_type: Literal["code", ""] = Field(description="Empty: left out of the authorization URL.")
    token_request_format: Literal["form", "json"]
    revocation_request_format: Literal["form", "json"]
    authorization_params: dict[str, str]
    token_params: dict[str, str]
    refresh_params: dict[str, str] = Field(description="With the refresh request only.")
    token_headers: dict[str, str] = Field(description="With every token request.")
    token_response: dict[str, Any] = Field(description="How the token answer deviates; see the guide to providers.")
    userinfo_method: Literal["GET", "POST"]
    userinfo_body: str = Field(description="JSON text, with POST.")
    userinfo_headers: dict[str, str]
    account_fields: list[str] = Field(description="Paths in the userinfo answer that name the account, best first.")
    account_id_field: str
    metadata: list[MetadataShape]
    refresh_margin_seconds: int | None = Field(description="How long before its end a token is renewed; null: a fifth.")
    refuses_early_refresh: bool = Field(description="The provider renews a token only once it has ended.")
    refresh_token_idle_seconds: int | None = Field(
        description="A refresh token dies when it is not used for this long; null: not known to."
    )
    refresh_token_lifetime_seconds: int | None = Field(
        description="How long a refresh token lives where the answer does not say; null: not known."
    )
    parameters: list[ParameterShape]
    config_values: list[ConfigValueShape] = Field(description="The value of a password or invisible one stays empty.")
    docs_url: str
    version: int
    draft: bool = Field(description="Changed and not published yet.")
    unverified: bool = Field(description="Whose account it is or how it renews is not known for sure.")


class ProviderPage(Output):
    """A page of providers."""

    model_config = ConfigDict(title="Providers")

    items: list[ProviderOut]
    next: str | None = NEXT


class ProviderChange(Input):
    """What changes in a custom provider's definition; the rest stays."""

    model_config = ConfigDict(
        title="Provider change",
        json_schema_extra=example({"userinfo_endpoint": "https://id.example.com/oauth/userinfo"}),
    )

    provider_id: Annotated[str, Field(max_length=100)] | None = Field(default=None, description="Cannot be changed.")
    name: Name | None = None
    category: Annotated[str, Field(max_length=60)] | None = None
    description: Annotated[str, Field(max_length=300)] | None = None
    grant_types: list[GrantType] | None = None
    authorization_endpoint: Endpoint | None = Field(default=None, description="Not needed for client_credentials.")
    token_endpoint: Endpoint | None = None
    refresh_endpoint: Endpoint | None = None
    revocation_endpoint: Endpoint | None = None
    introspection_endpoint: Endpoint | None = None
    userinfo_endpoint: Endpoint | None = None
    issuer: Annotated[str, Field(max_length=500)] | None = None
    api_base_url: Endpoint | None = None
    base_scopes: GivenNameLists | None = Field(
        default=None, description="The same as marking them required in `scopes`."
    )
    suggested_scopes: list[GivenScope] | None = None
    scopes: GivenScopeLists | None = None
    allow_scope_customization: bool | None = None
    allow_additional_scopes: bool | None = None
    scope_input_delimiter: Literal["space", "comma"] | None = None
    additional_scopes_help: Annotated[str, Field(max_length=500)] | None = None
    scope_separator: Annotated[str, Field(max_length=5)] | None = None
    allowed_scope_patterns: list[PatternShape] | None = None
    denied_scope_patterns: list[PatternShape] | None = None
    pkce: Literal["S256", "off"] | None = None
    token_endpoint_auth_method: ClientAuthMethod | None = None
    assertion_audience: Literal["token_endpoint", "issuer"] | None = None
    basic_auth_encoding: Literal["form", "raw"] | None = None
    scope_parameter: WireName | None = None
    scope_comparison: dict[str, Any] | None = None
    client_id_parameter: WireName | None = None
    client_secret_parameter: WireName | None = None
    response_type: Literal["code", ""] | None = None
    token_request_format: Literal["form", "json"] | None = None
    revocation_request_format: Literal["form", "json"] | None = None
    authorization_params: dict[str, str] | None = None
    token_params: dict[str, str] | None = None
    refresh_params: dict[str, str] | None = None
    token_headers: dict[str, str] | None = None
    token_response: dict[str, Any] | None = None
    userinfo_method: Literal["GET", "POST"] | None = None
    userinfo_body: Annotated[str, Field(max_length=2000)] | None = None
    userinfo_headers: dict[str, str] | None = None
    account_fields: list[Annotated[str, Field(max_length=100)]] | None = None
    account_id_field: Annotated[str, Field(max_length=100)] | None = None
    metadata: list[MetadataShape] | None = None
    refresh_margin_seconds: int | None = None
    refuses_early_refresh: bool | None = None
    refresh_token_idle_seconds: int | None = None
    refresh_token_lifetime_seconds: int | None = None
    parameters: list[ParameterShape] | None = None
    config_values: list[ConfigValueShape] | None = None
    docs_url: Annotated[str, Field(max_length=500)] | None = None
    draft: bool | None = Field(default=None, description="true: kept aside until it is published.")
    version: int | None = Field(default=None, description="Read-only; ignored.", json_schema_extra={"readOnly": True})
    custom: bool | None = Field(default=None, description="Read-only; ignored.", json_schema_extra={"readOnly": True})
    unverified: bool | None = Field(
        default=None, description="Read-only; ignored.", json_schema_extra={"readOnly": True}
    )

    def definition(self) -> dict[str, Any]:
        """The fields that were sent, as the verbs take them."""
        return self.model_dump(exclude_unset=True, exclude={"draft", "version", "custom", "unverified"})


class ProviderCreate(ProviderChange):
    """A custom provider. Published at once unless `draft`."""

    model_config = ConfigDict(
        title="New provider",
        json_schema_extra=example(
            {
                "name": "Example ID",
                "grant_types": ["authorization_code"],
                "authorization_endpoint": "https://id.example.com/oauth/authorize",
                "token_endpoint": "https://id.example.com/oauth/token",
                "scopes": [{"name": "openid", "required": True}, {"name": "profile", "required": False}],
            }
        ),
    )

    name: Name | None = Field(
        default=None, description="Required; the issuer's host when its endpoints are discovered."
    )
    provider_id: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Made from the name when absent; always begins with `custom_`."
    )
    issuer: Annotated[str, Field(max_length=500)] | None = Field(
        default=None,
        description="Without a token endpoint, what the issuer publishes is filled in; fields that are sent stay.",
    )
    confirm_foreign_endpoints: bool = Field(
        default=False, description="true: take discovered endpoints that are not on the issuer's host or below it."
    )

    @property
    def discovers(self) -> bool:
        """Whether the issuer is to be asked for the endpoints."""
        return bool(self.issuer) and not self.token_endpoint

    def definition(self) -> dict[str, Any]:
        """The fields that were sent, as the verbs take them."""
        definition = super().definition()
        definition.pop("confirm_foreign_endpoints", None)
        return definition


class DiscoverIn(Input):
    """Where to look: an issuer, or a protected resource (an MCP server, for example) that names its server."""

    model_config = ConfigDict(
        title="Discovery request", json_schema_extra=example({"issuer": "https://id.example.com"})
    )

    issuer: Endpoint | None = Field(default=None, description="RFC 8414 and OpenID Connect.")
    resource: Endpoint | None = Field(default=None, description="RFC 9728. Send either this or `issuer`.")


class ProposedProvider(Output):
    """A definition as `POST /providers` takes it; not saved."""

    model_config = ConfigDict(title="Proposed provider")

    name: str = Field(description="The issuer's host.")
    issuer: str
    grant_types: list[GrantType]
    authorization_endpoint: str | None = None
    token_endpoint: str
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    suggested_scopes: list[ScopeShape] = Field(description="What the server says it supports.")
    pkce: Literal["S256", "off"]
    token_endpoint_auth_method: ClientAuthMethod
    authorization_params: dict[str, str] | None = None
    token_params: dict[str, str] | None = None


class ForeignEndpointOut(Output):
    """An endpoint that is neither on the issuer's host nor below it."""

    model_config = ConfigDict(title="Foreign endpoint")

    field: str = Field(examples=["token_endpoint"])
    url: str


class AttemptOut(Output):
    """One address that was asked."""

    model_config = ConfigDict(title="Discovery attempt")

    url: str
    looked_for: str
    ok: bool
    code: str = Field(examples=["found", "metadata_not_found"])
    message: str
    status: int | None = Field(description="The HTTP status, if there was an answer.")
    duration_ms: int


class DiscoveredOut(Output):
    """What an issuer or a resource publishes."""

    model_config = ConfigDict(title="Discovered provider")

    definition: ProposedProvider
    resource: str = Field(description="The protected resource that led to the server, or empty.")
    registration_endpoint: str = Field(description="Where clients can be registered (RFC 7591), or empty.")
    foreign_endpoints: list[ForeignEndpointOut] = Field(description="Look these up before you confirm them.")
    tried: list[AttemptOut]
    notes: list[str] = Field(description="What was left out of the documents, and why.")
    duration_ms: int
