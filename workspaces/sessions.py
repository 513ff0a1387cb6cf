"""Sessions in the database, found by keys that can be one of ours."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore


class SessionStore(DatabaseSessionStore):
    """Takes a cookie with other characters than our keys have for no session at all.

    A quoted cookie may hold NUL, which PostgreSQL refuses: each request with it would be an internal error.
    """

    def _validate_session_key(self, key: Any) -> bool:
        known = super()._validate_session_key(key)  # type: ignore[misc] # missing in the stubs
        return bool(known) and str(key).isascii() and str(key).isalnum()
