"""Who gives which `{{key}}`: an admin on the integration, whoever makes a connection, the definition, the provider.

    parameters     asked from people; `admin_parameters` decide which host is called
    config values  fixed by the definition, or made of the parameters by a helper
    metadata       kept per connection from the token answer or the callback

`parameter_values` puts them together for one connection; `placeholder_parameters` says how each is checked when it is
rendered.
"""

from __future__ import annotations

from collections.abc import Mapping

from integrations.providers.base import (
    CLIENT_ID,
    CLIENT_SECRET,
    ConfigValue,
    MetadataSource,
    Parameter,
    ProviderSpec,
)
from integrations.providers.helpers import HelperRefused, read_call
from integrations.providers.rendering import (
    PLACEHOLDER,
    ParameterRefused,
    check_value,
    placeholders,
    whole_host_parameters,
)

ENDPOINT_FIELDS = (
    "authorization_endpoint",
    "token_endpoint",
    "refresh_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "api_base_url",
    "issuer",
)
# For values that were checked where they came from; what a URL takes is checked again when they are filled in.
_CHECKED_ELSEWHERE = r"[ -~]+"


def static_values(spec: ProviderSpec) -> dict[str, str]:
    """What the definition fixes itself, by key; without what no key opens."""
    return {item.key: item.value for item in spec.config_values if not item.helper and item.value is not None}


def secret_keys(spec: ProviderSpec) -> frozenset[str]:
    """The keys whose values nobody may read: password parameters, secret config values, what helpers make of them."""
    own = {parameter.key for parameter in spec.parameters if parameter.type == "password"}
    own |= {item.key for item in spec.config_values if item.is_secret}
    made = {item.key: read_call(item.helper) for item in spec.config_values if _is_known_helper(item)}
    return frozenset(own | {key for key, call in made.items() if call.helper.uses_credentials or own & {*call.inputs}})


def with_config_values(spec: ProviderSpec, template: str) -> str:
    """The template with the definition's static values in place; everything else stays a placeholder."""
    own = static_values(spec)
    return PLACEHOLDER.sub(lambda match: own.get(match[1], match[0]), template) if own else template


def endpoint_template(spec: ProviderSpec, field: str) -> str:
    """An endpoint of the definition, static config values in place."""
    return with_config_values(spec, str(getattr(spec, field)))


def admin_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Parameters that decide the host: an admin sets them on the integration, never a connection or a link.

    There are none where client id and secret are asked per connection too: then nobody else's secret goes there.
    """
    if spec.asks_credentials:
        return ()
    deciding = deciding_keys(spec)
    return tuple(parameter for parameter in spec.parameters if parameter.key in deciding)


def deciding_keys(spec: ProviderSpec) -> frozenset[str]:
    """The keys that decide whose host some endpoint is on; for a helper's result, what it is made of."""
    found = {
        key
        for field in ENDPOINT_FIELDS
        if (template := endpoint_template(spec, field))
        for key in whole_host_parameters(template)
    }
    made = {item.key: read_call(item.helper).inputs for item in spec.config_values if _is_known_helper(item)}
    return frozenset(found | {key for name in found for key in made.get(name, ())})


def connection_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Parameters that are asked when a connection is made."""
    admins = {parameter.key for parameter in admin_parameters(spec)}
    return tuple(parameter for parameter in spec.parameters if parameter.key not in admins)


def integration_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Parameters that an integration may give for all its connections: no secrets where each has its own."""
    if not spec.asks_credentials:
        return spec.parameters
    return tuple(p for p in spec.parameters if p.key != CLIENT_ID and p.type != "password")


def open_parameters(spec: ProviderSpec, integration_values: Mapping[str, object]) -> tuple[Parameter, ...]:
    """What each connection has to bring: neither the integration nor the definition has a value for it."""
    given = _shared_values(spec, integration_values)
    return tuple(p for p in connection_parameters(spec) if not (given.get(p.key) or p.default or p.optional))


def public_parameters(spec: ProviderSpec, values: Mapping[str, object]) -> dict[str, str]:
    """The values that may be shown. Not those of a parameter that the definition no longer has: it may have been a
    password.
    """
    shown = (p for p in spec.parameters if p.type != "password" and p.key not in (CLIENT_ID, CLIENT_SECRET))
    return {parameter.key: str(values[parameter.key]) for parameter in shown if values.get(parameter.key)}


def parameter_values(
    spec: ProviderSpec,
    integration_values: Mapping[str, object],
    connection_values: Mapping[str, object],
    metadata: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Every value for one connection: what was kept of the provider's answers, its own, the integration's, the default.

    Values posted for a config value are ignored. Raises ParameterRefused when one is missing or unfit, is no parameter
    of the provider, or decides the host and was given for the connection.
    """
    kept = {field.key: text for field in spec.metadata if (text := (metadata or {}).get(field.key))}
    given = without_config_values(spec, connection_values)
    refuse_foreign_parameters(spec, given, integration_values)
    values: dict[str, str] = dict(kept)
    shared = _shared_values(spec, integration_values)
    for parameter in spec.parameters:
        value = kept.get(parameter.key) or given.get(parameter.key) or shared.get(parameter.key) or parameter.default
        values[parameter.key] = "" if parameter.optional and not value else check_value(parameter, value)
    return values


def _shared_values(spec: ProviderSpec, integration_values: Mapping[str, object]) -> Mapping[str, object]:
    """What an integration gives to each of its connections.

    Where credentials are asked per connection, a connection may name the host: nobody else's secret may go there.
    """
    if not spec.asks_credentials:
        return integration_values
    own = {parameter.key for parameter in integration_parameters(spec)}
    return {key: value for key, value in integration_values.items() if key in own}


def without_config_values(spec: ProviderSpec, given: Mapping[str, object]) -> dict[str, object]:
    """What was given, less what only the definition may say."""
    fixed = {item.key for item in spec.config_values}
    return {key: value for key, value in given.items() if key not in fixed}


def refuse_foreign_parameters(
    spec: ProviderSpec, given: Mapping[str, object], integration_values: Mapping[str, object]
) -> None:
    """Raise ParameterRefused for a value of no parameter, or of one that an admin sets."""
    for key, sentence in _foreign_parameters(spec, given, integration_values).items():
        raise ParameterRefused(key, sentence)


def parameter_errors(
    spec: ProviderSpec,
    given: Mapping[str, object],
    integration_values: Mapping[str, object],
    *,
    complete: bool,
) -> dict[str, str]:
    """What is wrong with the values given for a connection, a sentence by key; `complete` names missing ones too.

    Values given for a config value are ignored.
    """
    given = without_config_values(spec, given)
    errors = _foreign_parameters(spec, given, integration_values)
    missing = {parameter.key for parameter in open_parameters(spec, integration_values)} if complete else set()
    for parameter in spec.parameters:
        value = given.get(parameter.key)
        if parameter.key in errors or not (value or parameter.key in missing):
            continue
        try:
            check_value(parameter, value)
        except ParameterRefused as refused:
            errors[parameter.key] = refused.message
    return errors


def _foreign_parameters(
    spec: ProviderSpec, given: Mapping[str, object], integration_values: Mapping[str, object]
) -> dict[str, str]:
    admins = {parameter.key for parameter in admin_parameters(spec)}
    known = {parameter.key for parameter in spec.parameters}
    errors: dict[str, str] = {}
    for key in given:
        if key not in known and key in (CLIENT_ID, CLIENT_SECRET):
            errors[key] = (
                f"{spec.name} has one client for all connections: its ID and secret are saved on the integration."
            )
        elif key not in known:
            errors[key] = f"{spec.name} has no parameter “{key[:50]}”. Remove it."
        elif key in admins and given[key] != integration_values.get(key):
            errors[key] = f"“{key}” decides which host is called: an admin sets it in the integration's configuration."
    return errors


def with_helper_values(
    spec: ProviderSpec, values: Mapping[str, str], *, client_id: str = "", client_secret: str = ""
) -> dict[str, str]:
    """The values and what helpers make of them. Raises ParameterRefused when a helper lacks an input."""
    inputs = {CLIENT_ID: client_id, CLIENT_SECRET: client_secret, **values}
    made = dict(values)
    for item in spec.config_values:
        if item.value is None:
            message = f"The value of “{item.label}” cannot be decrypted. Enter it again in the provider's definition."
            raise ParameterRefused(item.key, message)
        if item.helper:
            try:
                made[item.key] = read_call(item.helper)(inputs)
            except (HelperRefused, KeyError) as error:
                raise ParameterRefused(item.key, f"The helper of “{item.label}” lacks what it reads.") from error
    return made


def placeholder_parameters(spec: ProviderSpec) -> tuple[Parameter, ...]:
    """Every key that a text may use, and what its value must look like."""
    own = {parameter.key for parameter in spec.parameters}
    made = [(item.key, item.label) for item in spec.config_values if item.helper]
    kept = [(field.key, field.label) for field in spec.metadata if field.key not in own]
    others = (Parameter(key, label, pattern=_CHECKED_ELSEWHERE) for key, label in (*made, *kept))
    return (*spec.parameters, *others)


def awaits_metadata(spec: ProviderSpec, template: str, values: Mapping[str, str]) -> bool:
    """Whether an endpoint uses something that the provider has not told yet."""
    kept = {field.key for field in spec.metadata}
    return any(key in kept and not values.get(key) for key in placeholders(template))


def metadata_keys(spec: ProviderSpec, source: MetadataSource) -> frozenset[str]:
    """The keys that come from there."""
    return frozenset(field.key for field in spec.metadata if field.source is source)


def _is_known_helper(item: ConfigValue) -> bool:
    try:
        return bool(item.helper and read_call(item.helper))
    except HelperRefused:
        return False
