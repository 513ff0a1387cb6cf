"""Connections, tokens, tests and connect links."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import NEXT, Input, LastError, Output, StatusReason, example
from integrations.models import ConnectionStatus, GrantType

ConnectionName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^\S(?:.*\S)?$",
        description="Unique within the integration; no space at either end.",
        examples=["customer-7"],
    ),
]
AdditionalScopes = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(max_length=200, description="Scopes on top of the provider's own and the integration's."),
]
ChosenScopes = Annotated[
    list[Annotated[str, Field(min_length=1)]] | None,
    Field(
        max_length=200,
        description="Those kept of the provider's own, where it allows a choice; null keeps all. Required ones stay.",
    ),
]
ClientId = Annotated[
    str, Field(max_length=4096, description="Where the provider asks for it with each connection, and only there.")
]
ClientSecret = Annotated[
    str,
    Field(
        max_length=5000,
        repr=False,
        description="Where the provider asks for it with each connection, and only there; never returned.",
        json_schema_extra={"writeOnly": True},
    ),
]
Parameters = Annotated[
    dict[str, Annotated[str, Field(max_length=5000)]],
    Field(max_length=50, description="Values of the provider's parameters, by key."),
]


class Account(Output):
    """Whose account it is, as the provider says; for display only."""

    id: str
    label: str


class ConnectionOut(Output):
    """One authorization under an integration."""

    model_config = ConfigDict(title="Connection")

    id: UUID
    name: str = Field(examples=["default"])
    provider_id: str = Field(examples=["github"])
    grant_type: GrantType
    status: ConnectionStatus
    status_reason: StatusReason
    is_default: bool = Field(description="Used where no connection is named.")
    account: Account | None
    scopes: list[str] | None = Field(description="Chosen among the provider's own; null: all of them.")
    additional_scopes: list[str] = Field(description="Its own, on top of the provider's and the integration's.")
    requested_scopes: list[str] = Field(description="At the last consent, or with the last token.")
    granted_scopes: list[str]
    missing_scopes: list[str] = Field(description="Requested and not granted.")
    scope_drift: list[str] = Field(
        description="Needed now, not requested then and not granted: reconnect, or fetch the next token, to have them."
    )
    parameters: dict[str, str] = Field(
        description="Its own values of the provider's parameters, without passwords and client credentials."
    )
    metadata: dict[str, str] = Field(description="What the provider told besides the token, such as an instance.")
    expires_at: datetime | None = Field(description="Of the access token; null when unknown or when there is none.")
    consent_expires_at: datetime | None = Field(
        description="When a person has to consent again, because an end comes that no renewal puts off; "
        "null when that is not foreseen, or needed already."
    )
    last_refreshed_at: datetime | None
    next_refresh_at: datetime | None
    last_error: LastError | None
    created_at: datetime


class ConnectionPage(Output):
    """A page of connections."""

    model_config = ConfigDict(title="Connections")

    items: list[ConnectionOut]
    next: str | None = NEXT


class RevocationResult(StrEnum):
    """What became of the token at the provider (RFC 7009)."""

    REVOKED = "revoked"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    NOTHING = "nothing"


class DisconnectedOut(ConnectionOut):
    """A connection whose token was given up."""

    model_config = ConfigDict(title="Disconnected connection")

    revocation: RevocationResult = Field(
        description="`revoked`: the provider confirmed it (RFC 7009). `unsupported`: it has no revocation endpoint. "
        "`failed`: it refused or did not answer; the token is forgotten here. `nothing`: there was no token."
    )


class ConnectionCreate(Input):
    """A new client_credentials connection; its token is fetched at once."""

    model_config = ConfigDict(
        title="New connection",
        json_schema_extra=example({"name": "reports", "additional_scopes": ["reports.read"]}),
    )

    name: ConnectionName
    parameters: Parameters = {}
    scopes: ChosenScopes = None
    additional_scopes: AdditionalScopes = []
    client_id: ClientId = ""
    client_secret: ClientSecret = ""


class ConnectionChange(Input):
    """Give a new name, make it the default, or choose other scopes. What is absent stays as it is."""

    model_config = ConfigDict(title="Connection change", json_schema_extra=example({"name": "main account"}))

    name: ConnectionName | None = None
    is_default: Literal[True] | None = Field(
        default=None, description="Makes this the default; the former default stops being it."
    )
    scopes: ChosenScopes = None
    additional_scopes: AdditionalScopes | None = None


class TokenOut(Output):
    """A usable access token."""

    model_config = ConfigDict(title="Token")

    access_token: str = Field(repr=False)
    token_type: str = Field(examples=["Bearer"])
    expires_at: datetime | None = Field(description="Null when the provider did not say.")
    scopes: list[str]
    connection_id: UUID
    warning: str | None = Field(description="Why it has less life than asked for, or may fail soon; else null.")


class TestIn(Input):
    """Which connection to test."""

    model_config = ConfigDict(title="Test")

    connection: ConnectionName | None = Field(default=None, description="None: the default one.")


class TestStepOut(Output):
    """One step of a test."""

    model_config = ConfigDict(title="Test step")

    name: str
    label: str
    ok: bool | None = Field(description="Null: not reached.")
    duration_ms: int | None
    detail: str


class TestOut(Output):
    """What a real call to the provider showed."""

    model_config = ConfigDict(title="Test result")

    ok: bool
    code: str = Field(description="`ok`, or the code of what went wrong.", examples=["invalid_client"])
    message: str
    steps: list[TestStepOut]
    duration_ms: int
    expires_at: datetime | None
    reference: UUID | None = Field(description="Ties it to the audit trail and the logs.")


class ConnectLinkIn(Input):
    """Who is to connect, with what."""

    model_config = ConfigDict(
        title="New connect link",
        json_schema_extra=example({"connection": "customer-7", "return_url": "https://app.example/connected"}),
    )

    connection: ConnectionName = Field(default="default", description="An existing name reconnects that connection.")
    parameters: Parameters = {}
    scopes: ChosenScopes = None
    additional_scopes: AdditionalScopes = []
    client_id: ClientId = ""
    client_secret: ClientSecret = ""
    confirm_account_change: bool = Field(
        default=False,
        description="Let another account take the place of the one that the connection belongs to; else it is refused.",
    )
    return_url: str = Field(
        default="",
        max_length=2000,
        description="Where the browser ends, with `status` and `connection_id`; must be on the workspace's list.",
    )


class ConnectLinkOut(Output):
    """A one-time link with which someone outside the workspace connects their account."""

    model_config = ConfigDict(title="Connect link")

    url: str = Field(description="Shown once. Whoever opens it first may use it.")
    expires_at: datetime
