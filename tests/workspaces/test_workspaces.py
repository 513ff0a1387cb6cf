"""Making a workspace, and the two commands."""

from __future__ import annotations

import io
import json

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.factories import PASSWORD, make_user, make_workspace
from tests.workspaces.conftest import OPERATOR
from workspaces.api_keys import authenticate, effective_scopes
from workspaces.errors import SlugTaken
from workspaces.models import AuditEvent, Membership, User, Workspace
from workspaces.roles import KeyScope, Role
from workspaces.workspaces import change_settings, create_workspace

pytestmark = pytest.mark.django_db


def run(*arguments: str, stdin: str = "", monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_first_owner_can_sign_in_with_the_password_that_was_given(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    out, err = run(
        "create_workspace",
        "Acme Corp",
        "--owner",
        "Olga@Example.com",
        "--password-stdin",
        stdin="a long unlikely sentence\n",
        monkeypatch=monkeypatch,
    )
    assert json.loads(out) == {"workspace": "acme-corp", "owner": "olga@example.com"}
    assert err == ""
    owner = User.objects.get(email="olga@example.com")
    assert Membership.objects.get(workspace__slug="acme-corp", user=owner).role == Role.OWNER
    client.post("/accounts/login/", {"login": "olga@example.com", "password": "a long unlikely sentence"})
    assert client.get("/").headers["Location"] == "/w/acme-corp/integrations/"


def test_an_address_that_exists_gains_a_membership_and_keeps_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    person = make_user("olga@example.com")
    out, err = run(
        "create_workspace",
        "Acme",
        "--owner",
        "OLGA@example.com",
        "--password-stdin",
        stdin="another long sentence\n",
        monkeypatch=monkeypatch,
    )
    person.refresh_from_db()
    assert json.loads(out)["owner"] == "olga@example.com"
    assert "keeps its password" in err
    assert person.check_password(PASSWORD)
    assert User.objects.count() == 1


def test_an_unverified_address_counts_as_verified_afterwards() -> None:
    person = make_user("olga@example.com")
    EmailAddress.objects.filter(user=person).update(verified=False)
    create_workspace("Acme", owner_email="olga@example.com", actor=OPERATOR)
    assert EmailAddress.objects.get(user=person).verified


def test_a_verified_second_address_leads_to_the_same_person() -> None:
    person = make_user("olga@example.com")
    EmailAddress.objects.create(user=person, email="olga@work.example", verified=True)
    _workspace, owner = create_workspace("Acme", owner_email="olga@work.example", actor=OPERATOR)
    assert owner == person


def test_without_a_password_it_says_how_to_set_one() -> None:
    out, err = run("create_workspace", "Acme", "--owner", "olga@example.com")
    assert json.loads(out) == {"workspace": "acme", "owner": "olga@example.com"}
    assert "http://localhost:8000/accounts/password/reset/" in err
    assert not User.objects.get().has_usable_password()


def test_a_weak_password_is_refused_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="too short"):
        run(
            "create_workspace", "Acme", "--owner", "o@example.com", "--password-stdin", stdin="x\n",
            monkeypatch=monkeypatch,
        )  # fmt: skip
    with pytest.raises(CommandError, match="no password"):
        run("create_workspace", "Acme", "--owner", "o@example.com", "--password-stdin", monkeypatch=monkeypatch)
    assert not User.objects.exists()
    assert not Workspace.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Acme", "--owner", "olga@example.com", "--slug", "taken"), "belongs to another workspace"),
        (("Acme", "--owner", "olga@example.com", "--slug", "Not A Slug"), "lower-case letters"),
        (("Acme", "--owner", "olga@example.com", "--slug=-x"), "lower-case letters"),
        (("Acme", "--owner", "not an address"), "valid email"),
        (("   ", "--owner", "olga@example.com"), "needs a name"),
        (("x" * 101, "--owner", "olga@example.com"), "at most 100"),
    ],
)
def test_it_says_what_is_wrong_and_makes_nothing(arguments: tuple[str, ...], words: str) -> None:
    make_workspace(slug="taken", owner=make_user("else@example.com"))
    with pytest.raises(CommandError, match=words):
        run("create_workspace", *arguments)
    assert Workspace.objects.count() == 1
    assert User.objects.count() == 1


def test_slugs_made_from_names_stay_apart() -> None:
    slugs = [create_workspace("Ünï Acme_Corp!", owner_email="o@example.com", actor=OPERATOR)[0].slug for _ in range(3)]
    assert slugs == ["uni-acme-corp", "uni-acme-corp-2", "uni-acme-corp-3"]


def test_a_name_without_letters_gets_a_slug_too() -> None:
    assert create_workspace("東京", owner_email="o@example.com", actor=OPERATOR)[0].slug == "workspace"


def test_slugs_of_long_names_stay_apart_and_short_enough() -> None:
    slugs = {create_workspace("x" * 90, owner_email="o@example.com", actor=OPERATOR)[0].slug for _ in range(12)}
    assert len(slugs) == 12
    assert max(map(len, slugs)) <= 50


def test_a_taken_slug_is_its_own_error() -> None:
    make_workspace(slug="taken")
    with pytest.raises(SlugTaken):
        create_workspace("Acme", owner_email="o@example.com", slug="taken", actor=OPERATOR)


def test_making_a_workspace_is_recorded(workspace: Workspace) -> None:
    made, owner = create_workspace("Acme", owner_email="o@example.com", slug="new", actor=OPERATOR)
    event = AuditEvent.objects.get(workspace=made)
    assert (event.action, event.actor_kind, event.detail) == ("workspace:created", "operator", {"owner": owner.email})


def test_changing_settings_records_only_what_changed(workspace: Workspace) -> None:
    change_settings(workspace, name="Acme", return_urls=["https://app.example.com/done"], actor=OPERATOR)
    event = AuditEvent.objects.get(action="workspace:changed")
    assert event.detail == {"return_urls": ["https://app.example.com/done"]}
    change_settings(workspace, name=" Acme ", return_urls=["https://app.example.com/done"], actor=OPERATOR)
    assert AuditEvent.objects.filter(action="workspace:changed").count() == 1


def test_changing_settings_refuses_an_open_redirect(workspace: Workspace) -> None:
    with pytest.raises(ValidationError):
        change_settings(workspace, name="Acme", return_urls=["http://evil.example.com/"], actor=OPERATOR)


def test_a_key_from_the_command_line_works(workspace: Workspace) -> None:
    out, _err = run("create_api_key", "acme", "--name", "CI", "--scope", "tokens:read", "--scope", "connections:read")
    answer = json.loads(out)
    assert set(answer) == {"key", "prefix"}
    assert answer["key"].startswith(f"gr_{answer['prefix']}_")
    api_key = authenticate(answer["key"], timezone.now())
    assert api_key is not None
    assert effective_scopes(api_key) == {KeyScope.TOKENS_READ, KeyScope.CONNECTIONS_READ}


def test_an_unknown_scope_lists_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(CommandError, match=r"Unknown scope: tokens:write\..*tokens:read.*audit:read"):
        run("create_api_key", "acme", "--name", "CI", "--scope", "tokens:write")


def test_an_unknown_workspace_is_named(db: None) -> None:
    with pytest.raises(CommandError, match="no workspace “nowhere”"):
        run("create_api_key", "nowhere", "--name", "CI", "--scope", "tokens:read")


@pytest.mark.parametrize("command", ["create_workspace", "create_api_key"])
def test_help_explains_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")
    text = capsys.readouterr().out
    assert "as JSON" in " ".join(text.split())
