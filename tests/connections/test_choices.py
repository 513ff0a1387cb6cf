"""What whoever connects decides, by page and by API: judged by the same code, refused with the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from integrations.models import Connection, ConnectLink, CustomProvider, GrantType, Integration, PendingAuthorization
from tests.api.client import ApiClient, make_key
from tests.connections.conftest import token_answer
from tests.factories import make_connection, make_integration
from tests.pages.conftest import continue_url, query_of, url
from tests.servers.scripted import ScriptedServer
from workspaces.models import Workspace

GRANTS = [GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_CREDENTIALS]
SCOPES = [
    {"name": "read", "required": True},
    {"name": "write", "required": False, "description": "Change things"},
    {"name": "delete", "required": False},
]
CHOOSING: dict[str, Any] = {
    "scopes": SCOPES,
    "allow_scope_customization": True,
    "allowed_scope_patterns": [{"pattern": "[a-z]+:[a-z]+", "description": "an area, a colon, a right"}],
    "denied_scope_patterns": [{"pattern": "admin:.*", "description": "administration"}],
}
PARAMETERS = [
    {"key": "tenant", "label": "Tenant"},
    {"key": "region", "label": "Region", "type": "dropdown", "options": ["eu", "us"]},
    {"key": "pin", "label": "Pin", "type": "password", "pattern": "[0-9]{4}"},
]
GIVEN = {"tenant": "north", "region": "eu", "pin": "4711"}
OWN_CLIENT = [
    {"key": "client_id", "label": "Key ID"},
    {"key": "client_secret", "label": "Key", "type": "password"},
]


@dataclass(frozen=True)
class Wish:
    """What is asked for. `additional` is what is typed; a program sends it cut at the provider's delimiter."""

    name: str = "one"
    parameters: dict[str, str] = field(default_factory=dict)
    scopes: list[str] | None = None
    additional: str = ""
    client: dict[str, str] = field(default_factory=dict)

    def form(self) -> dict[str, Any]:
        given = {f"param_{key}": value for key, value in {**self.parameters, **self.client}.items()}
        chosen = {} if self.scopes is None else {"scope_choice": "customize", "scopes": self.scopes}
        return {"name": self.name, "additional_scopes": self.additional, **given, **chosen}

    def body(self, delimiter: str, name_field: str = "name") -> dict[str, Any]:
        listed = [piece for piece in self.additional.split(delimiter) if piece]
        chosen = {} if self.scopes is None else {"scopes": self.scopes}
        return {
            name_field: self.name,
            "parameters": self.parameters,
            "additional_scopes": listed,
            **chosen,
            **self.client,
        }


type_Define = Callable[..., CustomProvider]


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return ApiClient(make_key(workspace))


@pytest.fixture
def set_up(workspace: Workspace, define: type_Define) -> Callable[..., Integration]:
    """A definition with changes, and its integration."""

    def _set_up(grant_type: GrantType = GrantType.CLIENT_CREDENTIALS, **changes: Any) -> Integration:
        values = changes.pop("values", {})
        define(**changes)
        return make_integration(workspace, "custom_acme", grant_type, parameters=values)

    return _set_up


def path_of(integration: Integration) -> str:
    return f"/integrations/{integration.provider_id}/{integration.grant_type}"


def sentences_of_page(page: Any, form: str = "new_form") -> list[str]:
    assert page.status_code == 422, page.content.decode()
    return sorted(str(error) for errors in page.context[form].errors.values() for error in errors)


def sentences_of_api(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.content
    return sorted(error["message"] for error in answer.json()["errors"])


def refused(browser: Client, api: ApiClient, integration: Integration, wish: Wish, delimiter: str = " ") -> list[str]:
    """The sentences with which a wish is refused: by page and by API, as a connection and as a link."""
    answers = []
    if integration.grant_type == GrantType.CLIENT_CREDENTIALS:
        answers.append(sentences_of_page(browser.post(url("connection_new", integration), wish.form())))
        answers.append(sentences_of_api(api.post(f"{path_of(integration)}/connections", wish.body(delimiter))))
    else:
        answers.append(sentences_of_page(browser.post(url("connection_new", integration), wish.form())))
        link = browser.post(url("connect_link_create", integration), wish.form())
        answers.append(sentences_of_page(link, "link_form"))
        body = wish.body(delimiter, "connection")
        answers.append(sentences_of_api(api.post(f"{path_of(integration)}/connect-links", body)))
    assert all(answer == answers[0] for answer in answers), answers
    return answers[0]


def assert_nothing_happened(server: ScriptedServer) -> None:
    assert not server.requests
    assert not Connection.objects.exists()
    assert not ConnectLink.objects.exists()
    assert not PendingAuthorization.objects.exists()


SCOPE_REFUSALS = [
    ({}, Wish(additional="a:" + "b" * 499), "more than 500 characters"),
    (
        {},
        Wish(additional="files:read nonsense"),
        "“nonsense” is not one this provider allows. Expected: an area, a colon",
    ),
    ({}, Wish(additional="admin:all"), "“admin:all” is not permitted: administration. Expected: an area, a colon"),
    # The wrong delimiter: a comma is a legal character of a scope (RFC 6749 §3.3), a space is none.
    ({}, Wish(additional="files:read,files:write"), "Separate scopes with spaces."),
    ({}, Wish(additional="files:read, files:write"), "“files:read,” begins or ends with a comma. Separate scopes with"),
    ({"scope_input_delimiter": "comma"}, Wish(additional="files:read files:write"), "Separate scopes with commas."),
    (
        {},
        Wish(scopes=["write", "other"]),
        "“other” is not a scope that Acme defines. Choose among: read, write, delete",
    ),
    ({"allow_scope_customization": False}, Wish(scopes=["write"]), "choose no scopes: all of its own are requested"),
    ({"allow_additional_scopes": False}, Wish(additional="files:read"), "Ask an admin of the workspace"),
    (
        {"allow_additional_scopes": False, "additional_scopes_help": "Write to it@acme.example."},
        Wish(additional="files:read"),
        "no scope of their own. Write to it@acme.example.",
    ),
]


@pytest.mark.parametrize("grant_type", GRANTS)
@pytest.mark.parametrize(("changes", "wish", "words"), SCOPE_REFUSALS)
def test_a_scope_against_the_rules_is_refused_with_the_same_words_everywhere(
    set_up: Callable[..., Integration],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    grant_type: GrantType,
    changes: dict[str, Any],
    wish: Wish,
    words: str,
) -> None:
    integration = set_up(grant_type, **{**CHOOSING, **changes})
    delimiter = "," if changes.get("scope_input_delimiter") == "comma" else " "
    (sentence,) = refused(as_alice, api, integration, wish, delimiter)
    assert words in sentence
    assert_nothing_happened(provider_server)


PARAMETER_REFUSALS = [
    ({**GIVEN, "shape": "round"}, "Acme has no parameter “shape”. Remove it."),
    ({**GIVEN, "region": "mars"}, "Region is one of: eu, us."),
    ({**GIVEN, "pin": "47110"}, "Pin does not have the expected form."),
    ({**GIVEN, "tenant": "x" * 501}, "Tenant has more than 500 characters."),
]


@pytest.mark.parametrize("grant_type", GRANTS)
@pytest.mark.parametrize(("given", "words"), PARAMETER_REFUSALS)
def test_an_unfit_parameter_is_refused_with_the_same_words_everywhere(
    set_up: Callable[..., Integration],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    grant_type: GrantType,
    given: dict[str, str],
    words: str,
) -> None:
    integration = set_up(grant_type, parameters=PARAMETERS)
    (sentence,) = refused(as_alice, api, integration, Wish(parameters=given))
    assert sentence.startswith(words)
    assert "47110" not in sentence
    assert_nothing_happened(provider_server)


def test_every_missing_parameter_is_named(
    set_up: Callable[..., Integration], as_alice: Client, api: ApiClient, provider_server: ScriptedServer
) -> None:
    service = set_up(parameters=PARAMETERS)
    assert refused(as_alice, api, service, Wish()) == [
        "Enter a value for Pin.",
        "Enter a value for Region.",
        "Enter a value for Tenant.",
    ]
    answer = api.post(f"{path_of(service)}/connections", Wish().body(" ")).json()
    assert {error["field"] for error in answer["errors"]} == {
        "parameters.tenant",
        "parameters.region",
        "parameters.pin",
    }
    assert_nothing_happened(provider_server)


# Each would send a request elsewhere in some position of a URL, if it were let through.
TAKE_OVERS = [
    "evil@127",
    "127.0.0.1:1/",
    "127.0.0.1:1?",
    "127.0.0.1#",
    "127\\evil",
    "a/b",
    "a%2fb",
    "..",
    ".",
    "a..b",
    "/../admin",
    "127\r\nHost: evil.example",
    "127\u3002evil",  # an ideographic full stop, which some resolvers read as a dot
    "127\uff0eevil",
    "b\u00fccher",
    "xn--127\u2024",
    "127\x00",
    "127\u202e",
    "127:8080",
    "[::1]",
    "{{tenant}}",
    "a" * 501,
]


@pytest.mark.parametrize("grant_type", GRANTS)
@pytest.mark.parametrize("value", TAKE_OVERS)
@pytest.mark.parametrize("position", ["host", "path", "query"])
def test_no_value_leads_a_request_elsewhere(
    set_up: Callable[..., Integration],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    grant_type: GrantType,
    value: str,
    position: str,
) -> None:
    integration = set_up(grant_type, **endpoints_with(provider_server, position))
    form = as_alice.post(url("connection_new", integration), Wish(parameters={"tenant": value}).form())
    assert form.status_code == 422
    if "\x00" not in value:  # a program's body with NUL is refused before it is read
        assert refused(as_alice, api, integration, Wish(parameters={"tenant": value}))
    assert_nothing_happened(provider_server)


@pytest.mark.parametrize("position", ["host", "path", "query"])
def test_a_fit_value_reaches_the_provider(
    set_up: Callable[..., Integration], as_alice: Client, provider_server: ScriptedServer, position: str
) -> None:
    """Without which the test above would prove nothing."""
    provider_server.answer("/token", json=token_answer())
    provider_server.answer("/127/token", json=token_answer())
    service = set_up(**endpoints_with(provider_server, position))
    assert as_alice.post(url("connection_new", service), Wish(parameters={"tenant": "127"}).form()).status_code == 302
    assert len(provider_server.requests) == 1


def endpoints_with(server: ScriptedServer, position: str) -> dict[str, Any]:
    port = server.host.partition(":")[2]
    base = {
        "host": f"http://{{{{tenant}}}}.0.0.1:{port}",
        "path": f"{server.url}/{{{{tenant}}}}",
        "query": server.url,
    }[position]
    query = "?tenant={{tenant}}" if position == "query" else ""
    return {
        "parameters": [{"key": "tenant", "label": "Tenant"}],
        "authorization_endpoint": f"{base}/authorize{query}",
        "token_endpoint": f"{base}/token{query}",
        "revocation_endpoint": "",
    }


WHOLE_HOST = {
    "authorization_endpoint": "https://{{host}}/authorize",
    "token_endpoint": "https://{{host}}/token",
    "revocation_endpoint": "",
    "parameters": [{"key": "host", "label": "Host"}],
}


@pytest.mark.parametrize("grant_type", GRANTS)
def test_a_parameter_that_is_the_whole_host_is_an_admins(
    set_up: Callable[..., Integration],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    grant_type: GrantType,
) -> None:
    integration = set_up(grant_type, **WHOLE_HOST, values={"host": "id.acme.example"})
    (sentence,) = refused(as_alice, api, integration, Wish(parameters={"host": "evil.example"}))
    assert "an admin sets it" in sentence
    assert "param_host" not in as_alice.get(url("connection_new", integration)).content.decode()
    assert_nothing_happened(provider_server)


def test_with_credentials_of_its_own_a_connection_names_its_host(
    set_up: Callable[..., Integration], as_alice: Client, provider_server: ScriptedServer, settings: Any
) -> None:
    integration = set_up(
        GrantType.AUTHORIZATION_CODE, **{**WHOLE_HOST, "parameters": [*WHOLE_HOST["parameters"], *OWN_CLIENT]}
    )
    wish = Wish(parameters={"host": "id.north.example"}, client={"client_id": "north", "client_secret": "s1"})
    page = as_alice.post(url("connection_new", integration), wish.form())
    assert continue_url(page).startswith("https://id.north.example/authorize?")
    assert query_of(continue_url(page))["client_id"] == "north"


@pytest.mark.parametrize("grant_type", GRANTS)
def test_a_client_where_none_is_asked_for_is_refused(
    set_up: Callable[..., Integration],
    as_alice: Client,
    api: ApiClient,
    provider_server: ScriptedServer,
    grant_type: GrantType,
) -> None:
    integration = set_up(grant_type)
    sentences = refused(as_alice, api, integration, Wish(client={"client_id": "mine", "client_secret": "mine"}))
    assert set(sentences) == {
        "Acme has one client for all connections: its ID and secret are saved on the integration."
    }
    assert_nothing_happened(provider_server)


def test_a_client_that_is_asked_for_and_missing_is_refused(
    set_up: Callable[..., Integration], as_alice: Client, api: ApiClient, provider_server: ScriptedServer
) -> None:
    service = set_up(parameters=OWN_CLIENT)
    assert refused(as_alice, api, service, Wish()) == ["Enter a value for Key ID.", "Enter a value for Key."]
    answer = api.post(f"{path_of(service)}/connections", Wish().body(" ")).json()
    assert [error["field"] for error in answer["errors"]] == ["client_id", "client_secret"]
    assert_nothing_happened(provider_server)


def test_a_base_scope_cannot_be_removed_by_a_crafted_request(
    set_up: Callable[..., Integration], as_alice: Client, api: ApiClient, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer())
    service = set_up(**CHOOSING)
    as_alice.post(url("connection_new", service), Wish("by-page", scopes=["write"]).form())
    api.post(f"{path_of(service)}/connections", Wish("by-program", scopes=["write"]).body(" "))
    assert [request.form["scope"] for request in provider_server.to("/token")] == ["read write", "read write"]
    api.post(f"{path_of(service)}/connections", Wish("bare", scopes=[]).body(" "))
    assert provider_server.to("/token")[-1].form["scope"] == "read"


def test_default_scopes_are_all_of_them_whatever_boxes_were_sent(
    set_up: Callable[..., Integration], as_alice: Client, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer())
    service = set_up(**CHOOSING)
    form = {**Wish(scopes=["write"]).form(), "scope_choice": "default"}
    as_alice.post(url("connection_new", service), form)
    assert provider_server.to("/token")[0].form["scope"] == "read write delete"
    assert Connection.objects.get().scopes is None


def test_scopes_are_split_by_exactly_the_delimiter_and_text_left_in_the_input_counts(
    set_up: Callable[..., Integration], as_alice: Client, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer())
    service = set_up(scope_input_delimiter="comma")
    as_alice.post(url("connection_new", service), Wish(additional="files:read, files:write").form())
    assert provider_server.to("/token")[0].form["scope"] == "read write files:read files:write"


def test_a_value_posted_for_a_config_value_is_ignored(
    set_up: Callable[..., Integration], as_alice: Client, api: ApiClient, provider_server: ScriptedServer
) -> None:
    provider_server.answer("/token", json=token_answer())
    service = set_up(
        config_values=[
            {"key": "product", "label": "Product", "value": "shown-product", "visible": True},
            {"key": "edition", "label": "Edition", "value": "hidden-edition", "visible": False},
        ],
        token_params={"product": "{{product}}", "edition": "{{edition}}"},
    )
    page = as_alice.get(url("connection_new", service)).content.decode()
    assert "shown-product" in page
    assert "hidden-edition" not in page
    sent = {"product": "mine", "edition": "mine"}
    as_alice.post(url("connection_new", service), Wish("by-page", sent).form())
    api.post(f"{path_of(service)}/connections", Wish("by-program", sent).body(" "))
    for request in provider_server.to("/token"):
        assert (request.form["product"], request.form["edition"]) == ("shown-product", "hidden-edition")
    assert [connection.parameters for connection in Connection.objects.all()] == [{}, {}]


def test_the_form_asks_for_what_the_definition_names(set_up: Callable[..., Integration], as_alice: Client) -> None:
    service = set_up(**CHOOSING, parameters=[*PARAMETERS, *OWN_CLIENT])
    page = as_alice.get(url("connection_new", service)).content.decode()
    for words in ("Tenant", "Region", "Pin", "Key ID", "Use default scopes", "Customize scopes", "Manually add scopes"):
        assert words in page, words
    assert "Change things" in page
    assert 'value="read"' not in page  # locked: not a box
    come_back = as_alice.post(
        url("connection_new", service), Wish(parameters={**GIVEN, "region": "mars", "pin": "9876"}).form()
    ).content.decode()
    assert "9876" not in come_back
    assert 'value="north"' in come_back


@pytest.mark.parametrize("help_text", ["", "Open a ticket."])
def test_where_nothing_may_be_added_the_form_says_how_to_ask(
    set_up: Callable[..., Integration], as_alice: Client, help_text: str
) -> None:
    service = set_up(allow_additional_scopes=False, additional_scopes_help=help_text)
    page = as_alice.get(url("connection_new", service)).content.decode()
    assert "Manually add scopes" not in page
    assert (help_text or "Ask an admin of the workspace to add it") in page


def test_a_name_in_use_is_refused_with_the_same_words(
    set_up: Callable[..., Integration], as_alice: Client, api: ApiClient
) -> None:
    service = set_up()
    other = make_connection(service, "one")
    second = make_connection(service, "two", is_default=False)
    (sentence,) = sentences_of_page(as_alice.post(url("connection_new", service), Wish().form()))
    assert sentence == "Another connection of this integration has this name. Choose a different one."
    answers = [
        api.post(f"{path_of(service)}/connections", Wish().body(" ")),
        api.patch(f"/connections/{second.pk}", {"name": other.name}),
    ]
    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [(409, sentence)] * 2
