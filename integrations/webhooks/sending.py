"""One request to a receiver, and how its answer is read. No database: it runs in threads that have none."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

from integrations.oauth.token_response import parse_retry_after_header
from integrations.outbound.client import USER_AGENT, WEBHOOK, session
from integrations.outbound.errors import OutboundError
from integrations.webhooks.signing import signature

KEPT_CHARACTERS = 1024
SHORTEST_SECRET = 6  # shorter parts of a URL are words
GONE = 410
ASKS_FOR_PAUSE = frozenset({429, 503})
# Controls but line ends and tabs, what makes text read otherwise than it is (bidi), and what no database stores.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent where, signed with what."""

    url: str = field(repr=False)
    event_id: UUID
    body: str = field(repr=False)
    signing_secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `error` is empty when the receiver took it; `retry_after` in seconds."""

    at: datetime
    duration: timedelta
    signature: str
    status: int | None = None
    content_type: str = ""
    body: str = ""
    error: str = ""
    message: str = ""
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver took it."""
        return not self.error


def request_headers(event_id: UUID, at: datetime, signed: str) -> dict[str, str]:
    """The headers of a request, also for showing them later."""
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": str(event_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signed,
    }


def send(message: Message, now: datetime) -> Answer:
    """POST the message, signed as of `now`. Whatever goes wrong on the way is an Answer too."""
    body = message.body.encode()
    signed = signature(message.signing_secrets, str(message.event_id), int(now.timestamp()), body)
    begun = time.monotonic()
    try:
        response = session(WEBHOOK).post(message.url, data=body, headers=request_headers(message.event_id, now, signed))
    except OutboundError as error:
        return Answer(now, _since(begun), signed, error=error.code, message=_receiver(error.message))
    retry_after = _retry_after(response.headers, now) if response.status_code in ASKS_FOR_PAUSE else None
    error_code, words = _judge(response.status_code, retry_after)
    return Answer(
        now,
        _since(begun),
        signed,
        status=response.status_code,
        content_type=_plain(response.headers.get("Content-Type", ""))[:100],
        body=_without_address(_plain(response.content.decode("utf-8", "replace")), message.url)[:KEPT_CHARACTERS],
        error=error_code,
        message=words,
        retry_after=retry_after,
    )


def _judge(status: int, retry_after: float | None) -> tuple[str, str]:
    """An error code and its words; both empty when the receiver took the message."""
    if 200 <= status < 300:
        return "", ""
    if 300 <= status < 400:
        return "redirect", f"The receiver answered {status}, a redirect; those are not followed. Correct the URL."
    if status == GONE:
        return "gone", "The receiver answered 410 Gone: it wants no more events."
    if retry_after:
        return "throttled", f"The receiver answered {status} and asks for a pause."
    return "refused", f"The receiver answered {status} instead of 2xx."


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds; a date counts from the receiver's own clock, as far as it tells it."""
    by_its_clock = parse_retry_after_header(headers)
    return parse_retry_after_header(headers, now) if by_its_clock is None else by_its_clock


def _receiver(words: str) -> str:
    """The door's sentences speak of providers, whose addresses they mostly are."""
    return words.replace("the provider's", "the receiver's")[:300]


def _without_address(text: str, url: str) -> str:
    """Blank out what an error page says back of the URL's path and query, which may be the receiver's secret."""
    parts = urlsplit(url)
    secrets = {parts.path, parts.query, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))}
    for secret in sorted(secrets | {unquote(secret) for secret in secrets}, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return text


def _plain(text: str) -> str:
    return _CONTROLS.sub("", text)


def _since(begun: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - begun)
