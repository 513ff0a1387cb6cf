"""An HTTP server that answers as told and remembers what it was asked. For what an honest server would not say."""

from __future__ import annotations

import json as jsonlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The form-encoded body; the last of repeated names."""
        return {key: values[-1] for key, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    @property
    def json(self) -> Any:
        return jsonlib.loads(self.body)


@dataclass
class Answer:
    """What to answer. `wait` holds the answer back until the event is set (never a sleep)."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None


class ScriptedServer:
    """`answer(path, …)` queues answers; the last one queued for a path is repeated."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._answers: dict[str, list[Answer | Callable[[Received], Answer]]] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def answer(
        self,
        path: str,
        *,
        status: int = 200,
        json: Any = None,
        body: bytes | str = b"",
        headers: dict[str, str] | None = None,
        wait: threading.Event | None = None,
    ) -> None:
        """Queue one answer for a path."""
        sent = dict(headers or {})
        if json is not None:
            body = jsonlib.dumps(json)
            sent.setdefault("Content-Type", "application/json")
        raw = body.encode() if isinstance(body, str) else body
        with self._lock:
            self._answers.setdefault(path, []).append(Answer(status, raw, sent, wait))

    def respond(self, path: str, function: Callable[[Received], Answer]) -> None:
        """Queue a function that makes the answer from the request."""
        with self._lock:
            self._answers.setdefault(path, []).append(function)

    def forget(self) -> None:
        """Drop queued answers and remembered requests."""
        with self._lock:
            self._answers.clear()
            self.requests.clear()

    def to(self, path: str) -> list[Received]:
        """Requests that came for a path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def _next(self, received: Received) -> Answer:
        with self._lock:
            self.requests.append(received)
            queue = self._answers.get(received.path)
            if not queue:
                return Answer(404, b"nothing is scripted here")
            chosen = queue.pop(0) if len(queue) > 1 else queue[0]
        return chosen(received) if callable(chosen) else chosen

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                received = Received(
                    self.command,
                    parts.path,
                    parts.query,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                answer = server._next(received)
                if answer.wait is not None:
                    answer.wait.wait(30)
                if "Date" in answer.headers:  # else the library's own says what time it is here
                    self.send_response_only(answer.status)
                else:
                    self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except (ConnectionResetError, BrokenPipeError):
                    self.close_connection = True  # the client hung up, which is what some tests are about

        return Handler


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running ScriptedServer, closed at the end."""
    server = ScriptedServer()
    try:
        yield server
    finally:
        server.close()
