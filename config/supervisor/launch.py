"""What `manage.py up` has to settle before Django can read its settings: folder, lock, ports, secrets, addresses."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from config.environment import PROJECT_DIR, read_env_files
from config.supervisor.local_env import generate_missing
from config.supervisor.ports import is_free

HOST = "127.0.0.1"
_held_lock: list[int] = []  # open for as long as this process lives; the kernel lets go when it dies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `manage.py up`."""
    parser.add_argument("--port", type=int, default=None, help="port of the web process (PORT, else 8000)")
    parser.add_argument("--no-sandbox", action="store_true", help="without the sandbox authorization server")
    parser.add_argument("--no-demo", action="store_true", help="without the demo workspace")


def prepare(arguments: Sequence[str]) -> None:
    """Refuse what cannot work, then set the environment that settings and children read.

    Exits with a sentence on standard error when another `up` has the folder or a port is taken; nothing has been
    started by then.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options, _ = parser.parse_known_args(arguments)
    if {"-h", "--help"} & set(arguments):
        return
    os.umask(0o077)  # what we and our children write under var/ is for the owner alone
    var_dir = read_env_files(PROJECT_DIR)
    port = options.port or int(os.environ.get("PORT") or 8000)
    take_lock(var_dir)
    _check_ports(port, sandbox=not options.no_sandbox)
    generate_missing(var_dir, os.environ)
    os.environ["VAR_DIR"] = str(var_dir)
    os.environ["PORT"] = str(port)
    if not os.environ.get("EMAIL_URL"):
        os.environ["EMAIL_URL"] = mail_folder_url(var_dir)
    if not options.no_sandbox:
        _announce_sandbox(port + 1)


def mail_folder_url(var_dir: Path) -> str:
    """EMAIL_URL that leaves each mail as a file in `mail` under var/, where a newcomer finds it."""
    return f"filemail:///{quote(str(var_dir.resolve() / 'mail'))}"


def take_lock(var_dir: Path) -> None:
    """Hold `up.lock` for the life of this process. Exits when another process holds it."""
    var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(var_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        _refuse(
            f"Grantry runs already on {var_dir} (process {holder}). Stop that one first, or give this one a folder and "
            "a port of its own: VAR_DIR=var2 PORT=9000 make run"
        )
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    _held_lock.append(descriptor)


def _check_ports(port: int, *, sandbox: bool) -> None:
    if not is_free(HOST, port):
        _refuse(f"Port {port} is in use. Stop what listens there, or choose another: PORT={_suggestion(port)} make run")
    if sandbox and not is_free(HOST, port + 1):
        _refuse(
            f"Port {port + 1}, where the sandbox would listen, is in use. Stop what listens there, choose another "
            f"pair (PORT={_suggestion(port)} make run), or go without it: manage.py up --no-sandbox"
        )


def _suggestion(port: int) -> int:
    candidates = (candidate for candidate in range(9000, 9900, 10) if candidate not in (port, port + 1))
    return next((c for c in candidates if is_free(HOST, c) and is_free(HOST, c + 1)), 9000)


def _announce_sandbox(port: int) -> None:
    """The provider `sandbox` exists, and may be reached, while the sandbox runs."""
    os.environ["SANDBOX_BASE_URL"] = f"http://localhost:{port}"
    allowed = [entry for entry in os.environ.get("OUTBOUND_ALLOWED_HOSTS", "").split(",") if entry.strip()]
    ours = [f"localhost:{port}", f"127.0.0.1:{port}"]
    os.environ["OUTBOUND_ALLOWED_HOSTS"] = ",".join(dict.fromkeys([*allowed, *ours]))


def _refuse(message: str) -> NoReturn:
    sys.exit(message)  # on standard error, with exit code 1
