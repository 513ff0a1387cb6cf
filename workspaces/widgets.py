"""Form controls of our own: write-only secrets, and lists typed as tags."""

from __future__ import annotations

from typing import Any

from django import forms


class SecretInput(forms.PasswordInput):
    """A write-only secret: never rendered back; says how the stored one ends; blank keeps it.

    Set `stored_hint` (the last characters, such as "4f9a") when a secret is stored, or `keeps` when one is stored of
    which nothing is shown.
    """

    template_name = "django/forms/widgets/secret.html"

    def __init__(self, attrs: dict[str, Any] | None = None, *, stored_hint: str = "", keeps: bool = False) -> None:
        # "new-password" keeps password managers from filling in the person's own.
        own = {"autocomplete": "new-password", "data-1p-ignore": "", "spellcheck": "false"}
        super().__init__({**own, **(attrs or {})})
        self.stored_hint = stored_hint
        self.keeps = keeps or bool(stored_hint)

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Adds the hint of the stored secret; the value itself is never in the context."""
        del value  # a bound form passes what was just sent; it must not come back
        context = super().get_context(name, None, attrs)
        context["widget"]["stored_hint"] = self.stored_hint
        if self.keeps or self.stored_hint:
            context["widget"]["attrs"].pop("required", None)
        return context


class MaskedInput(SecretInput):
    """The same for one secret among many fields: dots by CSS, so that no browser takes the form for a login."""

    input_type = "text"

    def __init__(self, attrs: dict[str, Any] | None = None, *, stored_hint: str = "") -> None:
        own = {"class": "g-masked"} if not attrs else {**attrs, "class": f"{attrs.get('class', '')} g-masked"}
        super().__init__({**own, "autocomplete": "off"}, stored_hint=stored_hint)


class SecretTextarea(forms.Textarea):
    """A write-only secret of many lines: never rendered back; blank keeps the stored one.

    Set `stored_hint` to what a stored one is recognised by.
    """

    template_name = "django/forms/widgets/secret_textarea.html"

    def __init__(self, attrs: dict[str, Any] | None = None, *, stored_hint: str = "") -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", "rows": 5, **(attrs or {})})
        self.stored_hint = stored_hint

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Adds the hint of the stored secret; the value itself is never in the context."""
        del value  # a bound form passes what was just sent; it must not come back
        context = super().get_context(name, None, attrs)
        context["widget"]["stored_hint"] = self.stored_hint
        return context


class TagsInput(forms.Textarea):
    """A textarea that becomes chips and an input; without JavaScript it is one entry per line.

    `delimiter` is "" (any space, comma or line break), " " or ",". `suggestions` are offered while
    typing. Set `wrong` to the entries to mark after validation.
    """

    template_name = "django/forms/widgets/tags.html"

    def __init__(
        self,
        attrs: dict[str, Any] | None = None,
        *,
        delimiter: str = "",
        suggestions: tuple[str, ...] = (),
    ) -> None:
        super().__init__({"rows": 3, "spellcheck": "false", **(attrs or {})})
        self.delimiter = delimiter
        self.suggestions = suggestions
        self.wrong: tuple[str, ...] = ()

    def format_value(self, value: Any) -> str:
        """One entry per line (or joined by the delimiter) from a list; text as it is."""
        if isinstance(value, list | tuple):
            return (self.delimiter or "\n").join(str(entry) for entry in value)
        return str(value or "")

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Adds what static/js/tags.js reads."""
        context = super().get_context(name, value, attrs)
        marks = context["widget"]["attrs"]
        marks["data-tags"] = ""
        if self.delimiter:
            marks["data-tags-delimiter"] = self.delimiter
        if self.wrong:
            marks["data-tags-invalid"] = "\n".join(self.wrong)
        if self.suggestions:
            context["widget"]["list_id"] = f"{marks.get('id', name)}-suggestions"
            context["widget"]["suggestions"] = self.suggestions
            marks["data-tags-list"] = context["widget"]["list_id"]
        return context
