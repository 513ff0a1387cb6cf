"""Forms of an integration: its client credentials and parameters, its additional scopes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms

from integrations.crypto import SealError
from integrations.models import GrantType, Integration
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.form_fields import (
    CLIENT_AUTH_CHOICES,
    MONO,
    PARAMETER,
    WITHOUT_SECRET,
    add_errors,
    parameter_field,
    split_lines,
    tail_of,
)
from integrations.providers.parameters import admin_parameters, integration_parameters, open_parameters
from integrations.providers.rendering import ParameterRefused, check_value
from integrations.providers.service_account_key import MAX_KEY_LENGTH, KeyRefused, ServiceAccountKey
from workspaces.widgets import SecretInput, SecretTextarea, TagsInput

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MICROSOFT_HOST = "://login.microsoftonline.com/"


def secret_tail(integration: Integration | None) -> str:
    """How the stored client secret ends; "" when none is stored, it is too short to say, or no key opens it."""
    if integration is None or not integration.has_client_secret:
        return ""
    try:
        secret = integration.client_secret or ""
    except SealError:
        return ""
    return tail_of(secret)


class SetupForm(forms.Form):
    """Client credentials and parameters of an integration. A secret is never rendered back; blank keeps it."""

    client_id = forms.CharField(label="Client ID", max_length=512, widget=forms.TextInput(MONO))
    client_secret = forms.CharField(
        label="Client secret", max_length=4096, required=False, widget=SecretInput({"class": "g-mono"})
    )
    clear_client_secret = forms.BooleanField(label="Remove the stored client secret", required=False)
    token_endpoint_auth_method = forms.ChoiceField(
        label="Client authentication", choices=CLIENT_AUTH_CHOICES, required=False, widget=forms.RadioSelect
    )
    confirm_client_id = forms.BooleanField(required=False)
    takes_key = False

    def __init__(
        self,
        *args: Any,
        spec: ProviderSpec,
        grant_type: GrantType,
        integration: Integration | None,
        connected: int,
        **kwargs: Any,
    ) -> None:
        kwargs["initial"] = _setup_initial(spec, integration) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self.spec, self.grant_type, self.integration, self.connected = spec, grant_type, integration, connected
        self.secret_stored = integration is not None and integration.has_client_secret
        self.fields["client_secret"].widget = SecretInput(
            {**MONO, "maxlength": 4096}, stored_hint=secret_tail(integration)
        )
        self.fields["client_secret"].required = not self.secret_stored and self.auth_method not in WITHOUT_SECRET
        if not self.secret_stored:
            del self.fields["clear_client_secret"]
        if not connected:
            del self.fields["confirm_client_id"]
        else:
            self.fields[
                "confirm_client_id"
            ].label = (
                f"I know that {_connections(connected)} made with the old client ID will have to be connected again"
            )
        if grant_type == GrantType.CLIENT_CREDENTIALS:
            choices = [choice for choice in CLIENT_AUTH_CHOICES if choice[0] != ClientAuth.NONE]
            self.fields["token_endpoint_auth_method"].choices = choices  # type: ignore[attr-defined] # a ChoiceField
        if spec.asks_credentials:
            for name in ("client_id", "client_secret", "clear_client_secret", "confirm_client_id"):
                self.fields.pop(name, None)
        self._add_parameters()

    def _add_parameters(self) -> None:
        """The parameters first, as the provider's own pages show them first."""
        deciding = {parameter.key for parameter in admin_parameters(self.spec)}
        own = {
            PARAMETER + parameter.key: parameter_field(
                parameter,
                required=parameter.key in deciding and not parameter.default,
                help_text=parameter.help
                or (None if parameter.key in deciding else "Used for every connection. Blank: asked for each one."),
            )
            for parameter in integration_parameters(self.spec)
        }
        for name, field in own.items():
            key = name.removeprefix(PARAMETER)
            if any(parameter.key == key for parameter in open_parameters(self.spec, {})) and not field.required:
                field.blank_words = "or asked for each connection"  # type: ignore[attr-defined] # of our renderer
            stored = self.integration.readable_parameters.get(key) if self.integration else None
            default = next(p.default for p in self.spec.parameters if p.key == key)
            self.initial.setdefault(name, stored or default)
        self.fields = own | self.fields

    @property
    def auth_method(self) -> ClientAuth:
        """The client authentication in use."""
        return ClientAuth(self.initial["token_endpoint_auth_method"])

    @property
    def parameter_fields(self) -> list[forms.BoundField]:
        """The parameters' fields."""
        return [self[name] for name in self.fields if name.startswith(PARAMETER)]

    def clean_client_secret(self) -> str:
        """Recognise the two values that people paste by mistake."""
        secret = str(self.cleaned_data["client_secret"]).strip()
        if secret and secret == self.data.get("client_id", "").strip():
            raise forms.ValidationError("This is the client ID once more. Paste the client secret.")
        if MICROSOFT_HOST in self.spec.token_endpoint and _UUID.fullmatch(secret):
            raise forms.ValidationError(
                "This is the Secret ID. Paste the column “Value”: Microsoft shows it once, right after you create it."
            )
        return secret

    def clean(self) -> dict[str, Any]:
        """Check what concerns several fields: a new client id, and each parameter's form."""
        cleaned = super().clean() or {}
        self._judge_missing_secret(cleaned)
        if self.breaks_connections(cleaned) and not cleaned.get("confirm_client_id"):
            self.add_error(
                "client_id",
                f"Another client ID breaks {_connections(self.connected)}: tokens belong to the app they were "
                "issued to. Confirm below, or put the old one back.",
            )
        moves = self._names_another_host(cleaned)
        for parameter in integration_parameters(self.spec):
            value = cleaned.get(PARAMETER + parameter.key)
            if value:
                try:
                    check_value(parameter, value)
                except ParameterRefused as refused:
                    self.add_error(PARAMETER + parameter.key, str(refused))
            elif moves and parameter.type == "password" and self._stored.get(parameter.key):
                self.add_error(PARAMETER + parameter.key, "Enter it again: the stored one is not sent to another host.")
        return cleaned

    @property
    def _stored(self) -> Mapping[str, Any]:
        return self.integration.readable_parameters if self.integration else {}

    def _names_another_host(self, cleaned: Mapping[str, Any]) -> bool:
        """Whether a parameter that decides the host gets another value than the stored one."""
        return any(
            (cleaned.get(PARAMETER + parameter.key) or parameter.default)
            != (self._stored.get(parameter.key) or parameter.default)
            for parameter in admin_parameters(self.spec)
        )

    def _judge_missing_secret(self, cleaned: dict[str, Any]) -> None:
        """A secret is required by the client authentication that was chosen, not by the one that was saved."""
        chosen = cleaned.get("token_endpoint_auth_method") or self.auth_method
        if chosen in WITHOUT_SECRET and self.has_error("client_secret", "required"):
            del self.errors["client_secret"]
            cleaned["client_secret"] = ""
        elif chosen not in WITHOUT_SECRET and not self.secret_stored and cleaned.get("client_secret") == "":
            self.add_error("client_secret", self.fields["client_secret"].error_messages["required"])

    def breaks_connections(self, cleaned: Mapping[str, Any]) -> bool:
        """Whether another client id is given than the one that connections were made with."""
        given, stored = cleaned.get("client_id"), self.integration.client_id if self.integration else None
        return bool(self.connected and given and given != stored)

    @property
    def parameters(self) -> dict[str, str]:
        """The values after validation. Blank ones are left out, but a blank password keeps the stored one."""
        own = integration_parameters(self.spec)
        kept = {p.key: self._stored.get(p.key) for p in own if p.type == "password"}
        values = {p.key: str(self.cleaned_data.get(PARAMETER + p.key) or "").strip() or kept.get(p.key) for p in own}
        return {key: str(value) for key, value in values.items() if value}


KEY_FILE_TOO_LARGE = f"A key file has at most {MAX_KEY_LENGTH // 1024} KB. Choose another file."


class ServiceAccountKeyForm(SetupForm):
    """A service account's JSON key, as a file or pasted, instead of client id and secret. Blank keeps it."""

    takes_key = True
    key_file = forms.FileField(
        label="Key file",
        required=False,
        help_text="The JSON file that was downloaded when the key was made.",
        widget=forms.FileInput({"accept": ".json,application/json"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("client_id", "token_endpoint_auth_method", "confirm_client_id"):
            self.fields.pop(name, None)
        self.fields["client_secret"] = forms.CharField(
            label="Or paste its content",
            required=False,
            max_length=MAX_KEY_LENGTH,
            widget=SecretTextarea(dict(MONO), stored_hint=_key_hint(self.integration)),
        )
        for name in ("key_file", "client_secret"):
            self.fields[name].one_of_several = True  # type: ignore[attr-defined] # read when it is rendered
        if "clear_client_secret" in self.fields:
            self.fields["clear_client_secret"].label = "Remove the stored key"

    def clean_key_file(self) -> str:
        """The file as text."""
        file = self.cleaned_data.get("key_file")
        if file is None:
            return ""
        if file.size > MAX_KEY_LENGTH:
            raise forms.ValidationError(KEY_FILE_TOO_LARGE)
        try:
            return str(file.read().decode("utf-8"))
        except UnicodeDecodeError:
            raise forms.ValidationError("This file is not text. Choose the JSON file that was downloaded.") from None

    def clean_client_secret(self) -> str:
        """What was pasted, as it is: the verb reads it."""
        return str(self.cleaned_data["client_secret"]).strip()

    def _judge_missing_secret(self, cleaned: dict[str, Any]) -> None:
        """One of the two, or what is stored; the verb takes it as the client secret."""
        file, pasted = cleaned.get("key_file"), cleaned.get("client_secret")
        if file and pasted:
            self.add_error("client_secret", "Choose a file or paste its content, not both.")
        elif not file and not pasted and not self.secret_stored and not self.errors:
            limit = MAX_KEY_LENGTH // 1024
            self.add_error("key_file", f"Choose the JSON key file (at most {limit} KB), or paste its content.")
        cleaned["client_secret"] = file or pasted or ""


def _key_hint(integration: Integration | None) -> str:
    """What the stored key is recognised by: the end of its id, which is no secret."""
    try:
        stored = integration.client_secret if integration is not None else None
        return tail_of(ServiceAccountKey.from_json(stored).private_key_id) if stored else ""
    except (SealError, KeyRefused):
        return ""


def _setup_initial(spec: ProviderSpec, integration: Integration | None) -> dict[str, Any]:
    method = (integration.token_endpoint_auth_method if integration else "") or spec.token_endpoint_auth_method
    return {"client_id": integration.client_id if integration else "", "token_endpoint_auth_method": str(method)}


def _connections(number: int) -> str:
    return "the connection" if number == 1 else f"the {number} connections"


class ScopesForm(forms.Form):
    """Additional scopes of an integration; text left in the tag input counts."""

    additional_scopes = forms.CharField(label="Additional scopes", required=False)

    def __init__(self, *args: Any, spec: ProviderSpec, grant_type: GrantType, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spec = spec
        delimiter = "," if spec.scope_input_delimiter == "comma" else " "
        value = self["additional_scopes"].value() or ""  # a list from the database, text from a form
        chosen = split_lines(value, spec.scope_input_delimiter) if isinstance(value, str) else value
        known = {*spec.default_scopes(grant_type), *chosen}
        self.suggestions = tuple(scope for scope in spec.suggested_scopes if scope.name not in known)
        self.tags = TagsInput(
            {"class": "g-mono"}, delimiter=delimiter, suggestions=tuple(scope.name for scope in self.suggestions)
        )
        self.fields["additional_scopes"].widget = self.tags

    def clean_additional_scopes(self) -> tuple[str, ...]:
        """Split as the provider wants it."""
        return split_lines(str(self.cleaned_data["additional_scopes"]), self.spec.scope_input_delimiter)

    def refuse(self, errors: Mapping[str, Iterable[str]], wrong: Sequence[str] = ()) -> None:
        """Take over a verb's errors and mark the chips they are about."""
        add_errors(self, errors)
        self.tags.wrong = tuple(wrong)
