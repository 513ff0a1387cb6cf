"""The form of a workspace's own provider: every field that a definition has, in the wizard's three steps.

What a definition must keep to is judged by the verbs; `refuse` puts their sentences beside the fields. Lists are rows
(`row_forms`). Secrets travel sealed for one person and workspace, and are never rendered back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from django import forms

from integrations.crypto import SealError, open_sealed, seal
from integrations.models import GrantType
from integrations.oauth.token_response import TokenResponseRules
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, ClientAuth, ProviderSpec
from integrations.providers.definition import SCOPE_SEPARATORS, USUAL_ACCOUNT_FIELDS, definition_of
from integrations.providers.form_fields import CLIENT_AUTH_CHOICES, MONO, add_errors, split_tags, tail_of
from integrations.providers.row_forms import (
    GO,
    ConfigValueRow,
    MetadataRow,
    ParameterRow,
    PatternRow,
    RowForm,
    Rows,
    ScopeRow,
    SuggestionRow,
)
from workspaces.widgets import SecretInput, TagsInput

ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
)
ANSWER = "answer_"  # fields of TokenResponseRules
COMPARISON = "comparison_"  # fields of ScopeComparison
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Issuer and endpoints",
        (
            "name", "provider_id", "grant_types", "issuer", *ENDPOINTS, "api_base_url", "refresh_endpoint", "category",
            "description", "docs_url", "discovered", "confirmed_foreign",
        ),
    ),
    (
        "Client and parameters",
        (
            "credentials", "client_id_label", "client_secret_label", "client_id", "client_secret",
            "sealed_client_secret", "token_endpoint_auth_method", "assertion_audience", "pkce", "parameters",
            "config_values", "authorization_params", "token_params", "refresh_params", "token_headers",
            "basic_auth_encoding", "token_request_format", "revocation_request_format", "response_type",
            "client_id_parameter",
            "client_secret_parameter", "token_response", "metadata", "userinfo_method", "userinfo_body",
            "userinfo_headers", "account_fields", "account_id_field", "refresh_margin_seconds",
            "refuses_early_refresh", "refresh_token_idle_seconds", "refresh_token_lifetime_seconds",
        ),
    ),
    (
        "Scopes",
        (
            "scopes", "allow_scope_customization", "allow_additional_scopes", "additional_scopes_help",
            "scope_input_delimiter", "scope_separator", "scope_parameter", "allowed_scope_patterns",
            "denied_scope_patterns", "suggested_scopes",
        ),
    ),
)  # fmt: skip
SEPARATOR_WORDS = {" ": "Space", ",": "Comma", "+": "Plus", ";": "Semicolon", "|": "Bar"}
ROWS: dict[str, type[RowForm]] = {
    "parameters": ParameterRow,
    "config_values": ConfigValueRow,
    "metadata": MetadataRow,
    "scopes": ScopeRow,
    "allowed_scope_patterns": PatternRow,
    "denied_scope_patterns": PatternRow,
    "suggested_scopes": SuggestionRow,
}
# Parts that are folded away, with their fields.
FOLDED: dict[str, tuple[str, ...]] = {
    "endpoints": ("refresh_endpoint", "docs_url", "description"),
    "wire": (
        "basic_auth_encoding", "token_request_format", "revocation_request_format", "client_id_parameter",
        "client_secret_parameter", "response_type", "refresh_margin_seconds", "refuses_early_refresh",
        "refresh_token_idle_seconds", "refresh_token_lifetime_seconds", "refresh_params", "token_headers",
    ),
    "answer": (*(ANSWER + rule.name for rule in fields(TokenResponseRules)), "metadata"),
    "userinfo": ("userinfo_method", "userinfo_body", "userinfo_headers", "account_id_field"),
    "scope": (
        "scope_parameter", "comparison_prefix", "comparison_ignore_case", "comparison_aliases",
        "comparison_not_echoed", "comparison_implied",
    ),
}  # fmt: skip
_SECONDS = ("refresh_margin_seconds", "refresh_token_idle_seconds", "refresh_token_lifetime_seconds")
SHARED, PER_CONNECTION = "integration", "connection"
_CREDENTIAL_LABELS = {CLIENT_ID: "client_id_label", CLIENT_SECRET: "client_secret_label"}
_ANSWER_WORDS: dict[str, tuple[str, str]] = {
    "token_path": ("Token object", "Where the token is nested: a path with dots."),
    "access_token_field": ("Access token field", ""),
    "refresh_token_field": ("Refresh token field", ""),
    "scope_field": ("Scope field", ""),
    "expires_in_field": ("Lifetime field", ""),
    "expires_in_unit": ("Unit of the lifetime", ""),
    "zero_means_never": ("A lifetime of zero means that the token never expires", ""),
    "expires_at_field": ("Absolute expiry field", "Read when the lifetime says nothing."),
    "expires_at_format": ("Form of the absolute expiry", ""),
    "dead_grant_codes": ("Codes of a dead grant", "What the provider says instead of invalid_grant."),
    "error_field": ("Field of an error code", "One that every answer has, at any status."),
    "error_success": ("Codes that mean success", ""),
    "error_description_field": ("Field of the error’s description", ""),
}


class DefaultingChoiceField(forms.ChoiceField):
    """A choice that always has a value: what is left out is the initial one."""

    def clean(self, value: Any) -> Any:
        """The value, or the initial one."""
        return super().clean(value or self.initial)


class TagListField(forms.CharField):
    """Entries separated by spaces, commas or line breaks; a list in the definition."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=TagsInput({"class": "g-mono"}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """An entry per line; text as it is."""
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        """The entries, each once."""
        return list(split_tags(super().clean(value)))


class LineListField(forms.CharField):
    """Entries that may contain spaces, one per line; a list in the definition."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.Textarea({**MONO, "rows": 2}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """An entry per line; text as it is."""
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        """The entries, each once."""
        return list(dict.fromkeys(line.strip() for line in super().clean(value).splitlines() if line.strip()))


class NamedValuesField(forms.CharField):
    """Names with values, one `name=value` per line; an object in the definition."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=20_000, widget=forms.Textarea({**MONO, "rows": 2}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """The lines of an object; text as it is."""
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, Mapping) else value

    def clean(self, value: Any) -> dict[str, str]:
        """The object. Raises ValidationError for a line that is none, or a name that is there twice."""
        found: dict[str, str] = {}
        for number, line in enumerate(super().clean(value).splitlines(), 1):
            name, sign, text = line.partition("=")
            if not line.strip():
                continue
            if not sign or not name.strip():
                raise forms.ValidationError(f"Line {number}: write name=value.")
            if name.strip() in found:
                raise forms.ValidationError(f"Line {number}: “{name.strip()}” is there twice. Keep one.")
            found[name.strip()] = text.strip()
        return found


def step_of(field: str) -> int:
    """The number (from 1) of the step that has the field; errors of no field belong to the first."""
    if field.startswith(ANSWER):
        field = "token_response"
    if field.startswith(COMPARISON):
        field = "scopes"
    return next((number for number, (_, names) in enumerate(STEPS, 1) if field in names), 1)


def _endpoint(label: str, placeholder: str, help_text: str = "", *, required: bool = False) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=2000,
        required=required,
        error_messages={"required": f"Enter the {label[:1].lower()}{label[1:]}."},
        help_text=help_text,
        widget=forms.TextInput({**MONO, "placeholder": placeholder, "inputmode": "url"}),
    )


def _wire_name(label: str, initial: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=50,
        required=False,
        initial=initial,
        widget=forms.TextInput({**MONO, "placeholder": initial}),
    )


class ProviderForm(forms.Form):
    """A workspace's own provider: its definition. `spec` is the version that is being edited, if there is one."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    grant_types = forms.MultipleChoiceField(
        label="Grant types",
        choices=GrantType.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[GrantType.AUTHORIZATION_CODE.value],
        error_messages={"required": "Choose at least one grant type."},
    )
    issuer = forms.CharField(
        label="Issuer URL",
        max_length=500,
        required=False,
        widget=forms.TextInput({**MONO, "placeholder": "https://id.example.com", "inputmode": "url"}),
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
    api_base_url = _endpoint("API base URL", "https://api.example.com/", "Where calls with the token may go.")
    refresh_endpoint = _endpoint(
        "Refresh endpoint", "https://id.example.com/oauth2/refresh", "Blank: tokens are renewed at the token endpoint."
    )
    category = forms.CharField(label="Category", max_length=60, required=False, initial="Custom")
    description = forms.CharField(label="Description", max_length=300, required=False)
    docs_url = forms.CharField(
        label="Documentation link",
        max_length=500,
        required=False,
        widget=forms.TextInput({**MONO, "placeholder": "https://docs.example.com/oauth", "inputmode": "url"}),
    )

    # What a discovery found, signed; the endpoints on other hosts that somebody confirmed.
    discovered = forms.CharField(required=False, max_length=60_000, widget=forms.HiddenInput)
    confirmed_foreign = forms.MultipleChoiceField(
        required=False, choices=[(name, name) for name in ENDPOINTS], widget=forms.MultipleHiddenInput
    )

    credentials = DefaultingChoiceField(
        label="Client ID and secret",
        choices=[
            (SHARED, "Shared by the integration: an admin saves them once"),
            (PER_CONNECTION, "Asked for each connection, with labels of your choosing"),
        ],
        widget=forms.RadioSelect,
        initial=SHARED,
    )
    client_id_label = forms.CharField(
        label="Label of the client ID", max_length=100, required=False, initial="Client ID"
    )
    client_secret_label = forms.CharField(
        label="Label of the client secret", max_length=100, required=False, initial="Client secret"
    )
    token_endpoint_auth_method = DefaultingChoiceField(
        label="Client authentication",
        choices=CLIENT_AUTH_CHOICES,
        widget=forms.RadioSelect,
        initial=ClientAuth.CLIENT_SECRET_BASIC.value,
    )
    assertion_audience = DefaultingChoiceField(
        label="Audience of the client assertion",
        choices=(("token_endpoint", "The token endpoint"), ("issuer", "The issuer")),
        initial="token_endpoint",
    )
    pkce = DefaultingChoiceField(
        label="PKCE",
        choices=(("S256", "S256 (recommended)"), ("off", "Off: the server is known to refuse it")),
        initial="S256",
    )
    authorization_params = NamedValuesField(
        label="Extra authorization parameters", help_text="One name=value per line, such as prompt=consent."
    )
    token_params = NamedValuesField(label="Extra token parameters", help_text="With every token request.")
    refresh_params = NamedValuesField(label="Extra refresh parameters", help_text="With the refresh request only.")
    token_headers = NamedValuesField(label="Token request headers", help_text="One name=value per line.")
    basic_auth_encoding = DefaultingChoiceField(
        label="Encoding of Basic credentials",
        choices=(("form", "Form-encoded (RFC 6749 §2.3.1)"), ("raw", "Raw: the server does not decode them")),
        initial="form",
    )
    token_request_format = DefaultingChoiceField(
        label="Body of token requests", choices=(("form", "Form (RFC 6749)"), ("json", "JSON")), initial="form"
    )
    revocation_request_format = DefaultingChoiceField(
        label="Body of revocations", choices=(("form", "Form (RFC 7009)"), ("json", "JSON")), initial="form"
    )
    response_type = forms.ChoiceField(
        label="response_type", choices=(("code", "code"), ("", "Left out")), initial="code", required=False
    )
    client_id_parameter = _wire_name("Name of client_id on the wire", "client_id")
    client_secret_parameter = _wire_name("Name of client_secret on the wire", "client_secret")
    userinfo_method = DefaultingChoiceField(
        label="User info method", choices=(("GET", "GET"), ("POST", "POST")), initial="GET"
    )
    userinfo_body = forms.CharField(
        label="User info body",
        max_length=2000,
        required=False,
        help_text="JSON, with POST.",
        widget=forms.TextInput(MONO),
    )
    userinfo_headers = NamedValuesField(label="User info headers", help_text="One name=value per line.")
    account_fields = TagListField(
        label="Account fields",
        initial=list(USUAL_ACCOUNT_FIELDS),
        help_text="Paths in the user info answer that name the account, best first.",
    )
    account_id_field = forms.CharField(
        label="Account ID field", max_length=100, required=False, initial="sub", widget=forms.TextInput(MONO)
    )
    refresh_margin_seconds = forms.IntegerField(
        label="Refresh margin",
        required=False,
        help_text="Seconds before its end at which a token is renewed. Blank: a fifth of its life, at most 15 minutes.",
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
    )
    refuses_early_refresh = forms.BooleanField(
        label="The provider renews a token only once it has ended", required=False
    )

    refresh_token_idle_seconds = forms.IntegerField(
        label="Refresh token dies unused after",
        required=False,
        help_text="Seconds, such as 7776000 for 90 days. It is used in time, read or unread. Blank: not known to.",
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
    )
    refresh_token_lifetime_seconds = forms.IntegerField(
        label="Life of a refresh token",
        required=False,
        help_text="Seconds from its issue, where the provider’s answer does not say. Blank: not known.",
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
    )

    allow_scope_customization = forms.BooleanField(
        label="Allow users to customize scopes",
        required=False,
        help_text="Off: every scope above is always requested. On: those that are not required may be unchecked.",
    )
    allow_additional_scopes = forms.BooleanField(
        label="Allow users to request additional scopes", required=False, initial=True
    )
    additional_scopes_help = forms.CharField(
        label="How to ask for more",
        max_length=500,
        required=False,
        help_text="What people read instead: whom they ask for another scope.",
    )
    scope_input_delimiter = DefaultingChoiceField(
        label="Typed scopes are separated by", choices=(("space", "Space"), ("comma", "Comma")), initial="space"
    )
    scope_separator = DefaultingChoiceField(
        label="Sent scopes are separated by",
        choices=[(separator, SEPARATOR_WORDS[separator]) for separator in SCOPE_SEPARATORS],
        initial=" ",
        help_text="Space, as RFC 6749 has it, unless the provider’s documentation says otherwise.",
    )
    scope_parameter = _wire_name("Name of scope on the wire", "scope")
    comparison_prefix = forms.CharField(
        label="Prefix of scopes in answers",
        max_length=200,
        required=False,
        help_text="May stand before a name or be left out.",
        widget=forms.TextInput(MONO),
    )
    comparison_ignore_case = forms.BooleanField(label="Answers write scopes in another case", required=False)
    comparison_aliases = NamedValuesField(
        label="Other names in answers", help_text="One per line: name in answers=name requested."
    )
    comparison_not_echoed = LineListField(
        label="Scopes that answers never name", help_text="They count as granted. One per line."
    )
    comparison_implied = NamedValuesField(
        label="Scopes that include others", help_text="One per line: scope=narrower ones, separated by spaces."
    )

    def __init__(self, *args: Any, seal_context: str, spec: ProviderSpec | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seal_context, self.spec = seal_context, spec
        self.fields |= _answer_fields()
        data = self.data if self.is_bound else None
        self.rows = {
            name: Rows(name, form_class, data=data, initial=self.initial.get(name, ()), seal_context=seal_context)
            for name, form_class in ROWS.items()
        }

    @property
    def answer_fields(self) -> list[forms.BoundField]:
        """How the token answer deviates, a field for each rule."""
        return [self[name] for name in self.fields if name.startswith(ANSWER)]

    @property
    def wrong(self) -> set[str]:
        """The names of all fields and lists with errors."""
        return {*self.errors, *(name for name, rows in self.rows.items() if rows.has_errors)}

    @property
    def open_parts(self) -> set[str]:
        """The folded parts that have something to show: an error, or a value that is not the usual one."""
        wrong = self.wrong
        return {
            part for part, names in FOLDED.items() if any(name in wrong or self._says_something(name) for name in names)
        }

    def _says_something(self, name: str) -> bool:
        if name in self.rows:
            return bool(self.rows[name].forms)
        value, usual = self[name].value(), self.fields[name].initial
        return value not in (None, "", [], {}, False) and value != usual and self.spec is not None

    def follow(self, go: str, *, focus: str) -> None:
        """Say what `with_rows` did, and mark what takes the focus with that attribute."""
        if match := GO.fullmatch(go):
            self.rows[match[2]].follow(match[1], int(match[3]) if match[3] else None, focus=focus)

    def full_clean(self) -> None:
        """The rows are judged with the form."""
        super().full_clean()
        if self.is_bound:
            for rows in self.rows.values():
                rows.validate()

    def clean(self) -> dict[str, Any]:
        """A service account alone needs no authorization endpoint."""
        cleaned = super().clean() or {}
        alone = cleaned.get("grant_types") == [GrantType.CLIENT_CREDENTIALS.value]
        if alone and self.has_error("authorization_endpoint", "required"):
            del self.errors["authorization_endpoint"]
        return cleaned

    def posted(self) -> dict[str, Any]:
        """What was posted, as initial values of another rendering; secrets only sealed."""
        return {
            **{
                name: field.widget.value_from_datadict(self.data, self.files, self.add_prefix(name))
                for name, field in self.fields.items()
            },
            **{name: rows.carried() for name, rows in self.rows.items()},
        }

    def as_posted(self) -> dict[str, Any]:
        """What the form shows, as a browser would send it unchanged."""
        data: dict[str, Any] = {rows.count_name: str(len(rows.forms)) for rows in self.rows.values()}
        for form in (self, *(row for rows in self.rows.values() for row in rows.forms)):
            shown = {field.html_name: field.value() for field in form}
            data |= {name: value for name, value in shown.items() if value not in (None, False)}
        return data

    def with_rows(self, go: str) -> dict[str, Any] | None:
        """What was posted with one row added, removed or moved; None when `go` asks for no such thing."""
        match = GO.fullmatch(go)
        if match is None or match[2] not in self.rows:
            return None
        number = int(match[3]) if match[3] else None
        return {**self.posted(), match[2]: self.rows[match[2]].changed(match[1], number)}

    # --- the definition ----------------------------------------------------------------------------------
    def definition(self) -> dict[str, Any]:
        """The API shape of what was typed so far, whether or not it is complete."""
        values = self.cleaned_data
        shape = {name: values[name] for name in _PLAIN if name in values}
        if GrantType.AUTHORIZATION_CODE not in values.get("grant_types", ()):
            shape["authorization_endpoint"] = ""
        for name in ("client_id_parameter", "client_secret_parameter", "scope_parameter", "account_id_field"):
            shape[name] = values.get(name) or self.fields[name].initial
        # What is blank is at its default, which for these is not "nothing".
        for name in ("category", *_SECONDS):
            shape[name] = values.get(name) or None
        if self.add_prefix("account_fields") in self.data:
            shape["account_fields"] = values.get("account_fields")
        return {
            **shape,
            "token_response": self._token_response(),
            "scope_comparison": self._scope_comparison(),
            **{name: rows.entries() for name, rows in self.rows.items() if rows.was_sent},
            **({"parameters": self._parameters()} if self.rows["parameters"].was_sent else {}),
            **({"scopes": self._scopes()} if self.rows["scopes"].was_sent else {}),
        }

    def _token_response(self) -> dict[str, Any]:
        usual = {rule.name: _default_of(rule) for rule in fields(TokenResponseRules)}
        found = {name: self.cleaned_data.get(ANSWER + name) for name in usual}
        return {
            name: value
            for name, value in found.items()
            if value not in (None, "", [])
            and value != (sorted(usual[name]) if isinstance(value, list) else usual[name])
        }

    def _scope_comparison(self) -> dict[str, Any]:
        values = {name.removeprefix(COMPARISON): self.cleaned_data.get(name) for name in _COMPARISON_FIELDS}
        if implied := values["implied"]:
            values["implied"] = {scope: text.split() for scope, text in implied.items()}
        return {name: value for name, value in values.items() if value}

    def _parameters(self) -> list[dict[str, Any]]:
        return [*self._credential_parameters(), *self.rows["parameters"].entries()]

    def _credential_parameters(self) -> list[dict[str, Any]]:
        """The locked parameters of credentials that are asked for each connection."""
        values = self.cleaned_data
        if values.get("credentials") != PER_CONNECTION:
            return []
        keys = [CLIENT_ID]
        if values.get("token_endpoint_auth_method") in (ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST):
            keys.append(CLIENT_SECRET)
        stored = definition_of(self.spec)["parameters"] if self.spec else []
        before = {parameter["key"]: parameter for parameter in stored}
        return [
            {
                **before.get(key, {"type": "password" if key == CLIENT_SECRET else "text"}),
                "key": key,
                "label": values.get(_CREDENTIAL_LABELS[key]) or self.fields[_CREDENTIAL_LABELS[key]].initial,
            }
            for key in keys
        ]

    def _scopes(self) -> Any:
        """One list, or a list for each grant type where some scope is for one only."""
        entries = self.rows["scopes"].entries()
        if not any(entry.get("only") for entry in entries):
            return [_without_only(entry) for entry in entries]
        return {
            grant_type: [_without_only(entry) for entry in entries if entry.get("only", grant_type) == grant_type]
            for grant_type in self.cleaned_data.get("grant_types", ())
        }

    def refuse(self, errors: Mapping[str, Iterable[str]]) -> None:
        """Put the definition's errors beside their fields."""
        places = {
            "base_scopes": "scopes",
            "token_response": f"{ANSWER}token_path",
            "scope_comparison": f"{COMPARISON}prefix",
        }
        rest: dict[str, Iterable[str]] = {}
        for name, sentences in errors.items():
            place = places.get(name, name)
            if place in self.rows:
                self.rows[place].refuse(sentences)
            elif name == "token_response":
                for sentence in sentences:
                    named = next((f for f in self.fields if f"“{f.removeprefix(ANSWER)}”" in sentence), place)
                    self.add_error(named, sentence)
            else:
                rest[place] = sentences
        add_errors(self, rest)


class NewProviderForm(ProviderForm):
    """The wizard's form: the definition, and the first client's credentials. Each step shows a part of it."""

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        """The client's secret only sealed."""
        return {**super().posted(), "client_secret": "", "sealed_client_secret": self.sealed}


_COMPARISON_FIELDS = tuple(name for name in ProviderForm.base_fields if name.startswith(COMPARISON))
_NOT_PLAIN = frozenset({"discovered", "confirmed_foreign", "credentials", "account_fields", "category", *_SECONDS}) | {
    *_CREDENTIAL_LABELS.values(),
    *_COMPARISON_FIELDS,
}
# Fields whose value is the definition's as it is.
_PLAIN = tuple(name for name in ProviderForm.base_fields if name not in _NOT_PLAIN)


def initial_of(spec: ProviderSpec) -> dict[str, Any]:
    """A definition as initial values of ProviderForm."""
    shape = definition_of(spec)
    locked = {item["key"]: item for item in shape["parameters"] if item["key"] in _CREDENTIAL_LABELS}
    shape["parameters"] = [item for item in shape["parameters"] if item["key"] not in _CREDENTIAL_LABELS]
    shape["scopes"] = _scope_rows(spec)
    return {
        **{name: shape[name] for name in ProviderForm.base_fields if name in shape},
        **{name: [ROWS[name].initial_of(entry) for entry in shape[name]] for name in ROWS},
        **{ANSWER + name: value for name, value in shape["token_response"].items()},
        **{COMPARISON + name: value for name, value in shape["scope_comparison"].items()},
        f"{COMPARISON}implied": {
            scope: " ".join(narrower) for scope, narrower in shape["scope_comparison"].get("implied", {}).items()
        },
        "credentials": PER_CONNECTION if locked else SHARED,
        **{_CREDENTIAL_LABELS[key]: item["label"] for key, item in locked.items()},
    }


def _scope_rows(spec: ProviderSpec) -> list[dict[str, Any]]:
    """Every scope once; one that is not the same under every grant type says for which it is."""
    everywhere = [scope for scope in spec.scopes_for(spec.grant_types[0]) if _is_everywhere(spec, scope)]
    rows = [{"only": "", **_scope_entry(scope)} for scope in everywhere]
    for grant_type in spec.grant_types:
        own = [scope for scope in spec.scopes_for(grant_type) if scope not in everywhere]
        rows += [{"only": grant_type.value, **_scope_entry(scope)} for scope in own]
    return rows


def _is_everywhere(spec: ProviderSpec, scope: Any) -> bool:
    return all(scope in spec.scopes_for(grant_type) for grant_type in spec.grant_types)


def _scope_entry(scope: Any) -> dict[str, Any]:
    return {"name": scope.name, "description": scope.description, "required": scope.required}


def _without_only(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "only"}


def _default_of(rule: Any) -> Any:
    return rule.default if rule.default is not MISSING else rule.default_factory()


def _answer_fields() -> dict[str, forms.Field]:
    """A field for each rule of reading token answers, by its type."""
    hints = get_type_hints(TokenResponseRules)
    return {ANSWER + rule.name: _answer_field(rule, hints[rule.name]) for rule in fields(TokenResponseRules)}


def _answer_field(rule: Any, kind: Any) -> forms.Field:
    label, words = _ANSWER_WORDS.get(rule.name, (rule.name, ""))
    if kind is bool:
        return forms.BooleanField(label=label, required=False, help_text=words)
    if get_origin(kind) is Literal:
        choices = [(choice, choice.replace("_", " ")) for choice in get_args(kind)]
        return DefaultingChoiceField(label=label, choices=choices, initial=rule.default, help_text=words)
    if get_origin(kind) is frozenset:
        return LineListField(label=label, help_text=f"{words} One per line.".strip())
    return forms.CharField(
        label=label, max_length=100, required=False, initial=rule.default, help_text=words, widget=forms.TextInput(MONO)
    )
