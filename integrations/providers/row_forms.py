"""Lists within the form of a provider: scopes, parameters, config values, patterns, metadata. One small form per row.

Rows are added, removed and moved by the server, so that they work without JavaScript: a submit button sends `go` as
`add:parameters`, `remove:parameters:2`, `up:parameters:2` or `down:parameters:2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.forms.utils import ErrorDict

from integrations.crypto import SealError, open_sealed, seal
from integrations.models import GrantType
from integrations.oauth.patterns import PatternRefused, compile_pattern
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, MetadataSource
from integrations.providers.definition import MAX_ITEMS
from integrations.providers.form_fields import MONO
from integrations.providers.helpers import HelperRefused, read_call, registered
from workspaces.widgets import MaskedInput

GO = re.compile(r"(add|remove|up|down):([a-z_]{1,40})(?::(\d{1,3}))?", re.ASCII)
_ENTRY = re.compile(r"Entry (\d+): (?:“(\w+)”)?")


def _text(label: str, *, limit: int, mono: bool = False, required: bool = True, **kwargs: Any) -> forms.CharField:
    attrs = {**(MONO if mono else {"autocomplete": "off"}), **kwargs.pop("attrs", {})}
    words = kwargs.pop("missing", f"Enter the {label[:1].lower()}{label[1:]}.")
    return forms.CharField(
        label=label,
        max_length=limit,
        required=required,
        error_messages={"required": words},
        widget=forms.TextInput(attrs),
        **kwargs,
    )


class ChosenField(forms.ChoiceField):
    """A select in which something is always chosen; what was left out is its first choice."""

    always_chosen = True  # so that it is not called optional

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)


class RowForm(forms.Form):
    """One entry of a list. A row in which nothing was written is no entry."""

    use_required_attribute = False
    title: ClassVar[str] = "Entry"
    blank_fields: ClassVar[tuple[str, ...]]  # what must be blank for the row to be none

    def __init__(self, *args: Any, seal_context: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seal_context = seal_context

    @classmethod
    def initial_of(cls, entry: Mapping[str, Any]) -> dict[str, Any]:
        """An entry in the API's shape as initial values."""
        return {name: entry[name] for name in cls.base_fields if name in entry}

    @property
    def is_blank(self) -> bool:
        """Whether nothing was written into the row."""
        return not any(str(self.typed(name) or "").strip() for name in self.blank_fields)

    @property
    def called(self) -> str:
        """What errors call the entry."""
        return str(self.typed(self.blank_fields[0]) or "")

    def full_clean(self) -> None:
        """A blank row has nothing to be wrong about."""
        if self.is_bound and self.is_blank:
            self._errors, self.cleaned_data = ErrorDict(), {}
        else:
            super().full_clean()

    def typed(self, name: str) -> Any:
        """What a field has now, judged or not."""
        if self.is_bound:
            return self.fields[name].widget.value_from_datadict(self.data, self.files, self.add_prefix(name))
        return self.get_initial_for_field(self.fields[name], name)

    def carried(self) -> dict[str, Any]:
        """What the row has, as initial values of another rendering."""
        return {name: self.typed(name) for name in self.fields}

    def entry(self) -> dict[str, Any]:
        """The API's shape of what was typed so far; what is blank is left out."""
        return {name: value for name, value in self.cleaned_data.items() if value not in ("", None, [])}

    def refuse(self, sentence: str, field: str = "") -> None:
        """Put an error beside a field of the row, the first one unless another is named."""
        self.add_error(field if field in self.fields else next(iter(self.fields)), sentence)


class ScopeRow(RowForm):
    """A scope that the definition names."""

    title = "Scope"
    blank_fields = ("name", "description")

    name = _text("Scope", limit=500, mono=True)
    description = _text("Description", limit=300, required=False)
    required = forms.BooleanField(label="Required: always requested", required=False)
    only = ChosenField(label="For", choices=[("", "Every grant type"), *GrantType.choices])


class SuggestionRow(RowForm):
    """A scope that is suggested where more are added."""

    title = "Suggestion"
    blank_fields = ("name", "description")

    name = _text("Scope", limit=500, mono=True)
    description = _text("Description", limit=300, required=False)


class PatternRow(RowForm):
    """A pattern that scopes must match, or must not."""

    title = "Pattern"
    blank_fields = ("pattern", "description")

    pattern = _text("Pattern", limit=300, mono=True, help_text="A regular expression for a whole scope.")
    description = _text("Description", limit=300, required=False, help_text="What a refused scope is told instead.")

    def clean_pattern(self) -> str:
        """Judged here too, so that the sentence stands beside its pattern."""
        pattern = str(self.cleaned_data["pattern"])
        try:
            compile_pattern(pattern)
        except PatternRefused as refused:
            raise forms.ValidationError(str(refused)) from refused
        return pattern


class ParameterRow(RowForm):
    """A value asked from people."""

    title = "Parameter"
    blank_fields = ("key", "label", "options", "default", "help", "placeholder")

    label = _text("Label", limit=100)
    key = _text("Key", limit=50, mono=True, help_text="Used as {{key}}.")
    type = ChosenField(label="Type", choices=[("text", "Text"), ("password", "Password"), ("dropdown", "Dropdown")])
    options = forms.CharField(
        label="Options",
        required=False,
        help_text="One per line.",
        widget=forms.Textarea({**MONO, "rows": 3}),
    )
    default = _text("Default", limit=500, required=False, mono=True)
    pattern = _text(
        "Pattern", limit=300, required=False, mono=True, help_text="Blank: letters, digits, hyphens, single dots."
    )
    placeholder = _text("Example", limit=100, required=False, mono=True)
    help = _text("Help text", limit=300, required=False)

    @classmethod
    def initial_of(cls, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Options one per line."""
        return {**super().initial_of(entry), "options": "\n".join(entry.get("options", ()))}

    def clean_options(self) -> list[str]:
        """One option per line."""
        return [line.strip() for line in self.cleaned_data["options"].splitlines() if line.strip()]

    def clean_key(self) -> str:
        """Client id and secret have a choice of their own above."""
        key = str(self.cleaned_data["key"])
        if key in (CLIENT_ID, CLIENT_SECRET):
            raise forms.ValidationError("Choose “Asked for each connection” above instead of adding this one.")
        return key

    def entry(self) -> dict[str, Any]:
        """A default pattern is left to the definition."""
        return {"label": "", "key": "", **super().entry()}


class ConfigValueRow(RowForm):
    """A value that the definition fixes. A secret one travels sealed, and is never rendered back."""

    title = "Config value"
    blank_fields = ("key", "label", "value", "sealed_value", "helper")

    label = _text("Label", limit=100)
    key = _text("Key", limit=50, mono=True, help_text="Used as {{key}}.")
    helper = ChosenField(label="Value from")
    argument = _text(
        "Reads the parameter", limit=50, required=False, mono=True, help_text="Its key. Blank: the helper’s usual one."
    )
    value = _text("Value", limit=500, required=False, mono=True)
    type = ChosenField(
        label="Type",
        choices=[("text", "Text"), ("password", "Password")],
        help_text="A password is stored encrypted.",
    )
    visible = forms.BooleanField(
        label="Shown to people", required=False, initial=True, help_text="An invisible one is used, never rendered."
    )
    sealed_value = forms.CharField(required=False, max_length=4000, widget=forms.HiddenInput)
    stored = forms.BooleanField(required=False, widget=forms.HiddenInput)  # in an earlier version, under this key

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(helper.name, f"{helper.name}: {helper.description}") for helper in registered()]
        self.fields["helper"].choices = [("", "A fixed value"), *choices]  # type: ignore[attr-defined] # a ChoiceField
        if self.is_secret:
            kept = bool(self.secret) or self.is_stored
            self.fields["value"].widget = MaskedInput({**MONO, "maxlength": 500}, stored_hint="••••" if kept else "")

    @classmethod
    def initial_of(cls, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A helper's call taken apart; a secret value is only said to be there."""
        shape = super().initial_of(entry)
        secret = not entry.get("helper") and (entry.get("type") == "password" or entry.get("visible") is False)
        shape["stored"] = secret
        if entry.get("helper"):
            name, _, argument = str(entry["helper"]).partition("(")
            shape |= {"helper": name.strip(), "argument": argument.rstrip(") ")}
        return shape

    @property
    def is_secret(self) -> bool:
        """Whether what is typed as its value must not come back."""
        return not self.typed("helper") and (self.typed("type") == "password" or not self.typed("visible"))

    @property
    def is_stored(self) -> bool:
        """Whether an earlier version has a secret value under this key."""
        return self.typed("stored") in (True, "True")

    @property
    def secret(self) -> str:
        """The secret value that was typed now or carried; "" when there is none, or it was sealed for someone else."""
        typed = str(self.typed("value") or "").strip()
        sealed = str(self.typed("sealed_value") or "")
        if typed or not sealed:
            return typed
        try:
            return open_sealed(sealed.encode(), self.seal_context)
        except (SealError, UnicodeError):
            return ""

    def carried(self) -> dict[str, Any]:
        """The secret only sealed."""
        values = super().carried()
        if self.is_secret:
            sealed = seal(secret, self.seal_context).decode("ascii") if (secret := self.secret) else ""
            values |= {"value": "", "sealed_value": sealed}
        return values

    @property
    def sealed(self) -> str:
        """The hidden field's text: a form that comes back with errors is not rebuilt, and must carry it too."""
        return str(self.carried()["sealed_value"] or "")

    def entry(self) -> dict[str, Any]:
        """Value or helper, as the definition has it."""
        values = self.cleaned_data
        shape = {"label": values.get("label", ""), "key": values.get("key", "")}
        if helper := values.get("helper"):
            argument = values.get("argument", "")
            shape["helper"] = f"{helper}({argument})" if argument else helper
        else:
            shape["value"] = self.secret if self.is_secret else values.get("value", "")
        return {**shape, "type": values.get("type") or "text", "visible": values.get("visible", False)}

    def clean(self) -> dict[str, Any]:
        """What reads no parameter is given none."""
        cleaned = super().clean() or {}
        if cleaned.get("helper") and cleaned.get("argument"):
            try:
                read_call(f"{cleaned['helper']}({cleaned['argument']})")
            except HelperRefused as refused:
                self.add_error("argument", str(refused))
        return cleaned


class MetadataRow(RowForm):
    """Something that a connection keeps of the provider's answers."""

    title = "Kept value"
    blank_fields = ("key", "label", "field", "pattern")

    label = _text("Label", limit=100)
    key = _text("Key", limit=50, mono=True, help_text="Used as {{key}} in endpoints.")
    source = forms.ChoiceField(
        label="From",
        choices=[(MetadataSource.TOKEN.value, "The token answer"), (MetadataSource.CALLBACK.value, "The callback")],
    )
    field = _text("Field", limit=100, mono=True, help_text="A path with dots in the answer, or the callback’s name.")
    pattern = _text("Pattern", limit=300, mono=True, help_text="The text must match; a group is what is kept.")
    required = forms.BooleanField(label="Required: without it nothing is connected", required=False)


class Rows:
    """The rows of one list, in a form that was posted or not."""

    def __init__(
        self,
        name: str,
        form_class: type[RowForm],
        *,
        data: Any = None,
        files: Any = None,
        initial: Sequence[Mapping[str, Any]] = (),
        seal_context: str = "",
    ) -> None:
        self.name, self.form_class, self.seal_context = name, form_class, seal_context
        self.errors: list[str] = []
        # After a change of rows: the button that takes the focus, on which row, and what a screen reader says.
        self.focus, self.focus_row, self.said, self.focus_attribute = "", -1, "", "autofocus"
        # A list that was not sent at all stays as it is: a form of old must not empty it.
        self.was_sent = data is not None and self.count_name in data
        if data is None:
            self.forms = [self._form(number, initial=dict(row)) for number, row in enumerate(initial)]
        else:
            self.forms = [self._form(number, data, files) for number in range(_count(data.get(self.count_name)))]

    @property
    def count_name(self) -> str:
        """The hidden field that says how many rows there are."""
        return f"{self.name}-count"

    @property
    def title(self) -> str:
        """What one row is called."""
        return self.form_class.title

    @property
    def has_errors(self) -> bool:
        """Whether anything is wrong with the list or one of its rows."""
        return bool(self.errors) or any(form.errors for form in self.filled)

    @property
    def filled(self) -> list[RowForm]:
        """The rows that are entries."""
        return [form for form in self.forms if not form.is_blank]

    def carried(self) -> list[dict[str, Any]]:
        """Every row as initial values of another rendering."""
        return [form.carried() for form in self.forms]

    def validate(self) -> None:
        """Judge every row."""
        for form in self.forms:
            form.is_valid()

    def entries(self) -> list[dict[str, Any]]:
        """The entries as far as they can be read."""
        return [form.entry() for form in self.filled if hasattr(form, "cleaned_data")]

    def refuse(self, sentences: Iterable[str]) -> None:
        """Put a verb's errors beside the rows they are about; what is about none stands above the list."""
        for sentence in sentences:
            row, field = self._blamed(sentence)
            if row is None:
                self.errors.append(sentence)
            elif sentence not in str(row.errors):
                row.refuse(_ENTRY.sub("", sentence).removeprefix(": "), field)

    def changed(self, action: str, number: int | None) -> list[dict[str, Any]]:
        """Every row after one was added, removed or moved. Numbers that are not there change nothing."""
        rows = self.carried()
        if action == "add" and len(rows) < MAX_ITEMS:
            return [*rows, {}]
        if number is None or not 0 <= number < len(rows):
            return rows
        if action == "remove":
            return rows[:number] + rows[number + 1 :]
        other = number - 1 if action == "up" else number + 1
        if 0 <= other < len(rows):
            rows[number], rows[other] = rows[other], rows[number]
        return rows

    def follow(self, action: str, number: int | None, *, focus: str) -> None:
        """Say what was done to the rows, and mark what takes the focus with that attribute."""
        self.focus_attribute = focus
        done = {"add": "added", "remove": "removed", "up": "moved up", "down": "moved down"}
        self.said = f"{self.title} {done[action]}."
        self.focus = action
        if action == "add" and self.forms:
            first = next(iter(self.forms[-1].fields.values()))
            first.widget.attrs[focus] = True
        elif number is not None:
            # A button that is disabled at the end of the list takes no focus.
            self.focus_row = number - 1 if action == "up" else number + 1
            if self.focus_row <= 0 and action == "up":
                self.focus = "down"
            if self.focus_row >= len(self.forms) - 1 and action == "down":
                self.focus = "up"

    def _blamed(self, sentence: str) -> tuple[RowForm | None, str]:
        filled = self.filled
        if (match := _ENTRY.match(sentence)) and int(match[1]) <= len(filled):
            return filled[int(match[1]) - 1], match[2] or ""
        named = next((form for form in filled if form.called and f"“{form.called}”" in sentence), None)
        return named, _field_in(sentence, named) if named else ""

    def _form(self, number: int, data: Any = None, files: Any = None, **kwargs: Any) -> RowForm:
        return self.form_class(
            data, files, prefix=f"{self.name}-{number}", seal_context=self.seal_context, auto_id="id_%s", **kwargs
        )


def _field_in(sentence: str, form: RowForm) -> str:
    """The field that a sentence of the rules speaks of by its name."""
    words = sentence.lower()
    named = (name for name in ("options", "pattern", "default", "helper", "value") if name in words)
    return next((name for name in named if name in form.fields), "key")


def _count(text: Any) -> int:
    return (
        min(int(text), MAX_ITEMS)
        if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 4
        else 0
    )
