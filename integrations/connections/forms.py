"""Forms of connections: a new one, another name, a connect link, and the word that confirms a removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from integrations.connections.choices import ChoicesRefused, ChosenScopes, check_choices, open_choices, with_stored
from integrations.connections.errors import NAME_TAKEN
from integrations.connections.integration_page import IntegrationPage
from integrations.models import Connection, ConnectLink
from integrations.providers.base import GrantType, ProviderSpec
from integrations.providers.connection_form import ConnectionForm
from integrations.providers.form_fields import MONO, add_errors
from workspaces.return_urls import permits

__all__ = [
    "ConfirmForm",
    "ConnectLinkForm",
    "EditConnectionForm",
    "LinkVisitorForm",
    "NewConnectionForm",
    "RenameForm",
    "add_errors",
    "has_open_parameters",
    "refuse",
]

NAME_HELP = "Programs ask for it by this name."


def name_field(**kwargs: Any) -> forms.CharField:
    """A connection's name."""
    return forms.CharField(label="Name", max_length=100, **kwargs)


def has_open_parameters(page: IntegrationPage) -> bool:
    """Whether a connection cannot be made without a form."""
    return page.integration is not None and bool(open_choices(page.spec, page.integration, {}))


def refuse(form: ConnectionForm, refused: ChoicesRefused) -> None:
    """Take a verb's errors over, each once."""
    said = {str(error) for errors in form.errors.values() for error in errors}
    add_errors(form, {name: [text for text in texts if text not in said] for name, texts in refused.errors.items()})


class _OfConnection(ConnectionForm):
    """What is decided about a connection, judged by the verb's own rules."""

    complete = True  # whether every parameter needs a value

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        shared = page.integration.readable_parameters if page.integration else {}
        super().__init__(*args, spec=page.spec, grant_type=page.grant_type, shared=shared, **kwargs)
        self.page = page

    @property
    def name(self) -> str:
        """The connection's."""
        return str(self.cleaned_data.get("name", "default"))

    @property
    def chosen(self) -> ChosenScopes:
        """The scopes."""
        return ChosenScopes(self.chosen_scopes, self.additional_scopes)

    def clean(self) -> dict[str, Any]:
        """What a program would be told by the API."""
        cleaned = super().clean() or {}
        if self.page.integration is None:
            return cleaned
        values = with_stored(self.spec, self.shared, self.stored, self.parameters)
        try:
            check_choices(
                self.spec,
                self.page.integration,
                name=self.name,
                chosen=self.chosen,
                parameters=values,
                complete=self.complete,
            )
        except ChoicesRefused as refused:
            refuse(self, refused)
        return cleaned


class NewConnectionForm(_OfConnection):
    """A new connection of an integration."""

    field_order = ("name",)

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        super().__init__(*args, page=page, **kwargs)
        self.fields["name"] = name_field(help_text=NAME_HELP, widget=forms.TextInput({"autocomplete": "off"}))
        self.order_fields(self.field_order)
        if not page.connections:
            self.initial.setdefault("name", "default")

    def clean_name(self) -> str:
        """The name is free."""
        name = str(self.cleaned_data["name"])
        if any(connection.name == name for connection in self.page.connections):
            raise forms.ValidationError(NAME_TAKEN)
        return name


class EditConnectionForm(_OfConnection):
    """Scopes and parameters of a connection that exists."""

    def __init__(self, *args: Any, page: IntegrationPage, connection: Connection, **kwargs: Any) -> None:
        kwargs["initial"] = {
            "scopes": connection.scopes,
            "additional_scopes": connection.additional_scopes,
            **kwargs.get("initial", {}),
        }
        super().__init__(*args, page=page, stored=connection.readable_parameters, **kwargs)
        self.connection = connection

    @property
    def name(self) -> str:
        """Renaming has a form of its own."""
        return self.connection.name

    @property
    def changed_parameters(self) -> dict[str, str] | None:
        """The values to connect with, if they are not those that the connection has."""
        values = with_stored(self.spec, self.shared, self.stored, self.parameters)
        return None if values == with_stored(self.spec, self.shared, self.stored, None) else self.parameters


class ConnectLinkForm(_OfConnection):
    """A one-time link for someone outside the workspace. Its ids differ from those of the other form on its page."""

    complete = False
    field_order = ("name",)

    def __init__(self, *args: Any, page: IntegrationPage, **kwargs: Any) -> None:
        super().__init__(*args, page=page, **{"auto_id": "link_%s", **kwargs})
        for field in self.parameter_fields:
            field.field.required = False
            field.field.widget.is_required = False
        self.fields["name"] = name_field(
            help_text="A new one, or one of these to reconnect it.",
            initial="default",
            widget=forms.TextInput({"autocomplete": "off"}),
        )
        self.fields["confirm_account_change"] = forms.BooleanField(
            label="Another account may take the place of the one it has now",
            required=False,
            help_text="Otherwise a connection that exists takes its own account only.",
        )
        self.fields["return_url"] = forms.URLField(
            label="Send them back to",
            required=False,
            max_length=500,
            assume_scheme="https",
            help_text="Blank: they see a page of ours. An address must be on the list in the workspace’s settings.",
            widget=forms.URLInput({**MONO, "placeholder": "https://app.example.com/connected"}),
        )
        self.order_fields(self.field_order)

    @property
    def given_parameters(self) -> dict[str, str]:
        """Those that were entered: what stays blank is asked from whoever uses the link."""
        return {key: value for key, value in self.parameters.items() if value}

    @property
    def fields_below(self) -> list[forms.BoundField]:
        """Those that stand below parameters and permissions."""
        return [self["confirm_account_change"], self["return_url"]]

    def clean_return_url(self) -> str:
        """On the workspace's list (open redirect)."""
        url = str(self.cleaned_data["return_url"])
        if url and not permits(self.page.workspace.return_urls, url):
            raise forms.ValidationError("This address is not on the list of return URLs in the workspace’s settings.")
        return url


class LinkVisitorForm(ConnectionForm):
    """What a connect link leaves open, for whoever uses it: parameters only."""

    def __init__(
        self, *args: Any, link: ConnectLink, spec: ProviderSpec, values: Mapping[str, Any], **kwargs: Any
    ) -> None:
        integration = link.integration
        super().__init__(
            *args,
            spec=spec,
            grant_type=GrantType(integration.grant_type),
            shared=integration.readable_parameters,
            only=open_choices(spec, integration, values),
            **kwargs,
        )
        for name in ("scope_choice", "scopes", "additional_scopes"):
            self.fields.pop(name, None)


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
            raise forms.ValidationError(NAME_TAKEN)
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
