"""Definitions: the API's provider shape (plus what only catalogue files may say) to ProviderSpec and back.

    spec_from_definition  reads a definition that was checked when it was saved
    read_definition       reads a new one: shape first, then the rules
    definition_rules      the rules themselves
    definition_of         writes the API shape

Errors are a dict field → sentences, the same for the form, the API and the catalogue's system check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from integrations.models import GrantType
from integrations.oauth.sanitise import is_plain_line
from integrations.providers.base import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_PARAMETER_PATTERN,
    ClientAuth,
    ConfigValue,
    CredentialKind,
    MetadataField,
    MetadataSource,
    Parameter,
    ProviderSpec,
    ScopeComparison,
    ScopeDefinition,
    ScopePattern,
)
from integrations.providers.catalogue_rules import broken_catalogue_rules
from integrations.providers.definition_rules import broken_rules

MAX_ITEMS = 200
TEN_YEARS = 3650 * 86_400
# Custom providers have no say in these; they fit what most userinfo endpoints answer.
USUAL_ACCOUNT_FIELDS = ("email", "preferred_username", "username", "login", "name")
SCOPE_SEPARATORS = (" ", ",", "+", ";", "|")
# Credentials are no part of a URL: whatever can be printed.
CREDENTIAL_PATTERN = r"[ -~]+"
# What answers carry and a definition sent back may therefore contain, without effect.
READ_ONLY_FIELDS = frozenset({"version", "draft", "custom", "provider_id", "unverified"})


class InvalidDefinition(Exception):
    """A definition cannot be used. `errors` maps each field to sentences that say what to do."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {' '.join(sentences)}" for field, sentences in self.errors.items()))


class _Wrong(Exception):
    """A value has not the shape that its field needs; the text says which it needs."""


type_Reader = Callable[[Any], Any]


def _text(limit: int) -> type_Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise _Wrong(f"Write text (in quotes in a YAML file), not {_kind(value)}.")
        if len(value) > limit:
            raise _Wrong(f"At most {limit} characters fit here.")
        if not is_plain_line(value):
            raise _Wrong("Remove line breaks, control characters and characters that turn the writing direction.")
        return value if value.isspace() else value.strip()  # a separator may be one space

    return read


def _choice(*choices: str) -> type_Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _Wrong(_bare_word(value, choices) or f"Choose one of: {', '.join(map(repr, choices))}.")
        return value

    return read


def _bare_word(value: Any, choices: Iterable[str]) -> str:
    """What to do about a choice that YAML 1.1 read as true or false, since it stood there without quotes."""
    if not isinstance(value, bool):
        return ""
    words = ("on", "yes", "y", "true") if value else ("off", "no", "n", "false")
    return next(
        (f'Put it in quotes: "{word}". YAML reads a bare {word} as {words[-1]}.' for word in words if word in choices),
        "",
    )


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("Write true or false.")
    return value


def _seconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 86_400:
        raise _Wrong("Write whole seconds, from 1 to 86400.")
    return value


def _long_seconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 3600 <= value <= TEN_YEARS:
        raise _Wrong(f"Write whole seconds, from 3600 (an hour) to {TEN_YEARS} (ten years).")
    return value


def _calls_at_once(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10_000:
        raise _Wrong("Write a whole number, from 1 to 10000.")
    return value


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _Wrong(f"Write a list, such as [first, second], not {_kind(value)}.")
    if len(value) > MAX_ITEMS:
        raise _Wrong(f"At most {MAX_ITEMS} entries fit here.")
    return list(value)


def _texts(limit: int) -> type_Reader:
    read_one = _text(limit)
    return lambda value: tuple(_in_entry(number, read_one, item) for number, item in enumerate(_items(value), 1))


def _text_map(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"Write names with values, not {_kind(value)}.")
    if len(value) > MAX_ITEMS:
        raise _Wrong(f"At most {MAX_ITEMS} entries fit here.")
    read = _text(2000)
    return {_text(100)(name): _in_entry(name, read, item) for name, item in value.items()}


def _any_map(value: Any) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _Wrong("Write names with values.")
    return {
        name: frozenset(_in_entry(name, _texts(500), item)) if isinstance(item, list) else item
        for name, item in value.items()
    }


def _scope_comparison(value: Any) -> ScopeComparison:
    known: dict[str, type_Reader] = {
        "aliases": _text_map,
        "prefix": _text(200),
        "ignore_case": _boolean,
        "not_echoed": lambda item: frozenset(_texts(500)(item)),
        "implied": _implied_scopes,
    }
    if not isinstance(value, Mapping):
        raise _Wrong(f"Write an object with some of {', '.join(known)}, not {_kind(value)}.")
    for key in value:
        if key not in known:
            raise _Wrong(f"“{key}” is not known here. Known are: {', '.join(known)}.")
    return ScopeComparison(**{key: _in_entry(key, known[key], item) for key, item in value.items() if item is not None})


def _implied_scopes(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"Write scopes with lists of scopes, not {_kind(value)}.")
    return {_text(500)(name): _in_entry(name, _texts(500), item) for name, item in value.items()}


def _grant_types(value: Any) -> tuple[GrantType, ...]:
    items = _items(value)
    for item in items:
        _choice(*GrantType.values)(item)
    if not items:
        raise _Wrong("Name at least one grant type.")
    if len(set(items)) < len(items):
        raise _Wrong("Name each grant type once.")
    return tuple(GrantType(item) for item in items)


def _entries(keys: Mapping[str, type_Reader], needed: tuple[str, ...], make: Callable[..., Any]) -> type_Reader:
    def read_one(item: Any) -> Any:
        if not isinstance(item, Mapping):
            raise _Wrong(f"Write an object with {', '.join(needed)}, not {_kind(item)}.")
        for key in item:
            if key not in keys:
                raise _Wrong(f"“{key}” is not known here. Known are: {', '.join(keys)}.")
        values = {key: _in_entry(key, keys[key], item[key]) for key in item if item[key] is not None}
        for key in needed:
            if not values.get(key):
                raise _Wrong(f"“{key}” is missing.")
        return make(**values)

    return lambda value: tuple(_in_entry(number, read_one, item) for number, item in enumerate(_items(value), 1))


def _in_entry(name: object, read: type_Reader, value: Any) -> Any:
    try:
        return read(value)
    except _Wrong as wrong:
        where = f"Entry {name}" if isinstance(name, int) else f"“{name}”"
        raise _Wrong(f"{where}: {wrong}") from wrong


def _kind(value: Any) -> str:
    names: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "an object", type(None): "nothing"}
    return names.get(type(value), "something else")


def _parameter(**values: Any) -> Parameter:
    usual: dict[str, Any] = {"pattern": DEFAULT_PARAMETER_PATTERN}
    if values["key"] in (CLIENT_ID, CLIENT_SECRET):
        usual = {"pattern": CREDENTIAL_PATTERN, "type": "password" if values["key"] == CLIENT_SECRET else "text"}
        if values.get("pattern") == DEFAULT_PARAMETER_PATTERN:  # sent back as the API's shape shows it
            values.pop("pattern")
    return Parameter(**{**usual, **values})


_SCOPE_OBJECTS = _entries(
    {"name": _text(500), "required": _boolean, "description": _text(300)}, ("name",), ScopeDefinition
)
_PATTERN_LIST = _entries({"pattern": _text(300), "description": _text(300)}, ("pattern",), ScopePattern)


def _scope_list(value: Any) -> Any:
    """Scopes, each an object or its name alone."""
    return _SCOPE_OBJECTS([{"name": item} if isinstance(item, str) else item for item in _items(value)])


def _scopes(value: Any) -> Any:
    """A list for every grant type, or an object by grant type; `_by_grant_type` makes one form of both."""
    if not isinstance(value, Mapping):
        return _scope_list(value)
    for key in value:
        _choice(*GrantType.values)(key)
    return {GrantType(key): _in_entry(key, _scope_list, item) for key, item in value.items()}


def _base_scopes(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _texts(500)(value)
    for key in value:
        _choice(*GrantType.values)(key)
    return {GrantType(key): _in_entry(key, _texts(500), item) for key, item in value.items()}


_PARAMETER_KEYS: dict[str, type_Reader] = {
    "key": _text(50),
    "label": _text(100),
    "type": _choice("text", "password", "dropdown"),
    "options": _texts(500),
    "pattern": _text(300),
    "help": _text(300),
    "placeholder": _text(100),
    "default": _text(500),
}


# The API shape: what a workspace's own provider may say.
_FIELDS: dict[str, type_Reader] = {
    "name": _text(100),
    "category": _text(60),
    "description": _text(300),
    "grant_types": _grant_types,
    "authorization_endpoint": _text(2000),
    "token_endpoint": _text(2000),
    "refresh_endpoint": _text(2000),
    "revocation_endpoint": _text(2000),
    "introspection_endpoint": _text(2000),
    "userinfo_endpoint": _text(2000),
    "issuer": _text(500),
    "api_base_url": _text(2000),
    "scopes": _scopes,
    "base_scopes": _base_scopes,
    "suggested_scopes": _scope_list,
    "scope_separator": _choice(*SCOPE_SEPARATORS),
    "allow_scope_customization": _boolean,
    "allow_additional_scopes": _boolean,
    "scope_input_delimiter": _choice("space", "comma"),
    "additional_scopes_help": _text(500),
    "allowed_scope_patterns": _PATTERN_LIST,
    "denied_scope_patterns": _PATTERN_LIST,
    "pkce": _choice("S256", "off"),
    "token_endpoint_auth_method": lambda value: ClientAuth(_choice(*ClientAuth)(value)),
    "assertion_audience": _choice("token_endpoint", "issuer"),
    "basic_auth_encoding": _choice("form", "raw"),
    "scope_parameter": _text(50),
    "scope_comparison": _scope_comparison,
    "client_id_parameter": _text(50),
    "client_secret_parameter": _text(50),
    "response_type": _choice("code", ""),
    "token_request_format": _choice("form", "json"),
    "revocation_request_format": _choice("form", "json"),
    "authorization_params": _text_map,
    "token_params": _text_map,
    "refresh_params": _text_map,
    "token_headers": _text_map,
    "token_response": _any_map,
    "userinfo_method": _choice("GET", "POST"),
    "userinfo_body": _text(2000),
    "userinfo_headers": _text_map,
    "account_fields": _texts(100),
    "account_id_field": _text(100),
    "metadata": _entries(
        {
            "key": _text(50),
            "label": _text(100),
            "source": lambda value: MetadataSource(_choice(*MetadataSource)(value)),
            "field": _text(100),
            "pattern": _text(300),
            "required": _boolean,
        },
        ("key", "label", "source", "field", "pattern"),
        MetadataField,
    ),
    "refresh_margin_seconds": _seconds,
    "refuses_early_refresh": _boolean,
    "refresh_token_idle_seconds": _long_seconds,
    "refresh_token_lifetime_seconds": _long_seconds,
    "parameters": _entries(_PARAMETER_KEYS, ("key", "label"), _parameter),
    "config_values": _entries(
        {
            "key": _text(50),
            "label": _text(100),
            "value": _text(500),
            "helper": _text(110),
            "type": _choice("text", "password"),
            "visible": _boolean,
        },
        ("key", "label"),
        ConfigValue,
    ),
    "docs_url": _text(500),
}
# What only a file of the catalogue may say.
_CATALOGUE_FIELDS: dict[str, type_Reader] = {
    "provider_id": _text(60),
    "parameters": _entries(
        {
            **_PARAMETER_KEYS,
            "optional": _boolean,
            "grant_type": lambda value: GrantType(_choice(*GrantType.values)(value)),
        },
        ("key", "label"),
        _parameter,
    ),
    "credential": lambda value: CredentialKind(_choice(*CredentialKind)(value)),
    "resource": _text(2000),
    "max_concurrent_refreshes": _calls_at_once,
    "brand_icon": _text(40),
    "monogram": _text(2),
    "color": _text(20),
    "setup_hint": _text(600),
    "unverified": _boolean,
    "unverified_note": _text(300),
    "popular": _boolean,
}


def spec_from_definition(
    definition: Mapping[str, Any], secrets: Mapping[str, str | None] | None = None
) -> ProviderSpec:
    """Read a stored definition. Raises InvalidDefinition only when its shape is broken, not for newer rules.

    `secrets` are the values of secret config values by key; None where no key opens them.
    """
    spec, errors = _build(definition, _FIELDS, provider_id=str(definition.get("provider_id") or ""), custom=True)
    if errors or spec is None:
        raise InvalidDefinition(errors)
    if not secrets:
        return spec
    own = tuple(
        replace(item, value=secrets.get(item.key, item.value)) if item.is_secret else item
        for item in spec.config_values
    )
    return replace(spec, config_values=own)


def read_definition(definition: Mapping[str, Any], *, provider_id: str, allowed_hosts: list[str]) -> ProviderSpec:
    """Read and check a workspace's new definition. Raises InvalidDefinition with every error that was found.

    `allowed_hosts` are those that the operator opened (OUTBOUND_ALLOWED_HOSTS).
    """
    return _read(definition, _FIELDS, provider_id=provider_id, custom=True, allowed_hosts=allowed_hosts)


def read_catalogue_definition(definition: Mapping[str, Any], *, allowed_hosts: list[str]) -> ProviderSpec:
    """Read and check a definition from a catalogue file. Raises InvalidDefinition."""
    provider_id = definition.get("provider_id")
    return _read(
        definition,
        {**_FIELDS, **_CATALOGUE_FIELDS},
        provider_id=provider_id if isinstance(provider_id, str) else "",
        custom=False,
        allowed_hosts=allowed_hosts,
    )


def _read(
    definition: Mapping[str, Any],
    fields: Mapping[str, type_Reader],
    *,
    provider_id: str,
    custom: bool,
    allowed_hosts: list[str],
) -> ProviderSpec:
    spec, errors = _build(definition, fields, provider_id=provider_id, custom=custom)
    # Rules are judged even when some field could not be read, so that one try shows every error.
    broken = broken_rules(spec, allowed_hosts=allowed_hosts)
    if not custom:
        for field, sentences in broken_catalogue_rules(spec).items():
            broken.setdefault(field, []).extend(sentences)
    for field, sentences in broken.items():
        errors.setdefault(field, sentences)
    if errors:
        raise InvalidDefinition(errors)
    return spec


def _build(
    definition: Mapping[str, Any], fields: Mapping[str, type_Reader], *, provider_id: str, custom: bool
) -> tuple[ProviderSpec, dict[str, list[str]]]:
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for field, value in definition.items():
        if field not in fields:
            if field not in READ_ONLY_FIELDS or not custom:
                errors[str(field)] = [f"This is not a field of a provider. Remove it, or correct its name: {field}."]
        elif value is not None:
            try:
                values[field] = fields[field](value)
            except _Wrong as wrong:
                errors[field] = [str(wrong)]
    grant_types = values.setdefault("grant_types", ())
    scopes = _by_grant_type(values.pop("scopes", ()), grant_types)
    values["scopes"] = _with_required(scopes, _by_grant_type(values.pop("base_scopes", ()), grant_types))
    values.update(provider_id=provider_id, custom=custom)
    if custom:
        values.setdefault("category", "Custom")
        values.setdefault("account_fields", USUAL_ACCOUNT_FIELDS)
    values.setdefault("name", "")
    values.setdefault("token_endpoint", "")
    return ProviderSpec(**values), errors


def _by_grant_type(value: Any, grant_types: tuple[GrantType, ...]) -> dict[GrantType, tuple[Any, ...]]:
    if isinstance(value, Mapping):
        return cast(dict[GrantType, tuple[Any, ...]], dict(value))
    return dict.fromkeys(grant_types, value) if value else {}


def _with_required(
    scopes: dict[GrantType, tuple[ScopeDefinition, ...]], base: dict[GrantType, tuple[str, ...]]
) -> dict[GrantType, tuple[ScopeDefinition, ...]]:
    """Scopes named as base scopes are required ones, whether or not `scopes` lists them."""
    merged = dict(scopes)
    for grant_type, names in base.items():
        listed = {scope.name: scope for scope in merged.get(grant_type, ())}
        required = [ScopeDefinition(name, True, listed[name].description if name in listed else "") for name in names]
        others = [scope for scope in listed.values() if scope.name not in names]
        merged[grant_type] = (*required, *others)
    return merged


def definition_of(spec: ProviderSpec) -> dict[str, Any]:
    """The API's provider shape; what `spec_from_definition` reads back. Secret config values stay empty."""
    return {
        "provider_id": spec.provider_id,
        "name": spec.name,
        "category": spec.category,
        "description": spec.description,
        "grant_types": [grant_type.value for grant_type in spec.grant_types],
        "authorization_endpoint": spec.authorization_endpoint,
        "token_endpoint": spec.token_endpoint,
        "refresh_endpoint": spec.refresh_endpoint,
        "revocation_endpoint": spec.revocation_endpoint,
        "introspection_endpoint": spec.introspection_endpoint,
        "userinfo_endpoint": spec.userinfo_endpoint,
        "issuer": spec.issuer,
        "api_base_url": spec.api_base_url,
        "base_scopes": _one_list_if_equal(spec, lambda grant_type: list(spec.base_scopes(grant_type))),
        "suggested_scopes": [_scope_shape(scope) for scope in spec.suggested_scopes],
        "scopes": _one_list_if_equal(
            spec, lambda grant_type: [_scope_shape(scope) for scope in spec.scopes_for(grant_type)]
        ),
        "allow_scope_customization": spec.allow_scope_customization,
        "allow_additional_scopes": spec.allow_additional_scopes,
        "scope_input_delimiter": spec.scope_input_delimiter,
        "additional_scopes_help": spec.additional_scopes_help,
        "scope_separator": spec.scope_separator,
        "allowed_scope_patterns": [_pattern_shape(pattern) for pattern in spec.allowed_scope_patterns],
        "denied_scope_patterns": [_pattern_shape(pattern) for pattern in spec.denied_scope_patterns],
        "pkce": spec.pkce,
        "token_endpoint_auth_method": spec.token_endpoint_auth_method.value,
        "assertion_audience": spec.assertion_audience,
        "basic_auth_encoding": spec.basic_auth_encoding,
        "scope_parameter": spec.scope_parameter,
        "scope_comparison": _scope_comparison_shape(spec.scope_comparison),
        "client_id_parameter": spec.client_id_parameter,
        "client_secret_parameter": spec.client_secret_parameter,
        "response_type": spec.response_type,
        "token_request_format": spec.token_request_format,
        "revocation_request_format": spec.revocation_request_format,
        "authorization_params": dict(spec.authorization_params),
        "token_params": dict(spec.token_params),
        "refresh_params": dict(spec.refresh_params),
        "token_headers": dict(spec.token_headers),
        "token_response": {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in spec.token_response.items()
        },
        "userinfo_method": spec.userinfo_method,
        "userinfo_body": spec.userinfo_body,
        "userinfo_headers": dict(spec.userinfo_headers),
        "account_fields": list(spec.account_fields),
        "account_id_field": spec.account_id_field,
        "metadata": [
            {
                "key": item.key,
                "label": item.label,
                "source": item.source.value,
                "field": item.field,
                "pattern": item.pattern,
                "required": item.required,
            }
            for item in spec.metadata
        ],
        "refresh_margin_seconds": spec.refresh_margin_seconds,
        "refuses_early_refresh": spec.refuses_early_refresh,
        "refresh_token_idle_seconds": spec.refresh_token_idle_seconds,
        "refresh_token_lifetime_seconds": spec.refresh_token_lifetime_seconds,
        "parameters": [_parameter_shape(parameter) for parameter in spec.parameters],
        "config_values": [_config_value_shape(item) for item in spec.config_values],
        "docs_url": spec.docs_url,
        "version": spec.version,
        "draft": spec.draft,
        "unverified": spec.unverified,
    }


def _one_list_if_equal(spec: ProviderSpec, shape: Callable[[GrantType], list[Any]]) -> Any:
    by_grant_type = {grant_type.value: shape(grant_type) for grant_type in spec.grant_types}
    shapes = list(by_grant_type.values())
    if not shapes:
        return []
    return shapes[0] if all(one == shapes[0] for one in shapes) else by_grant_type


def _scope_comparison_shape(comparison: ScopeComparison) -> dict[str, Any]:
    """What the definition says; what it leaves out stays out."""
    shape = {
        "aliases": dict(comparison.aliases),
        "prefix": comparison.prefix,
        "ignore_case": comparison.ignore_case,
        "not_echoed": sorted(comparison.not_echoed),
        "implied": {scope: list(narrower) for scope, narrower in comparison.implied.items()},
    }
    return {name: value for name, value in shape.items() if value}


def _scope_shape(scope: ScopeDefinition) -> dict[str, Any]:
    return {"name": scope.name, "required": scope.required, "description": scope.description}


def _pattern_shape(pattern: ScopePattern) -> dict[str, str]:
    return {"pattern": pattern.pattern, "description": pattern.description}


def _config_value_shape(item: ConfigValue) -> dict[str, Any]:
    made = {"helper": item.helper} if item.helper else {"value": "" if item.is_secret else item.value}
    return {"key": item.key, "label": item.label, **made, "type": item.type, "visible": item.visible}


def _parameter_shape(parameter: Parameter) -> dict[str, Any]:
    return {
        "label": parameter.label,
        "key": parameter.key,
        "type": parameter.type,
        "options": list(parameter.options),
        "pattern": parameter.pattern,
        "help": parameter.help,
        "placeholder": parameter.placeholder,
        "default": parameter.default,
    }
