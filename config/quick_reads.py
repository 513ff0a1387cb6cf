"""Lets plain token reads past Django's request handling, which costs several times what they do.

Their answers carry what every answer carries: the id, and the headers that the middleware gives. What is not as plain
as a program sends it (another host name, no TLS where there should be, cookies, a body) goes the long way, and is
redirected, refused or answered there.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.request import validate_host

from config.logs import request_id as logged_id
from integrations.api import quick_reads

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

logger = logging.getLogger("django.request")  # where Django tells of refusals, too


class QuickReads:
    """WSGI application around Django's."""

    def __init__(self, application: Application) -> None:
        self._application = application
        public = urlsplit(settings.PUBLIC_BASE_URL)
        self._host = public.netloc.lower()
        # An operator may have shut out even this name; Django's refusal says so.
        self._is_served = validate_host((public.hostname or "").lower(), settings.ALLOWED_HOSTS)
        proxy_header: tuple[str, str] | None = settings.SECURE_PROXY_SSL_HEADER
        self._secure_sign = proxy_header or ("wsgi.url_scheme", "https")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._answer(environ, start_response) if self._is_plain(environ) else None
        return answer if answer is not None else self._application(environ, start_response)

    def _is_plain(self, environ: Environ) -> bool:
        """Whether the middleware would do nothing with this request but add headers to its answer."""
        return (
            environ["PATH_INFO"].endswith(quick_reads.END)
            and environ["REQUEST_METHOD"] == "GET"
            and self._is_served
            and environ.get("HTTP_HOST", "").lower() == self._host
            and (not settings.SECURE_SSL_REDIRECT or environ.get(self._secure_sign[0]) == self._secure_sign[1])
            and not environ.get("SCRIPT_NAME")
            and "HTTP_COOKIE" not in environ
            and "HTTP_TRANSFER_ENCODING" not in environ
            and environ.get("CONTENT_LENGTH") in (None, "", "0")
        )

    def _answer(self, environ: Environ, start_response: StartResponse) -> list[bytes] | None:
        request_id = uuid.uuid4()
        reset = logged_id.set(str(request_id))
        try:
            answer = self._tried(environ, request_id)
            if answer is None:
                return None
            reason = HTTPStatus(answer.status).phrase
            if answer.status >= 400:
                level = logging.ERROR if answer.status >= 500 else logging.WARNING
                logger.log(level, "%s: %s", reason, environ["PATH_INFO"])
        finally:
            logged_id.reset(reset)
            if connection.connection is not None and not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()  # as Django does at the end of a request
        headers = {
            **self._common_headers,
            **answer.headers,
            "Content-Length": str(len(answer.body)),
            "X-Request-ID": str(request_id),
        }
        start_response(f"{answer.status} {reason}", list(headers.items()))
        return [answer.body]

    def _tried(self, environ: Environ, request_id: uuid.UUID) -> quick_reads.Answer | None:
        """The answer; what nobody foresaw, or a database that goes away meanwhile, is the long way's to tell."""
        try:
            return quick_reads.answer(
                environ["PATH_INFO"],
                environ.get("QUERY_STRING", ""),
                environ.get("HTTP_AUTHORIZATION", ""),
                request_id,
            )
        except Exception:
            # The framework answers what nobody foresaw, and tells of it as of any other request.
            logger.exception("A token read goes the long way.")
            return None

    @functools.cached_property
    def _common_headers(self) -> dict[str, str]:
        """What the middleware gives to an answer of the API."""
        is_secure = settings.SECURE_SSL_REDIRECT
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"{quick_reads.BEGINNING}-{quick_reads.END}",
            "HTTP_HOST": self._host,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "0",
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(),
            **({self._secure_sign[0]: self._secure_sign[1]} if is_secure else {}),
        }
        handler = _OnlyMiddleware()
        handler.load_middleware()
        found = handler.get_response(WSGIRequest(environ))
        return {name: value for name, value in found.items() if name not in ("X-Request-ID", "Content-Length")}


class _OnlyMiddleware(BaseHandler):
    def _get_response(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 (Django's signature)
        return HttpResponse(b"", headers={"Cache-Control": "no-store", "Content-Type": quick_reads.TOKEN_JSON})
