"""What whoever connects decides: a connection's name, scopes and parameters. Judged before a provider is asked.

Pages and API hand over what they were given; every refusal of it, and its words, come from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.connections.errors import FlowRefused
from integrations.crypto import SealError
from integrations.models import Connection, Integration
from integrations.models.parameter_values import WithParameters
from integrations.oauth.sanitise import is_plain_line
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, Parameter, ProviderSpec
from integrations.providers.oauth_provider import provider_for
from integrations.providers.parameters import (
    deciding_keys,
    open_parameters,
    parameter_errors,
)
from integrations.providers.registry import ProviderNotFound, find_spec
from integrations.providers.scope_rules import ScopesRefused, check_additional_scopes, check_choice

MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class ChosenScopes:
    """What a connection asks for differently: a choice among the provider's own (None: all of them), and more."""

    scopes: Sequence[str] | None = None
    additional: tuple[str, ...] = ()

    @property
    def stored_scopes(self) -> list[str] | None:
        """As the column holds it."""
        return None if self.scopes is None else list(self.scopes)

    @classmethod
    def of(cls, connection: Connection | None, spec: ProviderSpec) -> ChosenScopes:
        """Those of a connection, if there is one. A choice does not outlive the provider's permission to make it."""
        if connection is None:
            return cls()
        defined = spec.default_scopes(connection.integration.grant_type)
        may_choose = spec.allow_scope_customization and connection.scopes is not None
        scopes = [scope for scope in connection.scopes or () if scope in defined] if may_choose else None
        return cls(scopes, tuple(connection.additional_scopes) if spec.allow_additional_scopes else ())

    def but(self, scopes: Sequence[str] | None, additional: Sequence[str] | None) -> ChosenScopes:
        """The same, with what is given in the place of it."""
        return ChosenScopes(
            self.scopes if scopes is None else scopes, self.additional if additional is None else tuple(additional)
        )

    def requested(self, spec: ProviderSpec, integration: Integration) -> tuple[str, ...]:
        """What is asked for today: the definition's (or those chosen among them), the integration's, these."""
        return provider_for(spec, integration.grant_type).effective_scopes(
            integration_additional=integration.additional_scopes,
            connection_additional=self.additional,
            chosen=self.scopes,
        )


ALL_SCOPES = ChosenScopes()


def scope_drift(connection: Connection, spec: ProviderSpec) -> list[str]:
    """What is required now and was neither requested then nor granted; nothing without a token (product row B11)."""
    if getattr(connection, "token", None) is None:
        return []
    known = {*connection.requested_scopes, *connection.granted_scopes}
    needed = ChosenScopes.of(connection, spec).requested(spec, connection.integration)
    return [scope for scope in needed if scope not in known]


class ChoicesRefused(FlowRefused):
    """What was decided cannot be. `errors` maps each field to sentences that say what to do.

    Fields: `name`, `scopes`, `additional_scopes`, `client_id`, `client_secret`, `parameters.<key>`.
    """

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.errors = dict(errors)
        first, sentences = next(iter(self.errors.items()))
        code = {"name": "invalid_name", "scopes": "scope_refused", "additional_scopes": "scope_refused"}
        super().__init__(code.get(first, "parameter_refused"), sentences[0])
        self.next_step = ""  # the sentence says it

    @property
    def sentences(self) -> list[str]:
        """All of them."""
        return [sentence for sentences in self.errors.values() for sentence in sentences]


def check_choices(
    spec: ProviderSpec,
    integration: Integration,
    *,
    name: str,
    chosen: ChosenScopes,
    parameters: Mapping[str, Any],
    complete: bool,
) -> None:
    """Raise ChoicesRefused with everything that is wrong; `complete` names parameters without a value, too."""
    errors: dict[str, list[str]] = {}
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        errors["name"] = [f"A connection's name has 1 to {MAX_NAME_LENGTH} characters. Change it."]
    elif not is_plain_line(name):
        errors["name"] = ["Remove control characters and those that turn the writing direction from the name."]
    errors |= scope_errors(spec, integration.grant_type, chosen)
    values = integration.readable_parameters
    for key, sentence in parameter_errors(spec, parameters, values, complete=complete).items():
        errors[key if key in (CLIENT_ID, CLIENT_SECRET) else f"parameters.{key}"] = [sentence]
    if errors:
        raise ChoicesRefused(errors)


def scope_errors(spec: ProviderSpec, grant_type: str, chosen: ChosenScopes) -> dict[str, list[str]]:
    """What the provider's rules say against these scopes (product rows 6 to 8), by field."""
    errors: dict[str, list[str]] = {}
    try:
        check_choice(spec, grant_type, chosen.scopes)
    except ScopesRefused as refused:
        errors["scopes"] = [refused.message]
    try:
        check_additional_scopes(spec, grant_type, chosen.additional, of_connection=True)
    except ScopesRefused as refused:
        errors["additional_scopes"] = [refused.message]
    return errors


def with_stored(
    spec: ProviderSpec,
    integration_values: Mapping[str, object],
    stored: Mapping[str, Any],
    given: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The values of a connection that is made again: those given, over those it has; a blank one takes it away.

    Its passwords go along only to the host that they were given for: whoever may change the host could have them sent
    to one of their own.
    """
    known = {parameter.key for parameter in spec.parameters}
    secret = {parameter.key for parameter in spec.parameters if parameter.type == "password"}
    given = {key: _stripped(value, secret=key in secret - {CLIENT_SECRET}) for key, value in (given or {}).items()}
    stored = {key: value for key, value in stored.items() if key in known}
    merged = {key: value for key, value in (stored | given).items() if value not in (None, "")}
    if _same_host(spec, {**integration_values, **stored}, {**integration_values, **merged}):
        return merged
    return {key: value for key, value in merged.items() if key not in secret or key in given}


def _stripped(value: Any, *, secret: bool) -> Any:
    """Without the white space that comes from copying; in a password it may be meant."""
    return value.strip() if isinstance(value, str) and not secret else value


def stored_parameters(row: WithParameters | None) -> dict[str, Any]:
    """The row's parameter values, none without a row. Raises FlowRefused when no key opens them."""
    try:
        return row.parameters if row is not None else {}
    except SealError as error:
        raise FlowRefused("undecryptable") from error


def open_choices(spec: ProviderSpec, integration: Integration, values: Mapping[str, object]) -> tuple[Parameter, ...]:
    """The parameters that are still to be given, beside these values."""
    return tuple(p for p in open_parameters(spec, integration.readable_parameters) if not values.get(p.key))


def definition_for(integration: Integration, version: int | None = None) -> ProviderSpec:
    """The provider's definition under the integration's grant type. Raises FlowRefused when it is gone."""
    try:
        spec = find_spec(integration.workspace, integration.provider_id, version=version)
        return spec.under(integration.grant_type)
    except ProviderNotFound as error:
        raise FlowRefused("provider_missing") from error


def _same_host(spec: ProviderSpec, before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    defaults = {parameter.key: parameter.default for parameter in spec.parameters}
    return all(
        (before.get(key) or defaults.get(key)) == (after.get(key) or defaults.get(key)) for key in deciding_keys(spec)
    )
