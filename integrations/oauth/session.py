"""requests-oauthlib's session, whose requests leave through the HTTP session that the caller brings.

What it does differently from its parent: oauthlib's own reading of answers is switched off. It drops a rotated
token when the scope changed, raises on odd lifetimes and never looks at the status; `token_response` reads
the answer instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from oauthlib.oauth2 import BackendApplicationClient, WebApplicationClient
from requests_oauthlib import OAuth2Session

from integrations.oauth.errors import ConfigurationRefused, NoAnswer, OAuthError
from integrations.outbound.errors import OutboundError
from integrations.outbound.quiet import silence_talkative_loggers

silence_talkative_loggers()

# oauthlib allows http:// endpoints by this process-wide switch only. Which hosts may be plain http is judged by
# the outbound door, host by host; without the switch a sandbox on the loopback could never be reached.
os.environ.setdefault("OAUTHLIB_INSECURE_TRANSPORT", "1")


# What the flows hand around; only the outbound door makes one.
HTTPClient = requests.Session


class _AnswersReadElsewhere:
    """Keeps oauthlib from judging an answer that `token_response` is going to read."""

    def parse_request_body_response(self, *_: object, **__: object) -> dict[str, str]:
        return {}


class CodeClient(_AnswersReadElsewhere, WebApplicationClient):  # type: ignore[misc]  # narrower answer on purpose
    """The authorization code grant (RFC 6749 §4.1)."""


class ServiceClient(_AnswersReadElsewhere, BackendApplicationClient):  # type: ignore[misc]  # as above
    """The client credentials grant (RFC 6749 §4.4)."""


class ProtocolSession(OAuth2Session):
    """Builds OAuth requests, sends them with `http`, and keeps the last answer.

    `json_body` sends form data as JSON, for providers that want it so.
    """

    def __init__(
        self,
        http: requests.Session,
        client: CodeClient | ServiceClient,
        *,
        json_body: bool = False,
        **kwargs: Any,
    ):
        super().__init__(client=client, **kwargs)
        self.trust_env = False
        self.headers = http.headers
        self.answer = requests.Response()
        self._http = http
        self._json_body = json_body

    def request(  # type: ignore[override]  # the parents themselves disagree about the order
        self, method: str, url: str, data: Any = None, headers: Any = None, **kwargs: Any
    ) -> requests.Response:
        """Build and send one request."""
        if self._json_body and isinstance(data, dict):
            headers = {**(headers or {}), "Content-Type": "application/json"}
            kwargs["json"], data = data, None
        return super().request(method, url, data=data, headers=headers, **kwargs)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send through the caller's session, never following a redirect."""
        kwargs["allow_redirects"] = False
        answer = self._http.send(request, **kwargs)
        # The parent formats `text` for its debug log: without an encoding, a megabyte would be sniffed for it.
        answer.encoding = "utf-8"
        self.answer = answer
        return answer


@contextmanager
def refusing_as_oauth_errors(*secrets: str) -> Iterator[None]:
    """Turn the door's errors into OAuthErrors, and blank out secrets that the provider's text echoes."""
    try:
        yield
    except OAuthError as error:
        raise error.without(secrets) from error.__cause__
    except OutboundError as error:
        raise _from_outbound(error) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise ConfigurationRefused("invalid_endpoint") from error
    except requests.exceptions.MissingSchema as error:
        raise ConfigurationRefused("invalid_endpoint") from error
    except requests.Timeout as error:
        raise NoAnswer("timeout") from error
    except requests.RequestException as error:
        raise NoAnswer("unreachable") from error


def _from_outbound(error: OutboundError) -> OAuthError:
    if error.permanent:
        return ConfigurationRefused(error.code, error.message)
    return NoAnswer(error.code, error.message)
