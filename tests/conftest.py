"""Fixtures for every test: people, a workspace, a scripted server. Sockets stay on loopback."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.cache import caches
from django.db import connection
from django.test import Client

from tests.factories import make_member, make_user, make_workspace
from tests.servers.scripted import ScriptedServer, scripted_server
from workspaces import audit
from workspaces.models import User, Workspace
from workspaces.roles import Role

# The same examples in every run: what a property test finds is found by its author, not by the next person's build.
# `make test ARGS=--hypothesis-profile=explore` looks further.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Files that take longest, longest first: they begin first, so that no worker is left alone with one at the end.
BEGIN_FIRST = (
    "browser/test_journeys.py",
    "browser/test_pages_look_right.py",
    "browser/test_provider_journeys.py",
    "browser/test_connections.py",
    "ui/test_kit_in_browser.py",
    "runtime/test_up.py",
    "flows/test_real_worker.py",
    "security/test_hostile_input.py",
    "security/test_roles_and_requests.py",
    "tenancy/test_every_route_keeps_workspaces_apart.py",
    "api/test_reference_in_browser.py",
    "security/test_no_secret_travels.py",
    "pages/test_catalogue_pages.py",
)
TESTS = Path(__file__).parent
IN_CI = os.environ.get("GRANTRY_CI") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Another run of what another database or broker can change."""
    words = "leave out what no database, broker or process has a part in, and browsers: it ran with the others"
    parser.addoption("--on-services", action="store_true", help=words)


def _is_for_services(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    fixtures = set(getattr(item, "fixturenames", ()))
    return "browser" not in marks and bool(
        marks & {"django_db", "services", "processes", "node"} or fixtures & {"db", "transactional_db"}
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; the others, and the tests of a file, keep their order."""
    if config.getoption("--on-services"):
        left_out = [item for item in items if not _is_for_services(item)]
        items[:] = [item for item in items if _is_for_services(item)]
        config.hook.pytest_deselected(items=left_out)
    turns = {TESTS / name: turn for turn, name in enumerate(BEGIN_FIRST)}
    if missing := [path for path in turns if not path.is_file()]:
        raise pytest.UsageError(f"BEGIN_FIRST in tests/conftest.py names files that are not there: {missing}")
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """In CI nothing is skipped: what a test needs is there, or the run is red."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """PostgreSQL drops no database that somebody uses: a thread that ended may hold its connection until collected."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anything but this machine, so that no test can reach a real provider."""
    real_connect = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "unix"
        if isinstance(address, tuple) and not (str(host).startswith("127.") or host in ("::1", "localhost")):
            raise AssertionError(f"A test tried to connect to {host}.")
        real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def _counts_begin_anew() -> None:
    """Redis forgets no rate limit when a test's transaction is rolled back: every test counts under its own name."""
    caches["default"].key_prefix = uuid.uuid4().hex


@pytest.fixture(autouse=True)
def _no_buffered_events() -> Iterator[None]:
    """Token reads that one test buffered must not be written in the next."""
    yield
    audit.discard_buffer()


@pytest.fixture
def alice(db: None) -> User:
    """Owns the workspace."""
    return make_user("alice@example.com", name="Alice Ames")


@pytest.fixture
def workspace(alice: User) -> Workspace:
    """Alice's."""
    return make_workspace("Acme", owner=alice, slug="acme")


@pytest.fixture
def bob(workspace: Workspace) -> User:
    """An admin of the workspace."""
    user = make_user("bob@example.com", name="Bob Brown")
    make_member(workspace, user, Role.ADMIN)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """An outsider with a workspace of his own."""
    user = make_user("charlie@example.com", name="Charlie Cole")
    make_workspace("Other", owner=user, slug="other")
    return user


@pytest.fixture
def as_alice(alice: User, client: Client) -> Client:
    """A browser in which Alice is signed in."""
    client.force_login(alice)
    return client


@pytest.fixture
def provider_server(settings: Any) -> Iterator[ScriptedServer]:
    """An authorization server that says what a test tells it to; our door lets it through."""
    with scripted_server() as server:
        settings.OUTBOUND_ALLOWED_HOSTS = [server.host]
        yield server
