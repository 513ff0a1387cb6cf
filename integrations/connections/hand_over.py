"""A connect link on a redirect host: the flow begins there and ends on PUBLIC_BASE_URL, under another cookie.

A cookie belongs to one host, and the callback must be able to tell that the browser is the one that began. So the
browser goes by PUBLIC_BASE_URL on its way to the consent page and proves on both hosts who it is:

1. POST on the redirect host: the flow begins, bound to this browser's value there.
2. PUBLIC_BASE_URL puts the digest of this browser's value there into a ticket, sealed for this flow (`make_ticket`).
3. Back on the redirect host: only the browser that began may bring a ticket, and the flow is then bound to the value
   in it (`take_over`). Somebody else who was sent there, by an address that a stranger passed on, ends here.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from integrations.connections.connect_links import digest
from integrations.connections.errors import LinkGone
from integrations.crypto import SealError, open_sealed, seal
from integrations.models import ConnectLink, PendingAuthorization


def find_attempt(link: ConnectLink, pending_id: UUID, now: datetime) -> PendingAuthorization:
    """The link's flow under way. Raises LinkGone when it is over, or the workspace's redirect host has changed."""
    under_way = PendingAuthorization.objects.filter(connect_link=link, consumed_at=None, expires_at__gt=now)
    pending: PendingAuthorization | None = under_way.filter(pk=pending_id).first()
    host = link.workspace.redirect_host
    if pending is None or not host or not pending.redirect_uri.startswith(f"{host}/"):
        raise LinkGone("attempt_over")
    return pending


def make_ticket(pending: PendingAuthorization, binding: str) -> str:
    """What PUBLIC_BASE_URL says about this browser; good for this flow alone and readable by nobody else."""
    return seal(digest(binding), _context(pending)).decode("ascii")


def take_over(pending: PendingAuthorization, *, began_as: str, ticket: str) -> None:
    """Bind the flow to the browser of the ticket, if this is the one that began. Raises LinkGone.

    A second time is allowed to the same browser, which may have gone back; the update lets no other one in between.
    """
    try:
        other = open_sealed(ticket.encode(), _context(pending))
    except SealError as error:
        raise LinkGone("attempt_over") from error
    mine = PendingAuthorization.objects.filter(pk=pending.pk, consumed_at=None)
    if not began_as or not mine.filter(session_hash__in=[digest(began_as), other]).update(session_hash=other):
        raise LinkGone("link_in_other_browser")


def _context(pending: PendingAuthorization) -> str:
    return f"hand-over:{pending.pk}"
