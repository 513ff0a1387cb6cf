"""What the forms of providers, integrations and connections share: text split into scopes, parameters, errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from integrations.providers.base import ClientAuth, Parameter
from integrations.providers.rendering import missing_words
from workspaces.widgets import SecretInput

MONO = {"class": "g-mono", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
TAIL = 4
SHORTEST_SECRET_WITH_TAIL = 12  # of a shorter one, four characters would give too much away
PARAMETER = "param_"

CLIENT_AUTH_CHOICES = (
    (ClientAuth.CLIENT_SECRET_BASIC.value, "Basic: in the Authorization header (recommended)"),
    (ClientAuth.CLIENT_SECRET_POST.value, "Post: in the request body"),
    (ClientAuth.PRIVATE_KEY_JWT.value, "Private key JWT: signed with a key of this integration"),
    (ClientAuth.NONE.value, "None: a public client, protected by PKCE"),
)
WITHOUT_SECRET = frozenset({ClientAuth.NONE, ClientAuth.PRIVATE_KEY_JWT})


def split_tags(text: str) -> tuple[str, ...]:
    """Scopes as typed: separated by spaces, commas or line breaks; each once, in order."""
    return tuple(dict.fromkeys(piece for piece in re.split(r"[\s,]+", text) if piece))


def split_lines(text: str, delimiter: str) -> tuple[str, ...]:
    """Scopes separated by exactly the provider's delimiter (or line breaks, which the tag input sends)."""
    pieces = re.split(r"\s+" if delimiter == "space" else r"[,\r\n]+", text)
    return tuple(dict.fromkeys(stripped for piece in pieces if (stripped := piece.strip())))


def tail_of(secret: str) -> str:
    """How a secret ends, to be recognised by; "" when it is too short to say."""
    return secret[-TAIL:] if len(secret) >= SHORTEST_SECRET_WITH_TAIL else ""


class OpenChoiceField(forms.ChoiceField):
    """A choice that the verb judges, whose words the API has too."""

    def validate(self, value: Any) -> None:
        """Only whether there is one."""
        forms.Field.validate(self, value)


class OpenMultipleChoiceField(forms.MultipleChoiceField):
    """The same for several."""

    def validate(self, value: Any) -> None:
        """Only whether there is one, where one is needed."""
        forms.Field.validate(self, value)


def parameter_field(
    parameter: Parameter, *, required: bool, help_text: str | None = None, blank_choice: str = "Ask for each connection"
) -> forms.Field:
    """The form field of a provider's {{parameter}}; without a help text, with one for whoever knows the definition."""
    own: dict[str, Any] = {
        "label": parameter.label,
        "required": required,
        "help_text": f"Fills {{{{{parameter.key}}}}} in the provider’s addresses." if help_text is None else help_text,
        "error_messages": {"required": missing_words(parameter)},
    }
    if parameter.type == "dropdown":
        choices = [(option, option) for option in parameter.options]
        return OpenChoiceField(choices=[("", "Choose one" if required else blank_choice), *choices], **own)
    attrs = {**MONO, "placeholder": parameter.placeholder}
    widget = SecretInput(attrs) if parameter.type == "password" else forms.TextInput(attrs)
    return forms.CharField(widget=widget, strip=False, **own)


def add_errors(form: forms.Form, errors: Mapping[str, Iterable[str]]) -> None:
    """Put a verb's errors beside their fields; those of no field stand above the form."""
    for name, sentences in errors.items():
        place = next((n for n in (name, PARAMETER + name.removeprefix("parameters.")) if n in form.fields), None)
        for sentence in sentences:
            form.add_error(place, sentence)
