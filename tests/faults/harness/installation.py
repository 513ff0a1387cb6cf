"""An installation over several hosts: a host is a VAR_DIR of its own, and shares nothing else than the two services."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import requests
from celery import Celery

from config.management.commands.worker import celery_command
from config.supervisor.lifeline import Lifeline
from tests.faults.harness.environment import environment
from tests.faults.harness.ports import free_port
from tests.faults.harness.processes import ROOT, Process
from tests.faults.harness.services import Services
from tests.faults.harness.waiting import wait_until
from tests.servers.program import Program
from tests.servers.strict_rotating import StrictServer
from workspaces.models import Workspace

WORKER_READY = "ready."


class Installation:
    """Starts processes of the product and remembers them, so that all are ended."""

    def __init__(self, services: Services, provider: StrictServer, folder: Path) -> None:
        self.services, self.provider = services, provider
        self.database = services.new_database()
        self.database_url = services.postgres.url(self.database)
        self.processes: list[Process] = []
        self._folder = folder
        self._numbers = itertools.count(1)
        self._lifeline = Lifeline()

    def host(self, name: str = "a") -> Path:
        """The VAR_DIR of a host."""
        return self._folder / name

    def environment(self, host: str = "a", **more: str) -> dict[str, str]:
        """Settings of a host's processes."""
        return environment(
            self.host(host),
            self.database_url,
            self.services.redis.url(),
            **{"OUTBOUND_ALLOWED_HOSTS": self.provider.host, **more},
        )

    def worker(self, host: str = "a", *, wait: bool = True, **more: str) -> Process:
        """One worker process, as `manage.py worker` starts it."""
        number = next(self._numbers)
        worker = self._start(f"worker-{number}-{host}", celery_command(number), host, **more)
        if wait:
            worker.wait_for_line(WORKER_READY)
        return worker

    def beat(self, host: str = "a", **more: str) -> Process:
        """One beat, which may take seconds to begin: it logs nothing then."""
        command = [sys.executable, "-m", "celery", "--workdir", str(ROOT), "-A", "config", "--quiet"]
        return self._start(f"beat-{next(self._numbers)}-{host}", [*command, "beat", "--pidfile="], host, **more)

    def web(self, host: str = "a", **more: str) -> tuple[Process, str]:
        """A web process, and its URL."""
        port = free_port()
        command = [sys.executable, "manage.py", "serve", "--port", str(port), "--processes", "1"]
        web = self._start(f"web-{next(self._numbers)}-{host}", command, host, PORT=str(port), **more)
        url = f"http://localhost:{port}"
        wait_until(lambda: _answers(f"{url}/readyz"), "the web process", or_say=lambda: web.log[-3000:])
        return web, url

    def program(self, url: str, workspace: Workspace, *scopes: str) -> Program:
        """A program with a key of its own."""
        wanted = [argument for scope in scopes for argument in ("--scope", scope)]
        made = self.manage("create_api_key", workspace.slug, "--name", "faults", *wanted)
        return Program(url, json.loads(made)["key"])

    def manage(self, *arguments: str) -> str:
        """Run a management command; what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, task: str, *arguments: str, times: int = 1) -> None:
        """Hand a task to whichever worker takes it."""
        app = Celery(broker=self.services.redis.url(), set_as_current=False)
        with app.connection_for_write() as broker:
            for _ in range(times):
                app.send_task(f"integrations.{task}", args=list(arguments), queue="grantry", connection=broker)

    def wake(self, times: int = 1) -> None:
        """What a beat does."""
        self.send("refresh_due", times=times)

    def queued(self, *, running: bool = True) -> int:
        """Tasks that nobody has taken and, unless `running` is False, those that are not done."""
        with redis.Redis.from_url(self.services.redis.url()) as client:
            return int(client.llen("grantry")) + (int(client.hlen("unacked")) if running else 0)

    def spooled(self, host: str = "a") -> list[Path]:
        """Answers that a host keeps in files, waiting or set aside."""
        return [path for path in self.host(host).glob("spool/*") if path.suffix != ".part"]

    def end(self) -> None:
        """Kill what is left, and show what everybody wrote (pytest prints it when the test fails)."""
        for process in self.processes:
            process.kill()
        self._lifeline.close()
        for process in self.processes:
            sys.stdout.write(f"--- {process.name}\n{process.log[-4000:]}\n")

    def _start(self, name: str, command: list[str], host: str, **more: str) -> Process:
        self.host(host).mkdir(exist_ok=True)
        log = self._folder / f"{name}.log"
        process = Process(name, command, self.environment(host, **more), log, self._lifeline)
        self.processes.append(process)
        return process


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


@contextmanager
def running_installation(services: Services, provider: StrictServer, folder: Path) -> Iterator[Installation]:
    """An installation without processes yet; whatever runs at the end is killed."""
    installation = Installation(services, provider, folder)
    try:
        yield installation
    finally:
        installation.end()
