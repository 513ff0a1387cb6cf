"""Scopes: RFC 6749 §3.3, and a provider's rules for them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.oauth.patterns import PatternRefused, compile_pattern
from integrations.oauth.scopes import (
    ScopePattern,
    ScopeRefused,
    check_scopes,
    is_well_formed,
    join_scopes,
    missing_scopes,
    ordered_union,
    split_scopes,
)

READ = ScopePattern(r"[a-z]+\.read", "read access, such as files.read")
GRAPH = ScopePattern(r"https://graph\.example/.+", "a Graph scope")
NO_ADMIN = ScopePattern(r".*admin.*", "administration stays with the administrators")


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("a b", " ", ("a", "b")),
        ("  a\t b\n a ", " ", ("a", "b")),
        ("a,b", ",", ("a", "b")),
        ("a, b,,a", ",", ("a", "b")),
        ("a b", ",", ("a b",)),  # exactly the chosen delimiter
        ("a,b", " ", ("a,b",)),
        ("", " ", ()),
    ],
)
def test_splitting(text: str, separator: str, expected: tuple[str, ...]) -> None:
    assert split_scopes(text, separator) == expected


def test_joining_and_merging_keep_the_order() -> None:
    assert join_scopes(["b", "a"], ",") == "b,a"
    assert ordered_union(["b", "a"], ("c", "b")) == ("b", "a", "c")


def test_missing_scopes_are_named_in_order() -> None:
    assert missing_scopes(["a", "b", "c", "a"], ["b"]) == ("a", "c")
    assert missing_scopes(["a"], None) == ()


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("a", True),
        ("https://api.example/.default", True),
        ("!#[]~", True),
        ("", False),
        ("a b", False),
        ('a"b', False),
        ("a\\b", False),
        ("a\n", False),
        ("ä", False),
        ("a\x7f", False),
        ("x" * 500, True),
        ("x" * 501, False),
    ],
)
def test_well_formedness(scope: str, expected: bool) -> None:
    assert is_well_formed(scope) is expected


def test_a_scope_must_match_an_allowed_pattern_over_its_whole_length() -> None:
    check_scopes(["files.read", "https://graph.example/Mail"], [READ, GRAPH], [])
    for scope in ["files.read.all", "xfiles.write", "1files.read", "files.read\n"]:
        with pytest.raises(ScopeRefused) as caught:
            check_scopes(["files.read", scope], [READ, GRAPH], [])
        assert caught.value.scope == scope
        assert caught.value.expected == ("read access, such as files.read", "a Graph scope")
        assert "read access, such as files.read; a Graph scope" in caught.value.message


def test_a_denied_pattern_wins_and_says_why() -> None:
    with pytest.raises(ScopeRefused, match=r"“admin\.read” is not permitted: administration stays"):
        check_scopes(["admin.read"], [READ], [NO_ADMIN])


def test_base_scopes_are_exempt() -> None:
    check_scopes(["offline access", "admin"], [READ], [NO_ADMIN], base=["offline access", "admin"])


def test_without_rules_every_well_formed_scope_passes() -> None:
    check_scopes(["anything:goes"], [], [])
    with pytest.raises(ScopeRefused, match="is not a scope"):
        check_scopes(['bro"ken'], [], [])


def test_a_pattern_without_description_shows_itself() -> None:
    with pytest.raises(ScopeRefused, match=re.escape("Expected: a|b.")):
        check_scopes(["c"], [ScopePattern("a|b")], [])


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a*)*",
        r"(a|aa)+$",
        r"(?:a{1,20}){1,20}",
        r"(a?a?)*b",
        r"(ab?)+",
        r"a*a*a{2,9}a{2,9}a{2,9}(a|b)",
        "(a|aa)" * 25,
        r"(a|aa){30}",
        r".*.*.*x",
        r"(.*?,){30}x",
        "a?" * 30 + "a" * 30,
        r"(a)\1",
        r"(?=a)a",
        r"(?<!b)a",
        r"(a)?(?(1)b|c)",
        "(",
        "[",
        "a" * 301,
        "a{99999999999}",
    ],
)
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^https://graph\.microsoft\.com/[\w.]+$",
        r"https://www\.googleapis\.com/auth/.*",
        r"(read|write):[a-z_]+",
        r"(?:chat|files|users)(?::[a-z]+)?(?:\.[a-z]+)?",
        r"(?i:repo)",
        r"[A-Za-z]{1,64}\.Read(Write)?(\.All)?",
        r"(?P<kind>read)_\d+",
    ],
)
def test_ordinary_patterns_are_fine(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


@settings(deadline=None)
@given(
    pattern=st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                ".",
                "[ab]",
                "a*",
                ".*",
                "(a|b)",
                "(ab)?",
                "a+?",
                "(a|ab)(c|bcd)",
                "a{2,9}",
                "(aa){1,9}",
                "(a?)",
                "$",
            ]
        ),
        max_size=9,
    ).map("".join)
)
def test_what_is_accepted_matches_quickly(pattern: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternRefused:
        return
    started = time.process_time()
    compiled.fullmatch("a" * 499 + "!")
    assert time.process_time() - started < 0.5
