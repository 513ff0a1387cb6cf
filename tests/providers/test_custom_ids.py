"""Ids of custom providers: slug, prefix, suffix, unique in the workspace under concurrency."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from integrations.providers import custom
from integrations.providers.catalogue import catalogue
from integrations.providers.custom import InvalidDefinition, create_custom_provider, custom_provider_id
from integrations.providers.registry import find_spec
from tests.factories import make_user, make_workspace
from workspaces.audit import Actor
from workspaces.models import User, Workspace

OPERATOR = Actor.operator()


def definition(**fields: Any) -> dict[str, Any]:
    return {
        "name": "Acme",
        "grant_types": ["authorization_code"],
        "authorization_endpoint": "https://acme.example.com/authorize",
        "token_endpoint": "https://acme.example.com/token",
        **fields,
    }


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("Acme", "", "custom_acme"),
        ("Acme Cloud", "", "custom_acme_cloud"),
        ("  Acme -- Cloud!  ", "", "custom_acme_cloud"),
        ("Acme.io/v2", "", "custom_acme_io_v2"),
        ("Acme", "my-id", "custom_my_id"),
        ("Acme", "custom_mine", "custom_mine"),  # not twice
        ("Acme", "custom-mine", "custom_mine"),
        ("custom acme", "", "custom_acme"),
        ("Customer", "", "custom_customer"),  # begins with the letters, not with the prefix
        ("Custom", "", "custom_custom"),
        ("Acme", "custom_", "custom_custom"),
        ("Acme", "github", "custom_github"),  # a built-in id cannot be taken
        ("Ämtliche Größe", "", "custom_amtliche_groe"),  # ß has no ASCII base letter
        ("日本語", "", "custom_provider"),  # nothing is left of it
        ("Acme", "___", "custom_acme"),
        ("A" * 200, "", "custom_" + "a" * 73),
    ],
)
def test_the_id_is_a_slug_with_the_prefix(workspace: Workspace, name: str, wanted: str, expected: str) -> None:
    assert custom_provider_id(workspace, name, wanted) == expected


def test_taken_ids_get_a_number(workspace: Workspace) -> None:
    ids = [create_custom_provider(workspace, definition(), actor=OPERATOR).provider_id for _ in range(3)]
    assert ids == ["custom_acme", "custom_acme_1", "custom_acme_2"]
    explicit = create_custom_provider(workspace, definition(provider_id="acme"), actor=OPERATOR)
    assert explicit.provider_id == "custom_acme_3"


def test_gaps_are_filled_and_other_names_do_not_count(workspace: Workspace) -> None:
    create_custom_provider(workspace, definition(name="Acme 2"), actor=OPERATOR)
    create_custom_provider(workspace, definition(name="Acme Cloud"), actor=OPERATOR)
    ids = [create_custom_provider(workspace, definition(), actor=OPERATOR).provider_id for _ in range(3)]
    assert ids == ["custom_acme", "custom_acme_1", "custom_acme_3"]


def test_ids_are_unique_within_a_workspace_only(workspace: Workspace, charlie: User) -> None:
    other = charlie.memberships.get().workspace
    assert create_custom_provider(workspace, definition(), actor=OPERATOR).provider_id == "custom_acme"
    assert create_custom_provider(other, definition(), actor=OPERATOR).provider_id == "custom_acme"


def test_no_built_in_id_has_the_prefix() -> None:
    assert not [provider_id for provider_id in catalogue() if provider_id.startswith("custom_")]


def test_an_id_that_is_no_text_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        create_custom_provider(workspace, definition(provider_id=7), actor=OPERATOR)
    assert set(caught.value.errors) == {"provider_id"}


def test_an_id_taken_between_the_look_and_the_insert_is_looked_up_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_custom_provider(workspace, definition(), actor=OPERATOR)
    stale = iter(["custom_acme", "custom_acme"])  # what two looks before the other request's commit would say

    def late(*args: Any) -> str:
        return next(stale, None) or custom_provider_id(*args)

    monkeypatch.setattr(custom, "custom_provider_id", late)
    assert create_custom_provider(workspace, definition(), actor=OPERATOR).provider_id == "custom_acme_1"
    assert workspace.audit_events.filter(action="provider:created").count() == 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_each_get_an_id_of_their_own() -> None:
    workspace = make_workspace("Race", owner=make_user("racer@example.com"), slug="race")
    start = threading.Barrier(4, timeout=20)
    made: list[str] = []
    failed: list[BaseException] = []

    def create() -> None:
        try:
            start.wait()
            made.append(create_custom_provider(workspace, definition(), actor=OPERATOR).provider_id)
        except Exception as error:  # noqa: BLE001 # shown by the assertion below
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failed
    assert sorted(made) == ["custom_acme", "custom_acme_1", "custom_acme_2", "custom_acme_3"]
    assert {find_spec(workspace, provider_id).version for provider_id in made} == {1}
