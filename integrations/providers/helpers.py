"""Helpers: functions that make a config value of the parameters (product row 11).

    @register("lower_case_host", "A host name in lower case", argument="host")
    def lower_case_host(values: Values) -> str: ...

A definition names one as `lower_case_host`, or as `lower_case_host(shop)` to read another parameter than the usual.
They are pure: no network, no database, and no memory between calls.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from integrations.providers.base import CLIENT_ID, CLIENT_SECRET

_CALL = re.compile(r"([a-z][a-z0-9_]{0,49})(?:\(\s*([A-Za-z][A-Za-z0-9_]{0,49})\s*\))?")
NONCE_BYTES = 16
HOME_REGION = frozenset({"", "us", "us1", "global", "default"})

type_Compute = Callable[[str, Mapping[str, str]], str]


class HelperRefused(ValueError):
    """A helper is not known, or reads a parameter that is not there. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A registered function. `argument` is the parameter that it reads unless the definition names another."""

    name: str
    description: str
    compute: type_Compute
    argument: str = ""
    uses_credentials: bool = False


_helpers: dict[str, Helper] = {}


def register(
    name: str, description: str, *, argument: str = "", uses_credentials: bool = False
) -> Callable[[type_Compute], type_Compute]:
    """Function decorator: make a helper known. Raises ValueError when the name is taken."""

    def decorate(compute: type_Compute) -> type_Compute:
        helper = Helper(name, description, compute, argument, uses_credentials)
        if _helpers.setdefault(name, helper) is not helper:
            raise ValueError(f"The helper {name} is registered already.")
        return compute

    return decorate


def registered() -> tuple[Helper, ...]:
    """Every helper, by name."""
    return tuple(_helpers[name] for name in sorted(_helpers))


@dataclass(frozen=True, slots=True)
class HelperCall:
    """A helper as a definition names it."""

    helper: Helper
    argument: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The parameters that the result depends on, the credentials not included."""
        return (self.argument,) if self.argument else ()

    def __call__(self, values: Mapping[str, str]) -> str:
        """The result. Raises KeyError for an input without a value."""
        return self.helper.compute(values[self.argument] if self.argument else "", values)


def read_call(text: str) -> HelperCall:
    """Read `name` or `name(parameter)`. Raises HelperRefused."""
    match = _CALL.fullmatch(text.strip())
    helper = _helpers.get(match[1]) if match else None
    if match is None or helper is None:
        raise HelperRefused(f"There is no helper “{text[:60]}”. Known are: {', '.join(sorted(_helpers))}.")
    if match[2] and not helper.argument:
        raise HelperRefused(f"The helper {helper.name} reads no parameter: write {helper.name} alone.")
    return HelperCall(helper, match[2] or helper.argument)


@register("basic_credentials", "Client ID and secret, joined by a colon, in base64", uses_credentials=True)
def basic_credentials(_argument: str, values: Mapping[str, str]) -> str:
    """As HTTP Basic has it (RFC 7617 §2), for providers that want it in a parameter of their own."""
    return b64encode(f"{values[CLIENT_ID]}:{values[CLIENT_SECRET]}".encode()).decode("ascii")


@register("lower_case_host", "A host name in lower case, without a dot at its end", argument="host")
def lower_case_host(argument: str, _values: Mapping[str, str]) -> str:
    """Host names are case-insensitive; some providers compare them letter by letter."""
    return argument.strip().lower().rstrip(".")


@register("region_api_host", "The API's host label for a region: api, or api.eu", argument="region")
def region_api_host(argument: str, _values: Mapping[str, str]) -> str:
    """The home region has the bare label, any other its own behind it."""
    region = argument.strip().lower()
    return "api" if region in HOME_REGION else f"api.{region}"


@register("nonce", "A random value, new for each request, that nothing has to remember")
def nonce(_argument: str, _values: Mapping[str, str]) -> str:
    """128 random bits in 32 hexadecimal digits."""
    return secrets.token_hex(NONCE_BYTES)
