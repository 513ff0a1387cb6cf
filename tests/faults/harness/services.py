"""The two services of a test run, and a migrated database to copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.harness.environment import environment
from tests.faults.harness.postgres import Postgres, find_tool
from tests.faults.harness.processes import ROOT
from tests.faults.harness.redis import Redis, find_server

TEMPLATE = "migrated"


def why_missing() -> str | None:
    """Why these tests cannot run here, or None."""
    wanted = {"PostgreSQL's server": find_tool("initdb"), "redis-server": find_server()}
    missing = [name for name, found in wanted.items() if not found]
    return f"needs {' and '.join(missing)}" if missing else None


@dataclass
class Services:
    """PostgreSQL and Redis."""

    folder: Path
    postgres: Postgres
    redis: Redis

    def new_database(self) -> str:
        """The name of a new migrated database."""
        name = f"fault_{uuid.uuid4().hex[:10]}"
        self.postgres.create(name, TEMPLATE)
        return name

    def heal(self) -> None:
        """Have both running, and Redis empty, whatever a test left."""
        if not self.postgres.is_running():
            self.postgres.start()
        if not self.redis.answers():
            self.redis.stop()
            self.redis.start()
        self.redis.flush()


@contextmanager
def running_services() -> Iterator[Services]:
    """Both, in a folder that goes away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="grantry-faults-"))
    folder.chmod(0o755)  # PostgreSQL's own user has to get in
    services = Services(folder, Postgres(folder), Redis(folder))
    try:
        services.postgres.start()
        services.redis.start()
        _migrate(services)
        yield services
    finally:
        services.redis.stop()
        if services.postgres.is_running():
            services.postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _migrate(services: Services) -> None:
    url = services.postgres.create(TEMPLATE)
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=environment(services.folder / "migration", url, services.redis.url()),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
