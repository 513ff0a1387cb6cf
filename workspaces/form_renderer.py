"""How forms look: `{{ form }}` and `{{ field.as_field_group }}` in Grantry's own markup.

Set as FORM_RENDERER. Each control gets its class by kind, `is-invalid` when it has errors, and
Django's own `aria-describedby` ties help and errors to it (see templates/django/forms/field.html).
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.forms.renderers import TemplatesSetting

# Django admin marks its widgets with these; they keep their own look.
ADMIN_CLASS_PREFIX = "v"


class GrantryBoundField(BoundField):
    """A bound field whose control carries the CSS classes of the kit."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: forms.Widget | None = None) -> dict[str, Any]:
        """Django's attributes, plus the classes; what the widget itself asks for stays."""
        widget = widget or self.field.widget
        built: dict[str, Any] = super().build_widget_attrs(attrs, widget)
        classes = f"{widget.attrs.get('class', '')} {attrs.get('class', '')}".split()
        if any(name.startswith(ADMIN_CLASS_PREFIX) for name in classes):
            return built
        classes.append(control_class(widget))
        if self.errors and not widget.is_hidden:
            classes.append("is-invalid")
        if str(self.label).lower() in str(widget.attrs.get("placeholder", "")).lower():
            built["placeholder"] = False  # the label says it already
        if isinstance(widget, forms.TextInput) and "autocomplete" not in widget.attrs:
            # What one sets up here is not what a browser remembers about a person.
            built.setdefault("autocomplete", "off")
        joined = " ".join(dict.fromkeys(filter(None, classes)))
        return {**built, "class": joined} if joined else built

    @property
    def is_check(self) -> bool:
        """Whether the control is a single box whose label stands after it."""
        return isinstance(self.field.widget, forms.CheckboxInput)

    @property
    def is_choices(self) -> bool:
        """Whether the control is a group of boxes, each with its own label."""
        return isinstance(self.field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple)

    @property
    def blank_words(self) -> str:
        """What is said beside the label of a field that may stay blank: "optional", or what blank means."""
        return str(getattr(self.field, "blank_words", "optional"))

    @property
    def is_optional(self) -> bool:
        """Whether to say so: a stored secret may be left blank, or one of two fields, but that is not the same."""
        widget, marks = self.field.widget, ("one_of_several", "always_chosen")
        keeps = getattr(widget, "stored_hint", "") or getattr(widget, "keeps", False)
        return not (self.field.required or keeps or any(getattr(self.field, mark, False) for mark in marks))


def control_class(widget: forms.Widget) -> str:
    """The kit's class for a widget: text-like, select, or a box."""
    if widget.is_hidden:
        return ""
    if isinstance(widget, forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple):
        return "form-check-input"
    if isinstance(widget, forms.Select):
        return "form-select"
    return "form-control"


class GrantryFormRenderer(TemplatesSetting):
    """Takes form templates from the project's template folders."""

    form_template_name = "django/forms/form.html"
    field_template_name = "django/forms/field.html"
    bound_field_class = GrantryBoundField
