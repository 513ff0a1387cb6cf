"""Integrations: one provider with one grant type, set up in the workspace."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import NEXT, Input, LastError, Output, StatusReason, example
from integrations.api.schemas.connections import AdditionalScopes, Parameters
from integrations.api.schemas.providers import AttemptOut
from integrations.models import ClientKeyAlgorithm, ConnectionStatus, GrantType
from integrations.oauth.client import ClientAuthMethod
from integrations.providers.service_account_key import MAX_KEY_LENGTH


class AskedParameter(Output):
    """A value that each connection has still to be given."""

    model_config = ConfigDict(title="Parameter to be given")

    key: str
    label: str
    type: str = Field(description="`text`, `password` or `dropdown`.")
    options: list[str]


class ClientKeyOut(Output):
    """The key that an integration signs with under `private_key_jwt`. The private half is never returned."""

    model_config = ConfigDict(title="Client key")

    kid: str = Field(description="Its thumbprint (RFC 7638).")
    algorithm: ClientKeyAlgorithm
    created_at: datetime
    signs_from: datetime = Field(description="Until then the key before it signs, so that caches can catch up.")


class ClientKeyRotation(Input):
    """How the next key signs."""

    model_config = ConfigDict(title="Client key rotation", json_schema_extra=example({"algorithm": "ES256"}))

    algorithm: ClientKeyAlgorithm | None = Field(default=None, description="None: as the present key.")


class DiscoveredEndpoints(Output):
    """What was discovered for the workspace at a provider that states no endpoints, such as an MCP server."""

    model_config = ConfigDict(title="Discovered endpoints")

    endpoints: dict[str, str] = Field(description="By field, the issuer among them.")
    resource: str = Field(description="What tokens are asked for (RFC 8707).")
    at: datetime
    client_registered: bool = Field(description="Whether the client in use was registered dynamically (RFC 7591).")
    client_secret_expires_at: datetime | None = Field(description="When its secret ends, if it does.")


class IntegrationOut(Output):
    """An integration, saved or not."""

    model_config = ConfigDict(title="Integration")

    provider_id: str = Field(examples=["github"])
    provider_name: str = Field(examples=["GitHub"])
    grant_type: GrantType
    status: ConnectionStatus
    status_reason: StatusReason
    redirect_uri: str = Field(description="Register exactly this at the provider.")
    client_id: str
    has_client_secret: bool = Field(description="The secret itself is never returned.")
    token_endpoint_auth_method: ClientAuthMethod
    jwks_uri: str | None = Field(description="Where its public keys are, for private_key_jwt. Needs no API key.")
    client_key: ClientKeyOut | None = Field(description="The newest key; null until private_key_jwt is saved.")
    base_scopes: list[str] = Field(description="Always requested.")
    additional_scopes: list[str]
    scopes: list[str] = Field(description="What the next connection requests: base, defaults and additional ones.")
    parameters: list[AskedParameter] = Field(
        description="What each connection has still to be given: neither set for all of them nor with a default."
    )
    credentials_per_connection: bool = Field(
        description="Whether client id and secret are given with each connection instead of here."
    )
    expression: str = Field(description="How actions name the token of the default connection.")
    discovered: DiscoveredEndpoints | None = Field(
        description="null where the provider's definition has the endpoints."
    )
    last_error: LastError | None = Field(description="The provider's refusal of the client itself.")
    created_at: datetime | None
    updated_at: datetime | None


class IntegrationPage(Output):
    """A page of saved integrations."""

    model_config = ConfigDict(title="Integrations")

    items: list[IntegrationOut]
    next: str | None = NEXT


class IntegrationPut(Input):
    """Client credentials and scopes. What is absent stays as it is."""

    model_config = ConfigDict(
        title="Integration set-up",
        json_schema_extra=example(
            {"client_id": "Iv1.8a61f9b3a7aba766", "client_secret": "…", "additional_scopes": ["read:org"]}
        ),
    )

    client_id: str | None = Field(
        default=None,
        max_length=512,
        description="Required the first time; left out where it is given with each connection.",
    )
    client_secret: str | None = Field(
        default=None,
        max_length=MAX_KEY_LENGTH,
        repr=False,
        description="Write-only. Absent or empty keeps the stored one; null clears it. For Google's service accounts: "
        "the JSON key file as text, up to 16 KB; the client_id is read from it.",
        json_schema_extra={"writeOnly": True},
    )
    additional_scopes: AdditionalScopes | None = None
    parameters: Parameters | None = Field(default=None, description="Values for every connection, by parameter key.")
    token_endpoint_auth_method: ClientAuthMethod | None = Field(
        default=None, description="None: as the provider says. private_key_jwt makes a key the first time."
    )


class RegistrationIn(Input):
    """How far a discovery may go."""

    model_config = ConfigDict(title="Discovery and registration")

    confirm_foreign_endpoints: bool = Field(
        default=False, description="true: take endpoints that are not on the issuer's host or below it."
    )


class RegistrationOut(Output):
    """How a discovery and registration went."""

    model_config = ConfigDict(title="Registration result")

    ok: bool
    code: str = Field(description="`ok`, or what stood in the way.", examples=["ok", "registration_not_offered"])
    message: str
    tried: list[AttemptOut]
    duration_ms: int
    integration: IntegrationOut
