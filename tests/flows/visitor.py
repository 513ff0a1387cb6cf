"""A person with a browser, reduced to what the flows need: cookies, redirects, and one decision."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import requests

MAX_REDIRECTS = 10
TIMEOUT_SECONDS = 20


def go_through_consent(authorization_url: str, *, stop_before: str) -> list[tuple[str, str]]:
    """Follow the authorization server's interaction until it sends the browser back to a URL that begins so.

    Returns the pairs of that URL's query, repetitions included.
    """
    with requests.Session() as browser:
        location = follow(browser, authorization_url, stop_before=stop_before)
    return parse_qsl(urlsplit(location).query, keep_blank_values=True)


def follow(browser: requests.Session, url: str, *, stop_before: str) -> str:
    """Follow redirects from `url` up to one that begins with `stop_before`; the last one is not requested."""
    for _ in range(MAX_REDIRECTS):
        if url.startswith(stop_before):
            return url
        answer = browser.get(url, allow_redirects=False, timeout=TIMEOUT_SECONDS)
        assert answer.is_redirect, (answer.status_code, answer.text[:500])
        url = requests.compat.urljoin(url, answer.headers["Location"])
    raise AssertionError(f"{MAX_REDIRECTS} redirects did not lead to {stop_before}.")


def connect_by_link(browser: requests.Session, link: str, *, callback: str) -> requests.Response:
    """What someone outside does with a connect link, without JavaScript; returns the page they end on."""
    page = browser.get(link, timeout=TIMEOUT_SECONDS)
    assert page.status_code == 200, page.text[:500]
    form = {"csrfmiddlewaretoken": hidden(page.text, "csrfmiddlewaretoken")}
    page = browser.post(link, data=form, timeout=TIMEOUT_SECONDS)
    assert page.status_code == 200, page.text[:500]
    return browser.get(
        follow(browser, link_by_id(page.text, "continue"), stop_before=callback), timeout=TIMEOUT_SECONDS
    )


def link_by_id(html: str, element_id: str) -> str:
    """The href of the link with that id."""
    tag = re.search(rf'<a [^>]*id="{element_id}"[^>]*>', html)
    assert tag, f"There is no link {element_id}."
    href = re.search(r'href="([^"]*)"', tag[0])
    assert href
    return unescape(href[1])


def hidden(html: str, name: str) -> str:
    """The value of a form's hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, f"There is no field {name}."
    return unescape(found[1])
