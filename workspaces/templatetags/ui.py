"""The parts that pages are made of: icons, marks, statuses, times, charts.

`{% load ui %}`. Tags return markup without inline style or script; every status has an icon and
words, every chart a label. Times take UTC-aware datetimes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django import template
from django.template import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from workspaces import time_words
from workspaces.brand_marks import BRAND_MARKS, HUES
from workspaces.charts import LifeBar, stacked_bars, token_life_bar

register = template.Library()

ICON_SPRITE = "vendor/tabler-icons/sprite.svg"
BRAND_SPRITE = "vendor/simple-icons/sprite.svg"


@dataclass(frozen=True)
class Badge:
    """A status in words, with its icon and the colour role it takes."""

    label: str
    icon: str
    tone: str


STATUS_BADGES: dict[str, Badge] = {
    "not_configured": Badge("Not configured", "circle-dashed", "idle"),
    "configured": Badge("Configured", "circle-dot", "next"),
    "connected": Badge("Connected", "circle-check", "good"),
    "degraded": Badge("Retrying", "refresh-alert", "waiting"),
    "misconfigured": Badge("Misconfigured", "settings-exclamation", "bad"),
    "reconnect_required": Badge("Expired – reconnect", "clock-x", "bad"),
}

GRANT_TYPES: dict[str, tuple[str, str]] = {
    "authorization_code": ("Delegated user", "user"),
    "client_credentials": ("Service account", "server-2"),
}

CALLOUT_ICONS = {
    "good": "circle-check",
    "waiting": "alert-triangle",
    "bad": "alert-circle",
    "next": "info-circle",
    "idle": "info-circle",
}

# Django's message levels, as tones.
MESSAGE_TONES = {"success": "good", "warning": "waiting", "error": "bad"}


class Marked(Protocol):
    """What a mark is drawn from; a ProviderSpec is one."""

    name: str
    brand_icon: str
    monogram: str
    color: str


# --- icons and marks ----------------------------------------------------------------------------


@register.simple_tag
def icon(name: str, size: str = "", label: str = "", css: str = "") -> SafeString:
    """An icon by its Tabler name. Sizes: xs 14, sm 16, "" 18, lg 24, xl 40 px.

    Beside words it is decoration; alone it needs a `label`, which is then read out.
    """
    classes = " ".join(filter(None, ("g-icon", size and f"g-icon-{size}", css)))
    meaning = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    return format_html(
        '<svg class="{}" {} focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        mark_safe(meaning),  # noqa: S308 - a constant, or escaped just above
        static(ICON_SPRITE),
        name,
    )


@register.simple_tag
def provider_mark(provider: Marked, size: str = "") -> SafeString:
    """A provider's brand mark, else its coloured monogram. Sizes: sm 32, "" 40, lg 52 px."""
    classes = f"g-mark g-mark-{size}" if size else "g-mark"
    if provider.brand_icon in BRAND_MARKS:
        return format_html(
            '<span class="{} g-mark-brand brand-{}" aria-hidden="true">'
            '<svg focusable="false"><use href="{}#{}"></use></svg></span>',
            classes,
            provider.brand_icon,
            static(BRAND_SPRITE),
            provider.brand_icon,
        )
    hue = provider.color if provider.color in HUES else "slate"
    letters = provider.monogram or monogram(provider.name)
    return format_html('<span class="{} g-hue-{}" aria-hidden="true">{}</span>', classes, hue, letters)


@register.filter
def monogram(name: str) -> str:
    """Two letters for a name: "Northwind ID" → "NI", "salesforce" → "Sa"."""
    words = name.split()
    if len(words) > 1:
        return (words[0][:1] + words[1][:1]).upper()
    return name.strip()[:2].capitalize()


@register.filter
def initials(name: str) -> str:
    """Up to two capitals for a person's name or address: "Dana Ortiz" → "DO"."""
    words = name.split("@", 1)[0].replace(".", " ").replace("_", " ").replace("-", " ").split()
    return "".join(word[0] for word in words[:2]).upper()


# --- statuses -----------------------------------------------------------------------------------


@register.simple_tag
def status_badge(status: str) -> SafeString:
    """One of the six statuses: icon, words, tint. Raises KeyError for any other word."""
    badge = STATUS_BADGES[str(status)]
    return format_html('<span class="g-status g-tone-{}">{}{}</span>', badge.tone, icon(badge.icon), badge.label)


@register.filter
def status_label(status: str) -> str:
    """The words of a status."""
    return STATUS_BADGES[str(status)].label


@register.filter
def status_tone(status: str) -> str:
    """The colour role of a status: good, waiting, bad, next or idle."""
    return STATUS_BADGES[str(status)].tone


@register.simple_tag
def grant_type(value: str) -> SafeString:
    """ "Delegated user" or "Service account", with its icon."""
    label, icon_name = GRANT_TYPES[str(value)]
    return format_html('<span class="g-nowrap">{} {}</span>', icon(icon_name, "sm"), label)


@register.filter
def grant_type_label(value: str) -> str:
    """The words of a grant type."""
    return GRANT_TYPES[str(value)][0]


@register.filter
def message_tone(level_tag: str) -> str:
    """The tone of a Django message by its `level_tag`."""
    return MESSAGE_TONES.get(level_tag, "next")


@register.filter
def tone_icon(tone: str) -> str:
    """The icon that goes with a tone."""
    return CALLOUT_ICONS[tone]


# --- times and numbers --------------------------------------------------------------------------


@register.simple_tag
def relative_time(moment: datetime | None, never: str = "Never") -> SafeString | str:
    """The moment in words ("4 min ago"), exact on hover, kept current in the browser."""
    if moment is None:
        return never
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        moment.isoformat(timespec="seconds"),
        time_words.exact_words(moment),
        time_words.relative_words(moment, timezone.now()),
    )


@register.simple_tag
def local_time(moment: datetime | None, show: str = "datetime", never: str = "Never") -> SafeString | str:
    """The moment as a date, a time or both, in the reader's locale and zone. show: datetime, date, time."""
    if moment is None:
        return never
    words = {
        "datetime": time_words.exact_words(moment),
        "date": time_words.date_words(moment),
        "time": f"{moment:%H:%M}",
    }[show]
    return format_html(
        '<time datetime="{}" title="{}" data-local="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        time_words.exact_words(moment),
        show,
        words,
    )


@register.filter
def duration_words(duration: float | timedelta) -> str:
    """Seconds (or a timedelta) in words: "48 minutes"."""
    return time_words.duration_words(duration)


@register.filter
def until_words(moment: datetime) -> str:
    """How long until the moment, in words: "48 minutes"; "0 seconds" once it has passed."""
    return time_words.duration_words(moment - timezone.now())


@register.filter
def milliseconds(value: float) -> str:
    """Milliseconds in words: "183 ms", "1.9 s"."""
    return time_words.milliseconds_words(value)


@register.filter
def number(value: int) -> SafeString:
    """A number, grouped as in the reader's locale."""
    return format_html('<data value="{}" data-number>{}</data>', value, f"{value:,}")


# --- navigation ---------------------------------------------------------------------------------


@register.inclusion_tag("components/nav_item.html", takes_context=True)
def nav_item(
    context: Context, url_name: str, label: str, icon_name: str, section: str = "", count: int = 0, dot: Any = 0
) -> dict[str, Any]:
    """A sidebar entry of the current workspace, marked when the page belongs to its section.

    `section` has the beginnings of the view names that belong to it (else the entry's own name). `count` is how many
    need attention; `dot` (true or false) marks that there is something new.
    """
    request = context["request"]
    match = request.resolver_match
    here = bool(match) and str(match.view_name).startswith(tuple((section or url_name).split()))
    url = reverse(url_name, kwargs={"workspace": request.workspace.slug})
    return {"url": url, "label": label, "icon_name": icon_name, "current": here, "count": count, "dot": bool(dot)}


@register.inclusion_tag("components/nav_item.html", takes_context=True)
def account_nav_item(context: Context, url_name: str, label: str, icon_name: str, section: str) -> dict[str, Any]:
    """A sidebar entry of the person's own account."""
    match = context["request"].resolver_match
    here = bool(match) and str(match.view_name).startswith(section)
    return {"url": reverse(url_name), "label": label, "icon_name": icon_name, "current": here}


@register.filter
def words(text: str) -> list[str]:
    """The words of a text, to loop over a fixed list in a template."""
    return text.split()


# --- blocks -------------------------------------------------------------------------------------


@register.simple_block_tag
def callout(content: str, tone: str = "next", title: str = "", icon_name: str = "") -> SafeString:
    """A tinted note with its icon: {% callout tone="bad" title="…" %}…{% endcallout %}."""
    heading = format_html('<span class="g-callout-title">{}</span>', title) if title else ""
    return format_html(
        '<div class="g-callout g-tone-{}">{}<div class="g-callout-body">{}{}</div></div>',
        tone,
        icon(icon_name or CALLOUT_ICONS[tone]),
        heading,
        content,
    )


@register.simple_block_tag
def empty_state(content: str, title: str, icon_name: str = "circle-dashed") -> SafeString:
    """What to say where a list has nothing; the content says what to do about it."""
    return format_html('<div class="g-empty">{}<h2>{}</h2>{}</div>', icon(icon_name, "xl"), title, content)


# --- charts -------------------------------------------------------------------------------------


@register.inclusion_tag("components/token_life.html")
def token_life(
    issued_at: datetime,
    expires_at: datetime,
    renews_at: datetime | None = None,
    now: datetime | None = None,
) -> dict[str, LifeBar]:
    """A token's life as a bar: past, left, renewal margin, and now. Its label says the same."""
    return {"bar": token_life_bar(issued_at, expires_at, renews_at, now or timezone.now())}


@register.inclusion_tag("components/bar_chart.html")
def bar_chart(bars: Iterable[tuple[str, Sequence[tuple[str, int]]]], label: str, unit: str = "") -> dict[str, Any]:
    """A small stacked bar chart with its numbers in a table behind it.

    `bars` are (name, ((tone, amount), …)); tones are good, next, waiting, bad, idle.
    """
    rows = [(name, tuple(parts)) for name, parts in bars]
    return {"columns": stacked_bars(rows), "label": label, "unit": unit}


@register.simple_tag
def code_lines(lines: Iterable[str]) -> SafeString:
    """Lines of code, escaped, in one block."""
    return format_html('<pre class="g-code">{}</pre>', format_html_join("\n", "{}", ((line,) for line in lines)))
