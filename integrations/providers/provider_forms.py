"""Forms of a workspace's own provider: the wizard's three steps, and the edit page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from integrations.crypto import SealError, open_sealed, seal
from integrations.models import GrantType
from integrations.providers.base import ClientAuth, ProviderSpec
from integrations.providers.definition import SCOPE_SEPARATORS, definition_of
from integrations.providers.form_fields import CLIENT_AUTH_CHOICES, MONO, add_errors, split_tags, tail_of
from workspaces.widgets import SecretInput, TagsInput

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Endpoints",
        (
            "name",
            "provider_id",
            "grant_types",
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "introspection_endpoint",
            "userinfo_endpoint",
        ),
    ),
    ("Client", ("client_id", "client_secret", "sealed_client_secret", "token_endpoint_auth_method", "pkce")),
    ("Scopes", ("required_scopes", "other_scopes", "scope_separator")),
)
SEPARATOR_WORDS = {" ": "Space", ",": "Comma", "+": "Plus", ";": "Semicolon", "|": "Bar"}


class DefaultingChoiceField(forms.ChoiceField):
    """A choice that always has a value: what is left out is the initial one."""

    def clean(self, value: Any) -> Any:
        """The value, or the initial one."""
        return super().clean(value or self.initial)


def step_of(field: str) -> int:
    """The number (from 1) of the step that has the field; errors of no field belong to the first."""
    return next((number for number, (_, names) in enumerate(STEPS, 1) if field in names), 1)


def _endpoint(label: str, placeholder: str, help_text: str = "", *, required: bool = False) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=2000,
        required=required,
        error_messages={"required": f"Enter the {label.lower()}."},
        help_text=help_text,
        widget=forms.TextInput({**MONO, "placeholder": placeholder, "inputmode": "url"}),
    )


class ProviderForm(forms.Form):
    """A workspace's own provider. What a definition must keep to is judged by the verbs, field by field."""

    name = forms.CharField(label="Name", max_length=100, widget=forms.TextInput({"autocomplete": "off"}))
    grant_types = forms.MultipleChoiceField(
        label="Grant types",
        choices=GrantType.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[GrantType.AUTHORIZATION_CODE.value],
        error_messages={"required": "Choose at least one grant type."},
    )
    authorization_endpoint = _endpoint(
        "Authorization endpoint",
        "https://id.example.com/oauth2/authorize",
        "Where people consent. Not asked for a service account.",
        required=True,
    )
    token_endpoint = _endpoint("Token endpoint", "https://id.example.com/oauth2/token", required=True)
    revocation_endpoint = _endpoint(
        "Revocation endpoint",
        "https://id.example.com/oauth2/revoke",
        "With it, Disconnect also ends the grant at the provider.",
    )
    introspection_endpoint = _endpoint("Introspection endpoint", "https://id.example.com/oauth2/introspect")
    userinfo_endpoint = _endpoint(
        "User info endpoint",
        "https://id.example.com/userinfo",
        "Says whose account is connected, and tests the connection.",
    )
    token_endpoint_auth_method = DefaultingChoiceField(
        label="Client authentication",
        choices=CLIENT_AUTH_CHOICES,
        widget=forms.RadioSelect,
        initial=ClientAuth.CLIENT_SECRET_BASIC.value,
    )
    pkce = DefaultingChoiceField(
        label="PKCE",
        choices=(("S256", "S256 (recommended)"), ("off", "Off: the server is known to refuse it")),
        initial="S256",
    )
    required_scopes = forms.CharField(
        label="Base scopes",
        required=False,
        help_text="Always requested; nobody can leave them out.",
        widget=TagsInput({"class": "g-mono"}),
    )
    other_scopes = forms.CharField(
        label="Default scopes",
        required=False,
        help_text="Requested as well. More can be added to the integration at any time.",
        widget=TagsInput({"class": "g-mono"}),
    )
    scope_separator = DefaultingChoiceField(
        label="Scopes are separated by",
        choices=[(separator, SEPARATOR_WORDS[separator]) for separator in SCOPE_SEPARATORS],
        initial=" ",
        help_text="Space, as RFC 6749 has it, unless the provider’s documentation says otherwise.",
    )

    def clean(self) -> dict[str, Any]:
        """A service account alone needs no authorization endpoint."""
        cleaned = super().clean() or {}
        alone = cleaned.get("grant_types") == [GrantType.CLIENT_CREDENTIALS.value]
        if alone and self.has_error("authorization_endpoint", "required"):
            del self.errors["authorization_endpoint"]
        return cleaned

    def definition(self) -> dict[str, Any]:
        """The API shape of what was typed so far, whether or not it is complete."""
        values = self.cleaned_data
        endpoints = {
            name: values.get(name, "")
            for name in (
                "authorization_endpoint",
                "token_endpoint",
                "revocation_endpoint",
                "introspection_endpoint",
                "userinfo_endpoint",
            )
        }
        if GrantType.AUTHORIZATION_CODE not in values.get("grant_types", ()):
            endpoints["authorization_endpoint"] = ""
        required = split_tags(values.get("required_scopes", ""))
        others = [name for name in split_tags(values.get("other_scopes", "")) if name not in required]
        return {
            "name": values.get("name", ""),
            "grant_types": list(values.get("grant_types", ())),
            **endpoints,
            "scopes": [{"name": name, "required": True} for name in required]
            + [{"name": name, "required": False} for name in others],
            "scope_separator": values.get("scope_separator", " "),
            "token_endpoint_auth_method": values.get(
                "token_endpoint_auth_method", ClientAuth.CLIENT_SECRET_BASIC.value
            ),
            "pkce": values.get("pkce", "S256"),
        }

    def refuse(self, errors: Mapping[str, Iterable[str]]) -> None:
        """Put the definition's errors beside their fields."""
        renamed = {"scopes": "other_scopes", "base_scopes": "required_scopes"}
        add_errors(self, {renamed.get(name, name): sentences for name, sentences in errors.items()})


class NewProviderForm(ProviderForm):
    """The wizard's whole form: each step shows a part, the other parts travel as hidden fields.

    The client secret travels sealed for this person and workspace, and is neither kept in the session nor shown.
    """

    provider_id = forms.CharField(
        label="Provider ID",
        max_length=60,
        required=False,
        help_text="Made from the name when blank. It begins with custom_ and never changes.",
        widget=forms.TextInput({**MONO, "placeholder": "custom_…"}),
    )
    client_id = forms.CharField(
        label="Client ID",
        max_length=512,
        required=False,
        help_text="Can be added later.",
        widget=forms.TextInput(MONO),
    )
    client_secret = forms.CharField(
        label="Client secret", max_length=4096, required=False, widget=SecretInput({"class": "g-mono"})
    )
    sealed_client_secret = forms.CharField(required=False, max_length=16_000, widget=forms.HiddenInput)

    def __init__(self, *args: Any, seal_context: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seal_context = seal_context
        if secret := self.secret:
            self.fields["client_secret"].widget = SecretInput(
                {"class": "g-mono"}, stored_hint=tail_of(secret) or "••••"
            )

    @property
    def sealed(self) -> str:
        """The secret as it travels: sealed anew when one was typed, else what came."""
        source = self.data if self.is_bound else self.initial
        if typed := str(source.get("client_secret") or "").strip():
            return seal(typed, self.seal_context).decode("ascii")
        return str(source.get("sealed_client_secret") or "")

    @property
    def secret(self) -> str:
        """The secret in the clear; "" when there is none or it was sealed for someone else."""
        if not self.sealed:
            return ""
        try:
            return open_sealed(self.sealed.encode(), self.seal_context)
        except (SealError, UnicodeError):
            return ""

    def posted(self) -> dict[str, Any]:
        """What was posted, as initial values of another rendering; the secret only sealed."""
        values = {
            name: field.widget.value_from_datadict(self.data, self.files, name)
            for name, field in self.fields.items()
            if name != "client_secret"
        }
        present = {name: value for name, value in values.items() if value not in (None, "") and value != []}
        return present | {"sealed_client_secret": self.sealed}


def initial_of(spec: ProviderSpec) -> dict[str, Any]:
    """A definition as initial values of ProviderForm."""
    shape = definition_of(spec)
    every = [scope for scopes in spec.scopes.values() for scope in scopes]
    return {
        **{name: shape[name] for name in ProviderForm.base_fields if name in shape},
        "required_scopes": list(dict.fromkeys(scope.name for scope in every if scope.required)),
        "other_scopes": list(dict.fromkeys(scope.name for scope in every if not scope.required)),
    }
