"""`make bench`: every benchmark on SQLite, then on PostgreSQL, then the page. Arguments go to pytest.

PostgreSQL is the server of DATABASE_URL, else the one on this machine that lets `postgres` in; without either its half
is left out, and says so.
"""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

from tests.benchmarks import report
from tests.benchmarks.million import SERVER

NOTHING_CHOSEN = 5  # pytest's exit code
PYTEST = [sys.executable, "-m", "pytest", "tests/benchmarks", "-m", "benchmark", "-q", "-rs", "-p", "no:cacheprovider"]


def main() -> int:
    given = os.environ.pop("DATABASE_URL", "")
    print("\n=== SQLite", flush=True)
    codes = [_run({})]
    server = given if given.startswith("postgres") else SERVER
    try:
        psycopg.connect(server, connect_timeout=3).close()
    except psycopg.Error as error:
        print(f"\n=== PostgreSQL is left out: {str(error).strip()}. DATABASE_URL names a server.", flush=True)
    else:
        print("\n=== PostgreSQL", flush=True)
        codes.append(_run({"DATABASE_URL": server}))
    for written in report.write_page():
        print(f"written: {written}")
    return max(code for code in codes if code != NOTHING_CHOSEN) if set(codes) != {NOTHING_CHOSEN} else NOTHING_CHOSEN


def _run(services: dict[str, str]) -> int:
    return subprocess.run([*PYTEST, *sys.argv[1:]], env={**os.environ, **services}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
