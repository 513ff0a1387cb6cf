"""Connect links in the hands of somebody hostile, and links that outlive whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.connections.authorization import StartedAuthorization, start_authorization
from integrations.connections.completion import complete_authorization
from integrations.connections.connect_links import create_connect_link, find_link, link_actor
from integrations.connections.errors import LinkGone
from integrations.models import Connection, ConnectLink, Integration
from tests.api.client import make_key
from tests.factories import make_connection, make_member, make_user
from tests.security.conftest import token_answer
from tests.servers.scripted import ScriptedServer
from workspaces.api_keys import authenticate, revoke_api_key
from workspaces.audit import Actor
from workspaces.models import Membership, User, Workspace
from workspaces.roles import Role

pytestmark = pytest.mark.django_db

BROWSER = "the-strangers-browser"


def begin(link: ConnectLink) -> StartedAuthorization:
    fresh = ConnectLink.objects.select_related("workspace", "integration", "integration__workspace").get(pk=link.pk)
    return start_authorization(fresh.integration, binding=BROWSER, link=fresh, actor=link_actor(fresh))


def come_back(started: StartedAuthorization, code: str = "code") -> Any:
    return complete_authorization([("code", code), ("state", started.state)], binding=BROWSER)


def answer_as(server: ScriptedServer, account: str, access_token: str) -> None:
    server.answer("/token", json=token_answer(access_token, f"refresh-of-{access_token}"))
    server.answer("/userinfo", json={"sub": account, "email": f"{account}@example.com"})
    server.answer("/revoke")


@pytest.fixture
def editor(workspace: Workspace) -> User:
    user = make_user("editor@example.com")
    make_member(workspace, user, Role.EDITOR)
    return user


def _removed(user: User) -> None:
    Membership.objects.filter(user=user).delete()


def _demoted(user: User) -> None:
    Membership.objects.filter(user=user).update(role=Role.VIEWER)


def _deactivated(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("lose_power", [_removed, _demoted, _deactivated])
def test_a_link_dies_with_the_power_of_whoever_made_it(
    lose_power: Callable[[User], None], delegated: Integration, editor: User, provider_server: ScriptedServer
) -> None:
    """Otherwise a member who was removed could still put an account of their own into the workspace."""
    answer_as(provider_server, "mallory", "access-of-mallory")
    address, link = create_connect_link(delegated, actor=Actor.member(editor))
    started = begin(link)
    lose_power(editor)

    outcome = come_back(started)
    assert (outcome.ok, outcome.code) == (False, "link_withdrawn")
    assert not Connection.objects.exists()
    assert provider_server.to("/token") == []
    with pytest.raises(LinkGone):
        find_link(address.split("/")[-2])
    assert Client().get(address.removeprefix("http://localhost:8000")).status_code == 410


def test_a_link_dies_with_the_key_that_made_it(delegated: Integration, workspace: Workspace) -> None:
    key = authenticate(make_key(workspace), timezone.now())
    assert key is not None
    _, link = create_connect_link(delegated, actor=Actor.api_key(key))
    begin(link)
    revoke_api_key(key, actor=Actor.operator())
    with pytest.raises(LinkGone) as gone:
        begin(link)
    assert gone.value.code == "link_withdrawn"


def test_a_link_of_an_operator_has_nobody_to_depend_on(delegated: Integration) -> None:
    _, link = create_connect_link(delegated, actor=Actor.operator())
    assert begin(link).url


def test_one_link_connects_once_even_from_two_tabs(delegated: Integration, provider_server: ScriptedServer) -> None:
    """Both tabs are at the consent page before either comes back; what the second brings is not kept."""
    _, link = create_connect_link(delegated, actor=Actor.operator())
    first, second = begin(link), begin(link)
    answer_as(provider_server, "one", "access-of-one")
    assert come_back(first).ok
    outcome = come_back(second)
    assert (outcome.ok, outcome.code) == (False, "link_used")
    assert Connection.objects.get().token.open().access_token == "access-of-one"


def test_one_link_connects_once_even_when_both_exchanges_run_at_once(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """The second callback comes back while the first is still at the token endpoint."""
    from tests.servers.scripted import Answer, Received

    _, link = create_connect_link(delegated, actor=Actor.operator())
    first, second = begin(link), begin(link)
    inner: list[Any] = []

    def slow(_: Received) -> Answer:
        import json

        return Answer(200, json.dumps(token_answer("access-of-first", "refresh-of-first")).encode())

    provider_server.respond("/token", slow)
    provider_server.answer("/token", json=token_answer("access-of-second", "refresh-of-second"))
    provider_server.answer("/userinfo", json={"sub": "one"})
    provider_server.answer("/revoke")

    # In the middle of the first exchange, after its row was consumed.
    from integrations.connections import completion

    real = completion._account

    def meanwhile(parties: Any, answer: Any) -> Any:
        if not inner:
            inner.append(None)
            inner.append(come_back(second))
        return real(parties, answer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "_account", meanwhile)
        late = come_back(first)
    assert inner[1].ok
    assert (late.ok, late.code) == (False, "link_used")
    assert Connection.objects.get().token.open().access_token == "access-of-second"
    # It may be the same person's consent: at some providers revoking it would end the first connection, too.
    assert provider_server.to("/revoke") == []


def test_a_link_never_replaces_an_account_that_was_connected_while_it_was_used(
    delegated: Integration, provider_server: ScriptedServer
) -> None:
    """There was no such connection when the stranger left for the consent page; a member made one meanwhile."""
    _, link = create_connect_link(delegated, actor=Actor.operator())
    started = begin(link)
    make_connection(delegated, access_token="access-of-robin", account={"id": "robin", "label": "robin@example.com"})
    answer_as(provider_server, "mallory", "access-of-mallory")
    outcome = come_back(started)
    assert (outcome.ok, outcome.code) == (False, "account_differs")
    assert Connection.objects.get().token.open().access_token == "access-of-robin"
    assert [request.form["token"] for request in provider_server.to("/revoke")] == [
        "refresh-of-access-of-mallory",
        "access-of-mallory",
    ]


def test_a_link_that_was_opened_elsewhere_first_tells_its_victim_so(delegated: Integration) -> None:
    """Session fixation: an attacker starts a flow and hands the victim the authorization URL; the code is no use."""
    address, _ = create_connect_link(delegated, actor=Actor.operator())
    path = address.removeprefix("http://localhost:8000")
    attacker, victim = Client(), Client()
    page = attacker.post(path).content.decode()
    state = page.partition("state=")[2].partition("&")[0].partition('"')[0]
    assert len(state) == 43
    back = victim.get("/oauth/callback", {"state": state, "code": "code-of-the-victim"})
    assert "grantry_session" not in back.cookies
    assert "Connected" not in victim.get(back["Location"]).content.decode()
    assert victim.post(path).status_code == 410
    assert not Connection.objects.exists()


def test_a_stranger_cannot_change_what_the_link_says(delegated: Integration, provider_server: ScriptedServer) -> None:
    address, link = create_connect_link(delegated, connection_name="customer", actor=Actor.operator())
    posted = {
        "connection": "default", "connection_name": "default", "name": "default", "additional_scopes": "admin",
        "parameters": "{}", "return_url": "https://evil.example/", "p-host": "evil.example",
    }  # fmt: skip
    page = Client().post(address.removeprefix("http://localhost:8000"), posted).content.decode()
    assert "admin" not in page.partition("/authorize?")[2].partition('"')[0]
    pending = link.workspace.pending_authorizations.get()
    assert (pending.connection_name, pending.additional_scopes, pending.parameters) == ("customer", [], {})
