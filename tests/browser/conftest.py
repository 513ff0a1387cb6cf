"""One running product and one browser for all journeys of a file; people come and go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.person import Person, person_in
from tests.servers.chromium import shared_chromium, why_missing
from tests.servers.product import Product, running_product, unique_name
from tests.servers.program import Program
from workspaces.roles import KeyScope

TEAM_PASSWORD = "a passphrase for one test"
TEAMS_AT_ONCE = 8
TOKEN_SECONDS = 20  # renewed by itself after about 16, at the next beat


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skipped with a line where it is missing."""
    if reason := why_missing():
        pytest.skip(reason)
    with shared_chromium() as started:
        yield started


@pytest.fixture(scope="session")
def product(browser: Browser) -> Iterator[Product]:
    """`manage.py up` with tokens so short that a journey sees one renew, and without rate limits."""
    with running_product(SANDBOX_TOKEN_SECONDS=str(TOKEN_SECONDS), RATE_LIMIT_SCALE="0") as running:
        yield running


@dataclass(frozen=True)
class Team:
    """A workspace of a test's own in the running product, its owner's sign-in, and a program with every scope."""

    slug: str
    email: str
    password: str
    program: Program

    def at(self, path: str) -> str:
        """A page of the workspace."""
        return f"/w/{self.slug}/{path}"


@dataclass(frozen=True)
class SandboxClients:
    """The sandbox's two clients, as (client id, client secret)."""

    authorization_code: tuple[str, str]
    client_credentials: tuple[str, str]

    def body(self, grant_type: str) -> dict[str, str]:
        """What saves one of them by API."""
        client_id, client_secret = getattr(self, grant_type)
        return {"client_id": client_id, "client_secret": client_secret}


@pytest.fixture(scope="session")
def program(product: Product) -> Program:
    """A program with every scope in the demo workspace."""
    return make_program(product, "demo")


def make_program(product: Product, workspace: str) -> Program:
    """A program with every scope in a workspace."""
    scopes = [argument for scope in KeyScope for argument in ("--scope", scope.value)]
    made = json.loads(product.manage("create_api_key", workspace, "--name", "nightly-sync", *scopes))
    return Program(product.url, made["key"])


@pytest.fixture(scope="session")
def sandbox_clients(product: Product) -> SandboxClients:
    """Read from where `manage.py up` keeps them."""
    lines = (product.var_dir / "local.env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return SandboxClients(
        (found["SANDBOX_CLIENT_ID"], found["SANDBOX_CLIENT_SECRET"]),
        (found["SANDBOX_SERVICE_CLIENT_ID"], found["SANDBOX_SERVICE_CLIENT_SECRET"]),
    )


@pytest.fixture(scope="session")
def new_team(product: Product) -> Callable[[], Team]:
    """A workspace that no test has used. Several are made at once: starting Python costs more than making them."""
    spare: list[Team] = []

    def take() -> Team:
        if not spare:
            spare.extend(make_teams(product, TEAMS_AT_ONCE))
        return spare.pop()

    return take


def make_teams(product: Product, number: int) -> list[Team]:
    """By the commands that an operator uses, in one process."""
    slugs = [unique_name("team").replace("_", "-") for _ in range(number)]
    keys = product.manage("shell", "-c", MAKE_TEAMS, stdin=json.dumps([slugs, TEAM_PASSWORD]))
    made = dict(json.loads(keys.strip().splitlines()[-1]))
    return [
        Team(slug, f"{slug}@acme.example", TEAM_PASSWORD, Program(product.url, made[slug]["key"])) for slug in slugs
    ]


MAKE_TEAMS = """
import io, json, sys
from django.core.management import call_command
from workspaces.roles import KeyScope
slugs, password = json.load(sys.stdin)
scopes = [argument for scope in KeyScope for argument in ("--scope", scope.value)]
made = {}
for slug in slugs:
    sys.stdin, printed = io.StringIO(password + "\\n"), io.StringIO()
    email = f"{slug}@acme.example"
    call_command(
        "create_workspace", "Team", "--slug", slug, "--owner", email, "--password-stdin", stdout=io.StringIO())
    call_command("create_api_key", slug, "--name", "nightly-sync", *scopes, stdout=printed)
    made[slug] = json.loads(printed.getvalue())
print(json.dumps(made))
"""


@pytest.fixture
def team(new_team: Callable[[], Team], sandbox_clients: SandboxClients) -> Team:
    """A fresh workspace with the sandbox set up under both grant types."""
    made = new_team()
    for grant_type in ("authorization_code", "client_credentials"):
        made.program.call("PUT", f"/integrations/sandbox/{grant_type}", sandbox_clients.body(grant_type))
    return made


@pytest.fixture
def member(visitor: Callable[..., Person], team: Team) -> Person:
    """The team's owner, signed in."""
    person = visitor()
    person.sign_in(team.email, team.password)
    return person


@pytest.fixture(scope="session")
def signed_in(browser: Browser, product: Product) -> Any:
    """Cookies of a browser in which the demo's owner has signed in once."""
    with person_in(browser, product) as owner:
        owner.sign_in()
        return owner.context.storage_state()


@pytest.fixture
def visitor(browser: Browser, product: Product) -> Iterator[Callable[..., Person]]:
    """Makes people with browsers of their own; options are those of a browser context."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(person_in(browser, product, **options))


@pytest.fixture
def owner(visitor: Callable[..., Person], signed_in: Any) -> Person:
    """The demo's owner, signed in."""
    return visitor(storage_state=signed_in)
