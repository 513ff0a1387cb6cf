"""Generated secrets in `var/local.env`: what `manage.py up` writes so that nobody has to invent a key first."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, MutableMapping
from pathlib import Path

HEADER = "# Generated secrets of this installation. Keep FERNET_KEYS: without it no stored token can be opened again.\n"


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _long() -> str:
    return secrets.token_urlsafe(48)


def _password() -> str:
    return secrets.token_urlsafe(12)


GENERATORS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": _long,
    "FERNET_KEYS": _fernet_key,
    "SANDBOX_SECRET_KEY": _long,
    "SANDBOX_CLIENT_ID": lambda: f"grantry-{secrets.token_hex(6)}",
    "SANDBOX_CLIENT_SECRET": _long,
    "SANDBOX_SERVICE_CLIENT_ID": lambda: f"grantry-service-{secrets.token_hex(6)}",
    "SANDBOX_SERVICE_CLIENT_SECRET": _long,
    "DEMO_PASSWORD": _password,
}


def generate_missing(var_dir: Path, environment: MutableMapping[str, str]) -> list[str]:
    """Write a fresh value for each secret that nobody has set, into the file (0600) and into `environment`.

    What the file holds already is kept. Returns the names that were generated.
    """
    path = var_dir / "local.env"
    kept = read(path)
    for name, value in kept.items():
        environment.setdefault(name, value)
    missing = [name for name in GENERATORS if not environment.get(name)]
    if missing:
        fresh = {name: GENERATORS[name]() for name in missing}
        environment.update(fresh)
        _write(path, {**kept, **fresh})
    return missing


def read(path: Path) -> dict[str, str]:
    """The values of a generated file; nothing when there is none."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _write(path: Path, values: dict[str, str]) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".local.env-")  # 0600 from the start
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(HEADER + "".join(f"{name}={value}\n" for name, value in values.items()))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
