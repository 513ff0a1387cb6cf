"""What a definition must keep to, whoever wrote it: endpoints, placeholders, parameters, scopes, patterns."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import cast

from integrations.models import GrantType
from integrations.oauth.grants import RESERVED_IN_AUTHORIZATION, RESERVED_IN_TOKEN_REQUEST
from integrations.oauth.patterns import PatternRefused, compile_pattern
from integrations.oauth.scopes import is_well_formed
from integrations.oauth.token_response import TokenResponseRules
from integrations.outbound.addresses import check_url
from integrations.outbound.errors import AddressRefused
from integrations.providers.base import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_PARAMETER_PATTERN,
    ClientAuth,
    ConfigValue,
    MetadataSource,
    Parameter,
    ProviderSpec,
)
from integrations.providers.helpers import HelperRefused, read_call
from integrations.providers.parameters import (
    ENDPOINT_FIELDS,
    deciding_keys,
    endpoint_template,
    placeholder_parameters,
    secret_keys,
)
from integrations.providers.rendering import (
    PLACEHOLDER,
    ParameterRefused,
    TemplateRefused,
    check_template,
    check_value,
    is_header_value,
    origin_of,
    placeholders,
)
from workspaces.brand_marks import BRAND_MARKS, HUES

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)
# The door sets these itself, or they would carry the token's place elsewhere.
_RESERVED_HEADERS = frozenset({"authorization", "host", "cookie", "content-length", "transfer-encoding"})
_TEMPLATE_MAPS = ("authorization_params", "token_params", "refresh_params", "token_headers", "userinfo_headers")
_HEADER_MAPS = ("token_headers", "userinfo_headers")

_TOKENS = frozenset({"access_token", "refresh_token", "id_token", "client_secret"})

_WIRE_NAME = re.compile(r"[A-Za-z0-9._~-]{1,50}", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*|", re.ASCII)
_TOKEN_RESPONSE_CHOICES: dict[str, tuple[str, ...]] = {
    "expires_in_unit": ("seconds", "milliseconds", "minutes"),
    "expires_at_format": ("unix_seconds", "unix_milliseconds", "iso8601"),
}

type_Found = Iterator[tuple[str, str]]


def broken_rules(spec: ProviderSpec, *, allowed_hosts: list[str]) -> dict[str, list[str]]:
    """Every rule that the definition breaks, as field → sentences; empty when it may be used."""
    errors: dict[str, list[str]] = {}
    for rule in _RULES:
        for field, sentence in rule(spec):
            errors.setdefault(field, []).append(sentence)
    for field, sentence in _endpoints(spec, allowed_hosts):
        errors.setdefault(field, []).append(sentence)
    return errors


def _required_fields(spec: ProviderSpec) -> type_Found:
    if not spec.name:
        yield "name", "Enter a name."
    if not spec.grant_types:
        yield "grant_types", "Name at least one grant type."
    discovered = bool(spec.resource)
    if not spec.token_endpoint and not discovered:
        yield "token_endpoint", "Enter the token endpoint."
    if spec.supports(GrantType.AUTHORIZATION_CODE) and not spec.authorization_endpoint and not discovered:
        yield "authorization_endpoint", "Enter the authorization endpoint: people are sent there to consent."
    for grant_type in spec.scopes:
        if not spec.supports(grant_type):
            yield "scopes", f"Add the grant type {grant_type.value}, or remove its scopes."


def _public_client(spec: ProviderSpec) -> type_Found:
    if spec.token_endpoint_auth_method is ClientAuth.NONE and spec.pkce == "off":
        yield "pkce", "Choose S256: without a client secret nothing else protects the authorization code."


def _assertion_audience(spec: ProviderSpec) -> type_Found:
    """An assertion must be of no use to anyone but its receiver: one that is addressed to a server and sent to another
    could be passed on (an issuer of someone else's, in a definition of one's own).
    """
    if spec.assertion_audience != "issuer":
        return
    if not spec.issuer:
        yield "issuer", "Enter the issuer: client assertions are addressed to it."
    elif spec.custom and not _same_origin(endpoint_template(spec, "issuer"), endpoint_template(spec, "token_endpoint")):
        yield "assertion_audience", "The issuer and the token endpoint are on different hosts. Choose token_endpoint."


def _same_origin(template: str, other: str) -> bool:
    try:
        return origin_of(template) == origin_of(other)
    except TemplateRefused:
        return True  # what is wrong with an endpoint is said of the endpoint


def _look(spec: ProviderSpec) -> type_Found:
    """A name without a mark or hue would fall back to grey letters, unnoticed."""
    if spec.brand_icon and spec.brand_icon not in BRAND_MARKS:
        yield "brand_icon", f"There is no brand mark “{spec.brand_icon}”. Leave it out for a monogram."
    if spec.color not in HUES:
        yield "color", f"Choose one of {', '.join(HUES)}."


def _endpoints(spec: ProviderSpec, allowed_hosts: list[str]) -> type_Found:
    for field in (*ENDPOINT_FIELDS, "docs_url"):
        template = endpoint_template(spec, field)
        if not template:
            continue
        try:
            check_template(template)
            if field == "docs_url":
                if not template.startswith("https://") or placeholders(template):
                    raise TemplateRefused("Enter a URL that begins with https://, without placeholders.")
            else:
                check_url(_example(template), allowed_hosts=allowed_hosts)
        except TemplateRefused as error:
            yield field, str(error)
        except AddressRefused as error:
            yield field, error.message


def _example(template: str) -> str:
    """The template with something harmless in its placeholders: two labels, so that it is no local name."""
    return PLACEHOLDER.sub("x", template) if "{{" in template else template


def _parameters(spec: ProviderSpec) -> type_Found:
    seen: set[str] = set()
    for parameter in spec.parameters:
        yield from _key("parameters", parameter.key, seen)
        if parameter.type == "dropdown" and not parameter.options:
            yield "parameters", f"Give “{parameter.key}” the options of its dropdown."
        if parameter.type != "dropdown" and parameter.options:
            yield "parameters", f"Remove the options of “{parameter.key}”, or make it a dropdown."
        yield from _parameter_pattern(parameter)
    yield from _credentials(spec)


def _credentials(spec: ProviderSpec) -> type_Found:
    """Client id and secret as parameters: the secret is one, and never without the id."""
    by_key = {parameter.key: parameter for parameter in spec.parameters}
    secret = by_key.get(CLIENT_SECRET)
    if secret is not None and CLIENT_ID not in by_key:
        yield "parameters", "Ask for client_id per connection too, or leave client_secret to the integration."
    if secret is not None and secret.type != "password":
        yield "parameters", "Make the parameter client_secret a password."
    if CLIENT_ID in by_key and secret is None and spec.token_endpoint_auth_method is not ClientAuth.NONE:
        yield "parameters", "Ask for client_secret per connection too, or choose the client authentication none."


def _config_values(spec: ProviderSpec) -> type_Found:
    seen = {parameter.key for parameter in spec.parameters}
    for item in spec.config_values:
        yield from _key("config_values", item.key, seen)
        if bool(item.value) == bool(item.helper):
            yield "config_values", f"Give “{item.key}” either a value or a helper."
        if item.value and placeholders(item.value):
            # It would stand in for what may not be where it is used, such as a secret in a URL.
            yield "config_values", f"Write the value of “{item.key}” out: it is used as it is, without placeholders."
        if item.helper:
            yield from _helper(spec, item)
        elif item.is_secret and not spec.custom:
            # It would stand unencrypted in the file.
            yield "config_values", f"“{item.key}” would be a secret. Make it a Password parameter instead."


def _secrets_elsewhere(spec: ProviderSpec) -> type_Found:
    """A definition's own secret stays with hosts that the definition names, whoever else would name one."""
    try:
        deciding = deciding_keys(spec)
    except TemplateRefused:  # said beside the endpoint itself
        return
    named_by_people = deciding & {parameter.key for parameter in spec.parameters}
    for item in spec.config_values:
        if item.is_secret and named_by_people:
            yield (
                "config_values",
                f"“{item.key}” would be sent to whatever host a parameter names. Ask for it as a password parameter, "
                "or write the host's last two labels out.",
            )


def _secrets_in_browsers(spec: ProviderSpec) -> type_Found:
    """Whoever may connect reads the address of the consent page, and the issuer is stored as it is."""
    hidden = secret_keys(spec)
    texts = [(field, str(getattr(spec, field))) for field in ("authorization_endpoint", "issuer")]
    for field, text in (*texts, *(("authorization_params", text) for text in spec.authorization_params.values())):
        for key in placeholders(text):
            if key in hidden:
                yield field, f"Remove {{{{{key}}}}}: it is a secret, and browsers see this. Use it in token parameters."


def _helper(spec: ProviderSpec, item: ConfigValue) -> type_Found:
    try:
        call = read_call(item.helper)
    except HelperRefused as error:
        yield "config_values", str(error)
        return
    known = {parameter.key for parameter in spec.parameters}
    for key in call.inputs:
        if key not in known:
            yield (
                "config_values",
                f"The helper of “{item.key}” reads the parameter “{key}”: add it, or write {call.helper.name}(other).",
            )
    if call.helper.uses_credentials:
        urls = [str(getattr(spec, field)) for field in ENDPOINT_FIELDS]
        if any(item.key in placeholders(text) for text in (*urls, *spec.authorization_params.values())):
            yield (
                "config_values",
                f"“{item.key}” contains the client secret: use it in token parameters and headers only, never in a "
                "URL, which browsers and logs see.",
            )


def _metadata(spec: ProviderSpec) -> type_Found:
    seen: set[str] = {item.key for item in spec.config_values}
    known = {parameter.key for parameter in spec.parameters}
    try:
        deciding = deciding_keys(spec) if spec.metadata else frozenset()
    except TemplateRefused:  # said beside the endpoint itself
        deciding = frozenset()
    for item in spec.metadata:
        yield from _key("metadata", item.key, seen)
        try:
            compile_pattern(item.pattern)
        except PatternRefused as error:
            yield "metadata", f"The pattern of “{item.key}”: {error}"
        if item.key in (CLIENT_ID, CLIENT_SECRET):
            yield "metadata", f"Name “{item.key}” otherwise: credentials never come from an answer."
        # A provider of a workspace's own could be told by its callback to send the secret anywhere.
        if spec.custom and item.key in deciding:
            yield "metadata", f"“{item.key}” would decide which host is called. Write the host's last two labels out."
        early: tuple[str, ...] = ("authorization_endpoint", "issuer")
        if item.source is MetadataSource.TOKEN:
            early = (*early, "token_endpoint")
        for field in early:
            if item.key not in known and item.key in placeholders(str(getattr(spec, field))):
                yield field, f"“{item.key}” is not known yet when this endpoint is called. Add a parameter of this key."


def _tokens_shown(spec: ProviderSpec) -> type_Found:
    """Metadata and accounts are shown to everybody; another token of the same answer must not be among them."""
    named = [("account_fields", path) for path in (*spec.account_fields,)]
    named += [("account_id_field", spec.account_id_field), *(("metadata", item.field) for item in spec.metadata)]
    for field, path in named:
        if path.rpartition(".")[2] in _TOKENS:
            yield field, f"Remove “{path}”: it is a token, and what is kept so is shown to everybody."


def _key(field: str, key: str, seen: set[str]) -> type_Found:
    if not _KEY.fullmatch(key):
        yield field, f"Name the key “{key[:50]}” with letters, digits and underscores, beginning with a letter."
    if key in seen:
        yield field, f"The key “{key}” is used twice. Give each its own."
    seen.add(key)


def _parameter_pattern(parameter: Parameter) -> type_Found:
    if parameter.pattern != DEFAULT_PARAMETER_PATTERN:
        try:
            compile_pattern(parameter.pattern)
        except PatternRefused as error:
            yield "parameters", f"The pattern of “{parameter.key}”: {error}"
            return
    if parameter.default:
        try:
            check_value(parameter, parameter.default)
        except ParameterRefused as error:
            yield "parameters", f"The default of “{parameter.key}”: {error.message}"


def _placeholders(spec: ProviderSpec) -> type_Found:
    known = {parameter.key for parameter in placeholder_parameters(spec)} | {item.key for item in spec.config_values}
    for field, text in templates_of(spec):
        for key in placeholders(text):
            # The client id is no secret, and some APIs want it beside the token.
            if key not in known and not (field in _HEADER_MAPS and key == CLIENT_ID):
                yield field, f"Add a parameter with the key “{key}”, or remove {{{{{key}}}}}."


def templates_of(spec: ProviderSpec) -> Iterator[tuple[str, str]]:
    """Every text in which `{{key}}` may stand, with its field."""
    for field in ENDPOINT_FIELDS:
        yield field, str(getattr(spec, field))
    for field in _TEMPLATE_MAPS:
        for text in cast(Mapping[str, str], getattr(spec, field)).values():
            yield field, text


def _patterns(spec: ProviderSpec) -> type_Found:
    for field in ("allowed_scope_patterns", "denied_scope_patterns"):
        for pattern in getattr(spec, field):
            try:
                compile_pattern(pattern.pattern)
            except PatternRefused as error:
                yield field, str(error)


def _scopes(spec: ProviderSpec) -> type_Found:
    for names in (
        *({s.name for s in scopes} for scopes in spec.scopes.values()),
        {s.name for s in spec.suggested_scopes},
    ):
        for name in sorted(names):
            yield from _scope_name("scopes", name, spec.scope_separator)
    for grant_type, scopes in spec.scopes.items():
        for twice in _twice(scope.name for scope in scopes):
            yield "scopes", f"“{twice}” is named twice for {grant_type.value}. Name it once."


def _scope_name(field: str, name: str, separator: str) -> type_Found:
    if not is_well_formed(name):
        yield (
            field,
            f"“{name[:80]}” is not a scope: ASCII characters without spaces, quotation marks and backslashes are.",
        )
    elif separator != " " and separator in name:
        yield field, f"“{name[:80]}” contains the separator “{separator}”. Write each scope as its own entry."


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _extras(spec: ProviderSpec) -> type_Found:
    for field, reserved in (
        ("authorization_params", RESERVED_IN_AUTHORIZATION),
        ("token_params", RESERVED_IN_TOKEN_REQUEST),
        ("refresh_params", RESERVED_IN_TOKEN_REQUEST),
    ):
        for name in getattr(spec, field):
            if name in reserved:
                yield field, f"Remove “{name}”: it is set by the flow itself."
    for field in _HEADER_MAPS:
        for name in getattr(spec, field):
            if not _HEADER.fullmatch(name) or name.lower() in _RESERVED_HEADERS:
                yield field, f"Remove “{name}”: it is not a header that a definition may set."
            if not is_header_value(PLACEHOLDER.sub("x", getattr(spec, field)[name])):
                yield field, f"Write the value of “{name}” in printable ASCII, without spaces around it."
    yield from _token_response(spec)
    yield from _wire_names(spec)
    if spec.userinfo_body:
        try:
            json.loads(spec.userinfo_body)
        except (ValueError, RecursionError):
            yield "userinfo_body", "Write JSON: it is what a userinfo asked by POST sends."
        if spec.userinfo_method != "POST":
            yield "userinfo_body", "Choose the userinfo method POST, or leave the body out."


def _wire_names(spec: ProviderSpec) -> type_Found:
    """Other names for scope, client id and secret; never the name of another thing that the flow sends."""
    usual = {"scope_parameter": "scope", "client_id_parameter": CLIENT_ID, "client_secret_parameter": CLIENT_SECRET}
    names = {field: str(getattr(spec, field)) for field in usual}
    for field, name in names.items():
        others = {*usual.values(), *(other for key, other in names.items() if key != field)}
        taken = (RESERVED_IN_AUTHORIZATION | RESERVED_IN_TOKEN_REQUEST | others) - {usual[field]}
        if not _WIRE_NAME.fullmatch(name):
            yield field, "Write a parameter's name: letters, digits, and . _ ~ - only."
        elif name in taken:
            yield field, f"“{name}” is the name of something else that the flow sends. Choose the provider's own name."


def _token_response(spec: ProviderSpec) -> type_Found:
    knobs = {knob.name: knob.type for knob in fields(TokenResponseRules)}
    for name, value in spec.token_response.items():
        if name not in knobs:
            yield "token_response", f"“{name}” is not known here. Known are: {', '.join(sorted(knobs))}."
        elif name in _TOKEN_RESPONSE_CHOICES:
            if value not in _TOKEN_RESPONSE_CHOICES[name]:
                yield "token_response", f"“{name}” is one of: {', '.join(_TOKEN_RESPONSE_CHOICES[name])}."
        elif knobs[name] == "bool":
            if not isinstance(value, bool):
                yield "token_response", f"“{name}” is true or false."
        elif str(knobs[name]).startswith("frozenset"):
            if not isinstance(value, frozenset) or not all(isinstance(text, str) for text in value):
                yield "token_response", f"“{name}” is a list of texts."
        elif not isinstance(value, str) or not _PATH.fullmatch(value):
            yield "token_response", f"“{name}” is a field's name, or a path with dots between names."


_RULES = (
    _required_fields,
    _public_client,
    _assertion_audience,
    _parameters,
    _config_values,
    _secrets_elsewhere,
    _secrets_in_browsers,
    _metadata,
    _tokens_shown,
    _placeholders,
    _patterns,
    _scopes,
    _extras,
    _look,
)
