"""Knowing the browser again that began a connect link's flow on a redirect host, when it comes to PUBLIC_BASE_URL.

A cookie belongs to one host. So the redirect host looks at its own cookie before it forwards the callback and marks the
flow (`note_browser`), and PUBLIC_BASE_URL takes the mark in place of a cookie of its own (`was_noted`), for a moment
and for the very answer that was seen: whoever began could make a mark and leave the flow to somebody else, whom the
provider sends back with another code.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from integrations.clock import start_clock
from integrations.connections.connect_links import digest
from integrations.models import PendingAuthorization
from integrations.oauth.callback import read_callback
from integrations.oauth.errors import OAuthError
from integrations.providers.setup import redirect_uri
from workspaces.models import Workspace

# A browser follows the redirect at once. A minute is enough for the slowest network, and short for an address that
# was kept back.
MARK_LASTS = timedelta(seconds=60)

CallbackQuery = Sequence[tuple[str, str]]  # the pairs as they came, repetitions included


def note_browser(workspace: Workspace, query: CallbackQuery, *, binding: str, now: datetime | None = None) -> None:
    """Mark the link's flow of this workspace that the answer belongs to, if it began in the browser of `binding`.

    Tells nobody whether it did. The last mark counts.
    """
    if not binding:
        return
    try:
        callback = read_callback(query)
    except OAuthError:
        return  # PUBLIC_BASE_URL will say what is wrong with it
    moment = start_clock(now).now()
    workspace.pending_authorizations.filter(
        state_hash=digest(callback.state),
        session_hash=digest(binding),
        redirect_uri=redirect_uri(workspace),
        connect_link__isnull=False,
        consumed_at=None,
        expires_at__gt=moment,
    ).update(browser_seen_at=moment, seen_query_hash=_hash(query))


def was_noted(pending: PendingAuthorization, query: CallbackQuery, now: datetime) -> bool:
    """Whether the redirect host has just seen this very answer in the browser that began. Never so for members."""
    workspace = pending.workspace
    if pending.connect_link_id is None or not workspace.redirect_host or pending.browser_seen_at is None:
        return False
    if pending.redirect_uri != redirect_uri(workspace) or now - pending.browser_seen_at > MARK_LASTS:
        return False
    return hmac.compare_digest(pending.seen_query_hash, _hash(query))


def _hash(query: CallbackQuery) -> str:
    """Of the pairs, not of the text: a proxy may escape it otherwise on one host than on the other."""
    return digest(json.dumps([list(pair) for pair in query]))
