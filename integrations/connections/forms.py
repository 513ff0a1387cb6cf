"""Forms of connections: a new one, another name, a connect link, and the word that confirms a removal."""

from __future__ import annotations

from typing import Any

from django import forms

from integrations.connections.integration_page import IntegrationPage
from integrations.models import Connection
from integrations.providers.base import Parameter
from integrations.providers.form_fields import MONO, PARAMETER, add_errors, parameter_field
from integrations.providers.parameters import connection_parameters
from integrations.providers.rendering import ParameterRefused, check_value
from workspaces.return_urls import permits

__all__ = ["ConfirmForm", "ConnectLinkForm", "NewConnectionForm", "RenameForm", "add_errors", "open_parameters"]

NAME_HELP = "Programs ask for it by this name."


def name_field(**kwargs: Any) -> forms.CharField:
    """A connection's name."""
    return forms.CharField(label="Name", max_length=100, **kwargs)


def open_parameters(page: IntegrationPage) -> tuple[Parameter, ...]:
    """Parameters that the integration leaves to each connection, that must be given and have no default."""
    given = page.integration.readable_parameters if page.integration else {}
    asked = (p for p in connection_parameters(page.spec) if not p.optional)
    return tuple(p for p in asked if not given.get(p.key) and not p.default)


class _OfConnection(forms.Form):
    """Name and parameters of a connection to be made."""

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.page = page
        given = page.integration.readable_parameters if page.integration else {}
        for parameter in connection_parameters(page.spec):
            stored = given.get(parameter.key) or parameter.default
            name = PARAMETER + parameter.key
            self.fields[name] = parameter_field(parameter, required=not stored and not parameter.optional)
            if stored and parameter.type != "password":
                self.initial.setdefault(name, stored)

    def clean(self) -> dict[str, Any]:
        """Each parameter has the form that it must have."""
        cleaned = super().clean() or {}
        for parameter in connection_parameters(self.page.spec):
            value = cleaned.get(PARAMETER + parameter.key)
            if value:
                try:
                    check_value(parameter, value)
                except ParameterRefused as refused:
                    self.add_error(PARAMETER + parameter.key, str(refused))
        return cleaned

    @property
    def parameters(self) -> dict[str, str]:
        """Values that differ from the integration's, by key."""
        given = self.page.integration.readable_parameters if self.page.integration else {}
        values = {p.key: self.cleaned_data.get(PARAMETER + p.key) for p in connection_parameters(self.page.spec)}
        return {key: str(value) for key, value in values.items() if value and value != given.get(key)}


class NewConnectionForm(_OfConnection):
    """A new connection of an integration."""

    name = name_field(help_text=NAME_HELP, widget=forms.TextInput({"autocomplete": "off"}))

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        super().__init__(*args, page=page, **kwargs)
        if not page.connections:
            self.initial.setdefault("name", "default")

    def clean_name(self) -> str:
        """The name is free."""
        name = str(self.cleaned_data["name"])
        if any(connection.name == name for connection in self.page.connections):
            raise forms.ValidationError("Another connection of this integration has this name. Choose a different one.")
        return name


class ConnectLinkForm(_OfConnection):
    """A one-time link for someone outside the workspace. Its ids differ from those of the other form on its page."""

    name = name_field(
        help_text="A new one, or one of these to reconnect it.",
        initial="default",
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    return_url = forms.URLField(
        label="Send them back to",
        required=False,
        max_length=500,
        assume_scheme="https",
        help_text="Blank: they see a page of ours. An address must be on the list in the workspace’s settings.",
        widget=forms.URLInput({**MONO, "placeholder": "https://app.example.com/connected"}),
    )

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        super().__init__(*args, page=page, **{"auto_id": "link_%s", **kwargs})

    def clean_return_url(self) -> str:
        """On the workspace's list (open redirect)."""
        url = str(self.cleaned_data["return_url"])
        if url and not permits(self.page.workspace.return_urls, url):
            raise forms.ValidationError("This address is not on the list of return URLs in the workspace’s settings.")
        return url


class RenameForm(forms.Form):
    """Another name for a connection."""

    name = name_field()

    def __init__(self, *args: Any, page: IntegrationPage, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.page, self.connection = page, connection

    def clean_name(self) -> str:
        """The name is free."""
        name = str(self.cleaned_data["name"])
        if any(other.name == name and other.pk != self.connection.pk for other in self.page.connections):
            raise forms.ValidationError("Another connection of this integration has this name. Choose a different one.")
        return name


class ConfirmForm(forms.Form):
    """The name, typed once more, where something depends on what is about to go."""

    confirm = forms.CharField(required=False)

    def __init__(self, *args: Any, word: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.word = word

    def clean_confirm(self) -> str:
        """Letter for letter, if a word is asked for."""
        typed = str(self.cleaned_data["confirm"]).strip()
        if self.word and typed != self.word:
            raise forms.ValidationError(f"Type {self.word} to confirm.")
        return typed
