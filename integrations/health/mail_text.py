"""A digest in words: subject, text and simple HTML. Our words and people's names; nothing that a provider wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from integrations.connections.errors import describe_code, naming
from integrations.health.digests import MAX_GROUPS, WORST_FIRST, Group
from integrations.models import GrantType, NoticeKind
from workspaces.http import public_url
from workspaces.models import Workspace
from workspaces.time_words import counted_words, exact_words

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One group as it is read."""

    provider: str
    grant_type: str
    happened: str
    detail: str
    names: str
    url: str
    button: str


def write_mail(
    workspace: Workspace, groups: Sequence[Group], names: Mapping[str, str], *, to: str
) -> EmailMultiAlternatives:
    """The e-mail for one reader. `groups` are those the reader wants (at least one); `names` those of providers."""
    shown = groups[:MAX_GROUPS]
    settings_url = public_url(reverse("health:notifications", kwargs={"workspace": workspace.slug}))
    context = {
        "workspace": workspace,
        "lines": [_line(workspace, group, names.get(group.provider_id, group.provider_id)) for group in shown],
        "more": len(groups) - len(shown),
        "health_url": public_url(reverse("health:page", kwargs={"workspace": workspace.slug})),
        "settings_url": settings_url,
    }
    return EmailMultiAlternatives(
        subject=f"[Grantry] {_one_line(workspace.name)}: {worst_words(groups)}",
        body=render_to_string("health/email/digest.txt", context),
        to=[to],
        # Not one-click (RFC 8058): the choice is behind the sign-in, like everything about a workspace.
        headers={"List-Unsubscribe": f"<{settings_url}>", "Auto-Submitted": "auto-generated"},
        alternatives=[(render_to_string("health/email/digest.html", context), "text/html")],
    )


def worst_words(groups: Sequence[Group]) -> str:
    """The worst thing that a digest says, with its number."""
    kind = min((group.kind for group in groups), key=WORST_FIRST.index)
    return happened(kind, sum(group.count for group in groups if group.kind == kind))


def happened(kind: NoticeKind, count: int) -> str:
    """What happened to so many connections: "214 connections need consent again"."""
    connections = counted_words(count, "connection")
    one = count == 1
    return {
        NoticeKind.MISCONFIGURED: f"{connections} {'is' if one else 'are'} misconfigured",
        NoticeKind.RECONNECT_REQUIRED: f"{connections} {'needs' if one else 'need'} consent again",
        NoticeKind.CONSENT_EXPIRING: f"consent for {connections} ends soon",
        NoticeKind.DEGRADED: f"renewal of {connections} is failing",
        NoticeKind.RECOVERED: f"{connections} recovered",
    }[kind]


def _line(workspace: Workspace, group: Group, provider: str) -> Line:
    url, button = _fix(workspace, group)
    return Line(
        provider=_one_line(provider),
        grant_type=str(GrantType(group.grant_type).label) if group.grant_type in GrantType.values else "",
        happened=_sentence(_happened_to(group)),
        detail=_detail(group, provider),
        names=_named(group),
        url=public_url(url),
        button=button,
    )


def _happened_to(group: Group) -> str:
    if group.of_all and group.kind == NoticeKind.MISCONFIGURED:
        waiting = f", {counted_words(group.count, 'connection')} wait" if group.count > 1 else ""
        return f"the client is refused{waiting}"
    if group.of_all and group.kind == NoticeKind.RECOVERED:
        return "the integration recovered"
    return happened(group.kind, group.count)


def _detail(group: Group, provider: str) -> str:
    """Cause and next step in our own words: a provider's are never sent on."""
    if group.kind == NoticeKind.RECOVERED:
        return "Renewal works again. Nothing is to be done."
    if group.kind == NoticeKind.CONSENT_EXPIRING:
        ends = f"The first ends on {exact_words(datetime.fromisoformat(group.ends_at))}. " if group.ends_at else ""
        return f"{ends}Reconnect before, and nothing stops."
    if not group.code:
        return ""
    words = describe_code(group.code)
    return naming(f"{words.happened} {words.next_step}", _one_line(provider))


def _named(group: Group) -> str:
    names = ", ".join(_short(name) for name in group.names)
    more = group.count - len(group.names)
    return f"{names} and {more:,} more" if names and more > 0 else names


def _fix(workspace: Workspace, group: Group) -> tuple[str, str]:
    """Where the fix is, and the words of the link."""
    base = {"workspace": workspace.slug, "provider_id": group.provider_id, "grant_type": group.grant_type}
    if group.grant_type not in GrantType.values:
        return reverse("health:page", kwargs={"workspace": workspace.slug}), "Show"
    if group.of_all and group.kind == NoticeKind.MISCONFIGURED:
        return reverse("integrations:configuration", kwargs=base), "Check configuration"
    if group.connection_id:
        return reverse("integrations:connection", kwargs={**base, "connection_id": group.connection_id}), "Show"
    query = "" if group.kind in _NO_STATUS else "?" + urlencode({"status": group.kind.value})
    return reverse("integrations:connections", kwargs=base) + query, "Show"


_NO_STATUS = frozenset({NoticeKind.RECOVERED, NoticeKind.CONSENT_EXPIRING})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _short(name: str) -> str:
    name = _one_line(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _one_line(text: str) -> str:
    """Names are somebody's text: line breaks must become neither headers nor lines of the mail."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
