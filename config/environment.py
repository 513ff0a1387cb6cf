"""Checks on the environment that settings cannot do without; each refusal says which value and what to do."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

PROJECT_DIR = Path(__file__).resolve().parent.parent

# Used under DEBUG only, so that a checkout starts; refused outside it by name.
DEBUG_SECRET_KEY = "insecure-debug-secret-key-0123456789-abcdefghijklmnopqrstuvwxyz"  # noqa: S105 (known, and refused outside DEBUG)
DEBUG_FERNET_KEY = base64.urlsafe_b64encode(b"insecure-debug-key-32-bytes-long").decode()
_EXAMPLE_VALUES = {"change-me", "changeme", "secret", DEBUG_SECRET_KEY}
MIN_SECRET_KEY_LENGTH = 50


def read_env_files(project_dir: Path) -> Path:
    """Read `.env`, then `local.env` in VAR_DIR, into the environment, and return VAR_DIR (`var/` by default).

    What is set already wins. ENV_FILE names another file than `.env`; set and empty, none is read (tests).
    """
    env_file = os.environ.get("ENV_FILE", str(project_dir / ".env"))
    if env_file and Path(env_file).is_file():
        environ.Env.read_env(env_file)
    var_dir = Path(os.environ.get("VAR_DIR") or project_dir / "var").absolute()
    if (var_dir / "local.env").is_file():
        environ.Env.read_env(str(var_dir / "local.env"))
    return var_dir


def require_secret_key(value: str, *, debug: bool) -> str:
    """Return a usable SECRET_KEY. Raises ImproperlyConfigured when it is missing, short or a known default."""
    if not value and debug:
        return DEBUG_SECRET_KEY
    if not value:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it in the environment or in .env "
            '(python -c "import secrets; print(secrets.token_urlsafe(64))").'
        )
    if not debug and (value.lower() in _EXAMPLE_VALUES or value.startswith(("django-insecure-", "insecure-"))):
        raise ImproperlyConfigured("SECRET_KEY is a default value. Set one of your own in the environment or in .env.")
    if not debug and len(value) < MIN_SECRET_KEY_LENGTH:
        raise ImproperlyConfigured(f"SECRET_KEY is too short: at least {MIN_SECRET_KEY_LENGTH} characters are needed.")
    return value


def require_fernet_keys(values: list[str], *, debug: bool) -> list[bytes]:
    """Return FERNET_KEYS, first one encrypts. Raises ImproperlyConfigured on a missing, malformed or default key."""
    keys = [value.strip() for value in values if value.strip()]
    if not keys and debug:
        keys = [DEBUG_FERNET_KEY]
    if not keys:
        raise ImproperlyConfigured(
            "FERNET_KEYS is not set. Set it in the environment or in .env (python -c "
            '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"). '
            "Without it nothing can be encrypted; SECRET_KEY is never used in its place."
        )
    for position, key in enumerate(keys, start=1):
        _check_fernet_key(key, position=position, debug=debug)
    return [key.encode() for key in keys]


def _check_fernet_key(key: str, *, position: int, debug: bool) -> None:
    try:
        raw = base64.b64decode(key.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ImproperlyConfigured(f"FERNET_KEYS: key {position} is not urlsafe base64.") from error
    if len(raw) != 32:
        raise ImproperlyConfigured(f"FERNET_KEYS: key {position} has {len(raw)} bytes; 32 are needed.")
    if not debug and (key == DEBUG_FERNET_KEY or len(set(raw)) < 4):
        raise ImproperlyConfigured(f"FERNET_KEYS: key {position} is a default value. Generate one of your own.")


def embedded_broker(var_dir: Path) -> tuple[str, dict[str, Any]]:
    """Return Celery's broker URL and options for the file-system broker under `var/`, used without REDIS_URL.

    Its default polling interval of a second carries 7 tasks a second; 0.05 s carries over a hundred.
    """
    queue, control = var_dir / "broker" / "queue", var_dir / "broker" / "control"
    for folder in (queue, control):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return "filesystem://localhost/", {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(control),
        "polling_interval": 0.05,
    }


def database_pool(size: int) -> dict[str, Any]:
    """Settings of a PostgreSQL database that share `size` connections per process; 0 opens one per request.

    A connection that lives with its thread (CONN_MAX_AGE) does not fit here: a web process has up to 256 threads, and
    PostgreSQL takes a hundred connections. The pool hands them out for a request or a task, checks each one first, so
    that a restart of PostgreSQL costs nobody an error, and costs microseconds where opening one costs milliseconds.

    `reconnect_timeout`: the pool's tries to connect double their distance, by default for five minutes, and nobody gets
    a connection meanwhile. After an outage, answers must be stored within seconds (lease.GRACE).
    """
    if size < 1:
        return {"CONN_MAX_AGE": 0}
    pool = {"min_size": 1, "max_size": size, "timeout": 5, "max_idle": 300, "name": "grantry", "reconnect_timeout": 2}
    return {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "OPTIONS": {"pool": pool}}


def redis_transport_options() -> dict[str, Any]:
    """Options of the Redis broker: a wake-up that cannot be sent is dropped soon, because beat wakes again.

    After SIGKILL of a worker Redis hands its wake-ups out again after the visibility timeout. Nothing waits for that:
    recovery comes from the lease in the database.
    """
    return {
        "visibility_timeout": 120,
        "socket_connect_timeout": 2,
        "socket_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "max_retries": 1,
        "interval_start": 0.1,
        "interval_step": 0.1,
        "interval_max": 0.2,
    }
