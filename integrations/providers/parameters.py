"""Who gives which `{{parameter}}`: an admin on the integration, or whoever makes a connection."""

from __future__ import annotations

from collections.abc import Mapping

from integrations.providers.base import Parameter, ProviderSpec
from integrations.providers.rendering import (
    PLACEHOLDER,
    ParameterRefused,
    check_value,
    whole_host_parameters,
)

ENDPOINT_FIELDS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "api_base_url",
    "issuer",
)


def with_config_values(spec: ProviderSpec, template: str) -> str:
    """The template with the definition's own values in place; parameters stay placeholders."""
    own = {config_value.key: config_value.value for config_value in spec.config_values}
    return PLACEHOLDER.sub(lambda match: own.get(match[1], match[0]), template) if own else template


def endpoint_template(spec: ProviderSpec, field: str) -> str:
    """An endpoint of the definition, config values in place."""
    return with_config_values(spec, str(getattr(spec, field)))


def admin_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Parameters that decide the host: an admin sets them on the integration, never a connection or a link."""
    deciding = {
        key
        for field in ENDPOINT_FIELDS
        if (template := endpoint_template(spec, field))
        for key in whole_host_parameters(template)
    }
    return tuple(parameter for parameter in spec.parameters if parameter.key in deciding)


def connection_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Parameters that are asked when a connection is made."""
    admins = {parameter.key for parameter in admin_parameters(spec)}
    return tuple(parameter for parameter in spec.parameters if parameter.key not in admins)


def parameter_values(
    spec: ProviderSpec, integration_values: Mapping[str, object], connection_values: Mapping[str, object]
) -> dict[str, str]:
    """Every parameter's value for one connection: its own, else the integration's, else the default.

    Raises ParameterRefused when one is missing or unfit, is no parameter of the provider, or decides the host and
    was given for the connection.
    """
    admins = {parameter.key for parameter in admin_parameters(spec)}
    known = {parameter.key for parameter in spec.parameters}
    for key in connection_values:
        if key not in known:
            raise ParameterRefused(key, f"{spec.name} has no parameter “{key}”. Remove it.")
        if key in admins and connection_values[key] != integration_values.get(key):
            raise ParameterRefused(
                key, f"“{key}” decides which host is called: an admin sets it in the integration's configuration."
            )
    return {
        parameter.key: check_value(
            parameter,
            connection_values.get(parameter.key) or integration_values.get(parameter.key) or parameter.default,
        )
        for parameter in spec.parameters
    }
