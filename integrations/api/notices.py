"""GET /notices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from ninja import Query, Router
from pydantic import AwareDatetime

from integrations.api.authentication import ApiKeyAuth, ApiRequest
from integrations.api.paging import DEFAULT_LIMIT, Cursor, Limit, cut_page, decode_cursor, encode_cursor
from integrations.api.schemas.notices import NoticeOut, NoticePage
from integrations.health.notice_list import find_notices
from integrations.models import Notice, NoticeKind
from workspaces.roles import KeyScope

router = Router()

KindFilter = Annotated[NoticeKind | None, Query(description="Only this kind.")]
SinceFilter = Annotated[AwareDatetime | None, Query(description="Only from this moment on, RFC 3339 with an offset.")]


@router.get(
    "/notices",
    auth=ApiKeyAuth(KeyScope.CONNECTIONS_READ),
    response=NoticePage,
    operation_id="list_notices",
    summary="List notices",
)
def list_notices(
    request: ApiRequest[None],
    cursor: Cursor = "",
    limit: Limit = DEFAULT_LIMIT,
    kind: KindFilter = None,
    since: SinceFilter = None,
) -> NoticePage:
    """What began or ended in the health of connections, newest first, for 90 days: for programs that ask."""
    found = find_notices(request.auth.workspace, kind=kind.value if kind else "", since=_in_utc(since))
    if key := decode_cursor(cursor, int):
        found = found.filter(pk__lt=key[0])
    page, following = cut_page(found[: limit + 1], limit, lambda notice: encode_cursor(notice.pk))
    return NoticePage(items=[notice_out(notice) for notice in page], next=following)


def _in_utc(since: datetime | None) -> datetime | None:
    """The same moment in UTC, which has no such moment near the ends of the calendar: those stand for the ends."""
    try:
        return None if since is None else since.astimezone(UTC)
    except OverflowError:
        return None if since is not None and since.year == 1 else datetime.max.replace(tzinfo=UTC)


def notice_out(notice: Notice) -> NoticeOut:
    """A notice as the API says it."""
    return NoticeOut(
        id=notice.public_id,
        type=notice.event_type,
        kind=NoticeKind(notice.kind),
        at=notice.at,
        provider_id=notice.provider_id,
        grant_type=notice.grant_type,
        connection_id=notice.connection_id,
        connection_name=notice.connection_name,
        code=notice.code,
        message=notice.message,
        reference=notice.reference,
        ends_at=notice.ends_at,
    )
