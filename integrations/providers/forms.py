"""Forms of providers: credentials and scopes of an integration, and a workspace's own provider in three steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms

from integrations.crypto import SealError, open_sealed, seal
from integrations.models import GrantType, Integration
from integrations.providers.base import ClientAuth, Parameter, ProviderSpec
from integrations.providers.definition import SCOPE_SEPARATORS, definition_of
from integrations.providers.parameters import admin_parameters
from integrations.providers.rendering import ParameterRefused, check_value
from workspaces.widgets import SecretInput, TagsInput

MONO = {"class": "g-mono", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
TAIL = 4
SHORTEST_SECRET_WITH_TAIL = 12  # of a shorter one, four characters would give too much away
PARAMETER = "param_"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MICROSOFT_HOST = "://login.microsoftonline.com/"

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


def secret_tail(integration: Integration | None) -> str:
    """How the stored client secret ends; "" when none is stored, it is too short to say, or no key opens it."""
    if integration is None or not integration.has_client_secret:
        return ""
    try:
        secret = integration.client_secret or ""
    except SealError:
        return ""
    return secret[-TAIL:] if len(secret) >= SHORTEST_SECRET_WITH_TAIL else ""


def parameter_field(parameter: Parameter, *, required: bool, help_text: str = "") -> forms.Field:
    """The form field of a provider's {{parameter}}."""
    words = help_text or parameter.help or f"Fills {{{{{parameter.key}}}}} in the provider’s addresses."
    attrs = {**MONO, "placeholder": parameter.placeholder}
    if parameter.type == "dropdown":
        choices = [(option, option) for option in parameter.options]
        blank = [] if required else [("", "Ask for each connection")]
        return forms.ChoiceField(label=parameter.label, choices=[*blank, *choices], required=required, help_text=words)
    widget = SecretInput(attrs) if parameter.type == "password" else forms.TextInput(attrs)
    return forms.CharField(label=parameter.label, required=required, help_text=words, widget=widget)


def add_errors(form: forms.Form, errors: Mapping[str, Iterable[str]]) -> None:
    """Put a verb's errors beside their fields; those of no field stand above the form."""
    for name, sentences in errors.items():
        place = next((n for n in (name, PARAMETER + name.removeprefix("parameters.")) if n in form.fields), None)
        for sentence in sentences:
            form.add_error(place, sentence)


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
        self._add_parameters()

    def _add_parameters(self) -> None:
        """The parameters first, as the provider's own pages show them first."""
        deciding = {parameter.key for parameter in admin_parameters(self.spec)}
        own = {
            PARAMETER + parameter.key: parameter_field(
                parameter,
                required=parameter.key in deciding and not parameter.default,
                help_text=parameter.help
                or ("" if parameter.key in deciding else "Used for every connection. Blank: asked for each one."),
            )
            for parameter in self.spec.parameters
        }
        for name in own:
            key = name.removeprefix(PARAMETER)
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
        for parameter in self.spec.parameters:
            value = cleaned.get(PARAMETER + parameter.key)
            if value:
                try:
                    check_value(parameter, value)
                except ParameterRefused as refused:
                    self.add_error(PARAMETER + parameter.key, str(refused))
        return cleaned

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
        stored = self.integration.readable_parameters if self.integration else {}
        kept = {p.key: stored.get(p.key) for p in self.spec.parameters if p.type == "password"}
        values = {p.key: self.cleaned_data.get(PARAMETER + p.key) or kept.get(p.key) for p in self.spec.parameters}
        return {key: str(value) for key, value in values.items() if value}


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
        delimiter = "," if spec.scope_input_delimiter == "comma" else ""
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
            tail = secret[-TAIL:] if len(secret) >= SHORTEST_SECRET_WITH_TAIL else "••••"
            self.fields["client_secret"].widget = SecretInput({"class": "g-mono"}, stored_hint=tail)

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
