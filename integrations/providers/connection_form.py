"""What a definition asks of whoever connects: parameters, and a choice of scopes (product rows 6, 8, 10).

A form of a definition alone, so that the preview of one that is not saved yet is the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, GrantType, Parameter, ProviderSpec, ScopeDefinition
from integrations.providers.form_fields import (
    MONO,
    PARAMETER,
    OpenChoiceField,
    OpenMultipleChoiceField,
    parameter_field,
    split_lines,
)
from integrations.providers.parameters import connection_parameters, open_parameters
from integrations.providers.preview import BLOT
from integrations.providers.scope_rules import MAX_TOTAL_LENGTH, how_to_ask_for_more, separate_scopes, takes_scopes
from workspaces.widgets import SecretInput, TagsInput

DEFAULT, CUSTOMIZE = "default", "customize"
MADE_BY_HELPER = "worked out from the other values"


@dataclass(frozen=True, slots=True)
class ScopeOption:
    """A scope that may be kept or dropped."""

    scope: ScopeDefinition
    checked: bool


class ConnectionForm(forms.Form):
    """Parameters and permissions of a connection.

    `shared` are the integration's values, `stored` those of a connection that is edited; neither shows a password.
    `only` leaves other parameters out. The values are judged by the verb that takes them.
    """

    def __init__(
        self,
        *args: Any,
        spec: ProviderSpec,
        grant_type: GrantType,
        shared: Mapping[str, Any] | None = None,
        stored: Mapping[str, Any] | None = None,
        only: Sequence[Parameter] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.spec, self.grant_type = spec, grant_type
        self.shared, self.stored = shared or {}, stored or {}
        self.parameters_asked = connection_parameters(spec) if only is None else tuple(only)
        self._add_parameters()
        self._add_scopes()

    def _add_parameters(self) -> None:
        must = {parameter.key for parameter in open_parameters(self.spec, self.shared)}
        # Passwords last: with text between them, browsers take one form for several.
        for parameter in sorted(self.parameters_asked, key=lambda parameter: parameter.type == "password"):
            name = PARAMETER + parameter.key
            is_password, stored = parameter.type == "password", bool(self.stored.get(parameter.key))
            self.fields[name] = parameter_field(
                parameter,
                required=parameter.key in must and not (is_password and stored),
                help_text=_help_text(parameter, keeps=is_password and stored),
                blank_choice="As the integration says",
            )
            if is_password and stored:
                self.fields[name].widget = SecretInput(MONO, keeps=True)
            elif not is_password:
                known = self.stored.get(parameter.key) or self.shared.get(parameter.key) or parameter.default
                self.initial.setdefault(name, known or "")

    def _add_scopes(self) -> None:
        if self.spec.allow_scope_customization and self.optional_scopes:
            chosen = self.initial.get("scopes")
            self.initial["scope_choice"] = DEFAULT if chosen is None else CUSTOMIZE
            self.fields["scope_choice"] = OpenChoiceField(
                label="Which of them",
                choices=[(DEFAULT, "Use default scopes"), (CUSTOMIZE, "Customize scopes")],
                widget=forms.RadioSelect,
                required=False,
            )
            choices = [(scope.name, scope.name) for scope in self.optional_scopes]
            self.fields["scopes"] = OpenMultipleChoiceField(label="Scopes", choices=choices, required=False)
        if self.spec.allow_additional_scopes and takes_scopes(self.spec):
            comma = self.spec.scope_input_delimiter == "comma"
            self.fields["additional_scopes"] = forms.CharField(
                label="Manually add scopes",
                required=False,
                strip=False,
                widget=TagsInput({**MONO, "rows": 2}, delimiter="," if comma else " "),
                help_text=f"{separate_scopes(self.spec)} At most {MAX_TOTAL_LENGTH} characters.",
            )

    # --- what was entered --------------------------------------------------------------------------------
    @property
    def parameters(self) -> dict[str, str]:
        """Values by key; a password that stayed blank is left out. Those of no field are handed on, to be refused."""
        prefixed = {name: str(value) for name, value in self.data.items() if name.startswith(self._prefix)}
        given = {name.removeprefix(self._prefix): value for name, value in prefixed.items()}
        passwords = {parameter.key for parameter in self.spec.parameters if parameter.type == "password"}
        return {key: value for key, value in given.items() if value or key not in passwords}

    @property
    def chosen_scopes(self) -> list[str] | None:
        """Those kept of the provider's own; None: all of them."""
        choice = self.data.get(self.add_prefix("scope_choice"))
        posted = self._posted_list("scopes")
        return None if choice == DEFAULT or (choice != CUSTOMIZE and not posted) else posted

    @property
    def additional_scopes(self) -> tuple[str, ...]:
        """Scopes added by hand, split by exactly the provider's delimiter; text left in the tag input counts."""
        text = str(self.data.get(self.add_prefix("additional_scopes"), ""))
        return split_lines(text, self.spec.scope_input_delimiter)

    @property
    def _prefix(self) -> str:
        return self.add_prefix(PARAMETER)

    def _posted_list(self, name: str) -> list[str]:
        getlist = getattr(self.data, "getlist", None)
        return list(getlist(self.add_prefix(name))) if getlist else list(self.data.get(self.add_prefix(name), ()))

    # --- what is shown -----------------------------------------------------------------------------------
    @property
    def parameter_fields(self) -> list[forms.BoundField]:
        """The parameters' fields."""
        return [self[name] for name in self.fields if name.startswith(PARAMETER)]

    @property
    def additional_scopes_field(self) -> forms.BoundField | None:
        """The field of scopes added by hand, where there is one."""
        return self["additional_scopes"] if "additional_scopes" in self.fields else None

    @property
    def asks_credentials(self) -> bool:
        """Whether client id and secret are among them."""
        return any(parameter.key in (CLIENT_ID, CLIENT_SECRET) for parameter in self.parameters_asked)

    @property
    def config_values(self) -> list[tuple[str, str]]:
        """Label and value of what the definition fixes and shows; of a password, that there is one."""
        return [
            (item.label, MADE_BY_HELPER if item.helper else BLOT if item.is_secret else str(item.value))
            for item in self.spec.config_values
            if item.visible
        ]

    @property
    def base_scopes(self) -> tuple[str, ...]:
        """Always requested."""
        return self.spec.base_scopes(self.grant_type)

    @property
    def optional_scopes(self) -> tuple[ScopeDefinition, ...]:
        """The definition's others."""
        return tuple(scope for scope in self.spec.scopes_for(self.grant_type) if not scope.required)

    @property
    def scope_options(self) -> list[ScopeOption]:
        """The same, each as chosen so far."""
        chosen = self.chosen_scopes if self.is_bound else self.initial.get("scopes")
        return [ScopeOption(scope, chosen is None or scope.name in chosen) for scope in self.optional_scopes]

    @property
    def more_scopes_help(self) -> str:
        """How to ask for more, where nobody who connects may add any."""
        return "" if "additional_scopes" in self.fields else how_to_ask_for_more(self.spec)


def _help_text(parameter: Parameter, *, keeps: bool) -> str:
    if keeps:
        return "Stored. Leave it blank to keep it."
    if parameter.help or parameter.key not in (CLIENT_ID, CLIENT_SECRET):
        return parameter.help
    return "Of the app that this connection belongs to."
