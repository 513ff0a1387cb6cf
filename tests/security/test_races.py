"""Two requests at once, where each alone would be fine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database
from django.db import connections

from integrations.connections.changes import NameTaken, make_default, rename_connection
from integrations.connections.revocation import delete_connection
from integrations.models import Connection, Integration
from tests.api.client import ApiClient, make_key
from tests.factories import make_connection, make_integration
from tests.security.conftest import browser_of
from tests.servers.scripted import ScriptedServer
from workspaces.audit import Actor
from workspaces.models import User, Workspace

ACTOR = Actor.operator()


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run each in a thread of its own, begun together; results or exceptions in order."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        try:
            barrier.wait(10)
            results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.django_db(transaction=True)
def test_of_many_new_defaults_one_wins_and_nobody_fails(workspace: Workspace) -> None:
    integration = make_integration(workspace)
    make_connection(integration)
    names = [f"c{number}" for number in range(6)]
    for name in names:
        make_connection(integration, name)
    for _ in range(3):
        results = at_once(
            *(lambda name=name: make_default(Connection.objects.get(name=name), actor=ACTOR) for name in names)  # type: ignore[misc]
        )
        assert [result for result in results if isinstance(result, Exception)] == []
        assert Connection.objects.filter(is_default=True).count() == 1


@pytest.mark.django_db
def test_a_connection_deleted_meanwhile_is_no_internal_error(
    workspace: Workspace, alice: User, delegated: Integration, connected: Connection, provider_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Both the page and the call found the row; it was deleted before they saved."""
    make_connection(delegated, "second")
    provider_server.answer("/revoke")
    stale = Connection.objects.select_related("integration", "workspace").get(name="second")
    delete_connection(Connection.objects.get(name="second"), actor=ACTOR)
    with pytest.raises(Connection.DoesNotExist):
        rename_connection(stale, "other", actor=ACTOR)
    with pytest.raises(Connection.DoesNotExist):
        make_default(stale, actor=ACTOR)


@pytest.mark.django_db
def test_a_name_taken_meanwhile_is_an_error_beside_the_field(
    workspace: Workspace, alice: User, delegated: Integration, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object, **__: object) -> None:
        raise NameTaken("Another connection of this integration is called “x”.")

    monkeypatch.setattr("integrations.connections.views.detail.rename_connection", taken)
    page = f"/w/acme/integrations/custom_acme/authorization_code/connections/{connected.pk}/change/"
    answer = browser_of(alice).post(page, {"name": "x"})
    assert answer.status_code == 422
    assert "Another connection" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_two_programs_set_one_integration_up_at_once(workspace: Workspace) -> None:
    key = make_key(workspace)
    body = {"client_id": "c", "client_secret": "s"}
    path = "/integrations/github/authorization_code"
    results = at_once(*(lambda: ApiClient(key).put(path, body) for _ in range(4)))
    assert [getattr(result, "status_code", result) for result in results] == [200] * 4
    assert Integration.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_programs_make_one_connection_at_once(
    workspace: Workspace, service: Integration, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json={"access_token": "a", "token_type": "Bearer", "expires_in": 60})
    key = make_key(workspace)
    path = f"/integrations/{service.provider_id}/client_credentials/connections"
    results = at_once(*(lambda: ApiClient(key).post(path, {"name": "n"}) for _ in range(4)))
    assert {getattr(result, "status_code", result) for result in results} <= {201, 409}
    assert Connection.objects.filter(name="n").count() == 1
    assert database.vendor in ("sqlite", "postgresql")
