"""A PostgreSQL database with a million connections, each with its token and schedule, for the benchmarks that need one.

    def test_something(million: Million) -> None:            # a fixture of the session (conftest): built once per run
        with million.in_process():                           # Django's own connections of this process lead there
            claim_due(500, now)
        serve(env=million.environment)                       # or a process of its own does

Most rows are made by SQL from one template: 1 % of them due by now, the others later. A thousand connections are real:
their tokens open under `FERNET_KEYS` of the environment, live for a day and are not due. They are spread over all
workspaces, each of which has a key with `tokens:read`. Takes about a minute and 2 GB; dropped at the end.

`python -m tests.benchmarks.million ROWS` fills the database that DATABASE_URL names and prints what it made as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"
ROWS = 1_000_000
WORKSPACES = 200
PROVIDERS = ("github", "slack", "hubspot", "dropbox", "notion")  # one integration of each in every workspace
REAL = 1_000
DUE_SHARE = 0.01


@dataclass(frozen=True)
class Readable:
    """A real connection, and the key that may read its token."""

    connection_id: str
    provider_id: str
    name: str
    key: str
    access_token: str


@dataclass(frozen=True)
class Million:
    """The database: what a process needs to use it, and what is worth reading in it."""

    environment: dict[str, str]
    rows: int
    readable: list[Readable]

    @property
    def url(self) -> str:
        """DATABASE_URL."""
        return self.environment["DATABASE_URL"]

    @contextmanager
    def in_process(self) -> Iterator[None]:
        """Point Django's default database of this process, threads to come included, at this one for a while.

        pytest-django has to allow it: use it in a test with `django_db_blocker.unblock()` or with `django_db`.
        """
        from django.db import connection, connections

        settings_dict: dict[str, Any] = connections.settings["default"]
        before = dict(settings_dict)
        connection.close()
        _close_pool(connection)
        settings_dict.update(NAME=urlsplit(self.url).path.lstrip("/"))
        connection.settings_dict["NAME"] = settings_dict["NAME"]
        try:
            yield
        finally:
            connection.close()
            _close_pool(connection)
            settings_dict.update(before)
            connection.settings_dict["NAME"] = before["NAME"]


@contextmanager
def million_connections(rows: int = ROWS) -> Iterator[Million]:
    """Make the database on the PostgreSQL server of DATABASE_URL (else on this machine's), and drop it at the end."""
    server = os.environ.get("DATABASE_URL", "")
    server = server if server.startswith("postgres") else SERVER
    name = f"grantry_million_{uuid.uuid4().hex[:8]}"
    _on_server(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        with tempfile.TemporaryDirectory(prefix="grantry-million-") as folder:
            environment = _environment(urlunsplit(urlsplit(server)._replace(path=f"/{name}")), folder)
            run_in(environment, "manage.py", "migrate", "--verbosity", "0")
            made = json.loads(run_in(environment, "-m", "tests.benchmarks.million", str(rows)))
            yield Million(environment, rows, [Readable(**one) for one in made])
    finally:
        _on_server(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _environment(database_url: str, var_dir: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "REDIS_URL") if name in os.environ}
    return {
        **kept,
        "ENV_FILE": "",
        "VAR_DIR": var_dir,
        "DATABASE_URL": database_url,
        "SECRET_KEY": secrets.token_urlsafe(64),
        "FERNET_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "EMAIL_URL": "consolemail://",
    }


def run_in(environment: dict[str, str], *arguments: str) -> str:
    """Run Python with these arguments in an installation's environment, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _on_server(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _close_pool(connection: Any) -> None:
    if getattr(connection, "pool", None) is not None:
        connection.close_pool()


# --- in the process that fills it -----------------------------------------------------------------------


def fill(rows: int) -> list[Readable]:
    """Fill the empty database of this process's settings; return what can be read."""
    from django.db import connection, transaction

    with transaction.atomic():
        readable = _make_real_ones()
        with connection.cursor() as cursor:
            # Foreign keys hold by construction; checking each of millions takes longer than writing them.
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("SELECT setseed(0.5)")
            for statement, values in _statements(rows):
                cursor.execute(statement, values)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return readable


def _make_real_ones() -> list[Readable]:
    from datetime import timedelta

    from django.utils import timezone

    from tests.factories import make_connection, make_integration
    from workspaces.api_keys import create_api_key
    from workspaces.audit import Actor
    from workspaces.models import Workspace

    readable = []
    day = timedelta(days=1)
    for number in range(WORKSPACES):
        workspace = Workspace.objects.create(name=f"Workspace {number}", slug=f"bench-{number}")
        new = create_api_key(
            workspace, name="reader", scopes=["tokens:read"], actor=Actor.operator("benchmark"), created_by=None
        )
        integrations = [make_integration(workspace, provider) for provider in PROVIDERS]
        for turn in range(REAL // WORKSPACES):
            integration = integrations[turn % len(integrations)]
            access_token = f"access-{secrets.token_urlsafe(90)}"
            connection = make_connection(
                integration,
                access_token=access_token,
                refresh_token=f"refresh-{secrets.token_urlsafe(90)}",
                lifetime=day,
                due_at=timezone.now() + day,
                granted_scopes=["read", "write"],
            )
            found = Readable(str(connection.pk), integration.provider_id, connection.name, new.key, access_token)
            readable.append(found)
    return readable


def _statements(rows: int) -> Iterator[tuple[str, list[Any]]]:
    """One INSERT for each table: the columns of a template, but for those that make a row its own."""
    from integrations.models import Connection, Integration, Token, TokenSchedule

    template = Connection.objects.order_by("created_at").first()
    assert template is not None
    each = (rows - REAL) // Integration.objects.count()
    own = {
        "id": "gen_random_uuid()",
        "workspace_id": "i.workspace_id",
        "integration_id": "i.id",
        "name": "'customer-' || n",
        "is_default": "false",
    }
    connections, tokens = Connection._meta.db_table, Token._meta.db_table
    source = f"{connections} t, {Integration._meta.db_table} i, generate_series(1, %s) n WHERE t.id = %s"
    yield _insert(Connection, own, source), [each, template.pk]
    copies = f"{connections} c WHERE c.name LIKE 'customer-%%' AND t.connection_id = %s"
    own = {"connection_id": "c.id", "workspace_id": "c.workspace_id"}
    yield _insert(Token, own, f"{tokens} t, {copies}"), [template.pk]
    due = (
        f"CASE WHEN random() < {DUE_SHARE} THEN now() - random() * interval '10 minutes'"
        " ELSE now() + interval '1 hour' + random() * interval '1 day' END"
    )
    own = {"connection_id": "c.id", "refresh_due_at": due}
    yield _insert(TokenSchedule, own, f"{TokenSchedule._meta.db_table} t, {copies}"), [template.pk]


def _insert(model: Any, own: dict[str, str], source: str) -> str:
    columns = [field.column for field in model._meta.concrete_fields]
    values = [own.get(column, f't."{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {model._meta.db_table} ({names}) SELECT {', '.join(values)} FROM {source}"  # noqa: S608 (our columns)


if __name__ == "__main__":
    from dataclasses import asdict

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    print(json.dumps([asdict(one) for one in fill(int(sys.argv[1]))]))
