"""Filling `{{key}}` placeholders in, so that no value can lead a request to another host.

Three fences, each enough by itself for the attacks known to us: the template may have placeholders in host labels,
path and query only; a value matches its parameter's pattern over its whole length and has no character that ends the
place it stands in; the rendered URL is taken apart again and must keep the template's scheme, host suffix, port and
path prefix. Nothing is decoded and tried again: what looks encoded is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import SplitResult, quote, urlsplit

from integrations.oauth.patterns import compile_pattern
from integrations.providers.base import CLIENT_ID, CLIENT_SECRET, DEFAULT_PARAMETER_PATTERN, Parameter

PLACEHOLDER = re.compile(r"\{\{ *([A-Za-z][A-Za-z0-9_]{0,49}) *\}\}")
MAX_VALUE_LENGTH = 500
MAX_CREDENTIAL_LENGTH = 4096  # client ids and secrets that are asked per connection

# Ours, not a workspace's: its look-ahead is what `compile_pattern` refuses, and it takes linear time.
_DEFAULT_PATTERN = re.compile(DEFAULT_PARAMETER_PATTERN, re.ASCII)
_IN_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]|\.(?!\.))*", re.ASCII)
_IN_PATH = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)
_HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|_[a-z0-9-]{1,62}", re.ASCII)
_DOTS_ONLY = re.compile(r"\.+")


class TemplateRefused(ValueError):
    """An endpoint's placeholders stand where they cannot be filled in safely. The text says what to do."""


class ParameterRefused(ValueError):
    """A value is missing or does not fit its parameter. The message never repeats the value: it may be a password."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(message)


def placeholders(template: str) -> tuple[str, ...]:
    """The keys that a text uses, each once, in order."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(template)))


def whole_host_parameters(template: str) -> tuple[str, ...]:
    """The keys that decide whose host a URL leads to: fewer than two labels of the host stand to their right."""
    labels = _host_labels(template)
    deciding = labels[-2:] if len(labels) > 1 else labels
    return tuple(dict.fromkeys(key for label in deciding for key in PLACEHOLDER.findall(label)))


def origin_of(template: str) -> tuple[str, str, str]:
    """Scheme, host and port of a template, placeholders as they stand; the default port is written out."""
    parts = _split_template(template)
    host, port = _host_and_port(parts.netloc)
    # Keys of placeholders are case-sensitive, host names are not.
    literal = "".join(piece if piece.startswith("{{") else piece.lower() for piece in re.split(r"(\{\{.*?\}\})", host))
    return parts.scheme, literal, port or {"https": "443", "http": "80"}.get(parts.scheme, "")


@lru_cache(maxsize=1024)
def check_template(template: str) -> None:
    """Raise TemplateRefused unless placeholders stand only in host labels, path and query."""
    bare = PLACEHOLDER.sub("x", template)
    if "{" in bare or "}" in bare:
        raise TemplateRefused(
            "A placeholder is written {{key}}: letters, digits and underscores, beginning with a letter."
        )
    parts = _split_template(template)
    if PLACEHOLDER.search(parts.scheme) or not re.match(r"https?://", template, re.IGNORECASE):
        raise TemplateRefused("Write the scheme out: the URL begins with https://.")
    if PLACEHOLDER.search(parts.fragment) or "#" in template:
        raise TemplateRefused("Remove the fragment (#…) from the URL.")
    if "@" in parts.netloc:
        raise TemplateRefused("Remove the user name and password from the URL.")
    host, colon, port = parts.netloc.rpartition(":")
    if colon and not host.endswith("[") and PLACEHOLDER.search(port):
        raise TemplateRefused("Write the port out: a placeholder cannot stand for it.")


def missing_words(parameter: Parameter) -> str:
    """What is said of a parameter without a value."""
    return f"Enter a value for {parameter.label}."


def check_value(parameter: Parameter, value: object) -> str:
    """The value as text, if it fits its parameter over its whole length. Raises ParameterRefused."""
    if not isinstance(value, str) or not value:
        raise ParameterRefused(parameter.key, missing_words(parameter))
    limit = MAX_CREDENTIAL_LENGTH if parameter.key in (CLIENT_ID, CLIENT_SECRET) else MAX_VALUE_LENGTH
    if len(value) > limit:
        raise ParameterRefused(parameter.key, f"{parameter.label} has more than {limit} characters.")
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in value):
        raise ParameterRefused(parameter.key, f"{parameter.label} contains line breaks or control characters.")
    if parameter.type == "dropdown":
        if value not in parameter.options:
            raise ParameterRefused(parameter.key, f"{parameter.label} is one of: {', '.join(parameter.options)}.")
    elif not _pattern(parameter.pattern).fullmatch(value):
        raise ParameterRefused(parameter.key, f"{parameter.label} does not have the expected form.{_hint(parameter)}")
    return value


def is_header_value(text: str) -> bool:
    """Whether a header can hold a text (RFC 9110 §5.5, less what is obsolete)."""
    return text.isascii() and text.isprintable() and text == text.strip()


def render_text(template: str, values: Mapping[str, object], parameters: Sequence[Parameter]) -> str:
    """Fill placeholders of a text that is no URL (an extra parameter's value). Raises ParameterRefused."""
    checked = _checked_values(template, values, parameters)
    return PLACEHOLDER.sub(lambda match: checked[match[1]], template)


def render_endpoint(template: str, values: Mapping[str, object], parameters: Sequence[Parameter]) -> str:
    """Fill placeholders of a URL; it keeps the template's scheme, host suffix, port and path prefix.

    Raises ParameterRefused for a value that is missing, unfit or would lead elsewhere, and TemplateRefused for a
    template that has placeholders where none can be filled in.
    """
    if "{{" not in template:
        return template
    check_template(template)
    checked = _checked_values(template, values, parameters)
    labels = {parameter.key: parameter.label for parameter in parameters}
    parts = _split_template(template)
    host = _fill(parts.netloc, checked, labels, _IN_HOST, "letters, digits, hyphens and single dots")
    path = _fill(parts.path, checked, labels, _IN_PATH, "letters, digits and . _ ~ -")
    query = PLACEHOLDER.sub(lambda match: quote(checked[match[1]], safe=""), parts.query)
    url = f"{parts.scheme}://{host}{path}" + (f"?{query}" if query else "")
    _require_same_place(parts, url, placeholders(template)[0])
    return url


def _checked_values(template: str, values: Mapping[str, object], parameters: Sequence[Parameter]) -> dict[str, str]:
    by_key = {parameter.key: parameter for parameter in parameters}
    checked: dict[str, str] = {}
    for key in placeholders(template):
        if key not in by_key:
            raise ParameterRefused(key, f"The provider's definition uses {{{{{key}}}}} but has no such parameter.")
        parameter = by_key[key]
        value = values.get(key) or parameter.default
        checked[key] = "" if parameter.optional and not value else check_value(parameter, value)
    return checked


def _fill(
    part: str, checked: Mapping[str, str], labels: Mapping[str, str], allowed: re.Pattern[str], words: str
) -> str:
    def replace(match: re.Match[str]) -> str:
        key = match[1]
        value = checked[key]
        # Between slashes, dots alone are a step up; in a host they are empty labels.
        if not allowed.fullmatch(value) or _DOTS_ONLY.fullmatch(value):
            raise ParameterRefused(key, f"{labels[key]} becomes part of a URL and may have only {words}.")
        return value

    return PLACEHOLDER.sub(replace, part)


def _require_same_place(template: SplitResult, url: str, key: str) -> None:
    """Take the rendered URL apart and compare it with its template."""
    refused = ParameterRefused(key, "These values would lead to another address than the provider's. Check them.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused from error
    host, template_port = _host_and_port(template.netloc)
    before, after = _literal_ends(host)
    rendered = parts.netloc.rpartition(":")[0] if template_port else parts.netloc
    same_host = rendered.lower().startswith(before.lower()) and rendered.lower().endswith(after.lower())
    if PLACEHOLDER.search(host):
        same_host = same_host and _is_host_name(rendered.lower())
    segments = parts.path.split("/")
    if (
        parts.scheme != template.scheme
        or not same_host
        or len(rendered) < len(before) + len(after)
        or str(port or "") != template_port
        or parts.username is not None
        or parts.fragment
        or not parts.path.startswith(_literal_ends(template.path)[0])
        or len(segments) != len(template.path.split("/"))
        or any(_DOTS_ONLY.fullmatch(segment) for segment in segments)
    ):
        raise refused


def _is_host_name(host: str) -> bool:
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.split("."))


def _literal_ends(text: str) -> tuple[str, str]:
    """What stands before the first placeholder and after the last one; the whole text twice if there is none."""
    pieces = PLACEHOLDER.split(text)
    return (pieces[0], pieces[-1]) if len(pieces) > 1 else (text, "")


def _host_and_port(netloc: str) -> tuple[str, str]:
    host, colon, port = netloc.rpartition(":")
    return (host, port) if colon and port.isdigit() else (netloc, "")


def _host_labels(template: str) -> list[str]:
    return _host_and_port(_split_template(template).netloc)[0].split(".")


def _split_template(template: str) -> SplitResult:
    """Split without trusting urlsplit on a `{{key}}` host: cut by the first of / ? # after the scheme."""
    scheme, separator, rest = template.partition("://")
    if not separator:
        raise TemplateRefused("The URL begins with https:// and names a host.")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    if not netloc:
        raise TemplateRefused("The URL begins with https:// and names a host.")
    return SplitResult(scheme.lower(), netloc, slash + path, query, fragment)


def _pattern(pattern: str) -> re.Pattern[str]:
    return _DEFAULT_PATTERN if pattern == DEFAULT_PARAMETER_PATTERN else compile_pattern(pattern)


def _hint(parameter: Parameter) -> str:
    if parameter.help:
        return f" {parameter.help}"
    if parameter.pattern == DEFAULT_PARAMETER_PATTERN:
        return " Letters, digits, hyphens, underscores and single dots are, beginning with a letter or digit."
    return f" Its pattern is {parameter.pattern}"
