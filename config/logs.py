"""Log lines: one line each with the request's id, and no secret in any of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.http import HttpRequest, HttpResponseBase

request_id: ContextVar[str] = ContextVar("request_id", default="-")

REDACTED = "[redacted]"
# The last net under code that should not have logged a secret at all: parameters and JSON members by name,
# Authorization headers, and our own API keys, wherever they stand in a message or a traceback.
_NAMES = (
    "access_token|refresh_token|id_token|client_secret|client_assertion|code_verifier|password|secret|api_key|token"
    "|authorization"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(rf"(?i)(?<!\w)({_NAMES})=([^\s&\"'),;]+)"), rf"\1={REDACTED}"),
    # Only in a query: elsewhere these two are words for harmless things.
    (re.compile(r"(?i)([?&])(code|state)=([^\s&\"'),;]+)"), rf"\1\2={REDACTED}"),
    (re.compile(rf"(?i)([\"'])({_NAMES})\1\s*:\s*([\"'])(?:\\.|(?!\3).)*\3"), rf"\1\2\1: \3{REDACTED}\3"),
    # Links that let their bearer in: connect links, invitations, password resets.
    (re.compile(r"(/(?:connect|invitations?|reset/key|confirm-email)/)[A-Za-z0-9_:.-]{16,}"), rf"\1{REDACTED}"),
    (re.compile(r"\bgr_([A-Za-z0-9]+)_[A-Za-z0-9_-]+"), rf"gr_\1_{REDACTED}"),
    (re.compile(r"\bgAAAA[A-Za-z0-9_-]{20,}={0,2}"), REDACTED),  # Fernet ciphertext
)


def redact(text: str) -> str:
    """Cut out what looks like a secret."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class RedactingFormatter(logging.Formatter):
    """Adds the request id and redacts the finished line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """Format, then redact."""
        record.request_id = request_id.get()
        return redact(super().format(record))


class RequestIdLogMiddleware:
    """Makes the id that RequestIdMiddleware gave the request known to the log lines written meanwhile."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set it for this request alone."""
        reset = request_id.set(str(getattr(request, "request_id", "-")))
        try:
            return self.get_response(request)
        finally:
            request_id.reset(reset)


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, at `level` and above."""
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "config.logs.RedactingFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Django's own handlers would print the same lines again, unredacted.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # At lower levels they print whole template contexts and the parameters of every query.
            "django.template": quiet,
            "django.db.backends": quiet,
            # "Task received" and "Task succeeded" every ten seconds tell nobody anything.
            "celery.worker.strategy": quiet,
            "celery.app.trace": quiet,
            "celery.beat": quiet,
            # At lower levels they print request bodies and tokens; no setting may switch that on.
            "oauthlib": quiet,
            "requests_oauthlib": quiet,
            "urllib3": quiet,
            "kombu": quiet,
            "amqp": quiet,
        },
    }
