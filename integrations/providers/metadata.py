"""What a connection keeps of the provider's answers besides the token: an instance's host, a company's id.

A value is kept only if it matches its pattern in full. None is a secret; each can be part of an endpoint, where the
fences of `rendering` hold as for any parameter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from integrations.oauth.errors import ConfigurationRefused
from integrations.oauth.patterns import compile_pattern
from integrations.oauth.token_response import value_at
from integrations.providers.base import MetadataField, MetadataSource, ProviderSpec
from integrations.providers.rendering import MAX_VALUE_LENGTH, ParameterRefused, check_value

logger = logging.getLogger(__name__)


def of_callback(spec: ProviderSpec, query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the callback said. Raises ConfigurationRefused for a value that does not fit, is missing or came twice.

    Strict, since it comes through the browser and may decide where the code is sent (mix-up, RFC 9700 §4.4).
    """
    pairs = list(query)
    kept: dict[str, str] = {}
    for field in _fields(spec, MetadataSource.CALLBACK):
        given = [value for name, value in pairs if name == field.field]
        if not given and not field.required:
            continue
        text = _kept(spec, field, given[0]) if len(given) == 1 else None
        if text is None:
            raise ConfigurationRefused(
                "metadata_refused", f"The provider's answer has no usable “{field.field}”. Nothing was connected."
            )
        kept[field.key] = text
    return kept


def of_answer(spec: ProviderSpec, extra: Mapping[str, Any]) -> dict[str, str]:
    """What the token answer's other fields said. What does not fit is dropped: a token is never lost for it."""
    kept: dict[str, str] = {}
    for field in _fields(spec, MetadataSource.TOKEN):
        found = value_at(extra, field.field)
        if isinstance(found, bool) or not isinstance(found, str | int):
            continue
        text = _kept(spec, field, str(found))
        if text is None:
            logger.warning("%s: “%s” of the token answer does not have the expected form.", spec.provider_id, field.key)
        else:
            kept[field.key] = text
    return kept


def shown(spec: ProviderSpec, metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Label and value of what is kept, in the definition's order."""
    return [(field.label, metadata[field.key]) for field in spec.metadata if metadata.get(field.key)]


def _fields(spec: ProviderSpec, source: MetadataSource) -> list[MetadataField]:
    return [field for field in spec.metadata if field.source is source]


def _kept(spec: ProviderSpec, field: MetadataField, text: str) -> str | None:
    if len(text) > MAX_VALUE_LENGTH or not text.isprintable():
        return None
    match = compile_pattern(field.pattern).fullmatch(text)
    if match is None:
        return None
    value = (match[1] if match.re.groups else text) or None
    parameter = next((parameter for parameter in spec.parameters if parameter.key == field.key), None)
    if value is None or parameter is None:
        return value
    try:
        return check_value(parameter, value)  # whose place it takes from now on
    except ParameterRefused:
        return None
