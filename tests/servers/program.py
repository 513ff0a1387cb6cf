"""A program with a key, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True)
class Program:
    """Calls the running product's API."""

    url: str
    key: str

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """One call, whatever its answer."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers, timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call that must succeed; its body."""
        answer = self.ask(method, path, body)
        assert answer.ok, (answer.status_code, answer.text)
        return answer.json() if answer.content else None
