"""The whole product as a person starts it: `manage.py up` in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.servers.databases import fresh_database_url

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


@dataclass
class Product:
    """A running installation."""

    url: str
    email: str
    password: str
    var_dir: Path
    environment: dict[str, str]
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """Run a management command in this installation and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def free_port_pair() -> int:
    """A port P such that P and P+1 (the sandbox's) are free now.

    Below the range from which the system takes ports for everybody else, so that no test beside this one gets it.
    """
    for _ in range(200):
        port = random.randrange(20_000, 31_000, 2)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("No two free neighbouring ports were found.")


def clean_environment(var_dir: Path, **extra: str) -> dict[str, str]:
    """An environment with nothing of ours in it but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "VAR_DIR": str(var_dir), "EMAIL_URL": "consolemail://", **extra}


@contextmanager
def running_product(*arguments: str, port: int | None = None, **extra: str) -> Iterator[Product]:
    """Start `manage.py up` with these arguments and settings, wait for its three lines, stop it at the end.

    Uses the kind of database and broker that the test run uses: SQLite and the embedded broker, or a fresh PostgreSQL
    database and a Redis database.
    """
    with tempfile.TemporaryDirectory(prefix="grantry-product-") as folder, fresh_database_url() as services:
        var_dir = Path(folder)
        environment = clean_environment(var_dir, **{"ENV_FILE": "", **services, **extra})
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port or free_port_pair()), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        product = Product("", "", "", var_dir, environment, process)
        assert process.stdout is not None
        ready = threading.Event()
        threading.Thread(target=_read, args=(process.stdout, product, ready), daemon=True).start()
        try:
            _wait_until_ready(product, ready)
            yield product
        finally:
            sys.stdout.write("\n".join(product.log[-200:]))  # pytest shows it when a test fails
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _read(stream: IO[str], product: Product, ready: threading.Event) -> None:
    names = {"URL: ": "url", "Email: ": "email", "Password: ": "password"}
    for line in stream:
        product.log.append(line.rstrip("\n"))
        for prefix, name in names.items():
            if line.startswith(prefix):
                setattr(product, name, line.removeprefix(prefix).strip())
        if product.url and product.email and product.password:
            ready.set()


def _wait_until_ready(product: Product, ready: threading.Event) -> None:
    end = time.monotonic() + START_SECONDS
    while not ready.wait(0.2):
        if product.process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("The product did not start:\n" + "\n".join(product.log[-40:]))


def unique_name(prefix: str) -> str:
    """A name no other test uses."""
    return f"{prefix}_{uuid.uuid4().hex[:10]}"
