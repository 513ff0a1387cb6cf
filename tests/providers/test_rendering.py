"""Placeholders: what fills them, and that no value can lead a request to another place."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from integrations.oauth.patterns import compile_pattern
from integrations.outbound.addresses import check_url
from integrations.outbound.errors import AddressRefused
from integrations.providers.base import Parameter
from integrations.providers.rendering import (
    ParameterRefused,
    TemplateRefused,
    check_template,
    origin_of,
    placeholders,
    render_endpoint,
    render_text,
    whole_host_parameters,
)

# Lets everything through, as a careless definition might: the fences behind the pattern are tested.
ANYTHING = r"(?s:.)+"
IN_HOST = "https://{{v}}.example.com/token"
WHOLE_HOST = "https://{{v}}/token"
IN_PATH = "https://login.example.com/base/{{v}}/token"
IN_QUERY = "https://login.example.com/token?tenant={{v}}"


def parameter(pattern: str | None = None, **fields: object) -> Parameter:
    extra = {} if pattern is None else {"pattern": pattern}
    return Parameter(key="v", label="Instance", **{**extra, **fields})  # type: ignore[arg-type]


def render(template: str, value: object, pattern: str | None = None) -> str:
    return render_endpoint(template, {"v": value}, [parameter(pattern)])


@pytest.mark.parametrize(
    ("template", "value", "url"),
    [
        (IN_HOST, "acme", "https://acme.example.com/token"),
        (IN_HOST, "acme.eu", "https://acme.eu.example.com/token"),
        (IN_HOST, "ACME-1", "https://ACME-1.example.com/token"),
        (WHOLE_HOST, "login.acme.org", "https://login.acme.org/token"),
        (IN_PATH, "contoso.onmicrosoft.com", "https://login.example.com/base/contoso.onmicrosoft.com/token"),
        (IN_PATH, "3fa85f64-5717-4562", "https://login.example.com/base/3fa85f64-5717-4562/token"),
        ("https://api-{{v}}.example.com:8443/", "eu", "https://api-eu.example.com:8443/"),
        ("https://{{ v }}.example.com/{{v}}/", "a", "https://a.example.com/a/"),
        ("https://example.com/fixed", "unused", "https://example.com/fixed"),
        ("http://127.0.0.1:8001/{{v}}/token", "t", "http://127.0.0.1:8001/t/token"),
        ("http://[::1]:8001/{{v}}", "t", "http://[::1]:8001/t"),
    ],
)
def test_values_are_filled_in(template: str, value: str, url: str) -> None:
    assert render(template, value) == url


def test_a_value_in_the_query_is_encoded() -> None:
    url = render(IN_QUERY, "a&b=c d/é%2f", ANYTHING)
    assert url == "https://login.example.com/token?tenant=a%26b%3Dc%20d%2F%C3%A9%252f"


ATTACKS = [
    "evil.com/",  # ends the host early
    "evil.com/x",
    "a.evil.com#",  # the rest becomes a fragment
    "evil.com?",  # the rest becomes the query
    "user@evil.com",  # the rest becomes the host of a URL with user name
    "user:pass@evil.com",
    "@",
    "%2f",  # a slash for whoever decodes
    "evil.com%2f",
    "%252f",  # a slash for whoever decodes twice
    "%00",
    "..",  # a step up in a path, empty labels in a host
    ".",
    "a..b",
    ".acme",
    "acme.",
    "evil.com:443",  # a port of its own
    ":80",
    "[::1]",  # an IPv6 address
    "::1",
    "evil.com\\",  # a slash for browsers
    "\\\\evil.com",
    "//evil.com/",
    "evil.com;",
    "evil.com,",
    "a b",
    "a\tb",  # urlsplit drops it silently
    "a\nb",
    "acme\n",  # $ would match before it
    "\r\nHost: evil.com",
    "\x00",
    "\x7f",
    "аcme",  # Cyrillic а
    "ａｃｍｅ",  # full width: IDNA maps it to acme
    "evil。com",  # ideographic full stop: IDNA maps it to a dot
    "evil．com",
    "evil℀com",  # NFKC makes a/c of it
    "ⓔvil",
    "a\u202eb",  # bidi override
    "a\u00adb",  # soft hyphen, invisible
    "{{v}}",  # rendered twice?
    "${v}",
    "-acme",  # no host label begins so
    "",
    "   ",
    "a" * 64,  # longer than a host label
    "a" * 501,
]


@pytest.mark.parametrize("pattern", [None, ANYTHING], ids=["default pattern", "careless pattern"])
@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_no_value_takes_a_host_over(attack: str, pattern: str | None) -> None:
    with pytest.raises(ParameterRefused):
        render(IN_HOST, attack, pattern)


@pytest.mark.parametrize(
    "attack",
    [
        *(a for a in ATTACKS if a not in ("acme.", ".acme", "a..b", "-acme", "a" * 64)),
        "a/../../evil",
        "a/b",
        "a?b",
        "a#b",
        "a;b",
        "...",
    ],
    ids=ascii,
)
def test_no_value_leaves_its_path_segment(attack: str) -> None:
    with pytest.raises(ParameterRefused):
        render(IN_PATH, attack, ANYTHING)


def test_dots_of_two_values_cannot_make_a_step_up() -> None:
    parameters = [Parameter(key="a", label="A", pattern=ANYTHING), Parameter(key="b", label="B", pattern=ANYTHING)]
    with pytest.raises(ParameterRefused):
        render_endpoint("https://example.com/{{a}}{{b}}/token", {"a": "a..", "b": ".."}, parameters[:1])
    with pytest.raises(ParameterRefused):
        render_endpoint("https://example.com/{{a}}{{b}}/token", {"a": ".", "b": "."}, parameters)
    with pytest.raises(ParameterRefused):
        render_endpoint("https://example.com/.{{a}}/token", {"a": "."}, parameters[:1])


@pytest.mark.parametrize("value", [None, 7, True, ["a"], {"a": 1}, b"acme"])
def test_only_text_is_a_value(value: object) -> None:
    with pytest.raises(ParameterRefused, match="Enter a value for Instance"):
        render(IN_HOST, value)


@pytest.mark.parametrize("template", [IN_PATH, IN_QUERY, IN_HOST])
def test_half_a_surrogate_pair_is_refused_instead_of_failing_to_encode(template: str) -> None:
    with pytest.raises(ParameterRefused, match="control characters"):
        render(template, "\ud800", ANYTHING)


def test_a_missing_value_falls_back_to_the_default() -> None:
    assert render_endpoint(IN_HOST, {}, [parameter(default="acme")]) == "https://acme.example.com/token"
    with pytest.raises(ParameterRefused, match="Enter a value for Instance"):
        render_endpoint(IN_HOST, {}, [parameter()])


def test_a_placeholder_without_parameter_is_refused() -> None:
    with pytest.raises(ParameterRefused, match="no such parameter"):
        render_endpoint(IN_HOST, {"v": "acme"}, [])


def test_a_dropdown_takes_only_its_options() -> None:
    region = parameter(type="dropdown", options=("eu", "us"))
    assert render_endpoint(IN_HOST, {"v": "eu"}, [region]) == "https://eu.example.com/token"
    with pytest.raises(ParameterRefused, match="one of: eu, us"):
        render_endpoint(IN_HOST, {"v": "ap"}, [region])


def test_a_refusal_never_repeats_the_value() -> None:
    with pytest.raises(ParameterRefused) as caught:
        render(IN_HOST, "hunter2/hunter2", ANYTHING)
    assert "hunter2" not in str(caught.value)


def test_text_that_is_no_url_takes_what_the_pattern_takes() -> None:
    assert render_text("aud={{v}}", {"v": "a b"}, [parameter("[a-z ]+")]) == "aud=a b"
    with pytest.raises(ParameterRefused):
        render_text("{{v}}", {"v": "a\nb"}, [parameter(ANYTHING)])


@pytest.mark.parametrize(
    "template",
    [
        "{{v}}://example.com/",
        "{{v}}",
        "{{v}}/token",
        "https://example.com:{{v}}/",
        "https://{{v}}@example.com/",
        "https://user@{{v}}.example.com/",
        "https://example.com/#{{v}}",
        "https://example.com/{v}",
        "https://example.com/{{v}",
        "https://example.com/{{1v}}",
        "https://example.com/{{v-w}}",
        "https:///{{v}}",
        "https://",
        "javascript://{{v}}",
    ],
)
def test_templates_with_placeholders_in_unsafe_places_are_refused(template: str) -> None:
    with pytest.raises(TemplateRefused):
        check_template(template)


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        ("https://{{v}}/token", ("v",)),
        ("https://{{v}}:8443/token", ("v",)),
        # Whoever fills it in chooses the registered domain.
        ("https://{{v}}.com/token", ("v",)),
        ("https://api.{{v}}.com/token", ("v",)),
        # Glued to the domain: evil- would make it another one.
        ("https://{{v}}example.com/token", ("v",)),
        ("https://{{a}}.{{b}}/token", ("a", "b")),
        ("https://{{a}}.example.{{b}}/token", ("b",)),
        ("https://{{v}}.example.com/token", ()),
        ("https://{{v}}.co.example.com/{{w}}", ()),
        ("https://example.com/{{v}}?x={{w}}", ()),
        ("http://localhost:9000/{{v}}", ()),
    ],
)
def test_parameters_that_decide_whose_host_it_is(template: str, keys: tuple[str, ...]) -> None:
    assert whole_host_parameters(template) == keys


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("https://Example.com/a", "https://example.com:443/b", True),
        ("https://example.com/", "http://example.com/", False),
        ("https://example.com/", "https://example.com:8443/", False),
        ("https://{{a}}.example.com/", "https://{{a}}.example.com/x", True),
        ("https://{{a}}.example.com/", "https://{{A}}.example.com/", False),
        ("http://example.com/", "http://example.com:80/", True),
    ],
)
def test_origins_of_templates(left: str, right: str, same: bool) -> None:
    assert (origin_of(left) == origin_of(right)) is same


_NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("abzAZ019-_.~/\\?#@:;,%&=+[]{}()|^`'\"<> \t\r\n\x00\x7f"),
        st.characters(),
    ),
    max_size=80,
)


@given(value=_NASTY)
@example("evil.com/")
@example("x@evil.com")
@example("..")
@example("evil。com")
def test_no_value_that_passes_can_move_the_host(value: str) -> None:
    try:
        url = render(IN_HOST, value, ANYTHING)
    except ParameterRefused:
        return
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.hostname is not None
    assert parts.hostname.endswith(".example.com")
    assert re.fullmatch(r"[a-z0-9.-]+", parts.hostname)
    assert (parts.port, parts.username, parts.path, parts.query, parts.fragment) == (None, None, "/token", "", "")
    # The door, which reads URLs by rules of its own, sees the same host.
    assert check_url(url).host == parts.hostname


@given(value=_NASTY)
@example("..")
@example("a/../..")
def test_no_value_that_passes_leaves_the_path(value: str) -> None:
    try:
        url = render(IN_PATH, value, ANYTHING)
    except ParameterRefused:
        return
    parts = urlsplit(url)
    assert parts.netloc == "login.example.com"
    assert re.fullmatch(r"/base/[A-Za-z0-9._~-]+/token", parts.path)
    assert "/../" not in parts.path
    assert "/./" not in parts.path
    assert (parts.query, parts.fragment) == ("", "")


@given(value=_NASTY)
def test_no_value_that_passes_adds_to_the_query(value: str) -> None:
    try:
        url = render(IN_QUERY, value, ANYTHING)
    except ParameterRefused:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", "login.example.com", "/token", "")
    assert parts.query.count("=") == 1
    assert "&" not in parts.query


@given(value=_NASTY)
def test_a_whole_host_is_a_host_and_nothing_more(value: str) -> None:
    try:
        url = render(WHOLE_HOST, value, ANYTHING)
    except ParameterRefused:
        return
    parts = urlsplit(url)
    assert parts.netloc == value
    assert parts.path == "/token"
    with suppress(AddressRefused):  # an address literal: judged by the door, not here
        assert check_url(url).host == value.lower()


@given(value=st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.))*\Z"))
def test_what_the_default_pattern_takes_is_filled_in_or_refused_for_its_place(value: str) -> None:
    assume(len(value) <= 500)
    assert render_text("{{v}}", {"v": value}, [parameter()]) == value


def test_placeholders_are_found_once_each_in_order() -> None:
    assert placeholders("{{b}}/{{a}}/{{ b }}") == ("b", "a")
    assert compile_pattern("[a-z]+").fullmatch("acme")
