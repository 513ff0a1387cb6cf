"""What the shapes share: strict input, plain output, problem details, pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Input(BaseModel):
    """A body: names that we don't know are refused, so that a typing error is not silently ignored."""

    model_config = ConfigDict(extra="forbid", str_max_length=20_000)


class Output(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class LastError(Output):
    """The last thing that went wrong, until something goes well again."""

    model_config = ConfigDict(title="Last error")

    code: str = Field(description="The provider's error code, or one of ours.", examples=["invalid_grant"])
    message: str = Field(description="What happened and what to do, in plain words.")
    at: datetime | None


class StatusReason(Output):
    """Why the status is what it is, and what to do next."""

    model_config = ConfigDict(title="Status reason")

    cause: str = Field(description="One sentence; empty when there is nothing to say.")
    next_step: str = Field(description="What a person would do next.", examples=["Connect with OAuth"])


class ProblemError(Output):
    """One unusable value."""

    model_config = ConfigDict(title="Problem error")

    location: str = Field(alias="in", description="`body`, `query` or `path`.", examples=["body"])
    field: str = Field(description="Path to the value, with dots.", examples=["scopes.0.name"])
    message: str = Field(description="What is wrong and what to do.")


class ProblemShape(BaseModel):
    """Problem details (RFC 9457). `code` is stable; some codes add members of their own."""

    model_config = ConfigDict(
        title="Problem",
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "https://grantry.example/api/v1/docs#problem-not_connected",
                    "title": "Not connected",
                    "status": 409,
                    "detail": "There is no token yet: connect, or fetch one.",
                    "code": "not_connected",
                    "request_id": "6f3c0a3e-8f2d-4a52-9f0c-0c9b7b0f3a11",
                }
            ]
        },
    )

    type: str = Field(description="Where the code is explained.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for a person.")
    code: str = Field(description="Stable; programs look at this.")
    request_id: str | None = Field(description="Quote it when asking for help; it is in the audit trail and the logs.")
    errors: list[ProblemError] = Field(default=[], description="With `invalid_request`: every unusable value.")
    required_scope: str | None = Field(default=None, description="With `insufficient_scope`.")
    provider_code: str | None = Field(default=None, description="The code with which a provider refused a fetch.")
    tried: list[dict[str, Any]] = Field(default=[], description="After a discovery: every address that was asked.")
    dependants: list[str] = Field(default=[], description="With `has_dependants`: what depends on it.")


NEXT = Field(description="Send it as `?cursor=` for the next page; null on the last.")


def example(value: dict[str, Any]) -> dict[str, Any]:
    """A schema's example, for the document and the reference page."""
    return {"examples": [value]}
