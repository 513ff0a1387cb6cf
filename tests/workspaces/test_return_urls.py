"""Where connect links may send people back to. RFC 9700 §4.11: no open redirect."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from workspaces.return_urls import clean_return_urls, permits

ALLOWED = ["https://app.example.com/done", "https://other.example.com:8443", "http://localhost:3000/back/"]


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/done",
        "https://app.example.com/done/",
        "https://app.example.com/done/step/2",
        "https://app.example.com/done?x=1&next=https://evil.example.com",
        "https://APP.example.com/done",
        "https://app.example.com:443/done",
        "https://app.example.com./done",
        "https://other.example.com:8443/anything",
        "https://other.example.com:8443",
        "https://other.example.com:8443?x=1",
        "http://localhost:3000/back",
        "http://localhost:3000/back/x",
    ],
)
def test_an_entry_allows_itself_and_what_is_below(url: str) -> None:
    assert permits(ALLOWED, url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/done",
        "//app.example.com/done",
        "app.example.com/done",
        "https://app.example.com/",
        "https://app.example.com/done-not",  # a prefix of letters, not of segments
        "https://app.example.com/other",
        "https://app.example.com/Done",
        "https://app.example.com/done/../admin",
        "https://app.example.com/done/%2e%2E/admin",
        "https://app.example.com/done/.%2e/admin",
        "https://app.example.com/done/..%2fadmin",
        "https://app.example.com/done/..\\admin",
        "http://app.example.com/done",
        "https://app.example.com:8443/done",
        "https://other.example.com/",
        "https://app.example.com.evil.com/done",
        "https://evil.com/https://app.example.com/done",
        "https://app.example.com@evil.com/done",
        "https://user:secret@app.example.com/done",
        "https://app.example.com\\@evil.com/done",
        "https://evil.com\\.app.example.com/done",
        "https://app.example.com\t/done",
        " https://app.example.com/done",
        "https://app.example.com/done\n",
        "https://app.example.com/done#fragment",
        "javascript:alert(1)//https://app.example.com/done",
        "data:text/html,x",
        "https:///app.example.com/done",
        "https:app.example.com/done",
        "https://[::1",
        "https://app.example.com:99999/done",
        "https://app.example.com/done?" + "x" * 500,
        "http://localhost:3001/back",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    assert not permits(ALLOWED, url)


def test_an_empty_list_allows_nothing() -> None:
    assert not permits([], "https://app.example.com/done")


def test_a_bad_entry_that_got_in_allows_nothing() -> None:
    assert not permits(["http://evil.com/", "javascript:alert(1)", "*", ""], "http://evil.com/")


def test_entries_lose_blanks_and_duplicates_and_keep_their_order() -> None:
    lines = ["  https://b.example.com/x ", "", "https://a.example.com", "https://b.example.com/x"]
    assert clean_return_urls(lines) == ["https://b.example.com/x", "https://a.example.com"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://app.example.com/", "use https"),
        ("http://127.0.0.1.evil.com/", "use https"),
        ("http://2130706433/", "use https"),
        ("ftp://app.example.com/", "begin with https"),
        ("app.example.com", "begin with https"),
        ("https://", "begin with https"),
        ("https://u:p@app.example.com/", "user name"),
        ("https://*.example.com/", "wildcards"),
        ("https://app.example.com/?a=b", "“?”"),
        ("https://app.example.com/#a", "“#”"),
        ("https://app.example.com/a/../b", "“..”"),
        ("https://app.example.com/a b", "spaces"),
        ("https://app.example.com:x/", "not a URL"),
        ("https://app.example.com/" + "x" * 500, "at most 500"),
    ],
)
def test_a_bad_entry_is_named_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_return_urls(["https://good.example.com/", url])
    (message,) = refused.value.messages
    assert message.startswith(url[:50])
    assert words in message


@pytest.mark.parametrize(
    "url", ["http://localhost:3000/", "http://127.0.0.1/", "http://[::1]:8080/x", "http://app.localhost/"]
)
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert clean_return_urls([url]) == [url]


def test_the_list_has_an_end() -> None:
    with pytest.raises(ValidationError, match="At most 50"):
        clean_return_urls([f"https://app.example.com/{number}" for number in range(51)])
