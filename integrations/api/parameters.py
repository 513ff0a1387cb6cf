"""Path and query parameters that several calls share, with their words for the document."""

from __future__ import annotations

from typing import Annotated

from ninja import Path, Query

ProviderId = Annotated[str, Path(description="Such as `github` or `custom_example_id`.")]
GrantTypeName = Annotated[str, Path(description="`authorization_code` or `client_credentials`.")]
ConnectionId = Annotated[str, Path(description="The connection's `id`.", format="uuid")]
Force = Annotated[bool, Query(description="Delete although something depends on it.")]
