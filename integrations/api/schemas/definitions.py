"""Definitions as files, and what the inspector says."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from integrations.api.schemas.base import Input, Output, example
from integrations.connections.inspector import MAX_BODY
from integrations.models import GrantType
from integrations.providers.preview import Purpose
from integrations.providers.strict_yaml import MAX_BYTES


class ImportIn(Input):
    """A definition's file in JSON."""

    model_config = ConfigDict(title="Provider file", str_max_length=MAX_BYTES)

    yaml: str = Field(description="Begins with `grantry_provider: 1`.")
    draft: bool = Field(default=False, description="true: kept aside until it is published.")


class InspectIn(Input):
    """An answer of a token endpoint, to be read and forgotten."""

    model_config = ConfigDict(
        title="Inspection",
        str_max_length=MAX_BODY,
        json_schema_extra=example({"grant_type": "refresh_token", "status": 400, "body": '{"error": "invalid_grant"}'}),
    )

    grant_type: Purpose = Field(default=Purpose.AUTHORIZATION_CODE, description="What was asked for.")
    status: int = Field(default=200, ge=100, le=599)
    content_type: str = Field(default="application/json", max_length=200)
    body: str | None = Field(default=None, description="Absent: only the requests are shown.")
    parameters: dict[str, str] = Field(default={}, description="Values that the requests are shown with.")


class SentFieldOut(Output):
    """A header, or a parameter of query or body."""

    model_config = ConfigDict(title="Sent field")

    name: str
    value: str = Field(description="Secret and random values are blotted out.")


class SentRequestOut(Output):
    """A request as it would be sent."""

    model_config = ConfigDict(title="Sent request")

    title: str
    method: str
    url: str
    fields: list[SentFieldOut]


class PreviewOut(Output):
    """The requests of one grant type."""

    model_config = ConfigDict(title="Preview")

    grant_type: GrantType
    requests: list[SentRequestOut]
    problem: str = Field(description="Why some request cannot be shown, or empty.")
    expression: str = Field(description="What actions write.")


class RefusalOut(Output):
    """An answer that holds no token."""

    model_config = ConfigDict(title="Refusal")

    code: str
    error_class: str
    happened: str
    next_step: str
    provider_text: str


class KeptValueOut(Output):
    """Something of the answer that the connection would keep."""

    model_config = ConfigDict(title="Kept value")

    label: str
    value: str


class OtherFieldOut(Output):
    """A field that nothing uses; its value is not repeated."""

    model_config = ConfigDict(title="Other field")

    name: str
    kind: str


class ReadingOut(Output):
    """What an answer says, and what would happen."""

    model_config = ConfigDict(title="Reading")

    ok: bool
    outcome: list[str] = Field(description="What would happen, in sentences.")
    refusal: RefusalOut | None
    access_token: str = Field(description="Its last four characters at most.")
    token_type: str
    refresh_token: Literal["", "new", "kept", "none"]
    expires_in: float | None
    expires_at: datetime | None
    scopes: list[str]
    scopes_named: bool = Field(description="false: the answer names none, so they are as requested.")
    missing_scopes: list[str]
    metadata: list[KeptValueOut]
    metadata_missing: list[str]
    account: str
    asks_userinfo: bool
    extra_fields: list[OtherFieldOut]


class InspectOut(Output):
    """A dry run."""

    model_config = ConfigDict(title="Inspection result")

    previews: list[PreviewOut]
    reading: ReadingOut | None
