"""Two connections under one integration, each with values or an app of its own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integrations.models import GrantType
from tests.providers.quirks.conftest import NOW, Flow, answer
from tests.servers.scripted import ScriptedServer

LATER = NOW + timedelta(hours=2)
SHOP = {"key": "shop", "label": "Shop"}
CREDENTIALS = [
    {"key": "client_id", "label": "App ID"},
    {"key": "client_secret", "label": "App secret", "type": "password"},
]


def test_connections_with_different_values_keep_to_their_own_endpoints(
    own: Callable[..., Flow], provider_server: ScriptedServer
) -> None:
    url = provider_server.url
    flow = own(
        parameters=[SHOP],
        token_endpoint=f"{url}/{{{{shop}}}}/token",
        revocation_endpoint=f"{url}/{{{{shop}}}}/revoke",
        refresh_params={"shop": "{{shop}}"},
    )
    connections = {}
    for shop in ("north", "south"):
        flow.server.answer(f"/{shop}/token", json=answer(f"{shop}-1", f"{shop}-r1"))
        flow.server.answer(f"/{shop}/token", json=answer(f"{shop}-2", f"{shop}-r2"))
        flow.server.answer(f"/{shop}/revoke")
        connections[shop] = flow.connect(connection_name=shop, parameters={"shop": shop})
    for shop, connection in connections.items():
        assert flow.refresh(connection, now=LATER).refreshed
        refresh = flow.last(f"/{shop}/token").form
        assert (refresh["refresh_token"], refresh["shop"]) == (f"{shop}-r1", shop)
    assert flow.disconnect(connections["north"]).result == "revoked"
    assert {r.form["token"] for r in flow.server.to("/north/revoke")} == {"north-2", "north-r2"}
    assert flow.server.to("/south/revoke") == []
    assert flow.again(connections["south"].pk).token.open().access_token == "south-2"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_connections_with_apps_of_their_own_authenticate_each_with_theirs(
    own: Callable[..., Flow], method: str
) -> None:
    flow = own(parameters=CREDENTIALS, token_endpoint_auth_method=method)
    flow.integration.client_id = ""
    flow.integration.client_secret = None
    flow.integration.save()
    flow.server.answer("/token", json=answer())
    for name in ("one", "two"):
        credentials = {"client_id": f"app-{name}", "client_secret": f"secret-of-{name}"}
        connection = flow.connect(connection_name=name, parameters=credentials)
        flow.refresh(connection, now=LATER)
    sent = [authenticated_as(request) for request in flow.server.to("/token")]
    assert sent == [("app-one", "secret-of-one")] * 2 + [("app-two", "secret-of-two")] * 2


def authenticated_as(request: Any) -> Any:
    if "authorization" not in request.headers:
        return request.form["client_id"], request.form["client_secret"]
    pairs = [("app-one", "secret-of-one"), ("app-two", "secret-of-two")]
    basic = {"Basic " + b64encode(":".join(pair).encode()).decode(): pair for pair in pairs}
    return basic[request.headers["authorization"]]


def test_each_is_sent_to_the_consent_page_of_its_own_app(own: Callable[..., Flow]) -> None:
    flow = own(parameters=CREDENTIALS)
    query = flow.start(parameters={"client_id": "app-one", "client_secret": "secret-of-one"})
    assert query["client_id"] == ["app-one"]
    assert "secret-of-one" not in str(query)


def test_the_secret_of_a_connection_is_not_shown(own: Callable[..., Flow]) -> None:
    flow = own(parameters=CREDENTIALS, grant_types=["client_credentials"], grant_type=GrantType.CLIENT_CREDENTIALS)
    flow.server.answer("/token", json=answer(refresh_token=None))
    connection = flow.fetch(parameters={"client_id": "app-one", "client_secret": "canary-secret"})
    assert "canary-secret" not in str(vars(connection))
    assert connection.parameters["client_secret"] == "canary-secret"
