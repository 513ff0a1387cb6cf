"""What a member has not seen yet of a workspace's notices."""

from __future__ import annotations

from typing import Any

from django.db.models import Max, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from integrations.models import Notice, NoticeSettings
from workspaces.models import Membership

MOST = 100  # counted at most; a page says "99+"


def seen_id(membership: Membership) -> int:
    """The newest notice when the member last said "seen"; 0 when never."""
    found = NoticeSettings.objects.filter(membership=membership).values_list("seen_notice_id", flat=True).first()
    return found or 0


def count_unseen(membership: Membership) -> int:
    """How many notices came since, at most MOST. One query, by the index of the workspace's notices.

    What happened before somebody joined is no news for them.
    """
    mark = NoticeSettings.objects.filter(membership=membership).values("seen_notice_id")[:1]
    moments = (
        Notice.objects.filter(workspace=membership.workspace_id, pk__gt=Coalesce(Subquery(mark), Value(0)))
        .order_by("-pk")
        .values_list("at", flat=True)[:MOST]
    )
    return sum(at >= membership.created_at for at in moments)


def mark_seen(membership: Membership, up_to: int) -> None:
    """Everything up to this notice is seen; never back. What is beyond the newest one there is counts as the newest."""
    newest = Notice.objects.filter(workspace=membership.workspace_id).aggregate(newest=Max("pk"))["newest"] or 0
    settings, _ = NoticeSettings.objects.get_or_create(membership=membership)
    NoticeSettings.objects.filter(pk=settings.pk, seen_notice_id__lt=min(up_to, newest)).update(
        seen_notice_id=min(up_to, newest)
    )


def notices(request: HttpRequest) -> dict[str, Any]:
    """Context processor, `unseen_notices`: the count for the bell; asked for once, and only where a page shows it."""
    membership: Membership | None = getattr(request, "membership", None)
    if membership is None:
        return {"unseen_notices": 0}
    return {"unseen_notices": SimpleLazyObject(lambda: count_unseen(membership))}
