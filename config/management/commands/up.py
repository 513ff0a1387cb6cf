"""`manage.py up`: the whole product on one machine, until Ctrl-C."""

from __future__ import annotations

import http.client
import os
import sys
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections

from config.environment import PROJECT_DIR
from config.supervisor.demo import SignIn, ensure_demo
from config.supervisor.launch import HOST, add_arguments
from config.supervisor.supervisor import ChildSpec, Supervisor


class Command(BaseCommand):
    help = "Starts web, worker, beat and the sandbox, migrates first, and stops them all on Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        # manage.py has called `launch.prepare` by now: lock, ports, secrets and PORT are settled.
        port, sandbox = int(os.environ["PORT"]), not options["no_sandbox"]
        self.stdout.write("Bringing the database up to date …")
        self.stdout.flush()
        call_command("migrate", verbosity=0, interactive=False)
        sign_in = None if options["no_demo"] else _demo(sandbox=sandbox)
        connections.close_all()
        supervisor = Supervisor(child_specs(port, sandbox=sandbox))
        probe = ReadinessProbe([port, port + 1] if sandbox else [port])
        code = supervisor.run(
            is_ready=probe.is_ready,
            on_ready=lambda: self._announce(sign_in),
            should_stop=_parent_watch(),
        )
        if code:
            sys.exit(code)

    def _announce(self, sign_in: SignIn | None) -> None:
        lines = [f"URL: {settings.PUBLIC_BASE_URL}"]
        if sign_in is not None:
            lines += [f"Email: {sign_in.email}", f"Password: {sign_in.password or '(the one you chose)'}"]
        else:
            lines.append("Next: manage.py create_workspace NAME --owner EMAIL --password-stdin")
        self.stdout.write("\n".join(["", *lines, "", "Ctrl-C stops everything."]))
        self.stdout.flush()


def child_specs(port: int, *, sandbox: bool) -> list[ChildSpec]:
    """The processes of one installation, in the order in which they start."""
    manage = [sys.executable, str(PROJECT_DIR / "manage.py")]
    celery = [sys.executable, "-m", "celery", "--workdir", str(PROJECT_DIR), "-A", "config", "--quiet"]
    specs = [
        ChildSpec("web", [*manage, "serve", "--port", str(port), "--host", HOST], stop_seconds=15, stop_order=1),
        # Longer than the 20 s that one HTTP call may take: a refresh under way is finished and stored.
        ChildSpec("worker", [*manage, "worker"], stop_seconds=25, stop_order=1),
        ChildSpec("beat", [*celery, "beat", "--pidfile=", "--loglevel", "WARNING"], stop_seconds=5),
    ]
    if sandbox:
        command = [*manage, "sandbox", "--port", str(port + 1), "--host", HOST]
        specs.insert(0, ChildSpec("sandbox", command, stop_seconds=5, stop_order=2))
    return specs


class ReadinessProbe:
    """Asks the web processes whether they answer, off the supervisor's loop, which must stay quick."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._answered = threading.Event()
        threading.Thread(target=self._ask_until_all_answer, name="readiness", daemon=True).start()

    def is_ready(self) -> bool:
        """Whether every one has answered."""
        return self._answered.is_set()

    def _ask_until_all_answer(self) -> None:
        pause = threading.Event()
        for port in self._ports:
            while not _answers(port):
                pause.wait(0.2)
        self._answered.set()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _demo(*, sandbox: bool) -> SignIn:
    clients = settings.SANDBOX_CLIENTS if sandbox else {}
    return ensure_demo(password=os.environ["DEMO_PASSWORD"], clients=clients)


def _parent_watch() -> Any:
    """`make run` asks us to stop with it: a killed make would otherwise leave a server that nobody sees."""
    if os.environ.pop("GRANTRY_STOP_WITH_PARENT", "") != "1":
        return lambda: False
    parent = os.getppid()
    return lambda: os.getppid() != parent
