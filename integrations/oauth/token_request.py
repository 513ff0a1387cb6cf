"""One POST to a token endpoint: oauthlib's words in a request that is made ready by hand.

requests-oauthlib and `requests.Session.request` would merge settings, cookies and the environment into each request,
of which the door allows none, at twice the cost of the call itself. The request still leaves by `http.send`, with all
of the door's rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlencode

import requests
from oauthlib.common import urldecode
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

from integrations.oauth.client import BasicAuth, no_authorization


def post_token_request(
    http: requests.Session,
    url: str,
    body: str,
    *,
    headers: Mapping[str, str],
    auth: BasicAuth | None,
    as_json: bool = False,
) -> requests.Response:
    """Send a form-encoded body, or the same fields as JSON. Never follows a redirect.

    Raises OutboundError, or what requests raises for a URL that is none; call it within `refusing_as_oauth_errors`.
    """
    fields = dict(urldecode(body))
    request = requests.PreparedRequest()
    request.method = "POST"
    request.url = _as_sent(url)
    request.prepare_headers({**http.headers, **headers})
    request.headers = CaseInsensitiveDict(request.headers)
    if as_json:
        request.headers["Content-Type"] = "application/json"
    text = json.dumps(fields) if as_json else urlencode(fields)
    request.body = text.encode()
    request.headers["Content-Length"] = str(len(request.body))
    request.hooks = default_hooks()
    (auth or no_authorization)(request)
    return http.send(request, allow_redirects=False)


@lru_cache(maxsize=512)
def _as_sent(url: str) -> str:
    """The URL as requests writes it on the wire (host in ASCII, path quoted)."""
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return request.url or ""
