"""Filters of the API reference page."""

from __future__ import annotations

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_BACKTICKS = re.compile(r"`([^`]+)`")


@register.filter
def code_words(text: str) -> SafeString:
    """The text, escaped, with what stands between backticks as code."""
    return mark_safe(_BACKTICKS.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 # escaped before
