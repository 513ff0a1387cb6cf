"""Words about a provider."""

from __future__ import annotations

from django import template

from integrations.connections import errors

register = template.Library()


@register.filter
def naming(text: str, provider_name: str | None) -> str:
    """The text with the provider's name instead of "the provider"; unchanged where the name is not known."""
    return errors.naming(text, provider_name or "")
