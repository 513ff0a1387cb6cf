"""Token reads past the framework answer as the framework would: status, headers and body, over a table of requests."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, close_old_connections
from django.db import connection as database
from django.utils import timezone

from config.quick_reads import QuickReads
from integrations.connections import read_connections, tokens
from integrations.models import Connection, Integration
from tests.api.client import make_key
from tests.factories import make_connection, make_integration, make_member, make_user, make_workspace
from tests.servers.scripted import ScriptedServer
from workspaces import audit
from workspaces.api_keys import revoke_api_key
from workspaces.audit import Actor
from workspaces.models import ApiKey, AuditEvent, Workspace
from workspaces.roles import Role

HOST = "localhost:8000"  # PUBLIC_BASE_URL's, in tests
BY_INTEGRATION = "/api/v1/integrations/github/authorization_code/token"


@dataclass
class Asked:
    """A request, and whether it left the quick way."""

    status: str
    headers: dict[str, str]
    body: bytes
    went_long: bool


@dataclass
class World:
    """A workspace with a connection and a key that may read it."""

    workspace: Workspace
    connection: Connection
    key: str

    @property
    def by_id(self) -> str:
        return f"/api/v1/connections/{self.connection.pk}/token"


@dataclass(frozen=True)
class Case:
    """A request, and what it gets. `prepare` changes the world first; `{key}` stands for the key."""

    name: str
    status: int
    went_long: bool = True
    path: str = ""  # by id
    query: str = ""
    method: str = "GET"
    environ: dict[str, str] = field(default_factory=dict)
    authorization: str | None = "Bearer {key}"
    prepare: Callable[[World], Any] = repr  # nothing changes


def ask(application: Any, world: World, case: Case) -> tuple[str, dict[str, str], bytes]:
    environ = {
        "REQUEST_METHOD": case.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": case.path.format(id=world.connection.pk) or world.by_id,
        "QUERY_STRING": case.query,
        "HTTP_HOST": HOST,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        **case.environ,
    }
    if case.authorization is not None:
        environ["HTTP_AUTHORIZATION"] = case.authorization.format(key=world.key)
    told: list[Any] = []
    answer = application(environ, lambda status, headers, _exc_info=None: told.extend([status, headers]))
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    headers = {name.lower(): value for name, value in told[1]}
    assert len(headers) == len(told[1])
    return told[0], headers, body


def both(world: World, case: Case) -> tuple[Asked, Asked]:
    """Ask the quick application and Django's own."""
    django = get_wsgi_application()
    calls: list[str] = []

    def counted(environ: Any, start_response: Any) -> Any:
        calls.append(environ["PATH_INFO"])
        return django(environ, start_response)

    quick = Asked(*ask(QuickReads(counted), world, case), went_long=bool(calls))
    return quick, Asked(*ask(django, world, case), went_long=True)


@pytest.fixture(autouse=True)
def _keep_the_tests_connection() -> Iterator[None]:
    """A request closes the connection of its thread, with the test's transaction in it."""
    ends = (request_started, request_finished)
    for signal in ends:
        signal.disconnect(close_old_connections)
    yield
    for signal in ends:
        signal.connect(close_old_connections)


def comparable(asked: Asked) -> Any:
    """Without what belongs to one request: its id."""
    headers = dict(asked.headers)
    request_id = headers.pop("x-request-id")
    assert re.fullmatch(r"[0-9a-f-]{36}", request_id)
    return asked.status, headers, asked.body.replace(request_id.encode(), b"")


@pytest.fixture
def world(workspace: Workspace) -> World:
    connection = make_connection(make_integration(workspace), granted_scopes=["repo", "ünïcode"])
    make_connection(connection.integration, "customer-7", access_token="the-other-token")
    return World(workspace, connection, make_key(workspace, "tokens:read"))


def revoke(world: World) -> None:
    revoke_api_key(ApiKey.objects.get(), actor=Actor.operator())


def expire_key(world: World) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def take_scope(world: World) -> None:
    ApiKey.objects.update(scopes=["connections:read"])


def demote_creator(world: World) -> None:
    member = make_member(world.workspace, make_user(), Role.ADMIN)
    world.key = make_key(world.workspace, "tokens:read", created_by=member.user)
    member.role = Role.VIEWER
    member.save()


def remove_creator(world: World) -> None:
    member = make_member(world.workspace, make_user(), Role.ADMIN)
    world.key = make_key(world.workspace, "tokens:read", created_by=member.user)
    member.delete()


def shut_creator_out(world: World) -> None:
    member = make_member(world.workspace, make_user(), Role.ADMIN)
    world.key = make_key(world.workspace, "tokens:read", created_by=member.user)
    member.user.is_active = False
    member.user.save()


def key_of_a_member(world: World) -> None:
    member = make_member(world.workspace, make_user(), Role.ADMIN)
    world.key = make_key(world.workspace, "tokens:read", created_by=member.user)


def go_to_another_workspace(world: World) -> None:
    world.connection = make_connection(make_integration(make_workspace()), access_token="theirs")


def set_state(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        Connection.objects.filter(pk=world.connection.pk).update(**fields)

    return change


def set_token(**fields: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        for name, value in fields.items():
            setattr(world.connection.token, name, value)
        world.connection.token.save()

    return change


def let_it_die_soon(world: World) -> None:
    dies_at = timezone.now() + timedelta(seconds=50)
    set_token(expires_at=dies_at, issued_at=AGES_AGO, has_refresh_token=False)(world)


def refuse_client(world: World) -> None:
    Integration.objects.update(client_error_code="invalid_client", client_error_message="No.")


def only_the_named(world: World) -> None:
    Connection.objects.filter(is_default=True).update(is_default=False)


AGES_AGO = timezone.now() - timedelta(days=3)
CASES = [
    Case("by id", 200, False),
    Case("by integration", 200, False, path=BY_INTEGRATION),
    Case("by name", 200, False, path=BY_INTEGRATION, query="connection=customer-7"),
    Case("by name and life", 200, False, path=BY_INTEGRATION, query="connection=customer-7&min_ttl=5"),
    Case("by life and name", 200, path=BY_INTEGRATION, query="min_ttl=5&connection=customer-7"),
    Case("an empty name", 200, path=BY_INTEGRATION, query="connection="),
    Case("no such name", 404, path=BY_INTEGRATION, query="connection=nobody"),
    Case("no default", 409, path=BY_INTEGRATION, prepare=only_the_named),
    Case("not connected", 409, path=BY_INTEGRATION.replace("github", "slack")),
    Case("no such provider", 404, path=BY_INTEGRATION.replace("github", "nothing")),
    Case("no such grant type", 404, path=BY_INTEGRATION.replace("authorization_code", "implicit")),
    Case("another grant type", 404, path=BY_INTEGRATION.replace("authorization_code", "client_credentials")),
    Case("a name with the id", 200, query="connection=customer-7"),
    Case("the scheme in small letters", 200, False, authorization="bearer {key}"),
    Case("two spaces after the scheme", 200, False, authorization="Bearer  {key}"),
    Case("a key of a member", 200, False, prepare=key_of_a_member),
    Case("no key", 401, authorization=None),
    Case("an empty header", 401, authorization=""),
    Case("another scheme", 401, authorization="Basic {key}"),
    Case("two keys", 401, authorization="Bearer {key} {key}"),
    Case("a wrong secret", 401, authorization="Bearer {key}x"),
    Case("no key of ours", 401, authorization="Bearer abc"),
    Case("a key of nobody", 401, authorization="Bearer gr_aaaaaaaaaa_" + "x" * 40),
    Case("revoked", 401, prepare=revoke),
    Case("expired key", 401, prepare=expire_key),
    Case("creator gone", 401, prepare=remove_creator),
    Case("creator shut out", 401, prepare=shut_creator_out),
    Case("without the scope", 403, prepare=take_scope),
    Case("creator demoted", 403, prepare=demote_creator),
    Case("another workspace's", 404, prepare=go_to_another_workspace),
    Case("no such connection", 404, path="/api/v1/connections/00000000-0000-4000-8000-000000000000/token"),
    Case("an id in capitals", 404, path="/api/v1/connections/00000000-0000-4000-8000-00000000000A/token"),
    Case("no id", 404, path="/api/v1/connections/nothing/token"),
    Case("a slash at the end", 404, path="/api/v1/connections/{id}/token/"),
    Case("two slashes", 404, path="/api/v1//connections/{id}/token"),
    Case("a newline at the end", 404, path="/api/v1/connections/{id}/token\n"),
    Case("min_ttl", 200, False, query="min_ttl=0"),
    Case("min_ttl with zeros", 200, False, query="min_ttl=00060"),
    Case("min_ttl beyond the lifetime", 200, False, query="min_ttl=86400"),
    Case("min_ttl too large", 422, query="min_ttl=86401"),
    Case("min_ttl below zero", 422, query="min_ttl=-1"),
    Case("min_ttl as a word", 422, query="min_ttl=soon"),
    Case("min_ttl empty", 422, query="min_ttl="),
    Case("min_ttl with a plus", 200, query="min_ttl=%2B60"),
    Case("min_ttl twice", 200, query="min_ttl=50&min_ttl=60"),
    Case("min_ttl after an ampersand", 200, False, query="&min_ttl=60"),
    Case("min_ttl in other digits", 422, query="min_ttl=%D9%A3"),
    Case("an unknown parameter", 200, query="fresh=1"),
    Case("HEAD", 405, method="HEAD"),
    Case("POST", 405, method="POST"),
    Case("OPTIONS", 405, method="OPTIONS"),
    Case("a body", 200, environ={"CONTENT_LENGTH": "2", "CONTENT_TYPE": "application/json"}),
    Case("a large body", 413, environ={"CONTENT_LENGTH": "9999999"}),
    Case("chunks", 411, environ={"HTTP_TRANSFER_ENCODING": "chunked"}),
    Case("a cookie", 200, environ={"HTTP_COOKIE": "grantry_session=abc"}),
    Case("another host", 200, environ={"HTTP_HOST": "elsewhere.example"}),
    Case("a host in capitals", 200, False, environ={"HTTP_HOST": "LOCALHOST:8000"}),
    Case("a host with spaces", 400, environ={"HTTP_HOST": "a b"}),
    Case("reconnect required", 409, False, prepare=set_state(state="reconnect_required", last_error_message="Dead.")),
    Case("configured only", 409, False, prepare=set_state(state="configured")),
    Case("no token", 409, False, prepare=lambda world: world.connection.token.delete()),
    Case("retrying", 200, False, prepare=set_state(state="degraded")),
    Case("client refused", 200, False, prepare=refuse_client),
    Case("unknown lifetime", 200, False, prepare=set_token(expires_at=None, issued_at=AGES_AGO)),
    Case(
        "expired, nothing to renew with", 409, False,
        prepare=set_token(expires_at=AGES_AGO, issued_at=AGES_AGO, has_refresh_token=False),
    ),
    Case("dying, nothing to renew with", 200, False, prepare=let_it_die_soon),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_ways_answer_alike(case: Case, world: World) -> None:
    case.prepare(world)
    quick, long = both(world, case)
    assert comparable(quick) == comparable(long)
    assert int(quick.status.split()[0]) == case.status
    assert quick.went_long == case.went_long
    assert (b"theirs" in quick.body) is False


def test_every_answer_has_the_headers_of_a_secure_installation(world: World, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    quick, long = both(world, Case("", 200, environ={"HTTP_X_FORWARDED_PROTO": "https"}))
    assert comparable(quick) == comparable(long)
    assert not quick.went_long
    assert quick.headers["strict-transport-security"].startswith("max-age=3600")
    for sign in ("http", "http, https"):
        quick, long = both(world, Case("", 200, environ={"HTTP_X_FORWARDED_PROTO": sign}))
        assert quick.went_long
        assert quick.status == long.status == "301 Moved Permanently"


def test_a_host_name_that_the_operator_shut_out_is_refused(world: World, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["elsewhere.example"]
    quick, _long = both(world, Case("", 400))
    assert quick.went_long
    assert quick.status == "400 Bad Request"


def test_what_cannot_be_opened_is_said_alike(world: World, settings: Any) -> None:
    settings.FERNET_KEYS = ["A" * 43 + "="]
    quick, long = both(world, Case("", 503))
    assert comparable(quick) == comparable(long)
    assert (quick.status, quick.headers["retry-after"], quick.went_long) == ("503 Service Unavailable", "60", False)


def test_each_read_is_recorded_once_with_its_request_and_key(world: World) -> None:
    quick, long = both(world, Case("", 200))
    audit.flush()
    events = list(AuditEvent.objects.filter(action="token:read").order_by("id"))
    assert [str(event.request_id) for event in events] == [quick.headers["x-request-id"], long.headers["x-request-id"]]
    ignored = ("id", "at", "request_id", "_state")
    first, second = ({k: v for k, v in vars(event).items() if k not in ignored} for event in events)
    assert first == second
    assert "access-token-1" not in str(first)
    assert ApiKey.objects.get().last_used_at is not None


def test_requests_are_limited_alike(world: World, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMIT_SCALE = 1.0
    monkeypatch.setattr("integrations.api.authentication.REQUESTS_PER_MINUTE", 2)
    answers = [both(world, Case("", 200))[0] for _ in range(4)]  # four: the minute may turn once in between
    limited = [answer for answer in answers if answer.status.startswith("429")]
    assert limited
    assert 1 <= int(limited[0].headers["retry-after"]) <= 60


def test_a_renewal_that_fails_is_told_as_a_problem(
    world: World, delegated: Integration, provider_server: ScriptedServer
) -> None:
    world.connection = make_connection(delegated, issued_at=timezone.now() - timedelta(hours=2))
    provider_server.answer("/token", status=400, json={"error": "invalid_grant"})
    quick, long = both(world, Case("", 409))
    assert comparable(quick) == comparable(long)
    assert json.loads(quick.body)["code"] == "reconnect_required"
    assert not quick.went_long
    assert len(provider_server.to("/token")) == 1


def test_an_expired_token_is_renewed_on_the_quick_way_too(
    world: World, delegated: Integration, provider_server: ScriptedServer
) -> None:
    world.connection = make_connection(delegated, issued_at=timezone.now() - timedelta(hours=2))
    provider_server.answer("/token", json={"access_token": "fresh", "token_type": "Bearer", "expires_in": 3600})
    quick, long = both(world, Case("", 200))
    assert comparable(quick) == comparable(long)
    assert json.loads(quick.body)["access_token"] == "fresh"
    assert not quick.went_long


def test_when_the_room_is_full_a_living_token_is_served_and_a_dead_one_is_not(
    world: World, delegated: Integration, settings: Any
) -> None:
    settings.WEB_THREADS = 2
    now = timezone.now()
    dying = make_connection(delegated, "dying", issued_at=now - timedelta(minutes=59, seconds=30))
    dead = make_connection(delegated, "dead", issued_at=now - timedelta(hours=2))
    with tokens._room.place() as has_place:
        assert has_place
        world.connection = dying
        quick, _long = both(world, Case("", 200))
        assert "too many requests" in json.loads(quick.body)["warning"]
        world.connection = dead
        quick, long = both(world, Case("", 503))
    assert comparable(quick) == comparable(long)
    assert (quick.status, quick.headers["retry-after"]) == ("503 Service Unavailable", "1")


def test_a_database_that_does_not_answer_is_the_long_ways_to_tell(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any) -> None:
        raise read_connections.NoConnection

    monkeypatch.setattr("integrations.connections.reading.find", away)
    quick, long = both(world, Case("", 200))
    assert quick.went_long
    assert comparable(quick) == comparable(long)


@pytest.mark.parametrize(
    ("question", "error"),
    [("limit_requests", OperationalError("gone")), ("usable_token", ValueError("nobody foresaw this"))],
)
def test_an_error_after_the_row_was_found_is_the_long_ways_to_tell(
    world: World, monkeypatch: pytest.MonkeyPatch, question: str, error: Exception
) -> None:
    """A server would answer it with a bare 500."""

    def fails(*_arguments: Any, **_more: Any) -> None:
        raise error

    monkeypatch.setattr(f"integrations.api.quick_reads.{question}", fails)
    quick, long = both(world, Case("", 200))
    assert quick.went_long
    assert comparable(quick) == comparable(long)


# --- connections of their own (PostgreSQL) --------------------------------------------------------------

on_postgresql = pytest.mark.skipif(database.vendor != "postgresql", reason="SQLite has no connections to keep")


@pytest.fixture
def own_connections(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two, and none left at the end."""
    settings.DATABASE_READ_CONNECTIONS = 2
    monkeypatch.setattr(read_connections, "_connections", None)
    yield
    if (own := read_connections.read_connections()) is not None:
        own.close()


def committed_world() -> World:
    workspace = make_workspace()
    return World(workspace, make_connection(make_integration(workspace)), make_key(workspace, "tokens:read"))


@on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_connections")
def test_a_restart_of_postgresql_costs_no_read_an_error() -> None:
    world = committed_world()
    for _turn in range(2):
        quick, long = both(world, Case("", 200))
        assert comparable(quick) == comparable(long)
        assert not quick.went_long
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert cursor.fetchone()[0] >= 1


@on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_connections")
def test_many_readers_share_few_connections_which_only_read() -> None:
    world = committed_world()
    statuses: list[str] = []

    def read() -> None:
        application = QuickReads(get_wsgi_application())
        statuses.extend(ask(application, world, Case("", 200))[0] for _ in range(5))
        database.close()

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert statuses == ["200 OK"] * 40
    own = read_connections.read_connections()
    assert own is not None
    assert own._free.qsize() == 2
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        own.fetch_one("UPDATE workspaces_apikey SET name = $1 RETURNING name", ("x",))
    assert own.fetch_one("SELECT $1::int", ("1",)) == (1,)  # a refused statement breaks no connection


@on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_connections")
def test_a_revoked_key_stops_at_the_next_read() -> None:
    world = committed_world()
    assert both(world, Case("", 200))[0].status == "200 OK"
    revoke(world)
    assert both(world, Case("", 401))[0].status == "401 Unauthorized"
